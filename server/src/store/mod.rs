//! The store: the file system is the database (docs/STORE.md).
//!
//! ```text
//!   put          get, list      accounts        scrub, check
//!    │               │              │                 │
//!  upload, resume    │  delete   invites           inspect
//!    │               │    │         │                 │
//!  commit ── survey  │    │         │                 │
//!    │          │   look  │         │                 │
//!   shard ───────────│────┘         │               shard
//!    │    ╲     │    │              │              ╱  │
//!    │      lock │   │             lock        lock   │
//!    │       shard_dirs, change_count (no lock) ──────┤
//!    │               │              │                 │
//!  staging     record, object   small_file            │
//!    └───────────────┴───────┬──────┴─────────────────┘
//!          instants, directories (made when they are needed), features
//!       fsync (group_commit, fsync_failed)    layout    sys::fs
//! ```
//!
//! Every call here blocks, so a server makes them on pool threads. Readers take no lock: the bytes
//! of a version never change, and that a name moved while it looked a reader learns from the
//! shard's change count. Writers of a key are ordered by flock(2) on the key's shard, which holds
//! across processes. Everything is reached through a descriptor of the store's directory. No file
//! name contains anything that a client chose, and no error contains a path outside the store.

mod accounts;
mod begin;
mod change_count;
mod clock_file;
mod commit;
mod delete;
mod directories;
mod error;
mod features;
mod fsync;
mod fsync_failed;
mod generation;
mod group_commit;
mod history;
mod in_flight;
mod init;
mod inspect;
mod instants;
mod invites;
mod layout;
mod lease;
mod list;
mod lock;
mod look;
mod object;
mod open_store;
mod random;
mod record;
mod restore;
mod resume;
mod root;
mod server_key;
mod shard;
mod shard_dirs;
mod small_file;
mod staging;
mod survey;
mod upload;
mod writer;

pub use zput_os::Clock;

pub use self::{
    accounts::Account,
    clock_file::ClockFile,
    error::{Corruption, FormatViolation, StoreError},
    fsync::ReadFrom,
    fsync_failed::FsyncFailure,
    inspect::{
        CheckReport, ClearReport, Damage, Fraction, LastScrub, Leftovers, Observer, ScrubOptions,
        ScrubReport,
    },
    list::Page,
    object::Object,
    open_store::{DEFAULT_KEEP_UPLOADS, Store},
    upload::Upload,
    writer::Writer,
};
pub(crate) use self::{
    commit::{CommitStep, PendingCommit},
    history::CurrentFile,
    in_flight::InFlightGuard,
    layout::{STORE_FILE, current_file_path},
    lock::{LOCK_WAIT_MAX, Lock, LockName},
    open_store::UPLOADS_MAX,
    restore::RestoreStep,
    resume::{ResumeStep, TakeOver},
};

#[cfg(test)]
mod tests;

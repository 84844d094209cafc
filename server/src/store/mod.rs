//! The store: the file system is the database (docs/STORE.md).
//!
//! ```text
//!   put         get, list      accounts        scrub, check
//!    │              │              │                 │
//!  upload, resume   │  delete   invites           inspect
//!    │              │    │         │                 │
//!  commit ──── shard (lock) ───────┼─────────────────┤
//!    │              │              │                 │
//!  staging     record, object   small_file           │
//!    └──────────────┴───────┬──────┴─────────────────┘
//!       fsync (group_commit, fsync_failed)    layout    sys::fs
//! ```
//!
//! Every call here blocks, so a server makes them on pool threads. Readers take no lock: they open
//! one file, and the bytes of a version never change. Writers of a key are ordered by flock(2) on
//! the key's shard, which holds across processes. Everything is reached through a descriptor of the
//! store's directory. No file name contains anything that a client chose, and no error contains a
//! path outside the store.

mod accounts;
mod clock;
mod commit;
mod delete;
mod directories;
mod error;
mod fsync;
mod fsync_failed;
mod generation;
mod group_commit;
mod history;
mod in_flight;
mod init;
mod inspect;
mod invites;
mod layout;
mod lease;
mod list;
mod object;
mod random;
mod record;
mod resume;
mod root;
mod server_key;
mod shard;
mod small_file;
mod staging;
mod upload;
mod writer;

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    sync::{Arc, atomic::AtomicU64},
};

use zput_common::{
    keys::server::ServerKeySeed,
    name::ObjectKey,
    proto::message::{Condition, Kind},
};

pub use self::{
    accounts::Account,
    clock::Clock,
    error::{Corruption, FormatViolation, StoreError},
    fsync_failed::FsyncFailure,
    inspect::{
        CheckReport, ClearReport, Damage, LastScrub, Leftovers, Observer, ReadFrom, ScrubOptions,
        ScrubReport, Share,
    },
    list::Page,
    object::Object,
    resume::DEFAULT_KEEP_UPLOADS,
    upload::Upload,
    writer::Writer,
};
use self::{
    directories::OpenDirectory,
    fsync::Fsync,
    in_flight::InFlight,
    layout::{CLIENTS, INVITES, STAGING, TEMPORARY_PREFIX, is_resume_name},
    lease::RevokeTimeouts,
    upload::{TAKE_OVER_TIMEOUTS, Target},
};
pub(crate) use self::{history::CurrentFile, in_flight::InFlightGuard, layout::STORE_FILE};
use crate::{limits::Semaphore, sys::fs};

/// The format of the store and of all its small files.
const FORMAT: u64 = 1;

/// Most uploads in progress at once in an open store. Each holds a descriptor.
pub(crate) const UPLOADS_MAX: usize = 1024;

/// Most claims that are read at once in an open store. Each may read 1 GiB for a request of 2 KiB,
/// on a pool thread that other requests wait for. Half of the fewest threads that a server has.
const CLAIMS_MAX: usize = 16;

/// Most connections that take over an upload at once in an open store. Each may wait for seconds on
/// a pool thread.
const TAKE_OVERS_MAX: usize = 8;

/// An open store. Clones share it; any number of threads and processes may use it at once.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    fsync: Arc<Fsync>,
    staging: OpenDirectory,
    server_key: ServerKeySeed,
    uploads: Semaphore,
    /// Held by connections that read claimed slices.
    claims: Semaphore,
    /// Held by connections that take over an upload.
    take_overs: Semaphore,
    take_over_timeouts: RevokeTimeouts,
    in_flight: InFlight,
    /// How long interrupted uploads are kept, in nanoseconds. Zero: none is kept.
    keep_uploads_ns: AtomicU64,
}

impl Store {
    /// Opens the store in `dir`, or creates one where `dir` is empty or does not exist. Staging
    /// files that no living process has locked are removed, except uploads that can be resumed.
    ///
    /// # Errors
    /// When `dir` is neither empty nor a store, when the store has a newer format, and when `dir`
    /// cannot be written while there is no store in it yet.
    pub fn open(dir: &Path, clock: Clock) -> Result<Self, StoreError> {
        Self::from_parts(init::open_or_make(dir, clock)?)
    }

    /// Opens the store in `dir` as [`Self::open`] does, and never creates one.
    ///
    /// # Errors
    /// [`StoreError::NoStore`], and those of [`Self::open`].
    pub fn open_existing(dir: &Path, clock: Clock) -> Result<Self, StoreError> {
        Self::from_parts(init::open_existing(dir, clock)?)
    }

    fn from_parts((fsync, server_key): (Arc<Fsync>, ServerKeySeed)) -> Result<Self, StoreError> {
        let staging = OpenDirectory::new(STAGING);
        staging.get(&fsync)?;
        if !fsync.is_read_only() {
            remove_stale_files(&fsync)?;
        }
        let store = Self(Arc::new(Inner {
            fsync,
            staging,
            server_key,
            uploads: Semaphore::new(UPLOADS_MAX),
            claims: Semaphore::new(CLAIMS_MAX),
            take_overs: Semaphore::new(TAKE_OVERS_MAX),
            take_over_timeouts: TAKE_OVER_TIMEOUTS,
            in_flight: InFlight::default(),
            keep_uploads_ns: AtomicU64::default(),
        }));
        store.keep_uploads(DEFAULT_KEEP_UPLOADS);
        if store.is_suspect()? {
            tracing::error!("{}", StoreError::Suspect);
        }
        Ok(store)
    }

    /// Whether `other` is a clone of this store.
    pub(crate) fn ptr_eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The secret seed of the server's key.
    #[must_use]
    pub fn server_key(&self) -> &ServerKeySeed {
        &self.0.server_key
    }

    /// Begins an upload. A condition that does not hold now is refused at once; the commit checks
    /// it again.
    ///
    /// # Errors
    /// [`StoreError::Exists`]; [`StoreError::TooManyUploads`]; [`StoreError::Suspect`].
    pub fn begin(
        &self,
        key: &ObjectKey,
        kind: Kind,
        condition: Condition,
        writer: impl Into<Writer>,
    ) -> Result<Upload, StoreError> {
        self.check_writable()?;
        let Writer { device: client, connection } = writer.into();
        let target = Target { key: key.clone(), kind, condition, client };
        commit::check_early(self, &target)?;
        Upload::begin(self.clone(), target, connection)
    }

    fn root(&self) -> BorrowedFd<'_> {
        self.0.fsync.root()
    }

    fn fsync(&self) -> &Arc<Fsync> {
        &self.0.fsync
    }

    /// The directory of uploads in progress.
    fn staging(&self) -> Result<Arc<OwnedFd>, StoreError> {
        self.0.staging.get(self.fsync())?.ok_or_else(|| StoreError::Missing(STAGING.to_owned()))
    }

    /// Whether nothing can be written, so that only gets and lists succeed.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.fsync().is_read_only()
    }

    fn clock(&self) -> &Clock {
        self.0.fsync.clock()
    }
}

/// The path, from the store's directory, at which the current version of an object is or would be.
pub(crate) fn current_file_path(key: &ObjectKey) -> String {
    layout::ObjectName::for_key(key).current_path()
}

/// Removes temporary and staging files that no living process has locked.
fn remove_stale_files(fsync: &Fsync) -> Result<(), StoreError> {
    let temporary = |name: &str, _: &fs::FileStat| name.starts_with(TEMPORARY_PREFIX);
    // An upload that can be resumed is kept, unless the file is an object already: a crash may
    // leave the staging name beside the object's.
    let dead = |name: &str, file: &fs::FileStat| !is_resume_name(name) || file.linked;
    staging::remove_abandoned(fsync.root(), ".", temporary)?;
    for name in [CLIENTS, INVITES] {
        if let Some(dir) = directories::open(fsync, name)? {
            staging::remove_abandoned(dir.as_fd(), name, temporary)?;
        }
    }
    if let Some(dir) = directories::open(fsync, STAGING)? {
        staging::remove_abandoned(dir.as_fd(), STAGING, dead)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;

//! The store: the file system is the database (docs/STORE.md).
//!
//! ```text
//!   put        get, list      accounts        scrub, check
//!    │             │              │                 │
//!  upload, kept    │  delete   invites           inspect
//!    │             │    │         │                 │
//!  commit ──── shard (lock) ──────┼─────────────────┤
//!    │             │              │                 │
//!  staging    record, object   small_file           │
//!    └─────────────┴───────┬──────┴─────────────────┘
//!            sync (rounds, suspicion)    layout    sys::fs
//! ```
//!
//! Every call here blocks, so a server makes them on pool threads. Readers take no lock: they open one file, and the bytes
//! of a version never change. Writers of a key are ordered by flock(2) on its shard, which holds across processes.
//! Nothing is reached but by a descriptor of the store's directory, no name holds what a client chose, and no error
//! has a path in it.

mod accounts;
mod clock;
mod commit;
mod delete;
mod directories;
mod error;
mod generation;
mod history;
mod init;
mod inspect;
mod invites;
#[path = "resume.rs"]
mod kept;
mod layout;
mod lease;
mod list;
mod object;
mod record;
mod root;
#[path = "group_commit.rs"]
mod rounds;
mod server_key;
mod shard;
mod small_file;
mod staging;
#[path = "fsync_failed.rs"]
mod suspicion;
#[path = "fsync.rs"]
mod sync;
#[path = "in_flight.rs"]
mod under_way;
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
    error::{Flaw, Rot, StoreError},
    inspect::{
        CheckReport, Clearing, Damage, LastScrub, Leftovers, ReadFrom, ScrubOptions, ScrubReport,
        Share, Watcher,
    },
    kept::DEFAULT_KEEP_UPLOADS,
    list::Page,
    object::Object,
    suspicion::Suspicion,
    upload::Upload,
    writer::Writer,
};
use self::{
    directories::OpenDirectory,
    layout::{CLIENTS, INVITES, STAGING, TEMPORARY_PREFIX, is_resume_name},
    lease::Patience,
    sync::Syncs,
    under_way::UnderWay,
    upload::{TO_TAKE_OVER, Target},
};
pub(crate) use self::{history::Place, layout::STORE_FILE, under_way::Entered};
use crate::{permits::Permits, sys::fs};

/// The format of the store and of all its small files.
const FORMAT: u64 = 1;

/// Most uploads under way at once in an open store: each has a descriptor.
pub(crate) const UPLOADS_MAX: usize = 1024;

/// Most claims that are read at once in an open store: each may read 1 GiB for a request of 2 KiB, on a thread that
/// others wait for. Half of the threads that a server has at least.
const CLAIMS_MAX: usize = 16;

/// Most connections that take an upload over at once in an open store: each may wait for seconds on such a thread.
const TAKE_OVERS_MAX: usize = 8;

/// An open store. Clones are the same store; any number of threads and processes may use it at once.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    syncs: Arc<Syncs>,
    staging: OpenDirectory,
    server_key: ServerKeySeed,
    uploads: Permits,
    /// For those that read what was claimed.
    claims: Permits,
    /// For those that take an upload over, and how long they wait.
    take_overs: Permits,
    to_take_over: Patience,
    under_way: UnderWay,
    /// For how long uploads that were cut off are kept.
    keep_uploads_ns: AtomicU64,
}

impl Store {
    /// Opens the store in `dir`; makes one when `dir` is empty or does not exist. Uploads that no living process works
    /// on are removed, but for those that are kept.
    ///
    /// # Errors
    /// Refuses what is neither empty nor a store, a store of a newer format, and a directory that it cannot write to.
    pub fn open(dir: &Path, clock: Clock) -> Result<Self, StoreError> {
        Self::opened(init::open_or_make(dir, clock)?)
    }

    /// Opens the store in `dir` as [`Self::open`] does, and makes none.
    ///
    /// # Errors
    /// [`StoreError::NoStore`], and those of [`Self::open`].
    pub fn open_existing(dir: &Path, clock: Clock) -> Result<Self, StoreError> {
        Self::opened(init::open_existing(dir, clock)?)
    }

    fn opened((syncs, server_key): (Arc<Syncs>, ServerKeySeed)) -> Result<Self, StoreError> {
        let staging = OpenDirectory::of(STAGING);
        staging.get(&syncs)?;
        if !syncs.is_read_only() {
            sweep(&syncs)?;
        }
        let store = Self(Arc::new(Inner {
            syncs,
            staging,
            server_key,
            uploads: Permits::new(UPLOADS_MAX),
            claims: Permits::new(CLAIMS_MAX),
            take_overs: Permits::new(TAKE_OVERS_MAX),
            to_take_over: TO_TAKE_OVER,
            under_way: UnderWay::default(),
            keep_uploads_ns: AtomicU64::default(),
        }));
        store.keep_uploads(DEFAULT_KEEP_UPLOADS);
        if store.is_suspect()? {
            tracing::error!("{}", StoreError::Suspect);
        }
        Ok(store)
    }

    /// Whether `other` is a clone of this one.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The server's key.
    #[must_use]
    pub fn server_key(&self) -> &ServerKeySeed {
        &self.0.server_key
    }

    /// Begins an upload. A condition that does not hold now is refused at once; whether it holds is decided at the commit.
    ///
    /// # Errors
    /// [`StoreError::Exists`]; [`StoreError::Crowded`] while there are too many; [`StoreError::Suspect`].
    pub fn begin(
        &self,
        key: &ObjectKey,
        kind: Kind,
        condition: Condition,
        writer: impl Into<Writer>,
    ) -> Result<Upload, StoreError> {
        self.check_trusted()?;
        let Writer { device: client, connection } = writer.into();
        let target = Target { key: key.clone(), kind, condition, client };
        commit::refuse_hopeless(self, &target)?;
        Upload::begin(self.clone(), target, connection)
    }

    fn root(&self) -> BorrowedFd<'_> {
        self.0.syncs.root()
    }

    fn syncs(&self) -> &Arc<Syncs> {
        &self.0.syncs
    }

    /// Where uploads are.
    fn staging(&self) -> Result<Arc<OwnedFd>, StoreError> {
        self.0.staging.get(self.syncs())?.ok_or_else(|| StoreError::Missing(STAGING.to_owned()))
    }

    /// Whether nothing can be written: gets and lists alone are of use.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.syncs().is_read_only()
    }

    fn clock(&self) -> &Clock {
        self.0.syncs.clock()
    }
}

/// The file that the current version of an object has, or would have, from the store's directory.
pub(crate) fn file_of(key: &ObjectKey) -> String {
    layout::ObjectName::of(key).current_path()
}

/// Removes what nobody works on any more.
fn sweep(syncs: &Syncs) -> Result<(), StoreError> {
    let temporary = |name: &str, _: &fs::Identity| name.starts_with(TEMPORARY_PREFIX);
    // What can be resumed stays, unless it is an object already: a crash may leave the old name.
    let dead = |name: &str, file: &fs::Identity| !is_resume_name(name) || file.linked;
    staging::sweep(syncs.root(), ".", temporary)?;
    for name in [CLIENTS, INVITES] {
        if let Some(dir) = directories::open(syncs, name)? {
            staging::sweep(dir.as_fd(), name, temporary)?;
        }
    }
    if let Some(dir) = directories::open(syncs, STAGING)? {
        staging::sweep(dir.as_fd(), STAGING, dead)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;

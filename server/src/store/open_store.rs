//! An open store: what its directory and its limits are, for all operations on it.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use zput_os::Clock;
use zput_proto::keys::ServerKeySeed;

use super::{
    directories::{self, OpenDirectory},
    error::StoreError,
    fsync::Fsync,
    in_flight::InFlight,
    init,
    instants::Instants,
    layout::{CLIENTS, INVITES, STAGING, TEMPORARY_PREFIX, is_resume_name},
    lease::{RevokeTimeouts, TAKE_OVER_TIMEOUTS},
    staging,
};
use crate::{limits::Semaphore, sys::fs};

/// Most uploads in progress at once in an open store. Each holds a descriptor.
pub(crate) const UPLOADS_MAX: usize = 1024;

/// Most claims that are read at once in an open store. Each may read 1 GiB for a request of 2 KiB,
/// on a pool thread that other requests wait for. Half of the fewest threads that a server has.
const CLAIMS_MAX: usize = 16;

/// Most connections that take over an upload at once in an open store. Each may wait for seconds.
const TAKE_OVERS_MAX: usize = 8;

/// How long an upload is kept by default: over a weekend.
pub const DEFAULT_KEEP_UPLOADS: Duration = Duration::from_secs(72 * 60 * 60);

/// An open store. Clones share it; any number of threads and processes may use it at once.
#[derive(Clone, Debug)]
pub struct Store(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) fsync: Arc<Fsync>,
    pub(super) instants: Instants,
    pub(super) staging: OpenDirectory,
    pub(super) server_key: ServerKeySeed,
    pub(super) uploads: Semaphore,
    /// Held by connections that read claimed slices.
    pub(super) claims: Semaphore,
    /// Held by connections that take over an upload.
    pub(super) take_overs: Semaphore,
    pub(super) take_over_timeouts: RevokeTimeouts,
    pub(super) in_flight: InFlight,
    /// How long interrupted uploads are kept, in nanoseconds. Zero: none is kept.
    pub(super) keep_uploads_ns: AtomicU64,
}

impl Store {
    /// Opens the store in `dir`, or creates one where `dir` is empty or does not exist. Staging
    /// files that no living process has locked are removed, except uploads that can be resumed.
    ///
    /// # Errors
    /// When `dir` is neither empty nor a store, when the store has another format or a feature that
    /// is not known, and when `dir` cannot be written while there is no store in it yet.
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
        let instants = Instants::new(&fsync)?;
        let store = Self(Arc::new(Inner {
            fsync,
            instants,
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

    /// A number that no other store has which is open at the same time.
    pub(crate) fn id(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.0.fsync.root()
    }

    pub(super) fn fsync(&self) -> &Arc<Fsync> {
        &self.0.fsync
    }

    /// The directory of uploads in progress.
    pub(super) fn staging(&self) -> Result<Arc<OwnedFd>, StoreError> {
        self.0.staging.get(self.fsync())?.ok_or_else(|| StoreError::Missing(STAGING.to_owned()))
    }

    /// Whether nothing can be written, so that only gets and lists succeed.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.fsync().is_read_only()
    }

    pub(super) fn clock(&self) -> &Clock {
        self.0.fsync.clock()
    }

    /// How long interrupted uploads are kept from now on. Zero: none is kept.
    pub fn keep_uploads(&self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.0.keep_uploads_ns.store(ns, Ordering::Relaxed);
    }

    /// Whether interrupted uploads are kept.
    pub(super) fn keeps_uploads(&self) -> bool {
        self.0.keep_uploads_ns.load(Ordering::Relaxed) > 0
    }
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

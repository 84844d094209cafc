//! The one place that makes something durable. A sync that fails is not tried again, and no other is trusted after it
//! (STORE, "Suspicion").

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::atomic::AtomicU64,
};

use super::{
    clock::Clock,
    error::{Doing, StoreError},
    root::Root,
    rounds::Rounds,
};
use crate::sys::fs::{self, EntryKind};

/// What makes a store's files and directories durable.
#[derive(Debug)]
pub(super) struct Syncs {
    root: Root,
    clock: Clock,
    rounds: Rounds,
    /// The error number for which nothing can be written, where that was so when the store was opened.
    read_only: Option<i32>,
    /// Failed syncs that could not be recorded in `suspect.toml`: while above 0, this process alone knows.
    pub(super) unmarked: AtomicU64,
}

impl Syncs {
    /// Of the store whose directory this is, and which is read-only for this reason, if it is.
    pub(super) fn new(root: Root, clock: Clock, read_only: Option<&io::Error>) -> Self {
        let read_only = read_only
            .map(|why| why.raw_os_error().unwrap_or(rustix::io::Errno::ROFS.raw_os_error()));
        Self { root, clock, rounds: Rounds::default(), read_only, unmarked: AtomicU64::new(0) }
    }

    /// Whether nothing can be written.
    pub(super) const fn is_read_only(&self) -> bool {
        self.read_only.is_some()
    }

    /// Why nothing can be written, where that is so.
    pub(super) fn why_read_only(&self) -> Option<io::Error> {
        self.read_only.map(io::Error::from_raw_os_error)
    }

    /// The store's directory.
    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.fd()
    }

    /// Fails with [`StoreError::Displaced`] where the store's directory is not where it was when it was opened.
    pub(super) fn check_root(&self) -> Result<(), StoreError> {
        self.root.check()
    }

    /// The store's clock.
    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Makes a file's bytes and length durable.
    pub(super) fn data(&self, file: impl AsFd, doing: &'static str) -> Result<(), StoreError> {
        fs::sync_data(file).inspect_err(|source| self.suspect(doing, source)).doing(doing)
    }

    /// Makes the names in a directory durable, those of everybody who asks for it at once by one sync.
    pub(super) fn dir(&self, dir: impl AsFd) -> Result<(), StoreError> {
        const DOING: &str = "sync a directory";
        let inode = fs::identity(&dir).doing("look at a directory")?.inode;
        // The store is suspect before anybody is told.
        let sync = || fs::sync_dir(&dir).inspect_err(|source| self.suspect(DOING, source));
        self.rounds.wait(inode, sync).doing(DOING)
    }

    /// The same, for somebody who is about to be told that something is durable: once a sync has failed, by whomever, none
    /// says so that came later.
    pub(super) fn trusted_dir(&self, dir: impl AsFd) -> Result<(), StoreError> {
        self.dir(dir)?;
        self.check_trusted()
    }

    /// Makes a file durable and drops it from memory: whoever reads it next reads the disk. (Pages that somebody reads at
    /// this moment, or has mapped, stay.)
    pub(super) fn evict(&self, file: impl AsFd) -> Result<(), StoreError> {
        // A pipe that somebody planted cannot be synced, and would count as a disk that fails.
        if fs::identity(&file).doing("look at a file")?.kind == EntryKind::File {
            self.data(&file, "sync a file before it is read from the disk")?;
            // To its end, wherever that is (posix_fadvise(2) counts in a signed number).
            fs::drop_cached(&file, 0, i64::MAX.unsigned_abs());
        }
        Ok(())
    }
}

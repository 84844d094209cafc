//! The one place that makes something durable. A sync that fails is not tried again, and no other is trusted after it
//! (STORE, "Suspicion").

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{Arc, atomic::AtomicU64},
};

use super::{
    clock::Clock,
    error::{Doing, StoreError},
};
use crate::sys::fs::{self, EntryKind};

/// What makes a store's files and directories durable.
#[derive(Debug)]
pub(super) struct Syncs {
    root: Arc<OwnedFd>,
    clock: Clock,
    /// How many syncs have failed of which that could not be written down.
    pub(super) unmarked: AtomicU64,
}

impl Syncs {
    /// Of the store whose directory this is.
    pub(super) fn new(root: Arc<OwnedFd>, clock: Clock) -> Self {
        Self { root, clock, unmarked: AtomicU64::new(0) }
    }

    /// The store's directory.
    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The store's clock.
    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Makes a file's bytes and length durable.
    pub(super) fn data(&self, file: impl AsFd, doing: &'static str) -> Result<(), StoreError> {
        fs::sync_data(file).map_err(|source| self.failed(doing, source))
    }

    /// Makes the names in a directory durable.
    pub(super) fn dir(&self, dir: impl AsFd) -> Result<(), StoreError> {
        fs::sync_dir(dir).map_err(|source| self.failed("sync a directory", source))
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

    fn failed(&self, doing: &'static str, source: io::Error) -> StoreError {
        self.suspect(doing, &source);
        StoreError::Io { doing, source }
    }
}

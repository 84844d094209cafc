//! The one place that makes something durable. A sync that fails is not tried again, and no other is trusted after it
//! (STORE, "Suspicion").

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{Arc, atomic::AtomicBool},
};

use super::{clock::Clock, error::StoreError};
use crate::sys::fs;

/// What makes a store's files and directories durable.
#[derive(Debug)]
pub(super) struct Syncs {
    root: Arc<OwnedFd>,
    clock: Clock,
    /// A sync has failed, and that could not be written down.
    pub(super) unmarked: AtomicBool,
}

impl Syncs {
    /// Of the store whose directory this is.
    pub(super) fn new(root: Arc<OwnedFd>, clock: Clock) -> Self {
        Self { root, clock, unmarked: AtomicBool::new(false) }
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

    fn failed(&self, doing: &'static str, source: io::Error) -> StoreError {
        self.suspect(doing, &source);
        StoreError::Io { doing, source }
    }
}

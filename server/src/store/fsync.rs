//! The only place that makes anything durable. A failed fsync is not repeated, and no later one is
//! trusted (STORE, "Suspicion").

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::atomic::AtomicU64,
};
use zput_os::Clock;

use super::{
    error::{Context, StoreError},
    group_commit::GroupCommit,
    root::Root,
};
use crate::sys::fs::{self, EntryKind};

/// Where file contents are read from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadFrom {
    /// From the page cache, as every reader does: cached bytes are trusted to be on the disk.
    #[default]
    PageCache,
    /// From the disk: cached pages are synced and dropped first.
    Disk,
}

/// Why a store cannot be written.
#[derive(Debug)]
enum ReadOnly {
    /// The error number of the attempt to write when the store was opened.
    Denied(i32),
    /// A word of the store that this version does not know.
    Feature(String),
}

/// The fsyncs of a store's files and directories, with the store's directory and clock.
#[derive(Debug)]
pub(super) struct Fsync {
    root: Root,
    clock: Clock,
    group_commit: GroupCommit,
    /// Why nothing can be written, if so.
    read_only: Option<ReadOnly>,
    /// Failed fsyncs that could not be recorded in `suspect.toml`. While this is above 0, only this
    /// process knows that the store is suspect.
    pub(super) unrecorded_failures: AtomicU64,
    /// Threads that have found a lock taken and try again.
    #[cfg(test)]
    pub(super) lock_waiters: std::sync::atomic::AtomicUsize,
}

impl Fsync {
    /// For the store in `root`. `read_only` is the error because of which it cannot be written, if
    /// any.
    pub(super) fn new(root: Root, clock: Clock, read_only: Option<&io::Error>) -> Self {
        let read_only = read_only.map(|why| {
            let errno = why.raw_os_error().unwrap_or(rustix::io::Errno::ROFS.raw_os_error());
            ReadOnly::Denied(errno)
        });
        Self {
            root,
            clock,
            group_commit: GroupCommit::default(),
            read_only,
            unrecorded_failures: AtomicU64::new(0),
            #[cfg(test)]
            lock_waiters: std::sync::atomic::AtomicUsize::default(),
        }
    }

    /// Whether nothing can be written.
    pub(super) const fn is_read_only(&self) -> bool {
        self.read_only.is_some()
    }

    /// From now on nothing is written: the store has a feature with which this version may only
    /// read.
    pub(super) fn only_read(&mut self, feature: String) {
        self.read_only.get_or_insert(ReadOnly::Feature(feature));
    }

    /// Why nothing can be written; `None` where the store can be written.
    pub(super) fn why_read_only(&self) -> Option<io::Error> {
        Some(match self.read_only.as_ref()? {
            ReadOnly::Denied(errno) => io::Error::from_raw_os_error(*errno),
            ReadOnly::Feature(word) => io::Error::new(
                io::ErrorKind::ReadOnlyFilesystem,
                format!("it has the feature {word:?}, with which this zput may only read"),
            ),
        })
    }

    /// The store's directory.
    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.fd()
    }

    /// Fails with [`StoreError::Displaced`] where the store's directory is not where it was opened.
    pub(super) fn check_root(&self) -> Result<(), StoreError> {
        self.root.check()
    }

    /// The store's clock.
    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Makes a file's bytes and length durable.
    pub(super) fn data(&self, file: impl AsFd, doing: &'static str) -> Result<(), StoreError> {
        fs::sync_data(file).inspect_err(|source| self.record_failure(doing, source)).context(doing)
    }

    /// Makes the names in a directory durable. Concurrent callers share one fsync.
    pub(super) fn dir(&self, dir: impl AsFd) -> Result<(), StoreError> {
        const DOING: &str = "sync a directory";
        let inode = fs::stat(&dir).context("look at a directory")?.inode;
        // The store is marked suspect before any caller sees the error.
        let sync = || fs::sync_dir(&dir).inspect_err(|source| self.record_failure(DOING, source));
        self.group_commit.wait(inode, sync).context(DOING)
    }

    /// As [`Self::dir`], before a change is acknowledged: fails if any fsync of the store has
    /// failed by then, so that nothing is acknowledged after a failure.
    pub(super) fn dir_before_ack(&self, dir: impl AsFd) -> Result<(), StoreError> {
        self.dir(dir)?;
        self.check_writable()
    }

    /// Makes a file durable and drops it from the page cache, so that the next read comes from the
    /// disk. (Pages that are being read at this moment, or are mapped, stay cached.)
    pub(super) fn evict(&self, file: impl AsFd) -> Result<(), StoreError> {
        // A pipe that was planted in the store cannot be synced, and must not count as a failing
        // disk.
        if fs::stat(&file).context("look at a file")?.kind == EntryKind::File {
            self.data(&file, "sync a file before it is read from the disk")?;
            // To the file's end, wherever that is. posix_fadvise(2) takes a signed length.
            fs::drop_cached(&file, 0, i64::MAX.unsigned_abs());
        }
        Ok(())
    }
}

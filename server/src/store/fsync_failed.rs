//! The read-only latch after a failed fsync: `suspect.toml`, and a store that takes no writes
//! (STORE, "Suspicion").
//!
//! When write-back fails the kernel gives the pages up and marks them clean: a read before their
//! eviction returns data that the disk does not have, and a second fsync reports success. So
//! nothing is written to such a store until all of it has been read from the disk.

use std::{
    io::{self, ErrorKind},
    os::{fd::OwnedFd, unix::fs::FileExt},
    sync::atomic::Ordering::Relaxed,
    time::SystemTime,
};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    Store,
    error::{Context, StoreError},
    fsync::Fsync,
    inspect::Clean,
    layout::{FORMAT, LOCKS, SUSPECT_FILE, TEMPORARY_PREFIX, VERIFYING_FILE},
    small_file,
    staging::Staged,
};
use crate::sys::fs;

const COMMENT: &str = "\
# A sync of this store failed, so the disk may not hold what was written. Nothing is written until
# \"zserve check --clear-suspect\" has read all of it from the disk.
";

/// What is known of the first fsync that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FsyncFailure {
    /// When it failed, to the second; `None` where the time could not be written or read.
    pub since: Option<SystemTime>,
    /// What the store was doing, completing "could not …".
    pub doing: String,
}

#[derive(Serialize, Deserialize)]
struct SuspectFile {
    format: u64,
    since: String,
    doing: String,
}

impl Store {
    /// The failed fsync because of which this store takes no writes; `None` when it takes them.
    ///
    /// # Errors
    /// When the markers cannot be looked up.
    pub fn fsync_failure(&self) -> Result<Option<FsyncFailure>, StoreError> {
        // In the order in which a verification renames the marker, so that it is not missed.
        let newer = read_marker(self, SUSPECT_FILE)?;
        let first = read_marker(self, VERIFYING_FILE)?;
        let Some(text) = first.or(newer) else {
            let unrecorded = || FsyncFailure { since: None, doing: "sync something".to_owned() };
            return Ok((self.fsync().unrecorded_failures.load(Relaxed) > 0).then(unrecorded));
        };
        // The marker's name is enough; its contents may be unreadable.
        let read: Option<SuspectFile> = toml::from_str(&text).ok();
        let since = read.as_ref().and_then(|file| humantime::parse_rfc3339(&file.since).ok());
        let doing =
            read.map_or_else(|| "do what its file does not say".to_owned(), |file| file.doing);
        Ok(Some(FsyncFailure { since, doing }))
    }

    /// Whether the store takes no writes because an fsync failed.
    pub(crate) fn is_suspect(&self) -> Result<bool, StoreError> {
        self.fsync().is_suspect()
    }

    /// Checks that the store takes writes; see [`Fsync::check_writable`].
    pub(super) fn check_writable(&self) -> Result<(), StoreError> {
        self.fsync().check_writable()
    }

    /// Begins a verification; `None` when the store is not suspect. The store stays suspect
    /// meanwhile.
    pub(super) fn begin_verification(&self) -> Result<Option<Verification<'_>>, StoreError> {
        if let Some(why) = self.fsync().why_read_only() {
            return Err(StoreError::ReadOnly(why));
        }
        let lock = fs::open_dir(self.root(), LOCKS).context_file("open a directory", LOCKS)?;
        if !fs::try_lock(&lock).context("lock a directory")? {
            return Err(StoreError::Verifying);
        }
        let unrecorded_failures = self.fsync().unrecorded_failures.load(Relaxed);
        if !self.is_suspect()? {
            return Ok(None);
        }
        // The second name may exist already, from a verification that was interrupted.
        match fs::link(self.root(), SUSPECT_FILE, self.root(), VERIFYING_FILE) {
            Err(error)
                if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::NotFound) => {}
            linked => linked.context_file("name a file", VERIFYING_FILE)?,
        }
        // At every moment one of the two names is durable.
        self.fsync().dir(self.root())?;
        remove_marker(self, SUSPECT_FILE)?;
        Ok(Some(Verification { store: self, unrecorded_failures, _lock: lock }))
    }
}

/// A verification in progress. The marker is renamed meanwhile: if another fsync fails, in any
/// process, it creates a new [`SUSPECT_FILE`], which this run does not remove.
#[derive(Debug)]
pub(super) struct Verification<'a> {
    store: &'a Store,
    /// Failures that this process could not record, when the verification began.
    unrecorded_failures: u64,
    _lock: OwnedFd,
}

impl Verification<'_> {
    /// Removes the marker of a store that was found clean. Returns whether the store takes writes
    /// now: not if another fsync failed meanwhile.
    ///
    /// # Errors
    /// When the removal cannot be made durable, which makes the store suspect again.
    pub(super) fn clear(self, _clean: Clean) -> Result<bool, StoreError> {
        remove_marker(self.store, VERIFYING_FILE)?;
        // If the number changed, another fsync has failed meanwhile, and its count stays.
        let _ = self.store.fsync().unrecorded_failures.compare_exchange(
            self.unrecorded_failures,
            0,
            Relaxed,
            Relaxed,
        );
        self.store.fsync().dir(self.store.root())?;
        Ok(!self.store.is_suspect()?)
    }
}

/// The text of a marker; `None` if there is no marker. An unreadable one counts as empty, because
/// its name is enough.
fn read_marker(store: &Store, name: &str) -> Result<Option<Zeroizing<String>>, StoreError> {
    match small_file::read(store.root(), name, name) {
        Err(error) if error.is_unreadable_file() => Ok(Some(Zeroizing::default())),
        read => read,
    }
}

/// Removes a marker, if it exists.
fn remove_marker(store: &Store, name: &str) -> Result<(), StoreError> {
    match fs::unlink(store.root(), name) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.context_file("remove the mark of a failed fsync", name),
    }
}

impl Fsync {
    /// Checks that the store takes writes. The markers are looked up each time, because another
    /// process may have made or cleared one.
    ///
    /// # Errors
    /// [`StoreError::ReadOnly`] where nothing can be written; [`StoreError::Displaced`] where the
    /// store's directory is not in its place; [`StoreError::Suspect`] after a failed fsync.
    pub(super) fn check_writable(&self) -> Result<(), StoreError> {
        if let Some(why) = self.why_read_only() {
            return Err(StoreError::ReadOnly(why));
        }
        self.check_root()?;
        if self.is_suspect()? { Err(StoreError::Suspect) } else { Ok(()) }
    }

    fn is_suspect(&self) -> Result<bool, StoreError> {
        if self.unrecorded_failures.load(Relaxed) > 0 {
            return Ok(true);
        }
        // In the order in which a verification renames the marker, so that it is not missed.
        for name in [SUSPECT_FILE, VERIFYING_FILE] {
            match fs::stat_at(self.root(), name) {
                Ok(_) => return Ok(true),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(error).context_file("look for the mark of a failed fsync", name);
                }
            }
        }
        Ok(false)
    }

    /// Records a failed fsync: the store takes no more writes, even after a restart.
    pub(super) fn record_failure(&self, doing: &'static str, why: &io::Error) {
        tracing::error!(
            doing,
            error = %why,
            "fsync failed: the store takes no writes until \"zserve check --clear-suspect\" has \
             read it from the disk"
        );
        if let Err(failure) = self.write_marker(doing) {
            self.unrecorded_failures.fetch_add(1, Relaxed);
            tracing::error!(
                error = %failure,
                "cannot record the failed fsync: only this process knows of it"
            );
        }
    }

    /// Writes the marker, as durably as a failing disk can. An existing marker is kept.
    fn write_marker(&self, doing: &'static str) -> Result<(), StoreError> {
        let since = small_file::rfc3339(self.clock().now_ns());
        let file = SuspectFile { format: FORMAT, since, doing: doing.to_owned() };
        let text = toml::to_string(&file).map_err(|_| StoreError::Damaged(SUSPECT_FILE))?;
        let staged = Staged::create(&self.root(), ".", TEMPORARY_PREFIX)?;
        let text = format!("{COMMENT}{text}");
        staged.file().write_all_at(text.as_bytes(), 0).context("write a file")?;
        let synced = fs::sync_data(staged.file());
        match fs::link(self.root(), staged.name(), self.root(), SUSPECT_FILE) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            linked => linked.context_file("name a file", SUSPECT_FILE)?,
        }
        // The name alone is enough until the machine goes down.
        if let Err(failure) = synced.and_then(|()| fs::sync_dir(self.root())) {
            tracing::error!(error = %failure, "the record of the failed fsync may be lost at a power cut");
        }
        Ok(())
    }
}

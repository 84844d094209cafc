//! Clearing a suspect store: the whole store is synced again and read from the disk. If nothing is
//! missing or corrupt it takes writes again (STORE, "Suspicion").

use std::io::ErrorKind;

use super::{
    Observer,
    check::{CheckReport, Depth},
};
use crate::{
    store::{
        Store, directories,
        error::{Context, StoreError},
        layout::{Area, STAGING, Shard},
    },
    sys::fs::{self, EntryKind},
};

/// The result of verifying a suspect store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClearReport {
    /// What was read and found.
    pub report: CheckReport,
    /// Whether the store takes writes again. It does not if damage was found, if the observer
    /// stopped the verification, or if another fsync failed meanwhile.
    pub cleared: bool,
}

/// Proof that the whole store was read from the disk without finding damage. Only
/// [`Store::clear_suspect`] makes one.
#[derive(Debug)]
pub(in crate::store) struct Clean(());

impl Store {
    /// Reads all of a suspect store from the disk. If nothing is wrong, the store takes writes
    /// again. Corrupt files are quarantined, and the store then stays suspect: a second run may
    /// clear it. A store that is not suspect is left alone (`None`).
    ///
    /// # Errors
    /// [`StoreError::Verifying`] while another process verifies the store; when a directory cannot
    /// be synced or read, or a corrupt file cannot be quarantined. The store then stays suspect.
    pub fn clear_suspect(
        &self,
        watcher: &mut dyn Observer,
    ) -> Result<Option<ClearReport>, StoreError> {
        let Some(verification) = self.begin_verification()? else { return Ok(None) };
        directories::repair(self.fsync())?;
        self.sync_directories()?;
        self.evict_uploads()?;
        let report = self.check_to(Depth::Bytes, watcher)?;
        let is_clean = report.damaged.is_empty() && !report.stopped;
        let cleared = is_clean && verification.clear(Clean(()))?;
        Ok(Some(ClearReport { report, cleared }))
    }

    /// Syncs every directory that exists again, so that entries the kernel still holds dirty reach
    /// the disk.
    fn sync_directories(&self) -> Result<(), StoreError> {
        let shards =
            Area::ALL.into_iter().flat_map(|area| Shard::all().map(move |s| s.dir_in(area)));
        let parents = directories::first_level().chain(["."]).map(str::to_owned);
        for path in shards.chain(parents) {
            if let Some(dir) = directories::open(self.fsync(), &path)? {
                self.fsync().dir(dir)?;
            }
        }
        Ok(())
    }

    /// Drops interrupted uploads from the page cache, so that a later claim is compared with the
    /// disk.
    fn evict_uploads(&self) -> Result<(), StoreError> {
        let staging = self.staging()?;
        for name in fs::names(&staging).context_read("read a directory", STAGING)? {
            let name = name.context_read("read a directory", STAGING)?;
            // An upload may be committed or discarded by now; anything but a regular file is not an
            // upload.
            let found = fs::stat_at(&staging, &name);
            if !found.is_ok_and(|found| found.kind == EntryKind::File) {
                continue;
            }
            match fs::open_read(&staging, &name) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                file => {
                    let file = file.context_read("open an upload", format!("{STAGING}/{name}"))?;
                    self.fsync().evict(file)?;
                }
            }
        }
        Ok(())
    }
}

//! Clearing a suspicion: all of a store is synced once more, read from the disk, and if nothing is missing it takes writes again
//! (STORE, "Suspicion").

use std::io::ErrorKind;

use super::{
    Watcher,
    check::{CheckReport, Depth},
};
use crate::{
    store::{
        Store, directories,
        error::{Doing, StoreError},
        layout::{STAGING, Shard, Shelf},
    },
    sys::fs::{self, EntryKind},
};

/// What came of looking into a suspicion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clearing {
    /// What was read, and what was found.
    pub report: CheckReport,
    /// Whether the store takes writes again: not if something was found, if the watcher stopped it, or if a sync failed
    /// meanwhile.
    pub cleared: bool,
}

/// All of a store was read from the disk, and nothing was wrong. Only [`Store::clear_suspicion`] finds that out.
#[derive(Debug)]
pub(in crate::store) struct Sound(());

impl Store {
    /// Reads all of a suspect store from the disk; if nothing is wrong with it, it takes writes again. What is rotten is set
    /// aside, and the store stays suspect: a second run may clear it. Nothing is done with a store that is not suspect.
    ///
    /// # Errors
    /// [`StoreError::Verifying`] while somebody else does it; when a directory cannot be synced or read, and when something that is
    /// rotten cannot be set aside. The store stays suspect then.
    pub fn clear_suspicion(
        &self,
        watcher: &mut dyn Watcher,
    ) -> Result<Option<Clearing>, StoreError> {
        let Some(inquiry) = self.inquire()? else { return Ok(None) };
        directories::mend(self.syncs())?;
        self.sync_directories()?;
        self.evict_uploads()?;
        let report = self.check_to(Depth::Bytes, watcher)?;
        let is_sound = report.damaged.is_empty() && !report.stopped;
        let cleared = is_sound && inquiry.dismiss(Sound(()))?;
        Ok(Some(Clearing { report, cleared }))
    }

    /// Makes durable what the directories say, as far as the kernel knows that it is not.
    fn sync_directories(&self) -> Result<(), StoreError> {
        let shards =
            Shelf::ALL.into_iter().flat_map(|shelf| Shard::all().map(move |s| s.on(shelf)));
        let shelves = Shelf::ALL.map(Shelf::name);
        let others = directories::SMALL.into_iter().chain(["."]);
        let above = shelves.into_iter().chain(others).map(str::to_owned);
        for path in shards.chain(above) {
            let dir = fs::open_dir(self.root(), &path).reading("open a directory", path)?;
            self.syncs().dir(dir)?;
        }
        Ok(())
    }

    /// What is claimed of an upload that was cut off is then compared with what the disk has of it.
    fn evict_uploads(&self) -> Result<(), StoreError> {
        let staging = self.staging()?;
        for name in fs::names(&staging).reading("read a directory", STAGING)? {
            let name = name.reading("read a directory", STAGING)?;
            // It may be placed or given up by now, and what is no file is no upload.
            let found = fs::identity_at(&staging, &name);
            if !found.is_ok_and(|found| found.kind == EntryKind::File) {
                continue;
            }
            match fs::open_read(&staging, &name) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                file => {
                    let file = file.reading("open an upload", format!("{STAGING}/{name}"))?;
                    self.syncs().evict(file)?;
                }
            }
        }
        Ok(())
    }
}

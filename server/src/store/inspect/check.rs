//! A check: every name and every record of a store; and the payload behind them when the disk is in doubt.

use std::ops::ControlFlow;

use super::{
    Damage, Watcher,
    quarantine::Aside,
    scrub::ReadFrom,
    verify::{Reader, Verified},
    walk::{Named, Spot},
};
use crate::{
    store::{
        Store, directories,
        error::{Doing, Rot, StoreError},
        layout::{CLIENTS, INVITES, STAGING, Shard, Shelf, TEMPORARY_PREFIX},
        object::Object,
    },
    sys::fs,
};

/// What a check came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Current versions.
    pub current: u64,
    /// Replaced ones.
    pub history: u64,
    /// Deleted ones.
    pub trash: u64,
    /// Bytes of payload of them all.
    pub bytes: u64,
    /// What was found, in the order it was.
    pub damaged: Vec<Damage>,
    /// What lies about.
    pub leftovers: Leftovers,
    /// Whether the watcher stopped it.
    pub stopped: bool,
}

/// Files that belong to no object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Uploads under way, or kept to be resumed.
    pub uploads: u64,
    /// Bytes of these.
    pub upload_bytes: u64,
    /// Temporary files of writes that were cut off; the next start removes them.
    pub temporary: u64,
    /// Files in quarantine.
    pub quarantined: u64,
}

/// How far a check goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// Names, records and framing; it changes nothing.
    Records,
    /// All that there is, from the disk; what is rotten is set aside as by a scrub.
    Bytes,
}

impl Store {
    /// Holds every file's name and record against each other and against the framing of its payload, without the payload
    /// itself, reads the small files, and looks for what belongs nowhere. That the layout is whole was seen when the store was
    /// opened.
    ///
    /// # Errors
    /// When the store fails. A file or a directory that cannot be read is damage, and no error.
    pub fn check(&self, watcher: &mut dyn Watcher) -> Result<CheckReport, StoreError> {
        self.check_to(Depth::Records, watcher)
    }

    /// Checks as far as that.
    pub(super) fn check_to(
        &self,
        depth: Depth,
        watcher: &mut dyn Watcher,
    ) -> Result<CheckReport, StoreError> {
        let report = CheckReport { leftovers: self.leftovers()?, ..CheckReport::default() };
        let mut run = Run { store: self, depth, watcher, block: Vec::new(), report };
        let from = if depth == Depth::Bytes { ReadFrom::Disk } else { ReadFrom::PageCache };
        for damage in self.damaged_small_files(from)? {
            run.found(damage);
        }
        for shard in Shard::all() {
            if run.shard(shard)?.is_break() {
                run.report.stopped = true;
                break;
            }
        }
        Ok(run.report)
    }

    fn leftovers(&self) -> Result<Leftovers, StoreError> {
        let mut found = Leftovers::default();
        let each = |dir: &str, count: &mut dyn FnMut(&str, u64)| -> Result<(), StoreError> {
            let Some(fd) = directories::open(self.syncs(), dir)? else { return Ok(()) };
            for name in fs::names(&fd).reading("read a directory", dir)? {
                let name = name.reading("read a directory", dir)?;
                // It may be gone by now.
                let length = fs::identity_at(&fd, &name).map_or(0, |identity| identity.length);
                count(&name, length);
            }
            Ok(())
        };
        each(STAGING, &mut |_, length| {
            found.uploads += 1;
            found.upload_bytes += length;
        })?;
        found.quarantined = self.quarantined()?;
        for dir in [".", CLIENTS, INVITES] {
            each(dir, &mut |name, _| {
                found.temporary += u64::from(name.starts_with(TEMPORARY_PREFIX));
            })?;
        }
        Ok(found)
    }
}

struct Run<'a> {
    store: &'a Store,
    depth: Depth,
    watcher: &'a mut dyn Watcher,
    block: Vec<u8>,
    report: CheckReport,
}

impl Run<'_> {
    fn shard(&mut self, shard: Shard) -> Result<ControlFlow<()>, StoreError> {
        let spots = match self.store.spots(shard, None) {
            Err(error) if error.is_of_one_file() => {
                self.found(Damage::of_shard(shard, &error));
                return Ok(ControlFlow::Continue(()));
            }
            spots => spots?,
        };
        for spot in spots {
            if self.watcher.read(0).is_break() || self.file(&spot)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn file(&mut self, spot: &Spot) -> Result<ControlFlow<()>, StoreError> {
        let damage = |key, what, quarantined| Damage { file: spot.path(), key, what, quarantined };
        let Some(named) = spot.named() else {
            self.found(damage(None, "no file that a store makes".to_owned(), None));
            return Ok(ControlFlow::Continue(()));
        };
        match self.look(spot, named) {
            Ok(Verified::Whole(object)) => {
                self.count(spot, &object);
                if self.store.has_twin(spot, named, &object)? {
                    let what = Rot::Twins.to_string();
                    self.found(damage(Some(object.key().to_string()), what, None));
                }
            }
            Ok(Verified::Rotten(rot, object)) => {
                let key = object.map(|object| object.key().to_string());
                let quarantined = match self.depth {
                    Depth::Records => None,
                    Depth::Bytes => match self.store.set_aside(spot, named)? {
                        Aside::Moved(path) => Some(path),
                        Aside::Stays => None,
                        Aside::Unfounded => return Ok(ControlFlow::Continue(())),
                    },
                };
                self.found(damage(key, rot.to_string(), quarantined));
            }
            Ok(Verified::Gone) => {}
            Ok(Verified::Stopped) => return Ok(ControlFlow::Break(())),
            Err(error) => self.found(damage(None, error.to_string(), None)),
        }
        Ok(ControlFlow::Continue(()))
    }

    fn look(&mut self, spot: &Spot, named: Named) -> Result<Verified, StoreError> {
        match self.depth {
            Depth::Records => self.store.look_closely(spot, named, ReadFrom::PageCache),
            Depth::Bytes => {
                let watcher = &mut *self.watcher;
                let mut read = |bytes| watcher.read(bytes);
                let block = &mut self.block;
                self.store.verify(
                    spot,
                    named,
                    &mut Reader { from: ReadFrom::Disk, read: &mut read, block },
                )
            }
        }
    }

    /// Counts a version.
    fn count(&mut self, spot: &Spot, object: &Object) {
        let count = match spot.shelf() {
            Shelf::Objects => &mut self.report.current,
            Shelf::History => &mut self.report.history,
            Shelf::Trash => &mut self.report.trash,
        };
        *count += 1;
        self.report.bytes += object.info().length;
    }

    fn found(&mut self, damage: Damage) {
        self.watcher.found(&damage);
        self.report.damaged.push(damage);
    }
}

//! A check: every name and every record of a store; and the payload behind them when the disk is in doubt.

use std::{collections::BTreeMap, ops::ControlFlow};

use zput_common::proto::message::Version;

use super::{
    Damage, Watcher,
    quarantine::Aside,
    scrub::ReadFrom,
    verify::{Reader, Verified},
    walk::{Named, Spot},
};
use crate::{
    store::{
        Store,
        error::{Doing, Rot, StoreError},
        layout::{CLIENTS, INVITES, ObjectName, STAGING, Shard, Shelf, TEMPORARY_PREFIX},
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
    /// Names and records; it changes nothing.
    Records,
    /// All that there is, from the disk; what is rotten is set aside as by a scrub.
    Bytes,
}

impl Store {
    /// Holds every file's name and record against each other, without its payload, reads the small files, and looks for what belongs
    /// nowhere. That the layout is whole was seen when the store was opened.
    ///
    /// # Errors
    /// When the store's directories cannot be read. A file that cannot be read is damage, and no error.
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
            let fd = fs::open_dir(self.root(), dir).doing("open a directory")?;
            for name in fs::names(&fd).doing("read a directory")? {
                let name = name.doing("read a directory")?;
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

/// The versions that were found in a shard, with the inodes of their files.
type Places = BTreeMap<(ObjectName, Version), (u64, u64)>;

struct Run<'a> {
    store: &'a Store,
    depth: Depth,
    watcher: &'a mut dyn Watcher,
    block: Vec<u8>,
    report: CheckReport,
}

impl Run<'_> {
    fn shard(&mut self, shard: Shard) -> Result<ControlFlow<()>, StoreError> {
        let mut places = Places::new();
        for spot in self.store.spots(shard, None)? {
            if self.watcher.read(0).is_break() || self.file(&spot, &mut places)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn file(&mut self, spot: &Spot, places: &mut Places) -> Result<ControlFlow<()>, StoreError> {
        let damage = |key, what, quarantined| Damage { file: spot.path(), key, what, quarantined };
        let Some(named) = spot.named() else {
            self.found(damage(None, "no file that a store makes".to_owned(), None));
            return Ok(ControlFlow::Continue(()));
        };
        match self.look(spot, named) {
            Ok(Verified::Whole(object)) => {
                if let Some(rot) = self.count(spot, named, &object, places)? {
                    self.found(damage(Some(object.key().to_string()), rot.to_string(), None));
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
            Depth::Records => self.store.look_at(spot, named, ReadFrom::PageCache),
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

    /// Counts a version; says what is wrong with it beside the others.
    fn count(
        &mut self,
        spot: &Spot,
        named: Named,
        object: &Object,
        places: &mut Places,
    ) -> Result<Option<Rot>, StoreError> {
        let count = match spot.shelf() {
            Shelf::Objects => &mut self.report.current,
            Shelf::History => &mut self.report.history,
            Shelf::Trash => &mut self.report.trash,
        };
        *count += 1;
        self.report.bytes += object.info().length;
        // A crash may leave two names of one file (STORE, "Put"); of one version there are no two files.
        let (Named::Current(name) | Named::Version(name, _)) = named;
        let inode = fs::identity(object.file()).doing("look at an object")?.inode;
        let other = places.insert((name, object.version()), inode);
        Ok(other.is_some_and(|other| other != inode).then_some(Rot::Twins))
    }

    fn found(&mut self, damage: Damage) {
        self.watcher.found(&damage);
        self.report.damaged.push(damage);
    }
}

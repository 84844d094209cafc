//! A check: every name and every record of a store, but for the payload behind them.

use std::{collections::BTreeMap, ops::ControlFlow};

use zput_common::proto::message::Version;

use super::{
    Damage, Watcher,
    verify::Verified,
    walk::{Named, Spot},
};
use crate::{
    store::{
        Store,
        error::{Doing, Rot, StoreError},
        layout::{
            CLIENTS, INVITES, ObjectName, QUARANTINE, STAGING, Shard, Shelf, TEMPORARY_PREFIX,
        },
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

impl Store {
    /// Holds every file's name and record against each other, without its payload, and looks for what belongs nowhere. That the layout
    /// is whole was seen when the store was opened.
    ///
    /// # Errors
    /// When the store's directories cannot be read. A file that cannot be read is damage, and no error.
    pub fn check(&self, watcher: &mut dyn Watcher) -> Result<CheckReport, StoreError> {
        let mut report = CheckReport { leftovers: self.leftovers()?, ..CheckReport::default() };
        for shard in Shard::all() {
            let mut places = BTreeMap::new();
            for spot in self.spots(shard, None)? {
                if watcher.read(0).is_break() {
                    report.stopped = true;
                    return Ok(report);
                }
                if let Some(damage) = self.check_file(&spot, &mut places, &mut report)? {
                    watcher.found(&damage);
                    report.damaged.push(damage);
                }
            }
        }
        Ok(report)
    }

    /// Looks at one file; `places` are the versions that were found in its shard, with the inodes of their files.
    fn check_file(
        &self,
        spot: &Spot,
        places: &mut BTreeMap<(ObjectName, Version), (u64, u64)>,
        report: &mut CheckReport,
    ) -> Result<Option<Damage>, StoreError> {
        let damage = |key, what| Some(Damage { file: spot.path(), key, what, quarantined: None });
        let Some(named) = spot.named() else {
            return Ok(damage(None, "no file that a store makes".to_owned()));
        };
        let (Named::Current(name) | Named::Version(name, _)) = named;
        let object = match self.look_at(spot, named) {
            Ok(Verified::Whole(object)) => object,
            Ok(Verified::Rotten(rot, object)) => {
                return Ok(damage(object.map(|o| o.key().to_string()), rot.to_string()));
            }
            Ok(Verified::Gone | Verified::Stopped) => return Ok(None),
            Err(error) => return Ok(damage(None, error.to_string())),
        };
        let count = match spot.shelf() {
            Shelf::Objects => &mut report.current,
            Shelf::History => &mut report.history,
            Shelf::Trash => &mut report.trash,
        };
        *count += 1;
        report.bytes += object.info().length;
        // A crash may leave two names of one file (STORE, "Put"); of one version there are no two files.
        let inode = fs::identity(object.file()).doing("look at an object")?.inode;
        let other = places.insert((name, object.version()), inode);
        let twins = other.is_some_and(|other| other != inode);
        let key = || Some(object.key().to_string());
        Ok(if twins { damage(key(), Rot::Twins.to_string()) } else { None })
    }

    /// How many files were set aside.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub(crate) fn quarantined(&self) -> Result<u64, StoreError> {
        let quarantine = fs::open_dir(self.root(), QUARANTINE).doing("open a directory")?;
        Ok(fs::names(quarantine).doing("read a directory")?.count() as u64)
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

/// Sees everything, says nothing, and stops nothing.
impl Watcher for () {
    fn read(&mut self, _bytes: u64) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn found(&mut self, _damage: &Damage) {}
}

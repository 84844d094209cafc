//! The three directories of a shard, for readers, which take no lock.

use std::{
    ops::Range,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use zput_proto::{message::Version, name::ObjectKey};

use super::{
    change_count::ChangeCount,
    directories,
    error::{Context, Corruption, StoreError},
    fsync::Fsync,
    layout::{Area, ObjectName, Shard},
    object::{Object, open_object},
};
use crate::sys::fs;

/// The looks at directories that writers change meanwhile: one, and four more.
pub(super) const LOOKS: Range<usize> = 0..5;

/// The three directories of a shard.
#[derive(Debug)]
pub(super) struct ShardDirs {
    shard: Shard,
    /// In the order of [`Area::ALL`]. `None` for a missing directory, which is an empty one.
    dirs: [Option<OwnedFd>; 3],
    fsync: Arc<Fsync>,
}

impl ShardDirs {
    /// As they are, for readers.
    pub(super) fn open(fsync: &Arc<Fsync>, shard: Shard) -> Result<Self, StoreError> {
        let open = |area| directories::open(fsync, &shard.dir_in(area));
        let dirs = [open(Area::Objects)?, open(Area::History)?, open(Area::Trash)?];
        Ok(Self { shard, dirs, fsync: Arc::clone(fsync) })
    }

    /// For writers: missing ones are made, and all are settled, so that names can be made in them.
    /// A put makes the trash too: then a delete finds it on a full disk.
    pub(super) fn open_or_make(fsync: &Arc<Fsync>, shard: Shard) -> Result<Self, StoreError> {
        let open = |area| directories::open_or_make(fsync, &shard.dir_in(area));
        let dirs = [open(Area::Objects)?, open(Area::History)?, open(Area::Trash)?];
        // All are made before the first sync, which a journal shares with the other two.
        for (area, dir) in Area::ALL.into_iter().zip(&dirs) {
            if let Some(dir) = dir {
                directories::settle(fsync, dir, &shard.dir_in(area))?;
            }
        }
        Ok(Self { shard, dirs, fsync: Arc::clone(fsync) })
    }

    /// The shard's directory in an area; `None` where it is missing.
    pub(super) fn dir(&self, area: Area) -> Option<BorrowedFd<'_>> {
        self.dirs[area as usize].as_ref().map(AsFd::as_fd)
    }

    /// The shard's directory in an area, where something is to be changed.
    pub(super) fn dir_for_write(&self, area: Area) -> Result<BorrowedFd<'_>, StoreError> {
        self.dir(area).ok_or_else(|| StoreError::Missing(self.shard.dir_in(area)))
    }

    /// The shard's directory in an area, and nothing else of this value.
    pub(super) fn into_dir(mut self, area: Area) -> Result<OwnedFd, StoreError> {
        let dir = self.dirs[area as usize].take();
        dir.ok_or_else(|| StoreError::Missing(self.shard.dir_in(area)))
    }

    /// The shard's change count now.
    pub(super) fn change_count(&self) -> Result<ChangeCount, StoreError> {
        ChangeCount::read(self.fsync.root(), self.shard)
    }

    /// The file names in an area, in no particular order.
    pub(super) fn names(
        &self,
        area: Area,
    ) -> Result<impl Iterator<Item = Result<String, StoreError>>, StoreError> {
        const READING: &str = "read a directory";
        let path = self.shard.dir_in(area);
        let names = self.dir(area).map(fs::names).transpose().context_read(READING, &path)?;
        Ok(names.into_iter().flatten().map(move |name| name.context_read(READING, &path)))
    }

    /// Opens the file with this name in an area.
    fn open_in(
        &self,
        area: Area,
        name: &str,
        key: &ObjectKey,
    ) -> Result<Option<Object>, StoreError> {
        let Some(dir) = self.dir(area) else { return Ok(None) };
        open_object(dir, name, &self.path(area, name), key)
    }

    /// The path of a file from the store's directory.
    pub(super) fn path(&self, area: Area, name: &str) -> String {
        format!("{}/{name}", self.shard.dir_in(area))
    }

    /// Opens the current version of an object.
    pub(super) fn current(&self, key: &ObjectKey) -> Result<Option<Object>, StoreError> {
        self.open_in(Area::Objects, &ObjectName::for_key(key).to_string(), key)
    }

    /// The device and inode numbers of what is in the place of an object's current version; `None`
    /// where nothing is.
    pub(super) fn current_inode(&self, name: ObjectName) -> Option<(u64, u64)> {
        // What cannot be looked at cannot be opened either, and opening it says why.
        fs::stat_at(self.dir(Area::Objects)?, &name.to_string()).ok().map(|found| found.inode)
    }

    /// Opens a replaced or deleted version of an object.
    pub(super) fn noncurrent(
        &self,
        area: Area,
        key: &ObjectKey,
        version: Version,
    ) -> Result<Option<Object>, StoreError> {
        let name = ObjectName::for_key(key).version_file(version);
        match self.open_in(area, &name, key)? {
            Some(object) if object.version() != version => Err(Corruption::Misplaced.into()),
            found => Ok(found),
        }
    }

    /// The numbers of an object's versions in an area, by their file names, in no particular order.
    pub(super) fn versions(
        &self,
        area: Area,
        name: ObjectName,
    ) -> Result<impl Iterator<Item = Result<Version, StoreError>>, StoreError> {
        Ok(self.names(area)?.filter_map(move |file_name| match file_name {
            Ok(file_name) => name.parse_version(&file_name).map(Ok),
            Err(error) => Some(Err(error)),
        }))
    }

    /// The newest version of an object apart from the current one, and its area.
    pub(super) fn newest_noncurrent(
        &self,
        name: ObjectName,
    ) -> Result<Option<(Version, Area)>, StoreError> {
        let mut newest: Option<(Version, Area)> = None;
        for area in [Area::History, Area::Trash] {
            for version in self.versions(area, name)? {
                let version = version?;
                if newest.is_none_or(|(newest, _)| version > newest) {
                    newest = Some((version, area));
                }
            }
        }
        Ok(newest)
    }

    /// Calls `read`, which reads names of the shard and adds them to what it read before, until
    /// every name is among them that the shard had throughout. Returns `false` if versions moved
    /// at each look, and a name may be missing.
    ///
    /// Some file systems move a directory entry when its file is replaced, and a reader of the
    /// directory can then miss it. A writer counts that it replaces a file before it does, while it
    /// has the shard's lock: between two equal counts at most one file was replaced, and of two
    /// readings one has its name.
    pub(super) fn read_all_lasting(
        &self,
        mut read: impl FnMut() -> Result<(), StoreError>,
    ) -> Result<bool, StoreError> {
        for _ in LOOKS {
            let before = self.change_count()?;
            read()?;
            read()?;
            if self.change_count()? == before {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Makes the names in an area durable. A missing directory has none, and nothing removes one.
    pub(super) fn sync(&self, area: Area) -> Result<(), StoreError> {
        match self.dir(area) {
            Some(dir) => self.fsync.dir_before_ack(dir),
            None => self.fsync.check_writable(),
        }
    }
}

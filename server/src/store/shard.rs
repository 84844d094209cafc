//! A locked shard: its holder may change the shard's objects (STORE, "Put" 4).

use std::{io::ErrorKind, ops::Deref, os::fd::OwnedFd, sync::Arc, time::Instant};

use super::{
    change_count::{self, Change},
    error::{Context, Corruption, StoreError, WithFile as _},
    fsync::Fsync,
    layout::{Area, ObjectName, Shard},
    lock::{LOCK_WAIT_MAX, Lock, LockName},
    object::{Object, open_file},
    shard_dirs::ShardDirs,
};
use crate::sys::fs;

/// The three directories of a shard, and its lock. Dropping it gives up the lock.
#[derive(Debug)]
pub(super) struct LockedShard {
    dirs: ShardDirs,
    lock: Lock,
}

/// What a reader can do without the lock.
impl Deref for LockedShard {
    type Target = ShardDirs;

    fn deref(&self) -> &ShardDirs {
        &self.dirs
    }
}

impl LockedShard {
    /// Waits until no other thread or process holds the shard, for 5 s at most.
    pub(super) fn exclusive(fsync: &Arc<Fsync>, shard: Shard) -> Result<Self, StoreError> {
        let until = Instant::now() + LOCK_WAIT_MAX;
        let lock = Lock::acquire_blocking(fsync, LockName::Shard(shard), until)?;
        Ok(Self { dirs: ShardDirs::open(fsync, shard)?, lock })
    }

    /// The shard of an object, whose lock is held, to change objects. While the lock was waited
    /// for, an fsync of another writer may have failed, and nothing may be built on what that
    /// writer left.
    pub(super) fn for_write(
        fsync: &Arc<Fsync>,
        name: ObjectName,
        lock: Lock,
    ) -> Result<Self, StoreError> {
        let shard = name.shard();
        debug_assert_eq!(lock.name(), LockName::Shard(shard), "it is the lock of another shard");
        fsync.check_writable()?;
        // A commit has made them before: one may have been removed meanwhile.
        Ok(Self { dirs: ShardDirs::open_or_make(fsync, shard)?, lock })
    }

    /// Tells readers that the current version is about to be replaced. It has its name in the
    /// history.
    pub(super) fn before_replace(&self) -> Result<(), StoreError> {
        self.count(Change::Leave)
    }

    /// Counts a change before it is made.
    fn count(&self, change: Change) -> Result<(), StoreError> {
        match self.lock.file() {
            Some(lock) => change_count::count(lock, change).context("count a change of a shard"),
            None => Ok(()),
        }
    }

    /// Gives the current version a second name, in `area`.
    pub(super) fn link_current_to(&self, area: Area, current: &Object) -> Result<(), StoreError> {
        let name = ObjectName::for_key(current.key());
        let version_name = name.version_file(current.version());
        self.link(Area::Objects, &name.to_string(), area, &version_name)
    }

    /// Makes a version in the trash the current one, as its second name. There must be no current
    /// version.
    pub(super) fn link_as_current(&self, trashed: &Object) -> Result<(), StoreError> {
        let name = ObjectName::for_key(trashed.key());
        let version_name = name.version_file(trashed.version());
        self.count(Change::Return)?;
        self.link(Area::Trash, &version_name, Area::Objects, &name.to_string())
    }

    fn link(&self, from: Area, old: &str, to: Area, new: &str) -> Result<(), StoreError> {
        const LINKING: &str = "link an object";
        let dirs = (self.dir_for_write(from)?, self.dir_for_write(to)?);
        let link = || fs::link(dirs.0, old, dirs.1, new);
        match link() {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                if !self.is_same_version(from, old, to, new)? {
                    return Err(Corruption::DuplicateVersion.into());
                }
                // The link may be left from a crash, and is then as good as a new one; or from an
                // fsync that failed, and then another fsync would not bring it to the disk; or from
                // a crash and a copy without hard links. So the link is made again; the file keeps
                // its old name meanwhile.
                self.unlink(to, new)?;
                link().context_file(LINKING, self.path(to, new))
            }
            result => result.context_file(LINKING, self.path(to, new)),
        }
    }

    /// Whether two names stand for one version: for one file, or for two files with equal records.
    /// The former is left by a crash (STORE, "Put"), the latter by a copy of it without hard links.
    fn is_same_version(
        &self,
        from: Area,
        old: &str,
        to: Area,
        new: &str,
    ) -> Result<bool, StoreError> {
        const LOOKING: &str = "look at an object";
        let (old_path, new_path) = (self.path(from, old), self.path(to, new));
        let dirs = (self.dir_for_write(from)?, self.dir_for_write(to)?);
        let inodes = (
            fs::stat_at(dirs.0, old).context_read(LOOKING, &old_path)?.inode,
            fs::stat_at(dirs.1, new).context_read(LOOKING, &new_path)?.inode,
        );
        if inodes.0 == inodes.1 {
            return Ok(true);
        }
        let record = |dir, name, path: &str| -> Result<Option<Object>, StoreError> {
            open_file(dir, name, path)?.map(Object::read).transpose().with_file(path)
        };
        match (record(dirs.0, old, &old_path), record(dirs.1, new, &new_path)) {
            (Ok(Some(one)), Ok(Some(other))) => Ok(one.trailer() == other.trailer()),
            _ => Ok(false),
        }
    }

    /// Removes the current version's name in the trash, durably, if an interrupted delete or
    /// restore left one: a replaced version was not deleted. Its name in the history must be
    /// durable already.
    pub(super) fn unlink_from_trash(&self, current: &Object) -> Result<(), StoreError> {
        let name = ObjectName::for_key(current.key());
        let version_name = name.version_file(current.version());
        match fs::stat_at(self.dir_for_write(Area::Trash)?, &version_name) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            found => drop(
                found.context_read("look at an object", self.path(Area::Trash, &version_name))?,
            ),
        }
        if !self.is_same_version(Area::Objects, &name.to_string(), Area::Trash, &version_name)? {
            return Err(Corruption::DuplicateVersion.into());
        }
        self.unlink(Area::Trash, &version_name)?;
        self.sync(Area::Trash)
    }

    /// Removes a name of an object.
    pub(super) fn unlink(&self, area: Area, file_name: &str) -> Result<(), StoreError> {
        self.count(match area {
            Area::Objects => Change::Leave,
            Area::History | Area::Trash => Change::Return,
        })?;
        fs::unlink(self.dir_for_write(area)?, file_name)
            .context_file("unlink an object", self.path(area, file_name))
    }

    /// Gives up the lock and returns the shard's directory in an area.
    pub(super) fn unlock(self, area: Area) -> Result<OwnedFd, StoreError> {
        self.dirs.into_dir(area)
    }
}

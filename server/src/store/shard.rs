//! A shard whose lock is held: who has one may change the objects in it (STORE, "Put" 4).

use std::{
    fs::File,
    io::ErrorKind,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use zput_common::{name::ObjectKey, proto::message::Version};

use super::{
    error::{Doing, Rot, StoreError},
    layout::{ObjectName, Shard, Shelf},
    object::Object,
    sync::Syncs,
};
use crate::sys::fs;

/// The three directories of a shard, and its lock. Dropping it releases the lock.
#[derive(Debug)]
pub(super) struct LockedShard {
    objects: OwnedFd,
    history: OwnedFd,
    trash: OwnedFd,
    syncs: Arc<Syncs>,
    _lock: File,
}

impl LockedShard {
    /// Waits until no other thread or process holds the shard.
    pub(super) fn exclusive(syncs: &Arc<Syncs>, shard: Shard) -> Result<Self, StoreError> {
        let lock = open_lock(syncs.root(), shard)?;
        fs::lock(&lock).doing("lock a shard")?;
        Self::open(syncs, shard, lock)
    }

    /// The same, to change the objects in it. Who waited may have waited for somebody whose sync failed, and must not build on
    /// what that one left.
    pub(super) fn to_change(syncs: &Arc<Syncs>, shard: Shard) -> Result<Self, StoreError> {
        let locked = Self::exclusive(syncs, shard)?;
        syncs.check_trusted()?;
        Ok(locked)
    }

    /// Waits until nobody changes the shard. Only to look.
    pub(super) fn shared(syncs: &Arc<Syncs>, shard: Shard) -> Result<Self, StoreError> {
        let lock = open_lock(syncs.root(), shard)?;
        fs::lock_shared(&lock).doing("lock a shard")?;
        Self::open(syncs, shard, lock)
    }

    fn open(syncs: &Arc<Syncs>, shard: Shard, lock: File) -> Result<Self, StoreError> {
        let open = |shelf| fs::open_dir(syncs.root(), &shard.on(shelf)).doing("open a shard");
        Ok(Self {
            objects: open(Shelf::Objects)?,
            history: open(Shelf::History)?,
            trash: open(Shelf::Trash)?,
            syncs: Arc::clone(syncs),
            _lock: lock,
        })
    }

    /// The shard's directory on a shelf.
    pub(super) fn dir(&self, shelf: Shelf) -> BorrowedFd<'_> {
        match shelf {
            Shelf::Objects => self.objects.as_fd(),
            Shelf::History => self.history.as_fd(),
            Shelf::Trash => self.trash.as_fd(),
        }
    }

    /// The current version of an object.
    pub(super) fn current(&self, key: &ObjectKey) -> Result<Option<Object>, StoreError> {
        let name = ObjectName::of(key).to_string();
        open_object(self.dir(Shelf::Objects), &name, key)
    }

    /// An earlier or deleted version of an object.
    pub(super) fn shelved(
        &self,
        shelf: Shelf,
        key: &ObjectKey,
        version: Version,
    ) -> Result<Option<Object>, StoreError> {
        let name = ObjectName::of(key).version_file(version);
        match open_object(self.dir(shelf), &name, key)? {
            Some(object) if object.version() != version => Err(Rot::Misplaced.into()),
            found => Ok(found),
        }
    }

    /// The numbers of an object's versions on a shelf, by their file names, in no order.
    pub(super) fn versions(
        &self,
        shelf: Shelf,
        name: ObjectName,
    ) -> Result<impl Iterator<Item = Result<Version, StoreError>>, StoreError> {
        let names = fs::names(self.dir(shelf)).doing("read a directory")?;
        Ok(names.filter_map(move |file_name| match file_name.doing("read a directory") {
            Ok(file_name) => name.parse_version(&file_name).map(Ok),
            Err(error) => Some(Err(error)),
        }))
    }

    /// The newest version that an object ever had, apart from its current one.
    pub(super) fn newest_shelved(&self, name: ObjectName) -> Result<Option<Version>, StoreError> {
        let mut newest = None;
        for shelf in [Shelf::History, Shelf::Trash] {
            for version in self.versions(shelf, name)? {
                newest = newest.max(Some(version?));
            }
        }
        Ok(newest)
    }

    /// Gives the current version a second name, on `shelf`.
    pub(super) fn link_current_to(&self, shelf: Shelf, current: &Object) -> Result<(), StoreError> {
        let name = ObjectName::of(current.key());
        let kept = name.version_file(current.version());
        self.link(Shelf::Objects, &name.to_string(), shelf, &kept)
    }

    /// Makes a version in the trash the current one again, as its second name. There must be no current one.
    pub(super) fn link_back(&self, trashed: &Object) -> Result<(), StoreError> {
        let name = ObjectName::of(trashed.key());
        let kept = name.version_file(trashed.version());
        self.link(Shelf::Trash, &kept, Shelf::Objects, &name.to_string())
    }

    fn link(&self, from: Shelf, old: &str, to: Shelf, new: &str) -> Result<(), StoreError> {
        let link = || fs::link(self.dir(from), old, self.dir(to), new);
        match link() {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                if !self.is_same(from, old, to, new)? {
                    return Err(Rot::Twins.into());
                }
                // Of a crash, and as good as a new one; or of a sync that failed, and then no second one brings it to the
                // disk. So it is made anew: the file has its old name meanwhile.
                self.unlink(to, new)?;
                link().doing("link an object")
            }
            result => result.doing("link an object"),
        }
    }

    fn is_same(&self, from: Shelf, old: &str, to: Shelf, new: &str) -> Result<bool, StoreError> {
        let old = fs::identity_at(self.dir(from), old).doing("look at an object")?;
        let new = fs::identity_at(self.dir(to), new).doing("look at an object")?;
        Ok(old.inode == new.inode)
    }

    /// Takes the current version's name in the trash away, durably, if a delete or a restore that was cut short left one:
    /// a version that is replaced was not deleted. Its name in the history has to be durable already.
    pub(super) fn withdraw_from_trash(&self, current: &Object) -> Result<(), StoreError> {
        let name = ObjectName::of(current.key());
        let kept = name.version_file(current.version());
        match fs::identity_at(self.dir(Shelf::Trash), &kept) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            found => drop(found.doing("look at an object")?),
        }
        if !self.is_same(Shelf::Objects, &name.to_string(), Shelf::Trash, &kept)? {
            return Err(Rot::Twins.into());
        }
        self.unlink(Shelf::Trash, &kept)?;
        self.sync(Shelf::Trash)
    }

    /// Removes a name of an object.
    pub(super) fn unlink(&self, shelf: Shelf, file_name: &str) -> Result<(), StoreError> {
        fs::unlink(self.dir(shelf), file_name).doing("unlink an object")
    }

    /// Lets others change the shard, and gives its directory on a shelf.
    pub(super) fn unlock(self, shelf: Shelf) -> OwnedFd {
        match shelf {
            Shelf::Objects => self.objects,
            Shelf::History => self.history,
            Shelf::Trash => self.trash,
        }
    }

    /// Makes the names on a shelf durable.
    pub(super) fn sync(&self, shelf: Shelf) -> Result<(), StoreError> {
        self.syncs.trusted_dir(self.dir(shelf))
    }
}

fn open_lock(root: BorrowedFd<'_>, shard: Shard) -> Result<File, StoreError> {
    fs::open_lock(root, &shard.lock_file()).doing("open a lock")
}

/// Opens an object's file to read, if it is there.
pub(super) fn open_object(
    dir: BorrowedFd<'_>,
    path: &str,
    key: &ObjectKey,
) -> Result<Option<Object>, StoreError> {
    open_file(dir, path)?.map(|file| Object::of(file, key)).transpose()
}

/// Opens a file to read, if it is there. A link is not followed: it is [`Rot::NotAFile`].
pub(super) fn open_file(dir: BorrowedFd<'_>, path: &str) -> Result<Option<File>, StoreError> {
    use rustix::io::Errno;
    match fs::open_read(dir, path) {
        Ok(file) => Ok(Some(file)),
        Err(error) => match Errno::from_io_error(&error) {
            Some(Errno::NOENT) => Ok(None),
            Some(Errno::LOOP | Errno::XDEV | Errno::NXIO) => Err(Rot::NotAFile.into()),
            _ => Err(error).doing("open an object"),
        },
    }
}

//! A shard whose lock is held: who has one may change the objects in it (STORE, "Put" 4).

use std::{
    fs::File,
    io::ErrorKind,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use zput_common::{name::ObjectKey, proto::message::Version};

use super::{
    directories,
    error::{Doing, OfFile as _, Rot, StoreError},
    layout::{LOCKS, ObjectName, Shard, Shelf},
    object::Object,
    staging::has_name,
    sync::Syncs,
};
use crate::sys::fs;

/// The three directories of a shard, and its lock. Dropping it releases the lock.
#[derive(Debug)]
pub(super) struct LockedShard {
    shard: Shard,
    /// As of [`Shelf::ALL`]; none where one is missing and cannot be made.
    dirs: [Option<OwnedFd>; 3],
    syncs: Arc<Syncs>,
    /// None where it is missing and cannot be made: nobody writes then.
    _lock: Option<File>,
}

impl LockedShard {
    /// Waits until no other thread or process holds the shard.
    pub(super) fn exclusive(syncs: &Arc<Syncs>, shard: Shard) -> Result<Self, StoreError> {
        let lock = locked(syncs, shard, |lock| fs::lock(lock))?;
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
        let lock = locked(syncs, shard, |lock| fs::lock_shared(lock))?;
        Self::open(syncs, shard, lock)
    }

    fn open(syncs: &Arc<Syncs>, shard: Shard, lock: Option<File>) -> Result<Self, StoreError> {
        let open = |shelf| directories::open(syncs, &shard.on(shelf));
        let dirs = [open(Shelf::Objects)?, open(Shelf::History)?, open(Shelf::Trash)?];
        Ok(Self { shard, dirs, syncs: Arc::clone(syncs), _lock: lock })
    }

    /// The shard's directory on a shelf, if it is there.
    pub(super) fn dir(&self, shelf: Shelf) -> Option<BorrowedFd<'_>> {
        self.dirs[shelf as usize].as_ref().map(AsFd::as_fd)
    }

    /// The same, where something is to be changed in it.
    pub(super) fn dir_to_change(&self, shelf: Shelf) -> Result<BorrowedFd<'_>, StoreError> {
        self.dir(shelf).ok_or_else(|| StoreError::Missing(self.shard.on(shelf)))
    }

    /// The names on a shelf, in no order.
    pub(super) fn names(
        &self,
        shelf: Shelf,
    ) -> Result<impl Iterator<Item = Result<String, StoreError>>, StoreError> {
        const READING: &str = "read a directory";
        let path = self.shard.on(shelf);
        let names = self.dir(shelf).map(fs::names).transpose().reading(READING, &path)?;
        Ok(names.into_iter().flatten().map(move |name| name.reading(READING, &path)))
    }

    /// Opens the file with this name on a shelf.
    fn open_on(
        &self,
        shelf: Shelf,
        name: &str,
        key: &ObjectKey,
    ) -> Result<Option<Object>, StoreError> {
        let Some(dir) = self.dir(shelf) else { return Ok(None) };
        open_object(dir, name, &self.path(shelf, name), key)
    }

    fn path(&self, shelf: Shelf, name: &str) -> String {
        format!("{}/{name}", self.shard.on(shelf))
    }

    /// The current version of an object.
    pub(super) fn current(&self, key: &ObjectKey) -> Result<Option<Object>, StoreError> {
        self.open_on(Shelf::Objects, &ObjectName::of(key).to_string(), key)
    }

    /// An earlier or deleted version of an object.
    pub(super) fn shelved(
        &self,
        shelf: Shelf,
        key: &ObjectKey,
        version: Version,
    ) -> Result<Option<Object>, StoreError> {
        let name = ObjectName::of(key).version_file(version);
        match self.open_on(shelf, &name, key)? {
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
        Ok(self.names(shelf)?.filter_map(move |file_name| match file_name {
            Ok(file_name) => name.parse_version(&file_name).map(Ok),
            Err(error) => Some(Err(error)),
        }))
    }

    /// The newest version that an object ever had, apart from its current one, and where it is.
    pub(super) fn newest_shelved(
        &self,
        name: ObjectName,
    ) -> Result<Option<(Version, Shelf)>, StoreError> {
        let mut newest: Option<(Version, Shelf)> = None;
        for shelf in [Shelf::History, Shelf::Trash] {
            for version in self.versions(shelf, name)? {
                let version = version?;
                if newest.is_none_or(|(newest, _)| version > newest) {
                    newest = Some((version, shelf));
                }
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
        const LINKING: &str = "link an object";
        let dirs = (self.dir_to_change(from)?, self.dir_to_change(to)?);
        let link = || fs::link(dirs.0, old, dirs.1, new);
        match link() {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                if !self.is_same(from, old, to, new)? {
                    return Err(Rot::Twins.into());
                }
                // Of a crash, and as good as a new one; or of a sync that failed, and then no second one brings it to the
                // disk; or of a crash and a copy without hard links. So it is made anew: the file has its old name meanwhile.
                self.unlink(to, new)?;
                link().doing_to(LINKING, self.path(to, new))
            }
            result => result.doing_to(LINKING, self.path(to, new)),
        }
    }

    /// Whether two names stand for one version: for one file, or for two whose records are equal. A crash leaves the former
    /// (STORE, "Put"), and a copy of it that keeps no hard links the latter.
    fn is_same(&self, from: Shelf, old: &str, to: Shelf, new: &str) -> Result<bool, StoreError> {
        const LOOKING: &str = "look at an object";
        let (old_path, new_path) = (self.path(from, old), self.path(to, new));
        let dirs = (self.dir_to_change(from)?, self.dir_to_change(to)?);
        let inodes = (
            fs::identity_at(dirs.0, old).reading(LOOKING, &old_path)?.inode,
            fs::identity_at(dirs.1, new).reading(LOOKING, &new_path)?.inode,
        );
        if inodes.0 == inodes.1 {
            return Ok(true);
        }
        let record = |dir, name, path: &str| -> Result<Option<Object>, StoreError> {
            open_file(dir, name, path)?.map(Object::read).transpose().of_file(path)
        };
        match (record(dirs.0, old, &old_path), record(dirs.1, new, &new_path)) {
            (Ok(Some(one)), Ok(Some(other))) => Ok(one.trailer() == other.trailer()),
            _ => Ok(false),
        }
    }

    /// Takes the current version's name in the trash away, durably, if a delete or a restore that was cut short left one:
    /// a version that is replaced was not deleted. Its name in the history has to be durable already.
    pub(super) fn withdraw_from_trash(&self, current: &Object) -> Result<(), StoreError> {
        let name = ObjectName::of(current.key());
        let kept = name.version_file(current.version());
        match fs::identity_at(self.dir_to_change(Shelf::Trash)?, &kept) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            found => drop(found.reading("look at an object", self.path(Shelf::Trash, &kept))?),
        }
        if !self.is_same(Shelf::Objects, &name.to_string(), Shelf::Trash, &kept)? {
            return Err(Rot::Twins.into());
        }
        self.unlink(Shelf::Trash, &kept)?;
        self.sync(Shelf::Trash)
    }

    /// Removes a name of an object.
    pub(super) fn unlink(&self, shelf: Shelf, file_name: &str) -> Result<(), StoreError> {
        fs::unlink(self.dir_to_change(shelf)?, file_name)
            .doing_to("unlink an object", self.path(shelf, file_name))
    }

    /// Lets others change the shard, and gives its directory on a shelf.
    pub(super) fn unlock(self, shelf: Shelf) -> Result<OwnedFd, StoreError> {
        let Self { shard, mut dirs, .. } = self;
        dirs[shelf as usize].take().ok_or_else(|| StoreError::Missing(shard.on(shelf)))
    }

    /// Makes the names on a shelf durable.
    pub(super) fn sync(&self, shelf: Shelf) -> Result<(), StoreError> {
        self.syncs.trusted_dir(self.dir_to_change(shelf)?)
    }
}

/// How often the file of a lock may be removed while somebody waits for it.
const LOCKS_REMOVED_MAX: usize = 8;

/// Waits for the lock of a shard.
fn locked(
    syncs: &Syncs,
    shard: Shard,
    lock: impl Fn(&File) -> std::io::Result<()>,
) -> Result<Option<File>, StoreError> {
    const LOCKING: &str = "lock a shard";
    let path = shard.lock_file();
    for _ in 0..LOCKS_REMOVED_MAX {
        let Some(file) = open_lock(syncs, shard)? else { return Ok(None) };
        lock(&file).doing_to(LOCKING, &path)?;
        // Where it was removed meanwhile, those who came later wait for another one, and this one orders nobody.
        if has_name(syncs.root(), &path, &file).doing_to(LOCKING, &path)? {
            return Ok(Some(file));
        }
    }
    Err(StoreError::Missing(path))
}

/// The file whose lock orders the writers of a shard. One that is missing is made again; none where nothing can be made.
fn open_lock(syncs: &Syncs, shard: Shard) -> Result<Option<File>, StoreError> {
    const OPENING: &str = "open a lock";
    let path = shard.lock_file();
    match fs::open_lock(syncs.root(), &path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let Some(locks) = directories::open(syncs, LOCKS)? else { return Ok(None) };
            if syncs.is_read_only() {
                return Ok(None);
            }
            directories::make_lock(locks.as_fd(), &shard.to_string(), &path)?;
            syncs.dir(locks)?;
            fs::open_lock(syncs.root(), &path).map(Some).reading(OPENING, path)
        }
        lock => lock.map(Some).reading(OPENING, path),
    }
}

/// Opens an object's file to read, if it is there: `name` in `dir`, which is `path` from the store's directory.
pub(super) fn open_object(
    dir: BorrowedFd<'_>,
    name: &str,
    path: &str,
    key: &ObjectKey,
) -> Result<Option<Object>, StoreError> {
    open_file(dir, name, path)?.map(|file| Object::of(file, key)).transpose().of_file(path)
}

/// Opens a file to read, if it is there. A link is not followed: it is [`Rot::NotAFile`].
pub(super) fn open_file(
    dir: BorrowedFd<'_>,
    name: &str,
    path: &str,
) -> Result<Option<File>, StoreError> {
    use rustix::io::Errno;
    match fs::open_read(dir, name) {
        Ok(file) => Ok(Some(file)),
        Err(error) => match Errno::from_io_error(&error) {
            Some(Errno::NOENT) => Ok(None),
            Some(Errno::LOOP | Errno::XDEV | Errno::NXIO) => Err(Rot::NotAFile.into()),
            _ => Err(error).reading("open an object", path),
        },
    }
}

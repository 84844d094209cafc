//! The directories of a store, which are made when they are first needed.
//!
//! A missing directory is an empty one: many tools copy files only (rclone, object storage, git,
//! `zip -D`), so `zput-store.toml` alone identifies a store. Tools also set modes of their own.
//!
//! A directory has the *sticky bit* until its name is durable, so that no acknowledged name hangs
//! from a directory that a power cut can take away, and a durable directory costs nothing.

use std::{
    io::{self, ErrorKind},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{Arc, Mutex, PoisonError},
};

use rustix::fs::Mode;

use super::{
    error::{Context, StoreError},
    fsync::Fsync,
    layout::{Area, CLIENTS, INVITES, LOCKS, QUARANTINE, SERVER_KEY_FILE, STAGING, Shard},
};
use crate::sys::fs::{self, EntryKind};

/// The directories that hold other things than versions.
pub(super) const NON_OBJECT_DIRS: [&str; 5] = [STAGING, QUARANTINE, LOCKS, CLIENTS, INVITES];

/// The permissions of the group and of all other users.
const GROUP_AND_OTHERS: Mode = Mode::RWXG.union(Mode::RWXO);

/// The directories of the first level, which are made with the store.
pub(super) fn first_level() -> impl Iterator<Item = &'static str> {
    NON_OBJECT_DIRS.into_iter().chain(Area::ALL.map(Area::name))
}

/// Opens a directory of the store by its path from the store's own; `None` for a missing one, which
/// is an empty one.
pub(super) fn open(fsync: &Fsync, path: &str) -> Result<Option<OwnedFd>, StoreError> {
    match fs::open_dir(fsync.root(), path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        found => found.context_read("open a directory", path).map(Some),
    }
}

/// Opens a directory of the store, and makes it where it is missing; `None` on a read-only store
/// without it. Before a name is made in it, it has to be [settled](settle).
pub(super) fn open_or_make(fsync: &Fsync, path: &str) -> Result<Option<OwnedFd>, StoreError> {
    match open(fsync, path)? {
        None if !fsync.is_read_only() => make(fsync, path).map(Some),
        found => Ok(found),
    }
}

/// Opens a directory of the store to make names in it: as [`open_or_make`], and settled.
pub(super) fn open_for_names(fsync: &Fsync, path: &str) -> Result<Option<OwnedFd>, StoreError> {
    let dir = open_or_make(fsync, path)?;
    if let Some(dir) = &dir {
        settle(fsync, dir, path)?;
    }
    Ok(dir)
}

/// STORE: "A process that is about to make a name in a directory with the bit syncs the directory
/// above first." Of a directory without the bit this only looks at the mode. `dir` is `path` from
/// the store's directory.
pub(super) fn settle(fsync: &Fsync, dir: impl AsFd, path: &str) -> Result<(), StoreError> {
    let mode = fs::stat(&dir).context_read("look at a directory", path)?.mode;
    if !mode.contains(Mode::SVTX) || fsync.is_read_only() {
        return Ok(());
    }
    let above = path.rsplit_once('/').map_or(".", |(above, _)| above);
    fsync.dir(fs::open_dir(fsync.root(), above).context_read("open a directory", above)?)?;
    if let Err(error) = fs::set_open_mode(dir, mode.difference(Mode::SVTX)) {
        // The next one who makes a name there syncs the directory above once more.
        tracing::debug!(directory = path, %error, "the sticky bit stays");
    }
    Ok(())
}

fn make(fsync: &Fsync, path: &str) -> Result<OwnedFd, StoreError> {
    const MAKING: &str = "make a directory";
    // The store's directory must still be in its place: the mount point of a disk that was
    // unmounted, or another store, must not get a directory.
    fsync.check_root()?;
    let (above, name) = match path.rsplit_once('/') {
        Some((above, name)) => (open_for_names(fsync, above)?, name),
        None => (fs::open_dir(fsync.root(), ".").map(Some).context_file(MAKING, path)?, path),
    };
    let above = above.ok_or_else(|| StoreError::Missing(path.to_owned()))?;
    let is_made = fs::make_dir(&above, name, fs::UNSETTLED_DIR_MODE).context_file(MAKING, path)?;
    if is_made && !path.contains('/') {
        tracing::warn!(directory = path, "recreated a missing directory of the store");
    }
    fs::open_dir(&above, name).context_file(MAKING, path)
}

/// A directory of the store that is kept open.
#[derive(Debug)]
pub(super) struct OpenDirectory {
    path: &'static str,
    open: Mutex<Option<DirWithInode>>,
}

/// An open directory, with its device and inode numbers.
type DirWithInode = (Arc<OwnedFd>, (u64, u64));

impl OpenDirectory {
    /// The directory at `path`, from the store's own. It is opened when it is first used.
    pub(super) const fn new(path: &'static str) -> Self {
        Self { path, open: Mutex::new(None) }
    }

    /// The directory that has the path now. A removed one is made again, and one that took its
    /// place is opened; `None` on a read-only store without it.
    pub(super) fn get(&self, fsync: &Fsync) -> Result<Option<Arc<OwnedFd>>, StoreError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let at_path = fs::stat_at(fsync.root(), self.path).map(|found| found.inode);
        if let (Some((dir, inode)), Ok(at_path)) = (&*open, &at_path)
            && inode == at_path
        {
            return Ok(Some(Arc::clone(dir)));
        }
        *open = None;
        let Some(dir) = open_for_names(fsync, self.path)? else { return Ok(None) };
        let (dir, inode) = {
            let inode = fs::stat(&dir).context_read("look at a directory", self.path)?.inode;
            (Arc::new(dir), inode)
        };
        *open = Some((Arc::clone(&dir), inode));
        Ok(Some(dir))
    }
}

/// The deviations from a store's layout that were found when the store was opened.
#[derive(Debug, Default)]
struct Repairs {
    /// Number of directories of the first level that were missing.
    missing: usize,
    /// Number of files and directories that other users could access, or their owner could not.
    wrong_mode: usize,
    /// The first of those whose mode could not be changed, and the error.
    unfixable: Option<(String, io::Error)>,
    /// Whether other users could read the server's key.
    key_was_open: bool,
}

/// Makes missing directories of the first level again, removes other users' access, and restores
/// the owner's access where a copy lost it.
///
/// # Errors
/// When something else is in the place of a directory or a lock, or a missing directory of the
/// first level cannot be made.
pub(super) fn repair(fsync: &Fsync) -> Result<(), StoreError> {
    let mut repair = Repair { fsync, done: Repairs::default() };
    for dir in first_level() {
        if !repair.directory(fsync.root(), dir, dir)? {
            repair.done.missing += 1;
            open_for_names(fsync, dir)?;
        }
    }
    for dir in Area::ALL.map(Area::name).into_iter().chain([LOCKS]) {
        // Missing only on a read-only store, where it could not be made.
        let Some(fd) = open(fsync, dir)? else { continue };
        for shard in Shard::all() {
            let (name, path) = (shard.to_string(), format!("{dir}/{shard}"));
            if dir == LOCKS {
                repair.lock(fd.as_fd(), &name, &path)?;
            } else {
                repair.directory(fd.as_fd(), &name, &path)?;
            }
        }
    }
    repair.server_key()?;
    repair.done.log(fsync.is_read_only());
    Ok(())
}

struct Repair<'a> {
    fsync: &'a Fsync,
    done: Repairs,
}

impl Repair<'_> {
    /// Returns whether there is such a directory.
    fn directory(
        &mut self,
        above: BorrowedFd<'_>,
        name: &str,
        path: &str,
    ) -> Result<bool, StoreError> {
        let Some(mode) = kind_at(above, name, path, EntryKind::Directory)? else {
            return Ok(false);
        };
        // A set-group-ID bit of a directory that a group shares is inherited by the directories
        // below, and kept. The sticky bit says that the directory's name may not be durable.
        let wanted = fs::DIR_MODE | (mode & (Mode::SGID | Mode::SVTX));
        if mode != wanted {
            self.set_mode(above, name, path, wanted);
        }
        Ok(true)
    }

    fn lock(&mut self, above: BorrowedFd<'_>, name: &str, path: &str) -> Result<(), StoreError> {
        let mode = kind_at(above, name, path, EntryKind::File)?;
        if mode.is_some_and(|mode| !mode.contains(fs::FILE_MODE)) {
            self.set_mode(above, name, path, fs::FILE_MODE);
        }
        Ok(())
    }

    /// A missing key file is reported when the key is read.
    fn server_key(&mut self) -> Result<(), StoreError> {
        let root = self.fsync.root();
        let mode = kind_at(root, SERVER_KEY_FILE, SERVER_KEY_FILE, EntryKind::File)?;
        if let Some(mode) = mode.filter(|mode| mode.intersects(GROUP_AND_OTHERS)) {
            self.done.key_was_open = true;
            self.set_mode(root, SERVER_KEY_FILE, SERVER_KEY_FILE, mode & fs::FILE_MODE);
        }
        Ok(())
    }

    fn set_mode(&mut self, above: BorrowedFd<'_>, name: &str, path: &str, mode: Mode) {
        self.done.wrong_mode += 1;
        if !self.fsync.is_read_only()
            && let Err(error) = fs::set_mode(above, name, mode)
        {
            self.done.unfixable.get_or_insert((path.to_owned(), error));
        }
    }
}

/// Creates the file whose lock orders the writers of a shard.
pub(super) fn make_lock(above: BorrowedFd<'_>, name: &str, path: &str) -> Result<(), StoreError> {
    match fs::create(above, name) {
        // Another process created it first.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        made => made.map(drop).context_file("make a lock", path),
    }
}

/// The mode of the file or directory with this name; `None` where there is none.
fn kind_at(
    dir: BorrowedFd<'_>,
    name: &str,
    path: &str,
    wanted: EntryKind,
) -> Result<Option<Mode>, StoreError> {
    match fs::stat_at(dir, name) {
        Ok(found) if found.kind == wanted => Ok(Some(found.mode)),
        Ok(_) => Err(StoreError::Missing(path.to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context_read("look at a directory", path),
    }
}

impl Repairs {
    fn log(&self, read_only: bool) {
        let Self { missing, wrong_mode, unfixable, key_was_open } = self;
        match (*missing, read_only) {
            (0, _) => {}
            (missing, false) => tracing::warn!(
                missing,
                "recreated missing directories of the store: some tools copy none \
                 that are empty"
            ),
            (missing, true) => tracing::warn!(
                missing,
                "directories of the store are missing, and count as empty: some tools copy none \
                 that are empty"
            ),
        }
        if *key_was_open {
            tracing::warn!(
                file = SERVER_KEY_FILE,
                "other users of this machine could read the server's key, as after a copy with \
                 modes of its own: with the key, another server can pose as this one"
            );
        }
        match unfixable {
            Some((file, error)) => tracing::warn!(
                file,
                %error,
                "files of the store have wrong modes, which cannot be changed \
                 (directories are \
                 0700, server.key 0600)"
            ),
            None if *wrong_mode > 0 && read_only => tracing::warn!(
                files = wrong_mode,
                "files of the store have wrong modes (directories are 0700, \
                 server.key 0600)"
            ),
            None if *wrong_mode > 0 => tracing::warn!(
                files = wrong_mode,
                "files of the store had wrong modes: directories are 0700 again, server.key 0600"
            ),
            None => {}
        }
    }
}

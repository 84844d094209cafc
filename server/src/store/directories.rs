//! The directories of a store: they are there, or they are made again.
//!
//! Many tools copy files alone (rclone, object storage, git, `zip -D`), and others set modes of their own. What such a copy
//! leaves out holds nothing, so it is made again: what tells a store from anything else is `zput-store.toml`, and no object
//! is in a directory that is not there.

use std::{
    io::{self, ErrorKind},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    sync::{Arc, Mutex, PoisonError},
};

use rustix::fs::Mode;

use super::{
    error::{Doing, StoreError},
    layout::{CLIENTS, INVITES, LOCKS, QUARANTINE, SERVER_KEY_FILE, STAGING, Shard, Shelf},
    sync::Syncs,
};
use crate::sys::fs::{self, EntryKind};

/// The directories that hold something else than versions.
pub(super) const SMALL: [&str; 5] = [STAGING, QUARANTINE, LOCKS, CLIENTS, INVITES];

/// Who else may do something with a file or a directory.
const OTHERS: Mode = Mode::RWXG.union(Mode::RWXO);

/// Opens a directory of the store by its path from the store's own. One that is missing is made again; `None` where nothing
/// can be made, and then it is as good as empty.
pub(super) fn open(syncs: &Syncs, path: &str) -> Result<Option<OwnedFd>, StoreError> {
    let found = fs::open_dir(syncs.root(), path);
    match found {
        Err(error) if error.kind() == ErrorKind::NotFound && syncs.is_read_only() => Ok(None),
        Err(error) if error.kind() == ErrorKind::NotFound => make_again(syncs, path).map(Some),
        found => found.reading("open a directory", path).map(Some),
    }
}

fn make_again(syncs: &Syncs, path: &str) -> Result<OwnedFd, StoreError> {
    const MAKING: &str = "make a directory again";
    // Another store, or the directory below a disk that is gone, is none that lacks a directory.
    syncs.check_root()?;
    let mut dir = fs::open_dir(syncs.root(), ".").doing_to(MAKING, path)?;
    for name in path.split('/') {
        if fs::make_dir(&dir, name).doing_to(MAKING, path)? {
            syncs.dir(&dir)?;
        }
        dir = fs::open_dir(&dir, name).doing_to(MAKING, path)?;
    }
    tracing::warn!(directory = path, "a directory of the store was missing and was made again");
    Ok(dir)
}

/// A directory of the store that stays open.
#[derive(Debug)]
pub(super) struct OpenDirectory {
    path: &'static str,
    open: Mutex<Option<Identified>>,
}

/// An open directory, with its device and inode.
type Identified = (Arc<OwnedFd>, (u64, u64));

impl OpenDirectory {
    /// That is at `path` from the store's own.
    pub(super) const fn of(path: &'static str) -> Self {
        Self { path, open: Mutex::new(None) }
    }

    /// The directory that has the path now. One that was removed is made again, and one that took its place is opened;
    /// `None` where nothing can be made.
    pub(super) fn get(&self, syncs: &Syncs) -> Result<Option<Arc<OwnedFd>>, StoreError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let there = fs::identity_at(syncs.root(), self.path).map(|found| found.inode);
        if let (Some((dir, inode)), Ok(there)) = (&*open, &there)
            && inode == there
        {
            return Ok(Some(Arc::clone(dir)));
        }
        *open = None;
        let Some(dir) = self::open(syncs, self.path)? else { return Ok(None) };
        let (dir, inode) = {
            let inode = fs::identity(&dir).reading("look at a directory", self.path)?.inode;
            (Arc::new(dir), inode)
        };
        *open = Some((Arc::clone(&dir), inode));
        Ok(Some(dir))
    }
}

/// What was not as a store makes it, when the store was opened.
#[derive(Debug, Default)]
struct Found {
    /// Directories and locks that were not there.
    missing: usize,
    /// Those that others could get at, or their owner could not.
    loose: usize,
    /// The first thing of which that could not be changed, and why.
    stuck: Option<(String, io::Error)>,
    /// Whether others could read the server's key.
    key_was_open: bool,
}

/// Makes what is missing, closes what is open to others, and opens to their owner what a copy closed.
///
/// # Errors
/// Refuses something else in the place of a directory, and what cannot be made.
pub(super) fn mend(syncs: &Syncs) -> Result<(), StoreError> {
    let mut mending = Mending { syncs, found: Found::default() };
    let shelves = Shelf::ALL.map(Shelf::name);
    for dir in SMALL.into_iter().chain(shelves) {
        mending.directory(syncs.root(), dir, dir)?;
    }
    syncs_if(syncs, mending.found.missing > 0, syncs.root())?;
    for dir in shelves.into_iter().chain([LOCKS]) {
        let fd = match fs::open_dir(syncs.root(), dir) {
            // Only where it could not be made.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            fd => fd.reading("open a directory", dir)?,
        };
        let before = mending.found.missing;
        for shard in Shard::all() {
            let (name, path) = (shard.to_string(), format!("{dir}/{shard}"));
            if dir == LOCKS {
                mending.lock(fd.as_fd(), &name, &path)?;
            } else {
                mending.directory(fd.as_fd(), &name, &path)?;
            }
        }
        syncs_if(syncs, mending.found.missing > before, fd.as_fd())?;
    }
    mending.server_key()?;
    mending.found.tell(syncs.is_read_only());
    Ok(())
}

fn syncs_if(syncs: &Syncs, changed: bool, dir: BorrowedFd<'_>) -> Result<(), StoreError> {
    if changed && !syncs.is_read_only() { syncs.dir(dir) } else { Ok(()) }
}

struct Mending<'a> {
    syncs: &'a Syncs,
    found: Found,
}

impl Mending<'_> {
    fn directory(
        &mut self,
        above: BorrowedFd<'_>,
        name: &str,
        path: &str,
    ) -> Result<(), StoreError> {
        let Some(mode) = kind_at(above, name, path, EntryKind::Directory)? else {
            self.found.missing += 1;
            if !self.syncs.is_read_only() {
                fs::make_dir(above, name).doing_to("make a directory again", path)?;
            }
            return Ok(());
        };
        // What a directory that is shared by its group gives to those below it stays.
        let wanted = fs::DIR_MODE | (mode & Mode::SGID);
        if mode != wanted {
            self.set_mode(above, name, path, wanted);
        }
        Ok(())
    }

    fn lock(&mut self, above: BorrowedFd<'_>, name: &str, path: &str) -> Result<(), StoreError> {
        let Some(mode) = kind_at(above, name, path, EntryKind::File)? else {
            self.found.missing += 1;
            return if self.syncs.is_read_only() { Ok(()) } else { make_lock(above, name, path) };
        };
        if !mode.contains(fs::FILE_MODE) {
            self.set_mode(above, name, path, fs::FILE_MODE);
        }
        Ok(())
    }

    /// That it is there is seen when it is read.
    fn server_key(&mut self) -> Result<(), StoreError> {
        let root = self.syncs.root();
        let mode = kind_at(root, SERVER_KEY_FILE, SERVER_KEY_FILE, EntryKind::File)?;
        if let Some(mode) = mode.filter(|mode| mode.intersects(OTHERS)) {
            self.found.key_was_open = true;
            self.set_mode(root, SERVER_KEY_FILE, SERVER_KEY_FILE, mode & fs::FILE_MODE);
        }
        Ok(())
    }

    fn set_mode(&mut self, above: BorrowedFd<'_>, name: &str, path: &str, mode: Mode) {
        self.found.loose += 1;
        if !self.syncs.is_read_only()
            && let Err(error) = fs::set_mode(above, name, mode)
        {
            self.found.stuck.get_or_insert((path.to_owned(), error));
        }
    }
}

/// Makes the file that orders the writers of a shard.
pub(super) fn make_lock(above: BorrowedFd<'_>, name: &str, path: &str) -> Result<(), StoreError> {
    match fs::create(above, name) {
        // Somebody else was faster.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        made => made.map(drop).doing_to("make a lock again", path),
    }
}

/// The mode of what has this name; `None` where there is nothing.
fn kind_at(
    dir: BorrowedFd<'_>,
    name: &str,
    path: &str,
    wanted: EntryKind,
) -> Result<Option<Mode>, StoreError> {
    match fs::identity_at(dir, name) {
        Ok(found) if found.kind == wanted => Ok(Some(found.mode)),
        Ok(_) => Err(StoreError::Missing(path.to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).reading("look at a directory", path),
    }
}

impl Found {
    fn tell(&self, read_only: bool) {
        let Self { missing, loose, stuck, key_was_open } = self;
        match (*missing, read_only) {
            (0, _) => {}
            (missing, false) => tracing::warn!(
                missing,
                "directories of the store were missing and were made again: some tools copy none that are empty"
            ),
            (missing, true) => tracing::warn!(
                missing,
                "directories of the store are missing, and count as empty: some tools copy none that are empty"
            ),
        }
        if *key_was_open {
            tracing::warn!(
                file = SERVER_KEY_FILE,
                "other users of this machine could read the server's key, as after a copy with modes of its own: \
                 whoever did can pose as this server"
            );
        }
        match stuck {
            Some((file, error)) => tracing::warn!(
                file,
                %error,
                "files of the store have modes that no store makes, and they cannot be changed (directories are \
                 0700, server.key 0600)"
            ),
            None if *loose > 0 && read_only => tracing::warn!(
                files = loose,
                "files of the store have modes that no store makes (directories are 0700, server.key 0600)"
            ),
            None if *loose > 0 => tracing::warn!(
                files = loose,
                "files of the store had modes that no store makes: directories are 0700 again, server.key 0600"
            ),
            None => {}
        }
    }
}

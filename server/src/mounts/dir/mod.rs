//! A mount of an existing tree of files.

mod names;
mod walk;

#[cfg(test)]
mod tests;

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tracing::{info, warn};

use self::names::{NameCache, Names, ROOM};
use super::{
    Guard, MountError,
    error::Doing,
    found::{Found, Identity},
    guard::is_secret_name,
    page::{self, Page},
    path::MemberPath,
    watch::Watch,
};
use crate::{
    store::Clock,
    sys::{fs, fs::EntryKind, tree},
};

pub use names::{CACHE_BYTES, ROOM_BYTES, WINDOW_BYTES};

/// A tree of files, as it is when it is asked. Regular files alone are served; no link is followed, at the end of a
/// path or on the way. What is mounted inside the tree belongs to it.
///
/// It holds a descriptor of the root, and looks now and then whether the root's path leads to that directory still: one that
/// took its place is served from then on. It can be shared between threads.
#[derive(Debug)]
pub struct DirMount {
    root: RwLock<Arc<OwnedFd>>,
    watch: Watch,
    guard: RwLock<Arc<Guard>>,
    /// Whether everybody may read what is served.
    is_public: bool,
    clock: Clock,
    cache: NameCache,
    window_bytes: usize,
    told: Told,
}

/// What was left out of a listing and written to the log; each once, for a listing is asked for again and again.
#[derive(Debug, Default)]
struct Told {
    not_utf8: AtomicBool,
    too_long: AtomicBool,
    unreadable: AtomicBool,
    sizeless: AtomicBool,
}

impl DirMount {
    /// Opens the tree below `root`. Links in the path of `root` are the operator's own. `clock` tells which directories
    /// changed too recently to be remembered.
    ///
    /// # Errors
    /// [`MountError::NotADirectory`], and [`MountError::NoOpenat2`] where paths cannot be walked safely.
    pub fn open(root: &Path, clock: Clock) -> Result<Self, MountError> {
        Self::open_within(root, clock, WINDOW_BYTES, CACHE_BYTES)
    }

    fn open_within(
        root: &Path,
        clock: Clock,
        window_bytes: usize,
        cache_bytes: usize,
    ) -> Result<Self, MountError> {
        let watch = Watch::of(root);
        let root = open_root(root)?;
        tree::look(&root, ".").map_err(MountError::of_first_walk)?;
        Ok(Self {
            root: RwLock::new(Arc::new(root)),
            watch,
            guard: RwLock::default(),
            is_public: false,
            clock,
            cache: NameCache::new(cache_bytes),
            window_bytes,
            told: Told::default(),
        })
    }

    /// Looks so often whether the root's path leads to another directory; each time for zero.
    #[must_use]
    pub fn looked_at_every(mut self, every: Duration) -> Self {
        self.watch.every(every);
        self
    }

    /// Everybody may read what is served: files that hold secrets by their names, and those that their owner has closed to all
    /// others, are not.
    #[must_use]
    pub fn public(mut self) -> Self {
        self.is_public = true;
        self
    }

    /// Serves nothing that shows what `guard` knows, from now on.
    ///
    /// # Errors
    /// [`MountError::Exposes`] when the tree does.
    pub fn guarded(&self, guard: Arc<Guard>) -> Result<(), MountError> {
        guard.check(self.current().as_fd()).map_err(MountError::Exposes)?;
        *self.guard.write().unwrap_or_else(PoisonError::into_inner) = guard;
        Ok(())
    }

    /// Serves the directory that the root's path leads to now. Whether that is another one.
    ///
    /// # Errors
    /// When it cannot be opened, or shows what it must not; then the old one goes on being served.
    pub fn reopen(&self) -> Result<bool, MountError> {
        const LOOKING: &str = "look at the directory";
        let is_current = |found: tree::State| -> Result<bool, MountError> {
            Ok(tree::state(&*self.current()).doing(LOOKING)?.inode == found.inode)
        };
        if is_current(self.watch.look().doing(LOOKING)?)? {
            self.watch.well();
            return Ok(false);
        }
        let root = open_root(self.watch.path())?;
        let guard = self.guard.read().unwrap_or_else(PoisonError::into_inner).clone();
        guard.check(root.as_fd()).map_err(MountError::Exposes)?;
        *self.root.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(root);
        self.watch.well();
        info!(path = %self.watch.path().display(), "another directory is at this path: it is served");
        Ok(true)
    }

    /// The directory that is served.
    fn current(&self) -> Arc<OwnedFd> {
        self.root.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The same, once it was looked whether that is the one at the root's path, if it is time to.
    fn root(&self) -> Arc<OwnedFd> {
        if self.watch.is_due()
            && let Err(error) = self.reopen()
            && self.watch.first_told()
        {
            // Between the two renames of a swap there is nothing, for a moment.
            warn!(
                path = %self.watch.path().display(),
                %error,
                "what is at this path now cannot be served: what was there before is; told once"
            );
        }
        self.current()
    }

    /// Whether the root's path leads to the directory that is served, or nobody has to look yet. Waits for no disk.
    fn is_current(&self) -> bool {
        if !self.watch.is_due() {
            return true;
        }
        let is = match (self.watch.look_in_memory(), tree::state(&*self.current())) {
            (Ok(found), Ok(current)) => found.inode == current.inode,
            _ => false,
        };
        if !is {
            // Whoever may wait for a disk finds out.
            self.watch.distrust();
        }
        is
    }

    /// Finds a regular file by its path below the root, and opens it.
    ///
    /// # Errors
    /// [`MountError::NotFound`] also where a link is on the way; [`MountError::NotAFile`], [`MountError::Path`],
    /// [`MountError::Unreadable`].
    pub fn find(&self, path: &str) -> Result<Found, MountError> {
        let path = MemberPath::parse(path)?.as_str();
        // First a look: to open a pipe or a device can have effects.
        let root = self.root();
        if self.is_public && is_secret_name(path) {
            return Err(MountError::Unreadable);
        }
        let there = tree::look(&root, path).map_err(MountError::of_walk)?;
        match tree::state(&there).doing("look at a file")?.kind {
            EntryKind::File => {}
            // The link itself: O_PATH and RESOLVE_NO_SYMLINKS give ELOOP, so this is a pipe, a directory, …
            EntryKind::Directory | EntryKind::Other => return Err(MountError::NotAFile),
        }
        let file = tree::open_read(&root, path).map_err(MountError::of_walk)?;
        // And a second one: the name may stand for something else by now.
        let state = tree::state(&file).doing("look at a file")?;
        if state.kind != EntryKind::File {
            return Err(MountError::NotAFile);
        }
        // Only root gets so far with one.
        if self.is_public && tree::is_another_users_alone(&file).doing("look at a file")? {
            return Err(MountError::Unreadable);
        }
        if !tree::has_its_size(&file, state.length).doing("read a file")? {
            if Told::first(&self.told.sizeless) {
                warn!(
                    file = path,
                    "files without a size of their own, as in /proc, are not served; told once"
                );
            }
            return Err(MountError::NoSize);
        }
        Ok(Found {
            file: Arc::new(file),
            offset: 0,
            length: state.length,
            modified: state.modified.into(),
            identity: Identity::of_file(&state),
        })
    }

    /// Whether `path` leads to this file still. Waits for no disk: where the kernel would have to look at one, the answer
    /// is no (openat2(2), `RESOLVE_CACHED`).
    #[must_use]
    pub fn is_still(&self, path: &str, identity: Identity) -> bool {
        let Ok(path) = MemberPath::parse(path) else { return false };
        if !self.is_current() {
            return false;
        }
        let state = tree::look_in_memory(&*self.current(), path.as_str()).and_then(tree::state);
        state.is_ok_and(|state| {
            state.kind == EntryKind::File && Identity::of_file(&state) == identity
        })
    }

    /// A page of all files of the tree in the order of the bytes of their paths, and the cursor that the next one begins
    /// after. It holds at most `limit` and 1,000 entries and fits into a frame; it may be empty and not be the last.
    ///
    /// Whatever was there before the first page was asked for, and still is after the last one, is on exactly one of
    /// them. Left out are: what is no regular file; names that are not UTF-8 and paths that are too long for a key, and
    /// directories that the server may not read (of these three, the log tells once).
    ///
    /// # Errors
    /// [`MountError::Cursor`] when `after` is too long for a path, which no page's cursor is.
    pub fn list(&self, after: Option<&[u8]>, limit: u32) -> Result<Page, MountError> {
        page::check_cursor(after)?;
        walk::page(self, after.unwrap_or_default(), limit)
    }

    /// The names of the open directory from `at` on.
    fn names(&self, dir: &OwnedFd, path: &str, at: &[u8]) -> Result<Arc<Names>, MountError> {
        const READING: &str = "read a directory";
        let state = tree::state(dir).doing(READING)?;
        if let Some(names) = self.cache.get(&state, at) {
            return Ok(names);
        }
        let now_ns = self.clock.now_ns();
        let (names, settled) =
            Names::read(dir, at, self.window_bytes, now_ns, &ROOM).doing(READING)?;
        let names = Arc::new(names);
        if names.not_utf8 > 0 && Told::first(&self.told.not_utf8) {
            let count = names.not_utf8;
            warn!(directory = ?path, count, "names that are not UTF-8 are not served; told once");
        }
        if settled {
            self.cache.keep(&names);
        }
        Ok(names)
    }
}

fn open_root(path: &Path) -> Result<OwnedFd, MountError> {
    match fs::open_root(path) {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            Err(MountError::NotADirectory)
        }
        opened => opened.doing("open the directory"),
    }
}

impl Told {
    fn first(of: &AtomicBool) -> bool {
        !of.swap(true, Ordering::Relaxed)
    }

    fn too_long(&self, directory: &str) {
        if Self::first(&self.too_long) {
            warn!(?directory, "paths of more than 1,024 bytes are not served; told once");
        }
    }

    fn unreadable(&self, directory: &str) {
        if Self::first(&self.unreadable) {
            warn!(?directory, "a directory that the server may not read is not listed; told once");
        }
    }
}

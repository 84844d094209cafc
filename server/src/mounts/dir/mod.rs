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

use self::names::{NAMES_BUDGET, NameCache, Names};
use super::{
    MountError, ProtectedPaths,
    error::Context,
    file::{Fingerprint, FoundFile},
    path::RelativePath,
    path_watch::PathWatch,
    protected::is_secret_name,
};
use crate::{
    store::Clock,
    sys::{
        fs::{self, EntryKind},
        tree,
    },
};

pub use names::{CACHE_BYTES, NAMES_BUDGET_BYTES, WINDOW_BYTES};

/// A tree of files, as it is at the time of each request. Only regular files are served; no link is
/// followed, at the end of a path or on the way. File systems that are mounted inside the tree
/// belong to it.
///
/// A mount holds a descriptor of the root and checks from time to time whether the root's path
/// still leads to that directory; a directory that took its place is served from then on. It can be
/// shared between threads.
#[derive(Debug)]
pub struct DirMount {
    root: RwLock<Arc<OwnedFd>>,
    watch: PathWatch,
    protected: RwLock<Arc<ProtectedPaths>>,
    /// Whether every peer may read what is served.
    is_public: bool,
    clock: Clock,
    cache: NameCache,
    window_bytes: usize,
    logged: LoggedOnce,
}

/// What was left out of a listing and logged. Each is logged once, because listings are requested
/// again and again.
#[derive(Debug, Default)]
struct LoggedOnce {
    name_not_utf8: AtomicBool,
    path_too_long: AtomicBool,
    unreadable: AtomicBool,
    no_size: AtomicBool,
}

impl DirMount {
    /// Opens the tree below `root`. Links in the path of `root` are the operator's own. `clock`
    /// tells which directories changed too recently to be cached.
    ///
    /// # Errors
    /// [`MountError::NotADirectory`], and [`MountError::NoOpenat2`] where paths cannot be walked
    /// safely.
    pub fn open(root: &Path, clock: Clock) -> Result<Self, MountError> {
        Self::open_within(root, clock, WINDOW_BYTES, CACHE_BYTES)
    }

    fn open_within(
        root: &Path,
        clock: Clock,
        window_bytes: usize,
        cache_bytes: usize,
    ) -> Result<Self, MountError> {
        let watch = PathWatch::new(root);
        let root = open_root(root)?;
        tree::open_path(&root, ".").map_err(MountError::of_first_walk)?;
        Ok(Self {
            root: RwLock::new(Arc::new(root)),
            watch,
            protected: RwLock::default(),
            is_public: false,
            clock,
            cache: NameCache::new(cache_bytes),
            window_bytes,
            logged: LoggedOnce::default(),
        })
    }

    /// Sets how often to check whether the root's path leads to another directory. Zero: each time.
    #[must_use]
    pub fn check_every(mut self, every: Duration) -> Self {
        self.watch.every(every);
        self
    }

    /// Marks the mount as readable by every peer. Files whose names mark them as secrets are then
    /// not served, nor those that their owner has closed to all other users.
    #[must_use]
    pub fn public(mut self) -> Self {
        self.is_public = true;
        self
    }

    /// Refuses, from now on, to serve a tree that shows what `protected` contains.
    ///
    /// # Errors
    /// [`MountError::Exposes`] when the tree does.
    pub fn set_protected(&self, protected: Arc<ProtectedPaths>) -> Result<(), MountError> {
        protected.check(self.current().as_fd()).map_err(MountError::Exposes)?;
        *self.protected.write().unwrap_or_else(PoisonError::into_inner) = protected;
        Ok(())
    }

    /// Serves the directory that the root's path leads to now. Returns whether that is another one.
    ///
    /// # Errors
    /// When it cannot be opened, or shows what it must not; the old one is then still served.
    pub fn reopen(&self) -> Result<bool, MountError> {
        const LOOKING: &str = "look at the directory";
        let is_current = |found: tree::FileState| -> Result<bool, MountError> {
            Ok(tree::stat(&*self.current()).context(LOOKING)?.inode == found.inode)
        };
        if is_current(self.watch.stat().context(LOOKING)?)? {
            self.watch.clear_reported();
            return Ok(false);
        }
        let root = open_root(self.watch.path())?;
        let protected = self.protected.read().unwrap_or_else(PoisonError::into_inner).clone();
        protected.check(root.as_fd()).map_err(MountError::Exposes)?;
        *self.root.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(root);
        self.watch.clear_reported();
        info!(
            path = %self.watch.path().display(),
            "the path leads to another directory, which is served from now on"
        );
        Ok(true)
    }

    /// The directory that is served.
    fn current(&self) -> Arc<OwnedFd> {
        self.root.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The directory that is served, after checking that it is the one at the root's path, if that
    /// is due.
    fn root(&self) -> Arc<OwnedFd> {
        if self.watch.is_due()
            && let Err(error) = self.reopen()
            && self.watch.is_first_report()
        {
            // During a swap by two renames there is no directory at the path for a moment.
            warn!(
                path = %self.watch.path().display(),
                %error,
                "the path leads to another directory, which cannot be served: the previous one is \
                 still served; logged once"
            );
        }
        self.current()
    }

    /// Whether the root's path leads to the directory that is served, or no check is due. Does not
    /// wait for a disk.
    fn is_current(&self) -> bool {
        if !self.watch.is_due() {
            return true;
        }
        let is_current = match (self.watch.stat_cached(), tree::stat(&*self.current())) {
            (Ok(found), Ok(current)) => found.inode == current.inode,
            _ => false,
        };
        if !is_current {
            // A thread that may wait for a disk checks next.
            self.watch.force_check();
        }
        is_current
    }

    /// Finds a regular file by its path below the root, and opens it.
    ///
    /// # Errors
    /// [`MountError::NotFound`], also where a link is on the way; [`MountError::NotAFile`],
    /// [`MountError::Path`], [`MountError::Unreadable`].
    pub fn find(&self, path: &str) -> Result<FoundFile, MountError> {
        let path = RelativePath::parse(path)?.as_str();
        // The path is looked up before it is opened: opening a pipe or a device can have effects.
        let root = self.root();
        if self.is_public && is_secret_name(path) {
            return Err(MountError::Unreadable);
        }
        let path_fd = tree::open_path(&root, path).map_err(MountError::of_walk)?;
        match tree::stat(&path_fd).context("look at a file")?.kind {
            EntryKind::File => {}
            // Not a link: O_PATH and RESOLVE_NO_SYMLINKS give ELOOP for one. So this is a pipe, a
            // directory, …
            EntryKind::Directory | EntryKind::Other => return Err(MountError::NotAFile),
        }
        let file = tree::open_read(&root, path).map_err(MountError::of_walk)?;
        // Checked again: the name may stand for something else by now.
        let state = tree::stat(&file).context("look at a file")?;
        if state.kind != EntryKind::File {
            return Err(MountError::NotAFile);
        }
        // Only root can have opened such a file.
        if self.is_public && tree::is_private_to_other_user(&file).context("look at a file")? {
            return Err(MountError::Unreadable);
        }
        if !tree::has_stated_size(&file, state.length).context("read a file")? {
            if LoggedOnce::is_first(&self.logged.no_size) {
                warn!(
                    file = path,
                    "files without a size, as in /proc, are not served; logged once"
                );
            }
            return Err(MountError::NoSize);
        }
        Ok(FoundFile {
            file: Arc::new(file),
            offset: 0,
            length: state.length,
            modified: state.modified.into(),
            fingerprint: Fingerprint::of_file(&state),
        })
    }

    /// Whether `path` still leads to this file. Does not wait for a disk: where the kernel would
    /// have to, the answer is `false` (openat2(2), `RESOLVE_CACHED`).
    #[must_use]
    pub fn is_unchanged(&self, path: &str, fingerprint: Fingerprint) -> bool {
        let Ok(path) = RelativePath::parse(path) else { return false };
        if !self.is_current() {
            return false;
        }
        let state = tree::open_path_cached(&*self.current(), path.as_str()).and_then(tree::stat);
        state.is_ok_and(|state| {
            state.kind == EntryKind::File && Fingerprint::of_file(&state) == fingerprint
        })
    }

    /// The names of the open directory from `at` on.
    fn names(&self, dir: &OwnedFd, path: &str, at: &[u8]) -> Result<Arc<Names>, MountError> {
        const READING: &str = "read a directory";
        let state = tree::stat(dir).context(READING)?;
        if let Some(names) = self.cache.get(&state, at) {
            return Ok(names);
        }
        let now_ns = self.clock.now_ns();
        let (names, cacheable) =
            Names::read(dir, at, self.window_bytes, now_ns, &NAMES_BUDGET).context(READING)?;
        let names = Arc::new(names);
        if names.names_not_utf8 > 0 && LoggedOnce::is_first(&self.logged.name_not_utf8) {
            let count = names.names_not_utf8;
            warn!(directory = ?path, count, "names that are not UTF-8 are not served; logged once");
        }
        if cacheable {
            self.cache.insert(&names);
        }
        Ok(names)
    }
}

fn open_root(path: &Path) -> Result<OwnedFd, MountError> {
    match fs::open_root(path) {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            Err(MountError::NotADirectory)
        }
        opened => opened.context("open the directory"),
    }
}

impl LoggedOnce {
    fn is_first(of: &AtomicBool) -> bool {
        !of.swap(true, Ordering::Relaxed)
    }

    fn warn_path_too_long(&self, directory: &str) {
        if Self::is_first(&self.path_too_long) {
            warn!(?directory, "paths of more than 1,024 bytes are not served; logged once");
        }
    }

    fn warn_unreadable(&self, directory: &str) {
        if Self::is_first(&self.unreadable) {
            warn!(
                ?directory,
                "a directory that the server may not read is not listed; logged once"
            );
        }
    }
}

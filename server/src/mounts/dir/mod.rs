//! A mount of an existing tree of files.

mod names;
mod walk;

#[cfg(test)]
mod tests;

use std::{
    io,
    os::fd::OwnedFd,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tracing::warn;

use self::names::{NameCache, Names};
use super::{
    MountError,
    error::Doing,
    found::{Found, Identity},
    page::{self, Page},
    path::MemberPath,
};
use crate::{
    store::Clock,
    sys::{fs, fs::EntryKind, tree},
};

pub use names::{CACHE_BYTES, WINDOW_BYTES};

/// A tree of files, as it is when it is asked. Regular files alone are served; no link is followed, at the end of a
/// path or on the way. What is mounted inside the tree belongs to it.
///
/// It holds a descriptor of the root: a directory that takes the root's name later is not served. It can be shared
/// between threads.
#[derive(Debug)]
pub struct DirMount {
    root: OwnedFd,
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
        let root = match fs::open_root(root) {
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                return Err(MountError::NotADirectory);
            }
            opened => opened.doing("open the directory")?,
        };
        tree::look(&root, ".").map_err(MountError::of_first_walk)?;
        let cache = NameCache::new(cache_bytes);
        Ok(Self { root, clock, cache, window_bytes, told: Told::default() })
    }

    /// Finds a regular file by its path below the root, and opens it.
    ///
    /// # Errors
    /// [`MountError::NotFound`] also where a link is on the way; [`MountError::NotAFile`], [`MountError::Path`],
    /// [`MountError::Unreadable`].
    pub fn find(&self, path: &str) -> Result<Found, MountError> {
        let path = MemberPath::parse(path)?.as_str();
        // First a look: to open a pipe or a device can have effects.
        let there = tree::look(&self.root, path).map_err(MountError::of_walk)?;
        match tree::state(&there).doing("look at a file")?.kind {
            EntryKind::File => {}
            // The link itself: O_PATH and RESOLVE_NO_SYMLINKS give ELOOP, so this is a pipe, a directory, …
            EntryKind::Directory | EntryKind::Other => return Err(MountError::NotAFile),
        }
        let file = tree::open_read(&self.root, path).map_err(MountError::of_walk)?;
        // And a second one: the name may stand for something else by now.
        let state = tree::state(&file).doing("look at a file")?;
        if state.kind != EntryKind::File {
            return Err(MountError::NotAFile);
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
        let state = tree::look_in_memory(&self.root, path.as_str()).and_then(tree::state);
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
        let (names, settled) = Names::read(dir, at, self.window_bytes, now_ns).doing(READING)?;
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

//! A page of a tree.
//!
//! A cursor is a position among all paths, ordered by their bytes. To return to it, the walk
//! descends along its components through the directories that exist now, and continues from there.
//! A directory on the way down takes nothing of the page; one that is entered for the first time
//! counts as an entry, so that a page of a tree of empty directories ends.

use std::{os::fd::OwnedFd, sync::Arc};

use tracing::warn;
use zput_proto::limits::OBJECT_KEY_MAX_BYTES;

use super::{DirMount, names::Names};
use crate::{
    mounts::{
        MountError,
        file::{Fingerprint, ListedFile},
        page::{self, Page, PageBuilder},
    },
    sys::{fs::EntryKind, tree as sys},
};

impl DirMount {
    /// A page of all files of the tree, in the order of the bytes of their paths. It holds at most
    /// `limit` and 1,000 entries and fits into a frame; a page may be empty without being the last.
    ///
    /// A file that existed before the first page was requested, and still exists after the last, is
    /// on exactly one page. Left out are: everything but regular files; names that are not UTF-8,
    /// paths too long for a key, and directories that the server may not read (each of these three
    /// is logged once).
    ///
    /// # Errors
    /// [`MountError::Cursor`] when `after` is longer than any page's cursor.
    pub fn list(&self, after: Option<&[u8]>, limit: u32) -> Result<Page, MountError> {
        page::check_cursor(after)?;
        make_page(self, after.unwrap_or_default(), limit)
    }
}

/// The tree, while a page of it is made.
struct Tree<'a> {
    mount: &'a DirMount,
    root: Arc<OwnedFd>,
}

/// A directory between the root and the walk's position. There are at most 512: a path has no more
/// components.
struct Level {
    /// Bytes of the directory's path, with the `/` at the end; 0 for the root.
    prefix: usize,
    /// The next name to look for; it or the next one after it is visited.
    at: Vec<u8>,
    /// The cursor's position below the directory `at`: the walk has been in that directory.
    rest: Option<Vec<u8>>,
    /// The open directory, while the walk is in it and not below.
    dir: Option<OwnedFd>,
    /// Its names; dropped while the walk is below, if they exceed the memory bound.
    names: Option<Arc<Names>>,
}

/// The page after the position `after`.
fn make_page(mount: &DirMount, after: &[u8], limit: u32) -> Result<Page, MountError> {
    // A page is made from one tree, even if another takes its place meanwhile.
    let tree = &Tree { mount, root: mount.root() };
    let mut page = PageBuilder::new(limit);
    let mut cursor = after.to_vec();
    let mut path = String::new();
    let mut levels = vec![Level::beginning_after(0, after)];
    while let Some(level) = levels.last_mut() {
        path.truncate(level.prefix);
        let names = match level.names(tree, &path) {
            Err(error) if error.is_unreadable_file() => {
                warn!(directory = path, %error, "a directory cannot be read and is not listed");
                page.count_unreadable();
                None
            }
            names => names?,
        };
        let Some(names) = names else {
            levels.pop();
            continue;
        };
        let Some(name) = names.next(&level.at) else {
            if names.complete {
                levels.pop();
            } else {
                level.names = None;
            }
            continue;
        };
        let is_dir = name.ends_with('/');
        path.push_str(name);
        // A path below a directory has at least one more byte.
        if path.len() + usize::from(is_dir) > OBJECT_KEY_MAX_BYTES {
            mount.logged.warn_path_too_long(&path[..level.prefix]);
            level.at = successor(name.as_bytes());
            continue;
        }
        let rest = level.rest.take().filter(|_| level.at == name.as_bytes());
        if rest.is_none() {
            if !page.has_space(path.len()) {
                return Ok(page.finish(Some(cursor)));
            }
            cursor.clear();
            cursor.extend_from_slice(path.as_bytes());
        }
        level.at = successor(name.as_bytes());
        if is_dir {
            if rest.is_none() {
                page.count_skipped();
            }
            release_level(mount, &mut levels);
            levels.push(Level::beginning_after(path.len(), &rest.unwrap_or_default()));
        } else {
            match level.file(tree, &path) {
                Ok(Some(listed)) => page.add(listed),
                Ok(None) => page.count_skipped(),
                Err(error) if error.is_unreadable_file() => {
                    warn!(file = path, %error, "a file cannot be read and is not listed");
                    page.count_unreadable();
                    page.count_skipped();
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(page.finish(None))
}

impl Level {
    /// The directory whose path has `prefix` bytes, from behind the position `after` in it.
    fn beginning_after(prefix: usize, after: &[u8]) -> Self {
        let (at, rest) = match after.iter().position(|byte| *byte == b'/') {
            Some(slash) => (after[..=slash].to_vec(), Some(after[slash + 1..].to_vec())),
            None if after.is_empty() => (Vec::new(), None),
            None => (successor(after), None),
        };
        Self { prefix, at, rest, dir: None, names: None }
    }

    /// The names from `at` on; `None` when the directory is gone or may not be read.
    fn names(&mut self, tree: &Tree<'_>, path: &str) -> Result<Option<Arc<Names>>, MountError> {
        if self.names.is_none() {
            // A descriptor that is open already was read to its end, and cannot be read again.
            let Some(dir) = open(tree, path)? else { return Ok(None) };
            self.names = Some(tree.mount.names(&dir, path, &self.at)?);
            self.dir = Some(dir);
        }
        Ok(self.names.clone())
    }

    /// The file `path` in this directory; `None` if there is no regular file (any more).
    fn file(&mut self, tree: &Tree<'_>, path: &str) -> Result<Option<ListedFile>, MountError> {
        let (directory, name) = path.split_at(self.prefix);
        let dir = match &self.dir {
            Some(dir) => dir,
            None => match open(tree, directory)? {
                Some(dir) => self.dir.insert(dir),
                None => return Ok(None),
            },
        };
        let state = match sys::stat_at(dir, name).map_err(MountError::of_walk) {
            Ok(state) => state,
            Err(MountError::NotFound) => return Ok(None),
            Err(MountError::Unreadable) => {
                tree.mount.logged.warn_unreadable(directory);
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        Ok((state.kind == EntryKind::File).then(|| ListedFile {
            path: path.to_owned(),
            length: state.length,
            modified: state.modified.into(),
            fingerprint: Fingerprint::of_file(&state),
        }))
    }
}

/// Called before the walk descends from the last level: closes its descriptor, and drops its names
/// if all levels together hold more than a window. Dropped names are found in the cache, or read
/// again.
fn release_level(mount: &DirMount, levels: &mut [Level]) {
    let held =
        levels.iter().flat_map(|level| &level.names).map(|names| names.bytes()).sum::<usize>();
    if let Some(level) = levels.last_mut() {
        level.dir = None;
        level.names.take_if(|_| held > mount.window_bytes);
    }
}

/// Opens a directory of the tree; `None` when it is gone or may not be read.
fn open(tree: &Tree<'_>, path: &str) -> Result<Option<OwnedFd>, MountError> {
    match sys::open_dir(&*tree.root, if path.is_empty() { "." } else { path })
        .map_err(MountError::of_walk)
    {
        Ok(dir) => Ok(Some(dir)),
        Err(MountError::NotFound) => Ok(None),
        Err(MountError::Unreadable) => {
            tree.mount.logged.warn_unreadable(path);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The least name that is greater than `name`: no name contains a NUL.
fn successor(name: &[u8]) -> Vec<u8> {
    [name, b"\0"].concat()
}

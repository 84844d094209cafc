//! Directories that no tree may show: stores with their keys and accounts, key files, the
//! configuration.
//!
//! They are identified by device and inode, so that links in a path and bind mounts do not hide
//! them. The check goes both ways: a tree may neither contain such a directory nor lie in a store.

use std::{
    collections::HashSet,
    fs, io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use crate::sys::tree;

/// Device and inode numbers.
type Inode = (u64, u64);

/// Most ancestors of a directory that are looked at: a path has no more components.
const DEPTH_MAX: usize = 4096;

/// The directories of a store that an operator might mount.
const IN_STORE: [&str; 8] =
    ["objects", "history", "trash", "staging", "quarantine", "locks", "clients", "invites"];

/// Directories that no tree may show.
#[derive(Debug, Default)]
pub struct ProtectedPaths {
    dirs: Vec<ProtectedDir>,
}

#[derive(Debug)]
struct ProtectedDir {
    /// What the directory is, for messages.
    what: String,
    /// The directory and its ancestors.
    above: HashSet<Inode>,
    /// The directory and those below it that belong to it.
    inside: HashSet<Inode>,
}

impl ProtectedPaths {
    /// Reads the mount points now, for later checks inside a sandbox that hides them.
    pub fn remember_mount_points() {
        mount_points();
    }

    /// No tree may contain the store in this directory, nor lie in it.
    pub fn add_store(&mut self, dir: &Path) {
        self.add(format!("the store {}", dir.display()), dir, &IN_STORE);
    }

    /// No tree may contain this directory of key files or of the configuration.
    pub fn add_directory(&mut self, what: &str, dir: &Path) {
        self.add(format!("{what} {}", dir.display()), dir, &[]);
    }

    /// A directory that does not exist cannot be shown, and is not added.
    fn add(&mut self, what: String, dir: &Path, own: &[&str]) {
        let Ok(fd) = tree::open_dir_path(dir) else { return };
        let mut inside = HashSet::new();
        if !own.is_empty() {
            let states = own.iter().filter_map(|name| tree::stat_path(&dir.join(name)).ok());
            inside.extend(states.map(|state| state.inode));
            inside.extend(tree::stat(&fd).map(|state| state.inode));
        }
        let above = ancestors(fd.as_fd()).into_iter().collect();
        self.dirs.push(ProtectedDir { what, above, inside });
    }

    /// Checks that the tree below `root` may be served.
    ///
    /// # Errors
    /// What the tree would show, for a message.
    pub(super) fn check(&self, root: BorrowedFd<'_>) -> Result<(), String> {
        let above = ancestors(root);
        let Some(root_inode) = above.first() else { return Ok(()) };
        for ProtectedDir { what, above: ancestors_of_dir, inside } in &self.dirs {
            if ancestors_of_dir.contains(root_inode) {
                return Err(format!("it contains {what}"));
            }
            if above.iter().any(|inode| inside.contains(inode)) {
                return Err(format!("it lies in {what}"));
            }
        }
        // Also check file systems that are mounted below the tree and lie elsewhere by another
        // path.
        for point in mount_points() {
            let Ok(fd) = tree::open_dir_path(&point) else { continue };
            let ancestors = ancestors(fd.as_fd());
            let (Some(mounted), true) = (ancestors.first(), ancestors.contains(root_inode)) else {
                continue;
            };
            let shown = self
                .dirs
                .iter()
                .find(|dir| dir.above.contains(mounted) || dir.inside.contains(mounted));
            if let Some(ProtectedDir { what, .. }) = shown {
                return Err(format!("{} shows {what} in it", point.display()));
            }
        }
        Ok(())
    }
}

/// A directory and its ancestors, up to the root.
fn ancestors(dir: BorrowedFd<'_>) -> Vec<Inode> {
    let mut ancestors = Vec::new();
    let mut next: io::Result<OwnedFd> = dir.try_clone_to_owned();
    while let Ok(dir) = &next
        && let Ok(state) = tree::stat(dir)
        && ancestors.last() != Some(&state.inode)
        && ancestors.len() < DEPTH_MAX
    {
        ancestors.push(state.inode);
        next = tree::parent(dir);
    }
    ancestors
}

/// The mount points when they could be read last.
static MOUNT_POINTS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// The mount points; where the kernel does not tell them (a sandbox, no /proc), those that were
/// read last.
fn mount_points() -> Vec<PathBuf> {
    let mut known = MOUNT_POINTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Ok(lines) = fs::read("/proc/self/mountinfo") {
        *known = parse_mount_points(&lines);
    }
    known.clone()
}

fn parse_mount_points(lines: &[u8]) -> Vec<PathBuf> {
    // proc(5): the fifth field, with octal escapes.
    let points = lines
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    points.map(unescape).collect()
}

fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((byte, behind)) = rest.split_first() {
        let octal = behind.first_chunk::<3>().filter(|_| *byte == b'\\');
        let value = octal.and_then(|digits| str::from_utf8(digits).ok());
        match value.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(value) => {
                bytes.push(value);
                rest = &behind[3..];
            }
            None => {
                bytes.push(*byte);
                rest = behind;
            }
        }
    }
    std::ffi::OsString::from_vec(bytes).into()
}

/// Whether a file of this name holds a secret, wherever it is.
pub(super) fn is_secret_name(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    name == "server.key" || name.ends_with(".zkey")
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::symlink, process::Command};

    use zput_skip as skip;

    use super::*;

    fn set_protected(dir: &Path) -> ProtectedPaths {
        let mut protected = ProtectedPaths::default();
        protected.add_store(&dir.join("srv/store"));
        protected.add_directory("the key files in", &dir.join("home/.config/zput"));
        protected
    }

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for path in
            ["srv/store/objects/ab", "srv/www/deep", "home/.config/zput", "home/public", "links"]
        {
            fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        dir
    }

    fn check(protected: &ProtectedPaths, path: &Path) -> Result<(), String> {
        protected.check(tree::open_dir_path(path).unwrap().as_fd())
    }

    /// ProtectedPaths refuses a tree that contains a secret or lies in a store, links included.
    #[test]
    fn protected_paths_refuse_tree_with_secret_or_in_store() {
        let dir = tree();
        let at = |path: &str| dir.path().join(path);
        let protected = set_protected(dir.path());
        for path in ["srv/www", "srv/www/deep", "home/public", "links"] {
            assert_eq!(check(&protected, &at(path)), Ok(()), "{path}");
        }
        symlink(at("srv"), at("links/srv")).unwrap();
        symlink(at("srv/store/objects"), at("links/objects")).unwrap();
        for path in ["srv", "srv/store", "", "links/srv", "home", "home/.config/zput", "/"] {
            let refused = check(&protected, &at(path)).unwrap_err();
            assert!(refused.starts_with("it contains the "), "{path}: {refused}");
        }
        for path in ["srv/store/objects", "srv/store/objects/ab", "links/objects"] {
            let refused = check(&protected, &at(path)).unwrap_err();
            assert!(refused.starts_with("it lies in the store "), "{path}: {refused}");
        }
    }

    /// ProtectedPaths finds a store that is bind-mounted into a tree.
    #[test]
    fn protected_paths_see_through_bind_mount() {
        let dir = tree();
        let at = |path: &str| dir.path().join(path);
        let protected = set_protected(dir.path());
        let bind = |from: &str, to: &str| {
            let output = Command::new("mount").arg("--bind").arg(at(from)).arg(at(to)).output();
            output.is_ok_and(|output| output.status.success())
        };
        for from in ["srv/store", "srv", "srv/store/objects"] {
            if !bind(from, "srv/www/deep") {
                return skip::because("mount(8) is not allowed here");
            }
            let inside = check(&protected, &at("srv/www"));
            let itself = check(&protected, &at("srv/www/deep"));
            let unmounted = Command::new("umount").arg(at("srv/www/deep")).status().unwrap();
            assert!(unmounted.success());
            assert!(
                inside.as_ref().is_err_and(|why| why.contains("/srv/www/deep shows")),
                "{inside:?}"
            );
            assert!(itself.is_err(), "{from}");
        }
        assert_eq!(check(&protected, &at("srv/www")), Ok(()));
    }

    /// The check is_secret_name matches server.key and .zkey files, and no similar names.
    #[test]
    fn is_secret_name_matches_key_files() {
        for name in ["server.key", "a/server.key", "default.zkey", "deep/er/x.zkey"] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in ["server.keys", "zkey", "a.zkey/file", "key"] {
            assert!(!is_secret_name(name), "{name}");
        }
        assert_eq!(unescape(br"/a\040b\134c"), Path::new(r"/a b\c"));
    }
}

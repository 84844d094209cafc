//! What no tree may show: stores with their keys and accounts, key files, the configuration.
//!
//! Told apart by device and inode, so that links in a path and bind mounts change nothing; and both ways: a tree may neither
//! contain such a thing nor lie in a store.

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

/// Device and inode.
type Inode = (u64, u64);

/// The most directories that one can be inside of: a path has no more components.
const DEPTH_MAX: usize = 4096;

/// The directories of a store in which somebody might mount something.
const IN_STORE: [&str; 8] =
    ["objects", "history", "trash", "staging", "quarantine", "locks", "clients", "invites"];

/// What no tree may show.
#[derive(Debug, Default)]
pub struct Guard {
    secrets: Vec<Secret>,
}

#[derive(Debug)]
struct Secret {
    /// What it is, for people.
    what: String,
    /// It, and the directories that it is in.
    above: HashSet<Inode>,
    /// It, and those directories in it that are its own.
    inside: HashSet<Inode>,
}

impl Guard {
    /// Notes where something is mounted now, for when that cannot be found out any more.
    pub fn remember_mount_points() {
        mount_points();
    }

    /// No tree may contain the store in this directory, nor lie in it.
    pub fn store(&mut self, dir: &Path) {
        self.add(format!("the store {}", dir.display()), dir, &IN_STORE);
    }

    /// No tree may contain this directory of key files, or of the configuration.
    pub fn directory(&mut self, what: &str, dir: &Path) {
        self.add(format!("{what} {}", dir.display()), dir, &[]);
    }

    /// What is not there cannot be shown.
    fn add(&mut self, what: String, dir: &Path, own: &[&str]) {
        let Ok(fd) = tree::look_at_dir(dir) else { return };
        let mut inside = HashSet::new();
        if !own.is_empty() {
            let its = own.iter().filter_map(|name| tree::state_of(&dir.join(name)).ok());
            inside.extend(its.map(|state| state.inode));
            inside.extend(tree::state(&fd).map(|state| state.inode));
        }
        let above = chain(fd.as_fd()).into_iter().collect();
        self.secrets.push(Secret { what, above, inside });
    }

    /// Whether the tree below `root` may be served.
    ///
    /// # Errors
    /// What it would show.
    pub(super) fn check(&self, root: BorrowedFd<'_>) -> Result<(), String> {
        let above = chain(root);
        let Some(its) = above.first() else { return Ok(()) };
        for Secret { what, above: holders, inside } in &self.secrets {
            if holders.contains(its) {
                return Err(format!("it contains {what}"));
            }
            if above.iter().any(|inode| inside.contains(inode)) {
                return Err(format!("it lies in {what}"));
            }
        }
        // What is mounted below it, and is elsewhere by another path.
        for point in mount_points() {
            let Ok(fd) = tree::look_at_dir(&point) else { continue };
            let chain = chain(fd.as_fd());
            let (Some(mounted), true) = (chain.first(), chain.contains(its)) else { continue };
            let shown = self
                .secrets
                .iter()
                .find(|secret| secret.above.contains(mounted) || secret.inside.contains(mounted));
            if let Some(Secret { what, .. }) = shown {
                return Err(format!("{} shows {what} in it", point.display()));
            }
        }
        Ok(())
    }
}

/// A directory and those that it is in, up to the root.
fn chain(dir: BorrowedFd<'_>) -> Vec<Inode> {
    let mut chain = Vec::new();
    let mut next: io::Result<OwnedFd> = dir.try_clone_to_owned();
    while let Ok(dir) = &next
        && let Ok(state) = tree::state(dir)
        && chain.last() != Some(&state.inode)
        && chain.len() < DEPTH_MAX
    {
        chain.push(state.inode);
        next = tree::above(dir);
    }
    chain
}

/// Where something was mounted when that could be found out last.
static MOUNT_POINTS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Where something is mounted; where the kernel does not say (a sandbox, no /proc), what was so before.
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

/// Whether a file of this name holds a secret, wherever it lies.
pub(super) fn is_secret_name(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    name == "server.key" || name.ends_with(".zkey")
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::symlink, process::Command};

    use zput_skip as skip;

    use super::*;

    fn guarded(dir: &Path) -> Guard {
        let mut guard = Guard::default();
        guard.store(&dir.join("srv/store"));
        guard.directory("the key files in", &dir.join("home/.config/zput"));
        guard
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

    fn check(guard: &Guard, path: &Path) -> Result<(), String> {
        guard.check(tree::look_at_dir(path).unwrap().as_fd())
    }

    #[test]
    fn what_contains_a_secret_or_lies_in_a_store_is_refused() {
        let dir = tree();
        let at = |path: &str| dir.path().join(path);
        let guard = guarded(dir.path());
        for path in ["srv/www", "srv/www/deep", "home/public", "links"] {
            assert_eq!(check(&guard, &at(path)), Ok(()), "{path}");
        }
        symlink(at("srv"), at("links/srv")).unwrap();
        symlink(at("srv/store/objects"), at("links/objects")).unwrap();
        for path in ["srv", "srv/store", "", "links/srv", "home", "home/.config/zput", "/"] {
            let refused = check(&guard, &at(path)).unwrap_err();
            assert!(refused.starts_with("it contains the "), "{path}: {refused}");
        }
        for path in ["srv/store/objects", "srv/store/objects/ab", "links/objects"] {
            let refused = check(&guard, &at(path)).unwrap_err();
            assert!(refused.starts_with("it lies in the store "), "{path}: {refused}");
        }
    }

    #[test]
    fn a_bind_mount_hides_nothing() {
        let dir = tree();
        let at = |path: &str| dir.path().join(path);
        let guard = guarded(dir.path());
        let bind = |from: &str, to: &str| {
            let output = Command::new("mount").arg("--bind").arg(at(from)).arg(at(to)).output();
            output.is_ok_and(|output| output.status.success())
        };
        for from in ["srv/store", "srv", "srv/store/objects"] {
            if !bind(from, "srv/www/deep") {
                return skip::because("mount(8) is not allowed here");
            }
            let inside = check(&guard, &at("srv/www"));
            let itself = check(&guard, &at("srv/www/deep"));
            let unmounted = Command::new("umount").arg(at("srv/www/deep")).status().unwrap();
            assert!(unmounted.success());
            assert!(
                inside.as_ref().is_err_and(|why| why.contains("/srv/www/deep shows")),
                "{inside:?}"
            );
            assert!(itself.is_err(), "{from}");
        }
        assert_eq!(check(&guard, &at("srv/www")), Ok(()));
    }

    #[test]
    fn names_of_secrets_are_known() {
        for name in ["server.key", "a/server.key", "default.zkey", "deep/er/x.zkey"] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in ["server.keys", "zkey", "a.zkey/file", "key"] {
            assert!(!is_secret_name(name), "{name}");
        }
        assert_eq!(unescape(br"/a\040b\134c"), Path::new(r"/a b\c"));
    }
}

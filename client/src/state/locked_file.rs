//! Files of the state directory about what was interrupted: one for each thing, locked by whoever is at it.
//!
//! ```text
//! DIRECTORY/SHA-256(what tells the thing from others), hex      0600; flock(2)
//! ```

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use sha2::{Digest as _, Sha256};
use zput_common::digest::{Digest, Hasher};

use crate::atomic::{make_directory, open_or_make};

/// How long a file is left to somebody who may come back. Servers keep an upload for 72 hours unless told otherwise.
const KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How often a file that vanishes under its lock is looked for again: somebody else just ended with it.
const LOCK_TRIES: usize = 16;

/// A directory of them.
#[derive(Clone, Debug)]
pub(crate) struct Unfinished {
    directory: PathBuf,
}

/// One that is this process's alone for as long as this lives.
#[derive(Debug)]
pub(crate) struct Locked {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
}

impl Unfinished {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Where the file of `thing` is, or would be.
    pub(crate) fn path(&self, thing: &[u8]) -> PathBuf {
        self.directory.join(hex::encode(Sha256::digest(thing)))
    }

    /// Locks the file at `path`, an empty one if there is none; none at all where somebody else is at it. What nobody came
    /// back to is handed to `discard` first.
    pub(crate) fn lock(
        &self,
        path: PathBuf,
        discard: impl Fn(Locked),
    ) -> io::Result<Option<Locked>> {
        make_directory(&self.directory)?;
        for entry in fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            let is_old = entry.metadata().is_ok_and(|metadata| {
                let age = metadata.modified().map(|time| SystemTime::now().duration_since(time));
                metadata.is_file() && matches!(age, Ok(Ok(age)) if age > KEPT)
            });
            // One that does not go is tried again next time.
            if is_old && let Ok(Some(locked)) = Locked::existing(entry.path()) {
                discard(locked);
            }
        }
        Locked::open(path, true)
    }
}

impl Locked {
    /// Locks the file at `path`; none where there is none, or somebody else is at it.
    pub(crate) fn existing(path: PathBuf) -> io::Result<Option<Self>> {
        Self::open(path, false)
    }

    fn open(path: PathBuf, create: bool) -> io::Result<Option<Self>> {
        let open = || match create {
            true => open_or_make(&path),
            false => OpenOptions::new().read(true).write(true).open(&path),
        };
        for _ in 0..LOCK_TRIES {
            let file = match open() {
                Ok(file) => file,
                Err(error) if !create && error.kind() == io::ErrorKind::NotFound => {
                    return Ok(None);
                }
                Err(error) => return Err(error),
            };
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
            // Whoever had it locked may have removed it meanwhile.
            if is_still(&file, &path)? {
                return Ok(Some(Self { file, path }));
            }
        }
        Ok(None)
    }
}

impl Drop for Locked {
    /// flock(2): a lock is held "until all such descriptors have been closed", and a process that this one has just forked
    /// has copies of them until it execs. Unlocked by any of them it is free at once.
    fn drop(&mut self) {
        // What cannot be unlocked is free when it is closed.
        let _free = flock(&self.file, FlockOperation::Unlock);
    }
}

/// What a row ends with: it is whole, in its place, and of the file with this head.
pub(crate) fn check(head: &Digest, index: u64, row: &[u8]) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(head.as_bytes());
    hasher.update(&index.to_be_bytes());
    hasher.update(row);
    hasher.finish()
}

/// Whether `path` still leads to the open file.
fn is_still(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_let_go_is_free_though_a_child_has_it_open_still() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, b"").unwrap();
        let locked = Locked::existing(path.clone()).unwrap().unwrap();
        // As a fork has it until it execs.
        let copy = locked.file.try_clone().unwrap();
        assert!(Locked::existing(path.clone()).unwrap().is_none());
        drop(locked);
        assert!(Locked::existing(path).unwrap().is_some());
        drop(copy);
    }
}

//! State files of interrupted operations: one for each operation, locked while a process works on
//! it.
//!
//! ```text
//! DIRECTORY/SHA-256(key of the operation), hex      0600; flock(2)
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
use zput_proto::digest::{Digest, Hasher};

use crate::files::create::{create_directory, open_or_create};

/// Age after which a state file is discarded. Servers keep an upload for 72 hours by default.
const EXPIRES_AFTER: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Tries to lock a file that is removed at the same time by the process that held it.
const LOCK_TRIES: usize = 16;

/// A directory of state files.
#[derive(Clone, Debug)]
pub(crate) struct StateFiles {
    directory: PathBuf,
}

/// A state file, exclusively locked while this value lives.
#[derive(Debug)]
pub(crate) struct LockedStateFile {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
}

impl StateFiles {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// The path of the state file for `thing`.
    pub(crate) fn path(&self, thing: &[u8]) -> PathBuf {
        self.directory.join(hex::encode(Sha256::digest(thing)))
    }

    /// Locks the file at `path` and creates it if it is missing; `None` while another process holds
    /// it. Expired files are passed to `discard` first.
    pub(crate) fn lock(
        &self,
        path: PathBuf,
        discard: impl Fn(LockedStateFile),
    ) -> io::Result<Option<LockedStateFile>> {
        create_directory(&self.directory)?;
        for entry in fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            let is_old = entry.metadata().is_ok_and(|metadata| {
                let age = metadata.modified().map(|time| SystemTime::now().duration_since(time));
                metadata.is_file() && matches!(age, Ok(Ok(age)) if age > EXPIRES_AFTER)
            });
            // A file that cannot be locked now is tried again next time.
            if is_old && let Ok(Some(locked)) = LockedStateFile::existing(entry.path()) {
                discard(locked);
            }
        }
        LockedStateFile::open(path, true)
    }
}

impl LockedStateFile {
    /// Locks the file at `path`; `None` if it is missing or another process holds it.
    pub(crate) fn existing(path: PathBuf) -> io::Result<Option<Self>> {
        Self::open(path, false)
    }

    fn open(path: PathBuf, create: bool) -> io::Result<Option<Self>> {
        let open = || match create {
            true => open_or_create(&path),
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
            // The previous holder may have removed the file meanwhile.
            if is_same_file(&file, &path)? {
                return Ok(Some(Self { file, path }));
            }
        }
        Ok(None)
    }
}

impl Drop for LockedStateFile {
    /// flock(2): a lock is held "until all such descriptors have been closed", and a process that
    /// this one has just forked has copies of them until it execs. Unlocked by any of them it is
    /// free at once.
    fn drop(&mut self) {
        // What cannot be unlocked is free when it is closed.
        let _free = flock(&self.file, FlockOperation::Unlock);
    }
}

/// The checksum of a row: it proves that the row is complete, at its index, and of the file with
/// this head.
pub(crate) fn row_check(head: &Digest, index: u64, row: &[u8]) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(head.as_bytes());
    hasher.update(&index.to_be_bytes());
    hasher.update(row);
    hasher.finish()
}

/// Whether `path` still names the open file.
fn is_same_file(file: &File, path: &Path) -> io::Result<bool> {
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

    /// Dropping a locked state file frees its lock although a child has it open.
    #[test]
    fn locked_state_file_unlocks_despite_inherited_descriptor() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, b"").unwrap();
        let locked = LockedStateFile::existing(path.clone()).unwrap().unwrap();
        // As a fork has it until it execs.
        let copy = locked.file.try_clone().unwrap();
        assert!(LockedStateFile::existing(path.clone()).unwrap().is_none());
        drop(locked);
        assert!(LockedStateFile::existing(path).unwrap().is_some());
        drop(copy);
    }
}

//! A lock for creating or changing a key file, so that of several processes one does it and the
//! others use the result.
//!
//! The lock is flock(2) on the directory of the key file, so no lock file is left behind. Where
//! that fails (NFS locks only files that are open for writing), the key file decides: it is created
//! exclusively, and a process that comes second waits for the store that it names.

use std::{fs::File, io, path::Path};

use rustix::fs::{FlockOperation, flock};

use crate::files::{
    create::create_directory,
    destination,
    path::{dangling_link, directory_of},
};

/// While this value lives, no other process creates or changes a key file in the same directory.
#[derive(Debug)]
pub struct KeyFileLock {
    _directory: Option<File>,
}

impl KeyFileLock {
    /// Waits for the lock of the key file at `path`; creates its directory.
    ///
    /// # Errors
    /// When the directory cannot be created.
    pub fn acquire(path: &Path) -> io::Result<Self> {
        if let Some(link) = dangling_link(path) {
            return Err(link.into());
        }
        let path = destination::resolve_name(path)?;
        let directory = directory_of(&path);
        create_directory(directory)?;
        let locked = File::open(directory).and_then(|directory| {
            flock(&directory, FlockOperation::LockExclusive)?;
            Ok(directory)
        });
        Ok(Self { _directory: locked.ok() })
    }
}

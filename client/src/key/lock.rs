//! A lock for creating or changing a key file, so that of several processes one does it and the
//! others use the result.
//!
//! The lock is flock(2) on the directory of the key file, so no lock file is left behind. Where
//! that fails (NFS locks only files that are open for writing), the key file decides: it is created
//! exclusively, and a process that comes second waits for the store that it names.

use std::{
    fs::File,
    io,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rustix::fs::{FlockOperation, flock};

use crate::files::{
    create::create_directory,
    destination,
    path::{dangling_link, directory_of},
};

/// How long to wait for the store of another process, where the directory cannot be locked.
const STORE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often to look for that store.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

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

/// Waits until there is a directory at `path`, at most [`STORE_TIMEOUT`]. The caller's next use
/// shows whether it exists.
pub(crate) fn wait_for_store(path: &Path) {
    let started = Instant::now();
    while !path.is_dir() && started.elapsed() < STORE_TIMEOUT {
        thread::sleep(POLL_INTERVAL);
    }
}

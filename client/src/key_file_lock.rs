//! What is made when a command is run for the first time: one process makes it, and the others use it.
//!
//! The lock is flock(2) on the directory of the key file, so nothing of it stays behind. Where that cannot be had (NFS locks
//! only what is open for writing), the key file decides: it gets its name once, and who comes second waits for the store that
//! it names.

use std::{
    fs::File,
    io,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rustix::fs::{FlockOperation, flock};

use crate::{
    atomic::{dangling_link, directory_of, make_directory},
    destination,
};

/// For how long the store of the faster process is waited for, where nothing can be locked.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked for.
const INTERVAL: Duration = Duration::from_millis(20);

/// For as long as this lives, no other process makes or changes a key file in the same directory.
#[derive(Debug)]
pub(crate) struct Alone {
    _directory: Option<File>,
}

impl Alone {
    /// Waits for the turn of this process to make or change the key file at `path`; makes its directory.
    ///
    /// # Errors
    /// When that cannot be made.
    pub(crate) fn with(path: &Path) -> io::Result<Self> {
        if let Some(link) = dangling_link(path) {
            return Err(link.into());
        }
        let path = destination::name(path)?;
        let directory = directory_of(&path);
        make_directory(directory)?;
        let locked = File::open(directory).and_then(|directory| {
            flock(&directory, FlockOperation::LockExclusive)?;
            Ok(directory)
        });
        Ok(Self { _directory: locked.ok() })
    }
}

/// Waits until there is a directory at `path`; whether there is one by then is seen by who uses it.
pub(crate) fn wait_for(path: &Path) {
    let begun = Instant::now();
    while !path.is_dir() && begun.elapsed() < PATIENCE {
        thread::sleep(INTERVAL);
    }
}

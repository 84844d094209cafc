//! Files under way: made under a random name, locked as long as somebody works on them, and removed unless
//! they are renamed into their place.

use std::{
    fs::File,
    io::{self, ErrorKind},
    os::fd::{AsFd, BorrowedFd},
};

use rand::{TryRng, rngs::SysRng};

use super::error::{Doing, StoreError};
use crate::sys::fs::{self, EntryKind};

/// A locked file under way in directory `D`. Dropping it removes the file.
#[derive(Debug)]
pub(super) struct Staged<D: AsFd> {
    dir: D,
    name: String,
    file: File,
    placed: bool,
}

impl<D: AsFd + Clone> Staged<D> {
    /// Makes a file whose name is `prefix` and 32 random digits, and locks it.
    pub(super) fn create(dir: &D, prefix: &str) -> Result<Self, StoreError> {
        loop {
            let name = format!("{prefix}{}", hex::encode(random::<16>()?));
            let file = fs::create(dir, &name).doing("create a file")?;
            let staged = Self { dir: dir.clone(), name, file, placed: false };
            // A store that starts right now may have found the file before it was locked: then it holds
            // the lock, or has removed the file already. Another name, then.
            let locked = fs::try_lock(&staged.file).doing("lock a file")?;
            if locked && fs::identity(&staged.file).doing("look at a file")?.named {
                return Ok(staged);
            }
        }
    }
}

impl<D: AsFd> Staged<D> {
    /// The file.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Renames the file to where it belongs, in place of what is there.
    pub(super) fn place(mut self, to: impl AsFd, name: &str) -> Result<(), StoreError> {
        fs::rename(&self.dir, &self.name, to, name).doing("rename a file into place")?;
        self.placed = true;
        Ok(())
    }
}

impl<D: AsFd> Drop for Staged<D> {
    fn drop(&mut self) {
        if self.placed {
            return;
        }
        match fs::unlink(&self.dir, &self.name) {
            Ok(()) => {}
            // Somebody swept the directory by hand.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(%error, "cannot remove a staging file"),
        }
    }
}

/// Removes the files of `dir` whose names begin with `prefix` and that nobody works on (STORE, "Start").
pub(super) fn sweep(dir: BorrowedFd<'_>, prefix: &str) -> Result<(), StoreError> {
    for name in fs::names(dir).doing("read a directory")? {
        let name = name.doing("read a directory")?;
        if name.starts_with(prefix) && !remove_if_idle(dir, &name).doing("sweep a file")? {
            tracing::debug!(name, "left alone: somebody works on it, or it is no file");
        }
    }
    Ok(())
}

fn remove_if_idle(dir: BorrowedFd<'_>, name: &str) -> io::Result<bool> {
    match fs::identity_at(dir, name) {
        Ok(identity) if identity.kind == EntryKind::File => {}
        Ok(_) => return Ok(false),
        Err(error) => return gone_already(error),
    }
    // The lock, once taken, is held until the name is gone.
    let file = match fs::open_lock(dir, name) {
        Ok(file) => file,
        Err(error) => return gone_already(error),
    };
    if !fs::try_lock(&file)? {
        return Ok(false);
    }
    match fs::unlink(dir, name) {
        Ok(()) => Ok(true),
        Err(error) => gone_already(error),
    }
}

fn gone_already(error: io::Error) -> io::Result<bool> {
    if error.kind() == ErrorKind::NotFound { Ok(true) } else { Err(error) }
}

/// Random bytes of the system's.
pub(super) fn random<const N: usize>() -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    SysRng.try_fill_bytes(&mut bytes).map_err(io::Error::other).doing("get random bytes")?;
    Ok(bytes)
}

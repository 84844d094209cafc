//! Creates directories and empty files, and makes their names durable.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::{fs::OFlags, io::Errno};

use super::{
    install, owner,
    path::{dangling_link, directory_of},
};

/// Opens the file at `path` for reading and writing, and creates it with mode 0600 if it is
/// missing. What root creates in another user's directory is given to that user.
pub(crate) fn open_or_create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let flags = OFlags::NOFOLLOW.bits().cast_signed();
    options.read(true).write(true).custom_flags(flags).mode(0o600);
    loop {
        match options.create_new(false).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
        match options.create_new(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
            Ok(made) => {
                owner::give_to_directory_owner(&made, directory_of(path))?;
                return Ok(made);
            }
        }
    }
}

/// Creates `directory` and missing parents, with mode 0700.
pub(crate) fn create_directory(directory: &Path) -> io::Result<()> {
    let made = create_missing(directory, 0o700).map(drop);
    made.map_err(|error| dangling_link(directory).map_or(error, Into::into))
}

/// Creates `directory` and missing parents with `mode`; returns what was created, the innermost
/// last. What root creates in another user's directory is given to that user.
///
/// # Errors
/// Those of the file system.
pub fn create_missing(directory: &Path, mode: u32) -> io::Result<Vec<PathBuf>> {
    let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.is_dir();
    let missing: Vec<&Path> = directory.ancestors().take_while(is_missing).collect();
    let mut made = Vec::new();
    for path in missing.into_iter().rev() {
        match DirBuilder::new().mode(mode).create(path) {
            Ok(()) => {
                owner::give_directory_to_parent_owner(path)?;
                made.push(path.to_owned());
            }
            // Another process created it first.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(dangling_link(path).map_or(Errno::NOTDIR.into(), Into::into));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(made)
}

/// Makes new names in `directory` durable, if it can be opened and synced.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    match File::open(directory) {
        Ok(directory) => install::sync(&directory),
        // A user may be allowed to create names in a directory that it cannot read.
        Err(error) if install::is_unsupported(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

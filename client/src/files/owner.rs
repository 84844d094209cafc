//! Gives files that root creates in another user's directory to that user.
//!
//! `sudo zput` may keep the user's HOME, and root in a container often has a user's home. The user
//! could neither read nor replace a file that root owns there.

use std::{
    fs::{self, File, Metadata},
    io,
    os::unix::fs::{MetadataExt as _, fchown},
    path::Path,
};

use rustix::{
    fs::{Mode, OFlags, open},
    process::geteuid,
};

use super::{install::is_unsupported, path::directory_of};

/// Gives `file`, which this process has just created in `directory`, to the directory's owner, if
/// this is root and the owner is not.
///
/// # Errors
/// Those of the file system.
pub(crate) fn give_to_directory_owner(file: &File, directory: &Path) -> io::Result<()> {
    match other_owner(directory)? {
        Some(owner) => change_owner(file, &owner),
        None => Ok(()),
    }
}

/// The same for a directory that this process has just created. It is opened by name, and the
/// parent's owner may have replaced it, so only an empty directory that root owns is given away.
///
/// # Errors
/// Those of the file system.
pub(crate) fn give_directory_to_parent_owner(made: &Path) -> io::Result<()> {
    let Some(owner) = other_owner(directory_of(made))? else { return Ok(()) };
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    let directory = File::from(open(made, flags, Mode::empty())?);
    let is_empty = fs::read_dir(made)?.next().is_none();
    if directory.metadata()?.uid() == 0 && is_empty {
        change_owner(&directory, &owner)?;
    }
    Ok(())
}

/// Changes the owner. Ignored on file systems without owners (vfat, NFS with squashed root).
fn change_owner(file: &File, owner: &Metadata) -> io::Result<()> {
    match fchown(file, Some(owner.uid()), Some(owner.gid())) {
        Err(error) if is_unsupported(&error) => Ok(()),
        given => given,
    }
}

/// The metadata of `directory`, if this is root and its owner is not.
fn other_owner(directory: &Path) -> io::Result<Option<Metadata>> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let metadata = fs::metadata(directory)?;
    Ok((metadata.uid() != 0).then_some(metadata))
}

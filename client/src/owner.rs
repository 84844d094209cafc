//! What root makes in the directories of another user is that user's.
//!
//! `sudo zput` keeps HOME where it is told to, and a container's root often has a home that is a user's. A file that root
//! leaves there is one that the user can neither read nor replace afterwards.

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

use crate::{atomic::directory_of, naming::is_unsupported};

/// Gives `file`, which this process has just made in `directory`, to whom the directory belongs, if this is root and that is
/// somebody else.
///
/// # Errors
/// Those of the file system.
pub(crate) fn settle(file: &File, directory: &Path) -> io::Result<()> {
    match somebody_else(directory)? {
        Some(owner) => give(file, &owner),
        None => Ok(()),
    }
}

/// The same for a directory that this process has just made. It is opened by its name again, and the owner of the one above
/// may have put another into its place: only one that is root's and empty is given away.
///
/// # Errors
/// Those of the file system.
pub(crate) fn settle_directory(made: &Path) -> io::Result<()> {
    let Some(owner) = somebody_else(directory_of(made))? else { return Ok(()) };
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    let directory = File::from(open(made, flags, Mode::empty())?);
    let is_empty = fs::read_dir(made)?.next().is_none();
    if directory.metadata()?.uid() == 0 && is_empty {
        give(&directory, &owner)?;
    }
    Ok(())
}

/// Where owners are not to be had (vfat, NFS for a root that is nobody there), nothing is to be given.
fn give(file: &File, owner: &Metadata) -> io::Result<()> {
    match fchown(file, Some(owner.uid()), Some(owner.gid())) {
        Err(error) if is_unsupported(&error) => Ok(()),
        given => given,
    }
}

/// To whom `directory` belongs, if this is root and that is somebody else.
fn somebody_else(directory: &Path) -> io::Result<Option<Metadata>> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let metadata = fs::metadata(directory)?;
    Ok((metadata.uid() != 0).then_some(metadata))
}

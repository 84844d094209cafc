//! How a file that is complete and on the disk gets its name, also where the file system is no friend of that.
//!
//! ```text
//! Keep     renameat2(RENAME_NOREPLACE) → link and unlink → an empty file by O_EXCL, and rename over it → copied into that
//! Replace  rename → where something is mounted on the name, or renames are not to be had: copied into what is there
//! ```
//!
//! What is copied is not atomic: a crash meanwhile leaves part of it under the name. The file itself is complete until then.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Seek as _, SeekFrom},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use rustix::{
    fs::{CWD, OFlags, RenameFlags, renameat_with},
    io::Errno,
};
use tempfile::NamedTempFile;

use crate::{atomic::Existing, destination::is_planted};

/// Gives `file` the name `target`.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] by [`Existing::Keep`], and those of the file system. The file is gone then.
pub(crate) fn give(mut file: NamedTempFile, target: &Path, existing: Existing) -> io::Result<()> {
    let is_renamed = match existing {
        Existing::Replace => replace(&mut file, target)?,
        Existing::Keep => claim(&mut file, target)?,
    };
    // What was copied or linked has a name too many.
    file.disable_cleanup(is_renamed);
    Ok(())
}

/// Whether the file has lost its own name.
fn replace(file: &mut NamedTempFile, target: &Path) -> io::Result<bool> {
    match fs::rename(file.path(), target) {
        Ok(()) => Ok(true),
        Err(error) if is_no_place_for_renames(&error) => match fs::symlink_metadata(target) {
            Ok(there) if there.is_file() => {
                copy_into(file.as_file_mut(), target, &there).map(|()| false)
            }
            Ok(_) => Err(error),
            // Nothing to lose: nothing is replaced.
            Err(_) => claim(file, target),
        },
        Err(error) => Err(error),
    }
}

/// The same, where nothing may be replaced.
fn claim(file: &mut NamedTempFile, target: &Path) -> io::Result<bool> {
    match renameat_with(CWD, file.path(), CWD, target, RenameFlags::NOREPLACE) {
        Ok(()) => return Ok(true),
        Err(Errno::EXIST) => return Err(Errno::EXIST.into()),
        Err(error) if !is_refused(error) => return Err(error.into()),
        Err(_) => {}
    }
    match fs::hard_link(file.path(), target) {
        Ok(()) => return Ok(false),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error),
        Err(_) => {}
    }
    // The name is taken by an empty file first, which only one can make.
    let claimed = OpenOptions::new().write(true).create_new(true).mode(0o600).open(target)?;
    let ours = claimed.metadata()?;
    let renamed = match fs::rename(file.path(), target) {
        Ok(()) => return Ok(true),
        Err(error) if is_no_place_for_renames(&error) => {
            copy_into(file.as_file_mut(), target, &ours).map(|()| false)
        }
        Err(error) => Err(error),
    };
    if renamed.is_err() {
        let _unclaimed = fs::remove_file(target);
    }
    renamed
}

/// Writes all of `file` into what has the name `target`, which has to be what it was when it was looked at.
pub(crate) fn copy_into(file: &mut File, target: &Path, there: &Metadata) -> io::Result<()> {
    let flags = OFlags::NOFOLLOW | OFlags::NOCTTY;
    let mut options = OpenOptions::new();
    let mut into = options.write(true).custom_flags(flags.bits().cast_signed()).open(target)?;
    let found = into.metadata()?;
    if !found.is_file() || !is_same(&found, there) {
        return Err(io::Error::other("something else has its name by now"));
    }
    if is_planted(target, &found)? {
        return Err(io::Error::other("another user has put it where everybody may"));
    }
    if found.nlink() > 1 {
        return Err(io::Error::other(
            "it has other names, and what is written into it is under those, too",
        ));
    }
    file.seek(SeekFrom::Start(0))?;
    let length = io::copy(file, &mut into)?;
    into.set_len(length)?;
    sync(&into)
}

/// Whether they are of one file.
pub(crate) fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Syncs `file`, where its file system can.
///
/// # Errors
/// Those that say that what was written may not be there.
pub(crate) fn sync(file: &File) -> io::Result<()> {
    match file.sync_all() {
        Err(error) if is_unsupported(&error) => Ok(()),
        synced => synced,
    }
}

/// Whether it says that there is no such thing here, or not for this user, and nothing about the disk.
pub(crate) fn is_unsupported(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    errno.is_some_and(|errno| is_refused(errno) || matches!(errno, Errno::ROFS | Errno::BADF))
}

fn is_refused(errno: Errno) -> bool {
    // ENOTSUP and EOPNOTSUPP are one number on Linux.
    matches!(
        errno,
        Errno::PERM | Errno::ACCESS | Errno::NOTSUP | Errno::NOSYS | Errno::INVAL | Errno::NOTTY
    )
}

/// A file that is mounted on its name (Docker, Kubernetes: `subPath`) is busy; some file systems have no rename.
fn is_no_place_for_renames(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::BUSY | Errno::XDEV | Errno::NOSYS | Errno::NOTSUP | Errno::INVAL)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn temporary(directory: &Path) -> NamedTempFile {
        let mut file = NamedTempFile::new_in(directory).unwrap();
        io::Write::write_all(&mut file, b"new").unwrap();
        file
    }

    #[test]
    fn copying_is_into_what_was_looked_at_and_has_one_name() {
        let dir = tempfile::tempdir().unwrap();
        let (target, other) = (dir.path().join("target"), dir.path().join("other"));
        fs::write(&target, "old and longer").unwrap();
        let there = fs::symlink_metadata(&target).unwrap();
        copy_into(temporary(dir.path()).as_file_mut(), &target, &there).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");

        fs::hard_link(&target, &other).unwrap();
        let error = copy_into(temporary(dir.path()).as_file_mut(), &target, &there).unwrap_err();
        assert!(error.to_string().starts_with("it has other names"), "{error}");
        fs::remove_file(&target).unwrap();
        fs::write(&target, "another file").unwrap();
        let error = copy_into(temporary(dir.path()).as_file_mut(), &target, &there).unwrap_err();
        assert!(error.to_string().starts_with("something else"), "{error}");
        assert_eq!(fs::read(&target).unwrap(), b"another file");
    }

    #[test]
    fn what_another_user_put_where_everybody_may_is_not_copied_into() {
        if !rustix::process::geteuid().is_root() {
            return zput_skip::because("only root can make another user's file");
        }
        let dir = tempfile::tempdir().unwrap();
        let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o1777);
        fs::set_permissions(dir.path(), everybody).unwrap();
        let target = dir.path().join("target");
        fs::write(&target, "theirs").unwrap();
        std::os::unix::fs::chown(&target, Some(54_321), None).unwrap();
        let there = fs::symlink_metadata(&target).unwrap();
        let error = copy_into(temporary(dir.path()).as_file_mut(), &target, &there).unwrap_err();
        assert!(error.to_string().starts_with("another user has put it"), "{error}");
        assert_eq!(fs::read(&target).unwrap(), b"theirs");
    }

    #[test]
    fn a_name_that_is_taken_stays() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("target");
        give(temporary(dir.path()), &target, Existing::Keep).unwrap();
        let error = give(temporary(dir.path()), &target, Existing::Keep).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        give(temporary(dir.path()), &target, Existing::Replace).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

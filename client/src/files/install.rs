//! Gives a file that is complete and synced its final name, with fallbacks for file systems without
//! the best operation.
//!
//! ```text
//! Keep     renameat2(RENAME_NOREPLACE) → link and unlink → create by O_EXCL and rename over it → copy into that
//! Replace  rename → copy into the existing file, if the name is a mount point or renames are unsupported
//! ```
//!
//! A copy is not atomic: a crash during it leaves part of the contents under the name. The source
//! file is complete until then.

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

use super::destination::is_planted;

/// What to do if the output exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfExists {
    /// Replace a file, and write to a block device or to a pipe of another user.
    Replace,
    /// Fail, for a file with [`io::ErrorKind::AlreadyExists`].
    Keep,
}

/// Moves `file` to the name `target`.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] with [`IfExists::Keep`], and those of the file system. The file
/// is removed then.
pub(crate) fn rename_or_copy(
    mut file: NamedTempFile,
    target: &Path,
    if_exists: IfExists,
) -> io::Result<()> {
    let is_renamed = match if_exists {
        IfExists::Replace => replace(&mut file, target)?,
        IfExists::Keep => create_new(&mut file, target)?,
    };
    // After a copy or a link the temporary name is still there and has to be removed.
    file.disable_cleanup(is_renamed);
    Ok(())
}

/// Whether the file was moved away from its temporary name.
fn replace(file: &mut NamedTempFile, target: &Path) -> io::Result<bool> {
    match fs::rename(file.path(), target) {
        Ok(()) => Ok(true),
        Err(error) if cannot_rename(&error) => match fs::symlink_metadata(target) {
            Ok(there) if there.is_file() => {
                copy_into(file.as_file_mut(), target, &there).map(|()| false)
            }
            Ok(_) => Err(error),
            // There is nothing to replace.
            Err(_) => create_new(file, target),
        },
        Err(error) => Err(error),
    }
}

/// The same without replacing anything.
fn create_new(file: &mut NamedTempFile, target: &Path) -> io::Result<bool> {
    match renameat_with(CWD, file.path(), CWD, target, RenameFlags::NOREPLACE) {
        Ok(()) => return Ok(true),
        Err(Errno::EXIST) => return Err(Errno::EXIST.into()),
        Err(error) if !is_unavailable(error) => return Err(error.into()),
        Err(_) => {}
    }
    match fs::hard_link(file.path(), target) {
        Ok(()) => return Ok(false),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error),
        Err(_) => {}
    }
    // Creating the empty file claims the name: of several processes one succeeds.
    let placeholder = OpenOptions::new().write(true).create_new(true).mode(0o600).open(target)?;
    let ours = placeholder.metadata()?;
    let renamed = match fs::rename(file.path(), target) {
        Ok(()) => return Ok(true),
        Err(error) if cannot_rename(&error) => {
            copy_into(file.as_file_mut(), target, &ours).map(|()| false)
        }
        Err(error) => Err(error),
    };
    if renamed.is_err() {
        let _removed = fs::remove_file(target);
    }
    renamed
}

/// Writes all of `file` into the existing file `target`, which must still be the file described by
/// `there`.
pub(crate) fn copy_into(file: &mut File, target: &Path, expected: &Metadata) -> io::Result<()> {
    let flags = OFlags::NOFOLLOW | OFlags::NOCTTY;
    let mut options = OpenOptions::new();
    let mut into = options.write(true).custom_flags(flags.bits().cast_signed()).open(target)?;
    let found = into.metadata()?;
    if !found.is_file() || !is_same_file(&found, expected) {
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

/// Whether both describe the same file.
pub(crate) fn is_same_file(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Syncs `file`, if its file system can.
///
/// # Errors
/// Those that mean that the contents may not be on the disk.
pub(crate) fn sync(file: &File) -> io::Result<()> {
    match file.sync_all() {
        Err(error) if is_unsupported(&error) => Ok(()),
        synced => synced,
    }
}

/// Whether the error means that the operation is unsupported or not permitted here, as opposed to a
/// disk error.
pub(crate) fn is_unsupported(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    errno.is_some_and(|errno| is_unavailable(errno) || matches!(errno, Errno::ROFS | Errno::BADF))
}

fn is_unavailable(errno: Errno) -> bool {
    // ENOTSUP and EOPNOTSUPP are the same number on Linux.
    matches!(
        errno,
        Errno::PERM | Errno::ACCESS | Errno::NOTSUP | Errno::NOSYS | Errno::INVAL | Errno::NOTTY
    )
}

/// Whether renames are impossible here: a file that is itself a mount point (Docker, Kubernetes
/// `subPath`) is busy, and some file systems have no rename.
fn cannot_rename(error: &io::Error) -> bool {
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

    /// A copy goes only into the file that was looked up, if it has one name.
    #[test]
    fn copy_into_refuses_hard_linked_or_swapped_target() {
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

    /// A copy does not go into another user's file in a sticky world-writable directory.
    #[test]
    fn copy_into_refuses_planted_file_in_sticky_directory() {
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

    /// An existing file stays unless replacing it is requested.
    #[test]
    fn rename_or_copy_keeps_existing_name_unless_replacing() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("target");
        rename_or_copy(temporary(dir.path()), &target, IfExists::Keep).unwrap();
        let error = rename_or_copy(temporary(dir.path()), &target, IfExists::Keep).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        rename_or_copy(temporary(dir.path()), &target, IfExists::Replace).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

//! Small files that are replaced as a whole or not at all: key files and the rollback record.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::{
    create::{create_directory, sync_directory},
    destination,
    existing_target::ExistingTarget,
    install::{self, IfExists},
    owner,
    path::{dangling_link, directory_of},
};
use crate::cleanup::FileGuard;

/// A complete, synced file of mode 0600 beside its target. [`Staged::publish`] makes it the target;
/// dropping it removes it. A target that is a link stands for what it leads to.
#[derive(Debug)]
pub struct Staged {
    temp: tempfile::NamedTempFile,
    guard: FileGuard,
    target: PathBuf,
}

impl Staged {
    /// Writes `contents` beside `target` and syncs it; creates missing directories with mode 0700.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write(target: &Path, contents: &[u8]) -> io::Result<Self> {
        if let Some(link) = dangling_link(target) {
            return Err(link.into());
        }
        let target = destination::resolve_name(target)?;
        let directory = directory_of(&target);
        create_directory(directory)?;
        let (mut temp, guard) = FileGuard::create(directory)?;
        match ExistingTarget::lookup(&target)?.filter(|existing| existing.metadata().is_file()) {
            // If the owner cannot be kept, the file of secrets stays private to this user.
            Some(existing) => drop(existing.copy_owner_to(temp.as_file())),
            None => owner::give_to_directory_owner(temp.as_file(), directory)?,
        }
        temp.write_all(contents)?;
        install::sync(temp.as_file())?;
        Ok(Self { temp, guard, target })
    }

    /// Moves the file to its name and syncs the directory.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] with [`IfExists::Keep`], and those of the file system.
    pub fn publish(self, if_exists: IfExists) -> io::Result<()> {
        let target = self.target.clone();
        self.rename_into_place(if_exists)?;
        sync_directory(directory_of(&target))
    }

    /// Moves the file to its name; the caller syncs the directory.
    ///
    /// # Errors
    /// As of [`publish`](Self::publish).
    pub(crate) fn rename_into_place(self, if_exists: IfExists) -> io::Result<()> {
        let Self { temp, guard, target } = self;
        install::rename_or_copy(temp, &target, if_exists)?;
        drop(guard);
        Ok(())
    }
}

/// Writes a whole file: beside its target, synced, renamed.
///
/// # Errors
/// As of [`Staged::write`] and [`Staged::publish`].
pub(crate) fn write(target: &Path, contents: &[u8], if_exists: IfExists) -> io::Result<()> {
    Staged::write(target, contents)?.publish(if_exists)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    /// An atomic write creates a file of mode 0600 and replaces one only on request.
    #[test]
    fn atomic_write_is_private_and_keeps_existing_file() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a/b/file");
        write(&target, b"one", IfExists::Keep).unwrap();
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(fs::metadata(dir.path().join("a")).unwrap().permissions().mode() & 0o777, 0o700);
        let error = write(&target, b"two", IfExists::Keep).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&target).unwrap(), b"one");
        write(&target, b"three", IfExists::Replace).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"three");
        assert_eq!(fs::read_dir(target.parent().unwrap()).unwrap().count(), 1);
    }

    /// A staged file that is dropped before it is published is removed.
    #[test]
    fn staged_file_is_removed_unless_published() {
        let dir = tempfile::tempdir().unwrap();
        drop(Staged::write(&dir.path().join("file"), b"x").unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

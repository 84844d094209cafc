//! Small files that are replaced as a whole or not at all: key files and the rollback record.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::{fs::OFlags, io::Errno};
use thiserror::Error;

use crate::{
    cleanup::FileGuard,
    destination::{self, LINKS_MAX},
    existing_target::ExistingTarget,
    install, owner,
};

/// What to do if the file exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfExists {
    /// Replace it.
    Replace,
    /// Keep it and fail with [`io::ErrorKind::AlreadyExists`].
    Keep,
}

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
pub fn write(target: &Path, contents: &[u8], if_exists: IfExists) -> io::Result<()> {
    Staged::write(target, contents)?.publish(if_exists)
}

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
pub(crate) fn create_missing(directory: &Path, mode: u32) -> io::Result<Vec<PathBuf>> {
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

/// A symbolic link to a target that is missing: the name is taken, and nothing is there.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{} is a link to {}, which is missing (make that, mount what holds it, or remove the link)",
    link.display(), target.display()
)]
pub(crate) struct DanglingLink {
    link: PathBuf,
    target: PathBuf,
}

impl From<DanglingLink> for io::Error {
    fn from(link: DanglingLink) -> Self {
        Self::new(io::ErrorKind::NotFound, link)
    }
}

/// The dangling link on the way to `path` or at its end, if there is one.
pub(crate) fn dangling_link(path: &Path) -> Option<DanglingLink> {
    // Nothing exists behind a dangling link, so the deepest ancestor that exists is the only
    // candidate.
    let mut link = path.ancestors().find(|path| fs::symlink_metadata(path).is_ok())?.to_owned();
    if fs::metadata(&link).is_ok() {
        return None;
    }
    for _ in 0..LINKS_MAX {
        let target = directory_of(&link).join(fs::read_link(&link).ok()?);
        match fs::symlink_metadata(&target) {
            Ok(_) => link = target,
            Err(_) => return Some(DanglingLink { link, target }),
        }
    }
    None
}

/// The directory that contains `target`.
pub(crate) fn directory_of(target: &Path) -> &Path {
    match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
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

/// Whether the name exists, as a dangling link too.
pub(crate) fn is_taken(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_file_is_private_and_kept_unless_told() {
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

    #[test]
    fn a_link_to_nowhere_is_named_with_what_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let found = |name: &str| dangling_link(&at(name)).map(|d| (d.link, d.target));
        symlink("nowhere/else", at("first")).unwrap();
        symlink(at("first"), at("second")).unwrap();
        symlink("round", at("round")).unwrap();
        symlink(".", at("here")).unwrap();
        let nowhere = Some((at("first"), at("nowhere/else")));
        assert_eq!(found("first"), nowhere);
        assert_eq!(found("first/below/it"), nowhere);
        assert_eq!(found("here/second"), nowhere.map(|(_, target)| (at("first"), target)));
        for sound in ["", "missing", "here", "here/missing", "round"] {
            assert_eq!(found(sound), None, "{sound}");
        }
        let error = create_directory(&at("second/new")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains("nowhere/else, which is missing"), "{error}");
    }

    #[test]
    fn what_is_not_published_vanishes() {
        let dir = tempfile::tempdir().unwrap();
        drop(Staged::write(&dir.path().join("file"), b"x").unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

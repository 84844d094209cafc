//! Small files that are replaced whole or not at all: key files and the rollback record.

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
    naming, owner,
    standing::Standing,
};

/// What is done about a file that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It is replaced.
    Replace,
    /// It stays, and the write fails with [`io::ErrorKind::AlreadyExists`].
    Keep,
}

/// A file of mode 0600 beside its target, complete and on disk, that becomes the target by
/// [`Staged::publish`] and vanishes otherwise. Where the target is a link, what that leads to is the target.
#[derive(Debug)]
pub struct Staged {
    temp: tempfile::NamedTempFile,
    guard: FileGuard,
    target: PathBuf,
}

impl Staged {
    /// Writes `contents` beside `target` and syncs it; makes missing directories with mode 0700.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write(target: &Path, contents: &[u8]) -> io::Result<Self> {
        if let Some(link) = dangling_link(target) {
            return Err(link.into());
        }
        let target = destination::name(target)?;
        let directory = directory_of(&target);
        make_directory(directory)?;
        let (mut temp, guard) = FileGuard::make(directory)?;
        match Standing::at(&target)?.filter(|standing| standing.metadata().is_file()) {
            // What cannot be kept of a file of secrets is less than it was: the file stays private.
            Some(standing) => drop(standing.bequeath_owner(temp.as_file())),
            None => owner::settle(temp.as_file(), directory)?,
        }
        temp.write_all(contents)?;
        naming::sync(temp.as_file())?;
        Ok(Self { temp, guard, target })
    }

    /// Gives the file its name, and syncs the directory.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] by [`Existing::Keep`], and those of the file system.
    pub fn publish(self, existing: Existing) -> io::Result<()> {
        let target = self.target.clone();
        self.place(existing)?;
        sync_directory(directory_of(&target))
    }

    /// Gives the file its name; the caller syncs the directory.
    ///
    /// # Errors
    /// As of [`publish`](Self::publish).
    pub(crate) fn place(self, existing: Existing) -> io::Result<()> {
        let Self { temp, guard, target } = self;
        naming::give(temp, &target, existing)?;
        drop(guard);
        Ok(())
    }
}

/// Writes a whole file: beside its target, synced, renamed.
///
/// # Errors
/// As of [`Staged::write`] and [`Staged::publish`].
pub fn write(target: &Path, contents: &[u8], existing: Existing) -> io::Result<()> {
    Staged::write(target, contents)?.publish(existing)
}

/// Opens the file at `path` for reading and writing, a new one of mode 0600 if there is none. What root makes in another
/// user's directory is that user's.
pub(crate) fn open_or_make(path: &Path) -> io::Result<File> {
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
                owner::settle(&made, directory_of(path))?;
                return Ok(made);
            }
        }
    }
}

/// Makes `directory` and what is missing above it, with mode 0700.
pub(crate) fn make_directory(directory: &Path) -> io::Result<()> {
    let made = make_missing(directory, 0o700).map(drop);
    made.map_err(|error| dangling_link(directory).map_or(error, Into::into))
}

/// Makes `directory` and what is missing above it with `mode`; gives what was made, the innermost last. What root makes in
/// another user's directory is that user's.
pub(crate) fn make_missing(directory: &Path, mode: u32) -> io::Result<Vec<PathBuf>> {
    let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.is_dir();
    let missing: Vec<&Path> = directory.ancestors().take_while(is_missing).collect();
    let mut made = Vec::new();
    for path in missing.into_iter().rev() {
        match DirBuilder::new().mode(mode).create(path) {
            Ok(()) => {
                owner::settle_directory(path)?;
                made.push(path.to_owned());
            }
            // Another process was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(dangling_link(path).map_or(Errno::NOTDIR.into(), Into::into));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(made)
}

/// A symbolic link whose target is missing: its name is taken and nothing is there.
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

/// The link on the way to `path`, or at its end, that leads nowhere.
pub(crate) fn dangling_link(path: &Path) -> Option<DanglingLink> {
    // Whatever is behind a link that leads nowhere is not there: the first that is, from below, counts.
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

/// The directory that holds `target`.
pub(crate) fn directory_of(target: &Path) -> &Path {
    match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes new names in `directory` durable, where it can be opened and synced.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    match File::open(directory) {
        Ok(directory) => naming::sync(&directory),
        // Who may make names in it need not be able to read it.
        Err(error) if naming::is_unsupported(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whether anything at all has this name, dangling links included.
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
        write(&target, b"one", Existing::Keep).unwrap();
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(fs::metadata(dir.path().join("a")).unwrap().permissions().mode() & 0o777, 0o700);
        let error = write(&target, b"two", Existing::Keep).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&target).unwrap(), b"one");
        write(&target, b"three", Existing::Replace).unwrap();
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
        let error = make_directory(&at("second/new")).unwrap_err();
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

//! Small files that are replaced whole or not at all: key files and the rollback record.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use thiserror::Error;

use crate::cleanup::FileGuard;

/// What is done about a file that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It is replaced.
    Replace,
    /// It stays, and the write fails with [`io::ErrorKind::AlreadyExists`].
    Keep,
}

/// A file of mode 0600 beside its target, complete and on disk, that becomes the target by
/// [`Staged::publish`] and vanishes otherwise.
#[derive(Debug)]
pub struct Staged {
    temp: tempfile::NamedTempFile,
    guard: FileGuard,
}

impl Staged {
    /// Writes `contents` beside `target` and syncs it; makes missing directories with mode 0700.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write(target: &Path, contents: &[u8]) -> io::Result<Self> {
        let directory = directory_of(target);
        make_directory(directory)?;
        let (mut temp, guard) = FileGuard::make(directory)?;
        temp.write_all(contents)?;
        temp.as_file().sync_all()?;
        Ok(Self { temp, guard })
    }

    /// Gives the file its name, and syncs the directory.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] by [`Existing::Keep`], and those of the file system.
    pub fn publish(self, target: &Path, existing: Existing) -> io::Result<()> {
        self.place(target, existing)?;
        sync_directory(directory_of(target))
    }

    /// Gives the file its name; the caller syncs the directory.
    ///
    /// # Errors
    /// As of [`publish`](Self::publish).
    pub(crate) fn place(self, target: &Path, existing: Existing) -> io::Result<()> {
        match existing {
            Existing::Replace => self.temp.persist(target),
            Existing::Keep => self.temp.persist_noclobber(target),
        }
        .map_err(|error| error.error)?;
        drop(self.guard);
        Ok(())
    }
}

/// Writes a whole file: beside its target, synced, renamed.
///
/// # Errors
/// As of [`Staged::write`] and [`Staged::publish`].
pub fn write(target: &Path, contents: &[u8], existing: Existing) -> io::Result<()> {
    Staged::write(target, contents)?.publish(target, existing)
}

/// Makes `directory` and what is missing above it, with mode 0700.
pub(crate) fn make_directory(directory: &Path) -> io::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|error| dangling_link(directory).map_or(error, Into::into))
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

/// Links that are followed one after the other; path_resolution(7): the kernel follows as many.
const LINKS_MAX: usize = 40;

/// The directory that holds `target`.
pub(crate) fn directory_of(target: &Path) -> &Path {
    match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes new names in `directory` durable.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
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

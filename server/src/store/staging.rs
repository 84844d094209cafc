//! Files that are being written: created under a random name, locked as long as a thread works on
//! them, and removed unless they are renamed into place or kept to be resumed.
//!
//! Unlinking or replacing a name in such a directory requires the flock of the file that has the
//! name. While a thread holds a file's lock, the file's name cannot change.

use std::{
    fs::File,
    io::{self, ErrorKind},
    os::fd::{AsFd, BorrowedFd},
};

use super::{
    error::{Context, StoreError},
    random,
};
use crate::sys::fs::{self, EntryKind, FileStat};

/// A locked file in directory `D`. Dropping it removes the file, unless it is to be kept.
#[derive(Debug)]
pub(super) struct Staged<D: AsFd> {
    dir: D,
    name: String,
    file: File,
    on_drop: OnDrop,
}

/// What dropping a [`Staged`] does with its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnDrop {
    /// The file is removed.
    Remove,
    /// The file keeps its name, under which it can be reopened.
    Keep,
    /// The file is in its place, under another name.
    Nothing,
}

impl<D: AsFd + Clone> Staged<D> {
    /// Creates a file whose name is `prefix` and 32 random digits, and locks it; `dir` is `path`
    /// from the store's directory.
    pub(super) fn create(dir: &D, path: &str, prefix: &str) -> Result<Self, StoreError> {
        loop {
            let name = format!("{prefix}{}", hex::encode(random::bytes::<16>()?));
            let file =
                fs::create(dir, &name).context_file("create a file", format!("{path}/{name}"))?;
            let staged = Self { dir: dir.clone(), name, file, on_drop: OnDrop::Remove };
            // A process that opens the store right now may have found the file before it was
            // locked. That process then holds the lock, or has removed the file already, so another
            // name is tried.
            let locked = fs::try_lock(&staged.file).context("lock a file")?;
            if locked && staged.stat()?.named {
                return Ok(staged);
            }
        }
    }

    /// Locks the file with this name, if there is one that was not committed. It is kept when this
    /// value is dropped.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while another connection or process has the lock.
    pub(super) fn reopen(dir: &D, name: &str) -> Result<Option<Self>, StoreError> {
        match fs::open_write(dir, name) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            file => Self::lock_named(dir, name, file.context_file("open an upload", name)?),
        }
    }

    /// Locks a file that had this name a moment ago.
    fn lock_named(dir: &D, name: &str, file: File) -> Result<Option<Self>, StoreError> {
        if !fs::try_lock(&file).context("lock a file")? {
            return Err(StoreError::InUse);
        }
        if !has_name(dir, name, &file).context("look at a file")? {
            // It was replaced, or is an object by now: this lock does not cover the file that has
            // the name.
            return Err(StoreError::InUse);
        }
        let mut staged =
            Self { dir: dir.clone(), name: name.to_owned(), file, on_drop: OnDrop::Keep };
        let stat = staged.stat()?;
        if stat.kind == EntryKind::File && !stat.linked {
            return Ok(Some(staged));
        }
        // A crash may leave the old name of a committed file, which must not be written to.
        staged.remove_on_drop();
        Ok(None)
    }
}

impl<D: AsFd> Staged<D> {
    /// The file's name in its directory.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The open file.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// The file's metadata.
    pub(super) fn stat(&self) -> Result<FileStat, StoreError> {
        fs::stat(&self.file).context("look at a file")
    }

    /// Renames the file to its place, replacing an existing file there.
    pub(super) fn rename_into_place(
        &mut self,
        to: impl AsFd,
        name: &str,
    ) -> Result<(), StoreError> {
        fs::rename(&self.dir, &self.name, to, name)
            .context_file("rename a file into place", name)?;
        self.on_drop = OnDrop::Nothing;
        Ok(())
    }

    /// Gives the file the name under which it is kept when this value is dropped. A file that has
    /// the name is removed, unless it is locked: then this file keeps its own name, and is not
    /// kept.
    pub(super) fn name_for_resume(&mut self, name: &str) -> Result<(), StoreError> {
        if self.name == name {
            self.on_drop = OnDrop::Keep;
            return Ok(());
        }
        // RENAME_NOREPLACE: of two files that are named at once, neither takes the other's name.
        let rename = || fs::rename_new(&self.dir, &self.name, name);
        let renamed = match rename() {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                if !remove_if_unlocked(self.dir.as_fd(), name).context("replace an upload")? {
                    return Ok(());
                }
                rename()
            }
            renamed => renamed,
        };
        match renamed {
            // Another upload was faster, or the file system only has renames that replace: the file
            // is not kept.
            Err(error)
                if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::InvalidInput) => {}
            renamed => {
                renamed.context("name an upload")?;
                self.name = name.to_owned();
                self.on_drop = OnDrop::Keep;
            }
        }
        Ok(())
    }

    /// Dropping this value removes the file, whatever its name is by then; but not once it is in
    /// its place, when another file may have its old name.
    pub(super) fn remove_on_drop(&mut self) {
        if self.on_drop != OnDrop::Nothing {
            self.on_drop = OnDrop::Remove;
        }
    }
}

impl<D: AsFd> Drop for Staged<D> {
    fn drop(&mut self) {
        let ended = match self.on_drop {
            OnDrop::Remove => fs::unlink(&self.dir, &self.name),
            // Closing the file is not enough: a child process that was just forked has the
            // descriptor until its exec.
            OnDrop::Keep => fs::unlock(&self.file),
            OnDrop::Nothing => Ok(()),
        };
        match ended {
            Ok(()) => {}
            // The operator removed the file by hand.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(file = self.name, %error, "cannot remove or unlock a staging file");
            }
        }
    }
}

/// Removes the files of `dir`, which is `path` from the store's directory, that `select` returns
/// true for and that are not locked (STORE, "Start"). Returns how many were removed. A file that
/// cannot be removed is logged and left.
pub(super) fn remove_abandoned(
    dir: BorrowedFd<'_>,
    path: &str,
    select: impl Fn(&str, &FileStat) -> bool,
) -> Result<usize, StoreError> {
    let mut removed = 0;
    for name in fs::names(dir).context_read("read a directory", path)? {
        let name = name.context_read("read a directory", path)?;
        let found = match fs::stat_at(dir, &name) {
            // It was committed or discarded meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            found => found.context_read("look at a file", format!("{path}/{name}"))?,
        };
        if !select(&name, &found) {
            continue;
        }
        let removal = match found.kind {
            EntryKind::File => remove_if_unlocked(dir, &name),
            _ => Ok(false),
        };
        match removal {
            Ok(true) => removed += 1,
            Ok(false) => {
                tracing::debug!(name, "left alone: it is locked, or is not a regular file");
            }
            // It may belong to another user. It does no harm.
            Err(error) => {
                tracing::warn!(directory = path, name, %error, "cannot remove an abandoned file")
            }
        }
    }
    Ok(removed)
}

/// Removes a file that is not locked. Returns whether the name is free now.
fn remove_if_unlocked(dir: BorrowedFd<'_>, name: &str) -> io::Result<bool> {
    // The lock, once taken, is held until the name is gone.
    let file = match fs::open_lock(dir, name) {
        Ok(file) => file,
        Err(error) => return is_gone(error),
    };
    // By now the name may stand for another file, which this lock does not cover.
    if !fs::try_lock(&file)? || !has_name(dir, name, &file)? {
        return Ok(false);
    }
    match fs::unlink(dir, name) {
        Ok(()) => Ok(true),
        Err(error) => is_gone(error),
    }
}

/// Whether `name` stands for this file.
pub(super) fn has_name(dir: impl AsFd, name: &str, file: &File) -> io::Result<bool> {
    match fs::stat_at(dir, name) {
        Ok(found) => Ok(found.inode == fs::stat(file)?.inode),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether an error says that the name is free. openat2(2) returns `EXDEV` for a name that is being
/// renamed while it looks: that file is in use.
fn is_gone(error: io::Error) -> io::Result<bool> {
    match error.kind() {
        ErrorKind::NotFound => Ok(true),
        ErrorKind::CrossesDevices => Ok(false),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use super::*;

    /// The file was committed between the open and the lock. It still has one name, and must not be
    /// written to.
    #[test]
    fn staged_lock_refuses_file_renamed_before_lock() {
        let dir = tempfile::tempdir().unwrap();
        let fd = std::sync::Arc::new(OwnedFd::from(File::open(dir.path()).unwrap()));
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("upload"), "bytes").unwrap();
        let opened = || fs::open_lock(&fd, "upload").unwrap();
        assert!(Staged::lock_named(&fd, "upload", opened()).unwrap().is_some());

        let file = opened();
        std::fs::rename(at("upload"), at("object")).unwrap();
        assert!(matches!(Staged::lock_named(&fd, "upload", file), Err(StoreError::InUse)));
        std::fs::rename(at("object"), at("upload")).unwrap();
        let file = opened();
        std::fs::write(at("another"), "others").unwrap();
        std::fs::rename(at("another"), at("upload")).unwrap();
        assert!(matches!(Staged::lock_named(&fd, "upload", file), Err(StoreError::InUse)));
        assert_eq!(std::fs::read(at("upload")).unwrap(), b"others");
    }
}

//! Files under way: made under a random name, locked as long as somebody works on them, and removed unless
//! they are renamed into their place, or are worth keeping.
//!
//! Whoever takes a name out of such a directory, or puts another file in its place, holds the lock of the file that has
//! it. So the name of a file whose lock is held stays that file's.

use std::{
    fs::File,
    io::{self, ErrorKind},
    os::fd::{AsFd, BorrowedFd},
};

use rand::{TryRng, rngs::SysRng};

use super::error::{Doing, StoreError};
use crate::sys::fs::{self, EntryKind, Identity};

/// A locked file under way in directory `D`. Dropping it removes the file, unless it stays.
#[derive(Debug)]
pub(super) struct Staged<D: AsFd> {
    dir: D,
    name: String,
    file: File,
    fate: Fate,
}

/// What becomes of a file when nobody works on it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is removed.
    Goes,
    /// It keeps its name, to be found by it.
    Stays,
    /// It is where it belongs.
    Placed,
}

impl<D: AsFd + Clone> Staged<D> {
    /// Makes a file whose name is `prefix` and 32 random digits, and locks it; `dir` is `path` from the store's own.
    pub(super) fn create(dir: &D, path: &str, prefix: &str) -> Result<Self, StoreError> {
        loop {
            let name = format!("{prefix}{}", hex::encode(random::<16>()?));
            let file =
                fs::create(dir, &name).doing_to("create a file", format!("{path}/{name}"))?;
            let staged = Self { dir: dir.clone(), name, file, fate: Fate::Goes };
            // A store that starts right now may have found the file before it was locked: then it holds
            // the lock, or has removed the file already. Another name, then.
            let locked = fs::try_lock(&staged.file).doing("lock a file")?;
            if locked && staged.identity()?.named {
                return Ok(staged);
            }
        }
    }

    /// Locks the file with this name, if there is one that nobody has placed. It stays when this is dropped.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while somebody else works on it.
    pub(super) fn reopen(dir: &D, name: &str) -> Result<Option<Self>, StoreError> {
        match fs::open_write(dir, name) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            file => Self::take(dir, name, file.doing_to("open an upload", name)?),
        }
    }

    /// Locks a file that had this name a moment ago.
    fn take(dir: &D, name: &str, file: File) -> Result<Option<Self>, StoreError> {
        if !fs::try_lock(&file).doing("lock a file")? {
            return Err(StoreError::InUse);
        }
        if !has_name(dir, name, &file).doing("look at a file")? {
            // It was replaced, or is an object by now, and this lock says nothing about what has the name.
            return Err(StoreError::InUse);
        }
        let mut staged = Self { dir: dir.clone(), name: name.to_owned(), file, fate: Fate::Stays };
        let identity = staged.identity()?;
        if identity.kind == EntryKind::File && !identity.linked {
            return Ok(Some(staged));
        }
        // A crash may leave the old name of a file that was placed: nobody may write to that one.
        staged.goes();
        Ok(None)
    }
}

impl<D: AsFd> Staged<D> {
    /// What it is called in its directory.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The file.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// What is known of the file.
    pub(super) fn identity(&self) -> Result<Identity, StoreError> {
        fs::identity(&self.file).doing("look at a file")
    }

    /// Renames the file to where it belongs, in place of what is there.
    pub(super) fn place(mut self, to: impl AsFd, name: &str) -> Result<(), StoreError> {
        fs::rename(&self.dir, &self.name, to, name).doing_to("rename a file into place", name)?;
        self.fate = Fate::Placed;
        Ok(())
    }

    /// Gives the file another name in its directory, by which it is found when it stays. What has that name goes, unless
    /// somebody works on it: then this file keeps its own name, and does not stay.
    pub(super) fn settle(&mut self, name: &str) -> Result<(), StoreError> {
        if self.name == name {
            self.fate = Fate::Stays;
            return Ok(());
        }
        // Two that settle at once do not take each other's name.
        let rename = || fs::rename_new(&self.dir, &self.name, name);
        let renamed = match rename() {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                if !remove_if_idle(self.dir.as_fd(), name).doing("replace an upload")? {
                    return Ok(());
                }
                rename()
            }
            renamed => renamed,
        };
        match renamed {
            // Somebody else was faster, or a file system that only replaces: nothing is kept there.
            Err(error)
                if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::InvalidInput) => {}
            renamed => {
                renamed.doing("name an upload")?;
                self.name = name.to_owned();
                self.fate = Fate::Stays;
            }
        }
        Ok(())
    }

    /// The file goes when this is dropped, whatever it was called.
    pub(super) fn goes(&mut self) {
        self.fate = Fate::Goes;
    }
}

impl<D: AsFd> Drop for Staged<D> {
    fn drop(&mut self) {
        let ended = match self.fate {
            Fate::Goes => fs::unlink(&self.dir, &self.name),
            // Closing it is not enough where a process that was started just now has the descriptor until its exec.
            Fate::Stays => fs::unlock(&self.file),
            Fate::Placed => Ok(()),
        };
        match ended {
            Ok(()) => {}
            // Somebody swept the directory by hand.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(file = self.name, %error, "cannot let go of a staging file");
            }
        }
    }
}

/// Removes the files of `dir`, which is `path` from the store's directory, that `go` picks and that nobody works on (STORE,
/// "Start"). Returns how many. One that cannot be removed stays, and the log says so.
pub(super) fn sweep(
    dir: BorrowedFd<'_>,
    path: &str,
    go: impl Fn(&str, &Identity) -> bool,
) -> Result<usize, StoreError> {
    let mut removed = 0;
    for name in fs::names(dir).reading("read a directory", path)? {
        let name = name.reading("read a directory", path)?;
        let found = match fs::identity_at(dir, &name) {
            // It was placed or given up since.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            found => found.reading("look at a file", format!("{path}/{name}"))?,
        };
        if !go(&name, &found) {
            continue;
        }
        let swept = match found.kind {
            EntryKind::File => remove_if_idle(dir, &name),
            _ => Ok(false),
        };
        match swept {
            Ok(true) => removed += 1,
            Ok(false) => {
                tracing::debug!(name, "left alone: somebody works on it, or it is no file");
            }
            // Another user's, perhaps. It is in nobody's way.
            Err(error) => tracing::warn!(directory = path, name, %error, "cannot be swept away"),
        }
    }
    Ok(removed)
}

/// Removes a file that nobody works on. Whether nothing has the name any more.
fn remove_if_idle(dir: BorrowedFd<'_>, name: &str) -> io::Result<bool> {
    // The lock, once taken, is held until the name is gone.
    let file = match fs::open_lock(dir, name) {
        Ok(file) => file,
        Err(error) => return gone_already(error),
    };
    // By now the name may be another file's, whose lock this is not.
    if !fs::try_lock(&file)? || !has_name(dir, name, &file)? {
        return Ok(false);
    }
    match fs::unlink(dir, name) {
        Ok(()) => Ok(true),
        Err(error) => gone_already(error),
    }
}

/// Whether `name` stands for this file.
pub(super) fn has_name(dir: impl AsFd, name: &str, file: &File) -> io::Result<bool> {
    match fs::identity_at(dir, name) {
        Ok(found) => Ok(found.inode == fs::identity(file)?.inode),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// openat2(2) says `EXDEV` of a name that is being renamed away while it looks: it is somebody's, and so not idle.
fn gone_already(error: io::Error) -> io::Result<bool> {
    match error.kind() {
        ErrorKind::NotFound => Ok(true),
        ErrorKind::CrossesDevices => Ok(false),
        _ => Err(error),
    }
}

/// Random bytes of the system's.
pub(super) fn random<const N: usize>() -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    SysRng.try_fill_bytes(&mut bytes).map_err(io::Error::other).doing("get random bytes")?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use super::*;

    /// Between the open and the lock it was committed: it has one name still, and nobody may write to it.
    #[test]
    fn a_file_that_was_placed_before_it_was_locked_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let fd = std::sync::Arc::new(OwnedFd::from(File::open(dir.path()).unwrap()));
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("upload"), "bytes").unwrap();
        let opened = || fs::open_lock(&fd, "upload").unwrap();
        assert!(Staged::take(&fd, "upload", opened()).unwrap().is_some());

        let file = opened();
        std::fs::rename(at("upload"), at("object")).unwrap();
        assert!(matches!(Staged::take(&fd, "upload", file), Err(StoreError::InUse)));
        std::fs::rename(at("object"), at("upload")).unwrap();
        let file = opened();
        std::fs::write(at("another"), "others").unwrap();
        std::fs::rename(at("another"), at("upload")).unwrap();
        assert!(matches!(Staged::take(&fd, "upload", file), Err(StoreError::InUse)));
        assert_eq!(std::fs::read(at("upload")).unwrap(), b"others");
    }
}

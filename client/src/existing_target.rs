//! What has a name already, and what of it a new file in its place keeps.

use std::{
    fs::{self, File, Metadata, OpenOptions, Permissions},
    io,
    os::unix::fs::{
        FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Access, Mode, OFlags, XattrFlags, access, fsetxattr, lgetxattr, llistxattr, open},
    io::Errno,
    process::geteuid,
};

use crate::{
    destination::is_planted,
    naming::{is_same, is_unsupported},
};

/// Longest list of extended attributes, and longest value of one; xattr(7): Linux has no longer ones.
const XATTR_MAX_BYTES: usize = 65_536;

/// Something that has a name. It is held open, so that it is known again.
#[derive(Debug)]
pub(crate) struct Standing {
    _held: File,
    path: PathBuf,
    metadata: Metadata,
}

impl Standing {
    /// What has the name `path`, if anything has: nothing is opened by that, as far as it would notice.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn at(path: &Path) -> io::Result<Option<Self>> {
        match open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
            Ok(held) => {
                let held = File::from(held);
                let metadata = held.metadata()?;
                Ok(Some(Self { _held: held, path: path.to_owned(), metadata }))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Opens it for writing, once: another that has its name by now gets nothing.
    ///
    /// # Errors
    /// When something else has its name by now, and those of the file system.
    pub(crate) fn open(&self) -> io::Result<File> {
        let flags = (OFlags::NOFOLLOW | OFlags::NOCTTY).bits().cast_signed();
        let file = OpenOptions::new().write(true).custom_flags(flags).open(&self.path)?;
        let metadata = file.metadata()?;
        if is_same(&metadata, &self.metadata) && metadata.file_type() == self.metadata.file_type() {
            return Ok(file);
        }
        Err(io::Error::other("something else has its name by now (try again)"))
    }

    /// Whether writing to it gives what is written to another user: it is theirs, and no device of the machine.
    pub(crate) fn is_foreign(&self) -> bool {
        let is_device = self.metadata.file_type().is_char_device()
            && fs::canonicalize(&self.path).is_ok_and(|path| path.starts_with("/dev"));
        is_another_users(self.metadata.uid()) && !is_device
    }

    /// Whether it is a file that this user may write, although nothing may be made beside it.
    pub(crate) fn is_writable(&self) -> bool {
        self.metadata.is_file()
            && self.metadata.nlink() == 1
            && is_planted(&self.path, &self.metadata).is_ok_and(|is_planted| !is_planted)
            && access(&self.path, Access::WRITE_OK).is_ok()
    }

    /// Gives `file`, which is to take its place, its owner and group, its access list and its attributes.
    ///
    /// A file that another user has put where everybody may is replaced like any other, but its owner gets nothing of the
    /// new one.
    ///
    /// # Errors
    /// When some of it cannot be kept. What can be is kept all the same, and nobody may do more than before: the mode is to
    /// be narrowed by [`mode`](Self::mode).
    pub(crate) fn bequeath(&self, file: &File) -> io::Result<()> {
        if is_planted(&self.path, &self.metadata)? {
            return Ok(());
        }
        let owned = self.give_owner(file);
        let kept = self.copy_attributes(file);
        owned.and(kept)
    }

    /// The same of owner and group alone: a file of secrets has no access list.
    ///
    /// # Errors
    /// As of [`bequeath`](Self::bequeath).
    pub(crate) fn bequeath_owner(&self, file: &File) -> io::Result<()> {
        if is_planted(&self.path, &self.metadata)? { Ok(()) } else { self.give_owner(file) }
    }

    fn give_owner(&self, file: &File) -> io::Result<()> {
        let made = file.metadata()?;
        let (uid, gid) = (self.metadata.uid(), self.metadata.gid());
        if (made.uid(), made.gid()) == (uid, gid) {
            return Ok(());
        }
        // Who may not give a file away may still be a member of the group.
        fchown(file, Some(uid), Some(gid)).inspect_err(|_| {
            let _group = fchown(file, None, Some(gid));
        })
    }

    /// Those that its owner made, and its access list. What the kernel or an administrator has put there (capabilities,
    /// signatures) was for the old contents.
    fn copy_attributes(&self, file: &File) -> io::Result<()> {
        let mut list = vec![0; XATTR_MAX_BYTES];
        let length = match llistxattr(&self.path, &mut list[..]) {
            Ok(length) => length,
            Err(error) if is_unsupported(&error.into()) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let mut kept = Ok(());
        let names = list.get(..length).unwrap_or_default().split(|byte| *byte == 0);
        for name in names.filter(|name| is_kept(name)) {
            let mut value = vec![0; XATTR_MAX_BYTES];
            let copied = lgetxattr(&self.path, name, &mut value[..]).and_then(|length| {
                let value = value.get(..length).unwrap_or_default();
                fsetxattr(file, name, value, XattrFlags::empty())
            });
            if let Err(error) = copied {
                kept = Err(error.into());
            }
        }
        kept
    }

    /// Of the permission bits `wanted`, or of all that it had, those that a file in its place may have: none that it had not, and
    /// for the group none if the group is another one.
    pub(crate) fn mode(&self, wanted: Option<u32>, file: &Metadata) -> u32 {
        let mode = self.metadata.mode() & 0o777 & wanted.unwrap_or(0o777);
        if file.gid() == self.metadata.gid() { mode } else { mode & !0o070 }
    }
}

/// Whether what has this owner gives what is written to it to somebody else than this user and root, who has it anyhow.
pub(crate) fn is_another_users(owner: u32) -> bool {
    is_not_of(geteuid().as_raw(), owner)
}

fn is_not_of(user: u32, owner: u32) -> bool {
    owner != 0 && owner != user
}

fn is_kept(name: &[u8]) -> bool {
    name.starts_with(b"user.") || name == b"system.posix_acl_access"
}

/// Gives `file` this mode.
///
/// # Errors
/// Those of the file system.
pub(crate) fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    if file.metadata()?.mode() & 0o7777 == mode {
        return Ok(());
    }
    file.set_permissions(Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_roots_or_ones_own_is_nobody_elses() {
        for (user, owner, is) in
            [(0, 0, false), (0, 7, true), (7, 7, false), (7, 0, false), (7, 8, true)]
        {
            assert_eq!(is_not_of(user, owner), is, "{owner}'s, for {user}");
        }
    }

    #[test]
    fn what_took_the_place_of_a_device_or_a_pipe_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["first", "second", "file"] {
            fs::write(at(name), "x").unwrap();
        }
        let standing = Standing::at(&at("first")).unwrap().unwrap();
        assert!(standing.open().is_ok());
        // A link is none of it, though it leads there.
        fs::rename(at("first"), at("moved")).unwrap();
        std::os::unix::fs::symlink("moved", at("first")).unwrap();
        assert!(standing.open().is_err(), "a link to it");
        fs::rename(at("second"), at("first")).unwrap();
        let error = standing.open().unwrap_err();
        assert!(error.to_string().starts_with("something else has its name by now"), "{error}");
        fs::remove_file(at("first")).unwrap();
        std::os::unix::fs::symlink("file", at("first")).unwrap();
        assert!(standing.open().is_err(), "a link");
        fs::rename(at("file"), at("first")).unwrap();
        assert!(standing.open().is_err(), "another file");
        assert_eq!(fs::read(at("first")).unwrap(), b"x");
    }
}

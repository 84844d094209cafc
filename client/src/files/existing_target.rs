//! A file that has the target's name already, and what its replacement keeps of it.

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

use super::{
    destination::is_planted,
    install::{is_same_file, is_unsupported},
};

/// Longest list of extended attributes and longest value, in bytes; Linux has the same limits
/// (xattr(7)).
const XATTR_MAX_BYTES: usize = 65_536;

/// An existing file, pipe, device or socket. The handle keeps its inode number from being reused.
#[derive(Debug)]
pub(crate) struct ExistingTarget {
    _handle: File,
    path: PathBuf,
    metadata: Metadata,
}

impl ExistingTarget {
    /// What has the name `path`, without opening it for reading or writing; `None` if nothing has.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn lookup(path: &Path) -> io::Result<Option<Self>> {
        match open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
            Ok(handle) => {
                let handle = File::from(handle);
                let metadata = handle.metadata()?;
                Ok(Some(Self { _handle: handle, path: path.to_owned(), metadata }))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Opens it for writing.
    ///
    /// # Errors
    /// When something else has the name by now, and those of the file system.
    pub(crate) fn open(&self) -> io::Result<File> {
        let flags = (OFlags::NOFOLLOW | OFlags::NOCTTY).bits().cast_signed();
        let file = OpenOptions::new().write(true).custom_flags(flags).open(&self.path)?;
        let metadata = file.metadata()?;
        if is_same_file(&metadata, &self.metadata)
            && metadata.file_type() == self.metadata.file_type()
        {
            return Ok(file);
        }
        Err(io::Error::other("something else has its name by now (try again)"))
    }

    /// Whether another user would receive what is written to it: it belongs to that user and is not
    /// a device of the machine.
    pub(crate) fn belongs_to_other_user(&self) -> bool {
        let is_device = self.metadata.file_type().is_char_device()
            && fs::canonicalize(&self.path).is_ok_and(|path| path.starts_with("/dev"));
        is_other_user(self.metadata.uid()) && !is_device
    }

    /// Whether this user may write to the file, although no file can be created beside it.
    pub(crate) fn is_writable(&self) -> bool {
        self.metadata.is_file()
            && self.metadata.nlink() == 1
            && is_planted(&self.path, &self.metadata).is_ok_and(|is_planted| !is_planted)
            && access(&self.path, Access::WRITE_OK).is_ok()
    }

    /// Copies owner, group, access list and extended attributes to `file`, which is to replace it.
    ///
    /// A file that another user placed in a world-writable directory is replaced without that, so
    /// that its owner gains no access to the new one.
    ///
    /// # Errors
    /// When some of it cannot be kept. The rest is kept nevertheless; the caller narrows the mode
    /// by [`mode`](Self::mode), so that no user gains access.
    pub(crate) fn copy_attributes_to(&self, file: &File) -> io::Result<()> {
        if is_planted(&self.path, &self.metadata)? {
            return Ok(());
        }
        let owned = self.copy_owner(file);
        let copied = self.copy_xattrs(file);
        owned.and(copied)
    }

    /// The same for owner and group only, since a file of secrets has no access list.
    ///
    /// # Errors
    /// As of [`copy_attributes_to`](Self::copy_attributes_to).
    pub(crate) fn copy_owner_to(&self, file: &File) -> io::Result<()> {
        if is_planted(&self.path, &self.metadata)? { Ok(()) } else { self.copy_owner(file) }
    }

    fn copy_owner(&self, file: &File) -> io::Result<()> {
        let made = file.metadata()?;
        let (uid, gid) = (self.metadata.uid(), self.metadata.gid());
        if (made.uid(), made.gid()) == (uid, gid) {
            return Ok(());
        }
        // A user who may not give a file away may still set a group that it is a member of.
        fchown(file, Some(uid), Some(gid)).inspect_err(|_| {
            let _group = fchown(file, None, Some(gid));
        })
    }

    /// Copies the attributes that the owner made, and the access list. Those of the kernel or an
    /// administrator (capabilities, signatures) were for the old contents.
    fn copy_xattrs(&self, file: &File) -> io::Result<()> {
        let mut list = vec![0; XATTR_MAX_BYTES];
        let length = match llistxattr(&self.path, &mut list[..]) {
            Ok(length) => length,
            Err(error) if is_unsupported(&error.into()) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let mut copied = Ok(());
        let names = list.get(..length).unwrap_or_default().split(|byte| *byte == 0);
        for name in names.filter(|name| is_copied(name)) {
            let mut value = vec![0; XATTR_MAX_BYTES];
            let result = lgetxattr(&self.path, name, &mut value[..]).and_then(|length| {
                let value = value.get(..length).unwrap_or_default();
                fsetxattr(file, name, value, XattrFlags::empty())
            });
            if let Err(error) = result {
                copied = Err(error.into());
            }
        }
        copied
    }

    /// The permission bits of the replacement: those in `wanted`, or all, that the existing file
    /// has too. If the group differs, the group gets none.
    pub(crate) fn allowed_mode(&self, wanted: Option<u32>, file: &Metadata) -> u32 {
        let mode = self.metadata.mode() & 0o777 & wanted.unwrap_or(0o777);
        if file.gid() == self.metadata.gid() { mode } else { mode & !0o070 }
    }
}

/// Whether a file with this owner gives its contents to a user other than this one and root.
pub(crate) fn is_other_user(owner: u32) -> bool {
    is_neither_root_nor(geteuid().as_raw(), owner)
}

fn is_neither_root_nor(user: u32, owner: u32) -> bool {
    owner != 0 && owner != user
}

fn is_copied(name: &[u8]) -> bool {
    name.starts_with(b"user.") || name == b"system.posix_acl_access"
}

/// Sets the mode of `file`, if it differs.
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

    /// A file counts as another user's unless it belongs to root or to the caller.
    #[test]
    fn is_neither_root_nor_tells_other_users_files() {
        for (user, owner, is) in
            [(0, 0, false), (0, 7, true), (7, 7, false), (7, 0, false), (7, 8, true)]
        {
            assert_eq!(is_neither_root_nor(user, owner), is, "{owner}'s, for {user}");
        }
    }

    /// A file or link that took the place of the looked-up target is not opened.
    #[test]
    fn existing_target_open_refuses_a_file_swapped_in() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["first", "second", "file"] {
            fs::write(at(name), "x").unwrap();
        }
        let existing = ExistingTarget::lookup(&at("first")).unwrap().unwrap();
        assert!(existing.open().is_ok());
        // A link to the file is not the file.
        fs::rename(at("first"), at("moved")).unwrap();
        std::os::unix::fs::symlink("moved", at("first")).unwrap();
        assert!(existing.open().is_err(), "a link to it");
        fs::rename(at("second"), at("first")).unwrap();
        let error = existing.open().unwrap_err();
        assert!(error.to_string().starts_with("something else has its name by now"), "{error}");
        fs::remove_file(at("first")).unwrap();
        std::os::unix::fs::symlink("file", at("first")).unwrap();
        assert!(existing.open().is_err(), "a link");
        fs::rename(at("file"), at("first")).unwrap();
        assert!(existing.open().is_err(), "another file");
        assert_eq!(fs::read(at("first")).unwrap(), b"x");
    }
}

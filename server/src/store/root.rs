//! The store's directory, and whether it is where it was.
//!
//! A descriptor does not notice that its directory was unmounted, moved away or removed, or that another one has taken
//! its place. What is written by it then is acknowledged and is where nobody looks for it.

use std::{
    io::ErrorKind,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
    sync::Arc,
};

use super::error::{Doing, StoreError};
use crate::sys::fs;

/// The store's directory.
#[derive(Debug)]
pub(super) struct Root {
    fd: Arc<OwnedFd>,
    /// Its device and inode.
    inode: (u64, u64),
    /// Where the operator said that it is, from the root of the file system.
    path: PathBuf,
}

impl Root {
    /// That is open as `fd`, by `path`.
    pub(super) fn new(fd: Arc<OwnedFd>, path: &std::path::Path) -> Result<Self, StoreError> {
        let inode = fs::identity(&fd).doing("look at the store's directory")?.inode;
        // Where nobody knows what the path is relative to, it is what it was in any case.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Ok(Self { fd, inode, path })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Fails with [`StoreError::Displaced`] where the path leads to something else, or nowhere.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let has_name = match fs::identity_of_root(&self.path) {
            Ok(found) => found.inode == self.inode,
            // Who has become another user may not look there any more. A directory that was removed has no name at all.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                fs::identity(&self.fd).doing("look at the store's directory")?.named
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                false
            }
            Err(error) => return Err(error).doing("look at the store's directory"),
        };
        if has_name { Ok(()) } else { Err(StoreError::Displaced) }
    }
}

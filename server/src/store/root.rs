//! The store's directory, and whether it is still in its place.
//!
//! A descriptor does not notice that its directory was unmounted, moved away or removed, or that
//! another directory took its place. Data written through it would then be acknowledged and be
//! where no reader looks.

use std::{
    io::ErrorKind,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
    sync::Arc,
};

use super::error::{Context, StoreError};
use crate::sys::fs;

/// The store's directory.
#[derive(Debug)]
pub(super) struct Root {
    fd: Arc<OwnedFd>,
    /// The directory's device and inode numbers.
    inode: (u64, u64),
    /// The absolute path that the operator gave.
    path: PathBuf,
}

impl Root {
    /// The directory that is open as `fd`, at `path`.
    pub(super) fn new(fd: Arc<OwnedFd>, path: &std::path::Path) -> Result<Self, StoreError> {
        let inode = fs::stat(&fd).context("look at the store's directory")?.inode;
        // If the current directory cannot be determined, the relative path is kept as it is.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Ok(Self { fd, inode, path })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Fails with [`StoreError::Displaced`] where the path leads to another directory, or nowhere.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let has_name = match fs::stat_root(&self.path) {
            Ok(found) => found.inode == self.inode,
            // After dropping its privileges the process may not be allowed to look at the path. A
            // removed directory has no links, which its descriptor tells.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                fs::stat(&self.fd).context("look at the store's directory")?.named
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                false
            }
            Err(error) => return Err(error).context("look at the store's directory"),
        };
        if has_name { Ok(()) } else { Err(StoreError::Displaced) }
    }
}

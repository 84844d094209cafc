//! Errors of a mount.

use std::io;

use thiserror::Error;
use zput_proto::message::ErrorCode;

use super::{
    path::PathError,
    tar::error::{ArchiveError, Compression},
};

/// Why an operation on a mount failed. No message contains a path.
#[derive(Debug, Error)]
pub enum MountError {
    // Opening.
    /// The path of a `dir` mount does not lead to a directory.
    #[error("this is not a directory")]
    NotADirectory,
    /// The path of a `tar` mount does not lead to a regular file.
    #[error("this is not a regular file")]
    NotAnArchiveFile,
    /// The kernel has no call that walks a path without following links.
    #[error(
        "this kernel, or a filter in front of it, has no openat2(2): a dir mount needs Linux 5.6 \
         or later"
    )]
    NoOpenat2,
    /// The archive is compressed, so its members are not on the disk as plain bytes.
    #[error("the archive is compressed with {0}: decompress it first")]
    Compressed(Compression),
    /// The archive cannot be served.
    #[error("the archive is refused: {0}")]
    Archive(#[from] ArchiveError),
    /// The prefix to strip is not a path.
    #[error("the prefix to strip is no path inside the archive: {0}")]
    Prefix(PathError),

    /// The tree contains secrets, or lies in a store.
    #[error("{0}: serve a directory that holds nothing else")]
    Exposes(String),

    // Serving.
    /// The key is not a path, so no file can have it.
    #[error("not a path inside a mount: {0}")]
    Path(#[from] PathError),
    /// No file has this path, or a symbolic link is on the way.
    #[error("no such file")]
    NotFound,
    /// The path leads to a directory, link, pipe, socket or device.
    #[error("not a regular file")]
    NotAFile,
    /// A file as in /proc, whose bytes are generated when it is read.
    #[error("this file states no size: serve a copy of it")]
    NoSize,
    /// A member of an archive that is not one range of the archive's bytes.
    #[error("this member cannot be served: {0}")]
    Unavailable(#[from] Unavailable),
    /// The server's user may not read the file.
    #[error("the server may not read this file")]
    Unreadable,
    /// The bytes are longer than a cursor can be.
    #[error("invalid cursor of a listing")]
    Cursor,
    /// The archive changed since it was indexed, or while it was.
    #[error("the archive has changed since it was indexed: index it again")]
    ArchiveChanged,

    // The system.
    /// A system call failed.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What the mount was doing, completing "cannot …".
        doing: &'static str,
        /// The error of the system call.
        source: io::Error,
    },
}

/// Why a member of an archive is listed in the index and cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unavailable {
    /// The member is sparse: its holes are not in the archive, so it is not one range of it.
    #[error(
        "it is sparse; make the archive without --sparse (GNU tar), or with --no-read-sparse \
         (bsdtar)"
    )]
    Sparse,
    /// The member begins in another volume of a multi-volume archive.
    #[error("it begins in another volume; make the archive in one piece")]
    Continuation,
}

impl MountError {
    /// The error code that a peer is sent (PROTOCOL 7).
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        use rustix::io::Errno;
        match self {
            // A path that no file can have is a key that no file has: the peer violated no rule.
            Self::Path(_)
            | Self::NotFound
            | Self::NotAFile
            | Self::NoSize
            | Self::Unavailable(_) => ErrorCode::NotFound,
            Self::Unreadable => ErrorCode::Denied,
            Self::Cursor => ErrorCode::Malformed,
            Self::Io { source, .. } => match Errno::from_io_error(source) {
                // EAGAIN: the file was opened with O_NONBLOCK while another process holds a lease
                // on it (fcntl(2), F_SETLEASE).
                Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN) => ErrorCode::Busy,
                _ => ErrorCode::Unreadable,
            },
            Self::NotADirectory
            | Self::NotAnArchiveFile
            | Self::NoOpenat2
            | Self::Exposes(_)
            | Self::Compressed(_)
            | Self::Archive(_)
            | Self::Prefix(_)
            | Self::ArchiveChanged => ErrorCode::Internal,
        }
    }

    /// Whether the error is about one file that exists and cannot be read. A listing leaves such a
    /// file out, reports it and continues.
    pub(super) fn is_unreadable_file(&self) -> bool {
        self.code() == ErrorCode::Unreadable
    }

    /// The error for a path of a tree that could not be walked to its end.
    pub(super) fn of_walk(source: io::Error) -> Self {
        use rustix::io::Errno;
        match Errno::from_io_error(&source) {
            // ELOOP: a link is on the way. EXDEV: the path would leave the tree.
            Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV | Errno::NAMETOOLONG) => {
                Self::NotFound
            }
            // ENXIO: a socket, or a device without a driver.
            Some(Errno::NXIO | Errno::ISDIR) => Self::NotAFile,
            Some(Errno::ACCESS | Errno::PERM) => Self::Unreadable,
            _ => Self::Io { doing: "open a file", source },
        }
    }

    /// The error for a tree whose root could not be opened from itself.
    pub(super) fn of_first_walk(source: io::Error) -> Self {
        use rustix::io::Errno;
        match Errno::from_io_error(&source) {
            // EPERM is what a seccomp filter returns that does not know the call.
            Some(Errno::NOSYS | Errno::PERM) => Self::NoOpenat2,
            _ => Self::Io { doing: "open the directory", source },
        }
    }
}

/// Adds to an I/O error what the mount was doing when it failed.
pub(super) trait Context<T> {
    fn context(self, what: &'static str) -> Result<T, MountError>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, doing: &'static str) -> Result<T, MountError> {
        self.map_err(|source| MountError::Io { doing, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errno(number: i32) -> io::Error {
        io::Error::from_raw_os_error(number)
    }

    /// The numbers are those of asm-generic/errno.h.
    #[test]
    fn mount_error_maps_errno_to_protocol_code() {
        for (number, code) in [
            (2, ErrorCode::NotFound),
            (20, ErrorCode::NotFound),
            (40, ErrorCode::NotFound),
            (18, ErrorCode::NotFound),
            (36, ErrorCode::NotFound),
            (6, ErrorCode::NotFound),
            (13, ErrorCode::Denied),
            (11, ErrorCode::Busy),
            (24, ErrorCode::Busy),
            (23, ErrorCode::Busy),
            (5, ErrorCode::Unreadable),
            (117, ErrorCode::Unreadable),
            (116, ErrorCode::Unreadable),
        ] {
            assert_eq!(MountError::of_walk(errno(number)).code(), code, "errno {number}");
        }
    }

    /// MountError says that the kernel has no openat2 when the first walk fails so.
    #[test]
    fn mount_error_names_missing_openat2() {
        for number in [38, 1] {
            let error = MountError::of_first_walk(errno(number));
            assert!(matches!(error, MountError::NoOpenat2), "errno {number}: {error}");
        }
        let error = MountError::of_first_walk(errno(13));
        assert_eq!(error.to_string(), "cannot open the directory: Permission denied (os error 13)");
    }
}

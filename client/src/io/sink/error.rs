//! Errors of an output.

use std::{io, path::PathBuf};

use thiserror::Error;

/// Why an output could not be written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SinkError {
    /// The name exists, and replacing was not allowed.
    #[error("{} exists already", .0.display())]
    Exists(PathBuf),
    /// The path is a block device, and was not to be replaced.
    #[error("{} is a block device", .0.display())]
    BlockDevice(PathBuf),
    /// The path is a directory.
    #[error("{} is a directory", .0.display())]
    Directory(PathBuf),
    /// A pipe, a device or a socket belongs to another user.
    #[error(
        "{} belongs to another user (uid {owner}), who would get what is written to it",
        path.display()
    )]
    OtherOwner {
        /// The path of the stream.
        path: PathBuf,
        /// The owner's user id.
        owner: u32,
    },
    /// Binary data, and the output is a terminal.
    #[error("binary data is not written to a terminal")]
    Terminal,
    /// The file system refused.
    #[error("cannot write {}", path.display())]
    Write {
        /// The path that was given for the output.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl SinkError {
    /// Whether the disk or a quota is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Write { source, .. } if matches!(
            source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }

    /// Whether the reader of a pipe is gone.
    #[must_use]
    pub fn is_reader_gone(&self) -> bool {
        matches!(self, Self::Write { source, .. } if source.kind() == io::ErrorKind::BrokenPipe)
    }
}

//! Errors of a source.

use std::{
    ffi::{OsStr, OsString},
    io,
    path::PathBuf,
    process::ExitStatus,
};

use thiserror::Error;

/// Why a source gave nothing that can be stored.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The source could not be opened or read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The path that was given for the source.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The path is a directory.
    #[error("{} is a directory", .0.display())]
    Directory(PathBuf),
    /// The file was rewritten or truncated while it was read. A file that only grew is stored as it
    /// was at first.
    #[error(
        "{} changed while it was read; nothing was stored (try again once nothing rewrites it, or put \
         a copy or a snapshot of it)",
        .0.display()
    )]
    Changed(PathBuf),
    /// A pipe or a command ended without a byte.
    #[error("{} gave no data; nothing was stored", .0.display())]
    Empty(PathBuf),
    /// The command could not be started.
    #[error("cannot run {}", command.to_string_lossy())]
    Start {
        /// The command, without its arguments.
        command: OsString,
        /// The system's error.
        source: io::Error,
    },
    /// The command ended with a failure.
    #[error("{} failed with {status}; nothing was stored", command.to_string_lossy())]
    Failed {
        /// The command, without its arguments.
        command: OsString,
        /// Its exit status.
        status: ExitStatus,
    },
}

impl SourceError {
    /// The path or command that could not be read.
    #[must_use]
    pub fn subject(&self) -> &OsStr {
        match self {
            Self::Read { path, .. }
            | Self::Directory(path)
            | Self::Changed(path)
            | Self::Empty(path) => path.as_os_str(),
            Self::Start { command, .. } | Self::Failed { command, .. } => command,
        }
    }
}

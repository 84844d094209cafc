//! Errors of a configuration.

use std::{io, path::PathBuf};

use thiserror::Error;

use super::CONFIG_FILE_MAX_BYTES;

/// Why a configuration cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}: {source}", path = .path.display())]
    Read {
        /// The path of the configuration file.
        path: PathBuf,
        /// The error of the system call.
        source: io::Error,
    },
    /// The file is longer than [`CONFIG_FILE_MAX_BYTES`].
    #[error("the configuration {path} is longer than {CONFIG_FILE_MAX_BYTES} bytes", path = .path.display())]
    TooLong {
        /// The path of the configuration file.
        path: PathBuf,
    },
    /// A line of the file is invalid.
    #[error("{path}:{line}: {message}", path = .path.display())]
    Line {
        /// The path of the configuration file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key, what is wrong with it, and what to write instead.
        message: String,
    },
    /// There is no mount.
    #[error(
        "there is nothing to serve: give --store DIR, or --config FILE with a [[mount]] in it; \
         see zserve --help"
    )]
    NothingToServe,
    /// `limits.open_file_cache` exceeds `limits.max_open_files`.
    #[error(
        "limits.open_file_cache ({cached}) is more than limits.max_open_files ({open}): lower the \
         first or raise the second"
    )]
    OpenFileCache {
        /// The value of `limits.open_file_cache`, in files.
        cached: usize,
        /// The value of `limits.max_open_files`, in files.
        open: usize,
    },
}

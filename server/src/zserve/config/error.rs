//! Why a configuration is none.

use std::{io, path::PathBuf};

use thiserror::Error;

use super::CONFIG_FILE_MAX_BYTES;

/// Why a configuration is none.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}: {source}", path = .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is no configuration.
    #[error("the configuration {path} has more than {CONFIG_FILE_MAX_BYTES} bytes: is it one?", path = .path.display())]
    TooLong {
        /// Which.
        path: PathBuf,
    },
    /// The file says what cannot be.
    #[error("{path}:{line}: {message}", path = .path.display())]
    Line {
        /// Which.
        path: PathBuf,
        /// In which line, from 1 on.
        line: usize,
        /// What is wrong with which key, and what to write.
        message: String,
    },
    /// There is no mount.
    #[error(
        "there is nothing to serve: give --store DIR, or --config FILE with a [[mount]] in it; \
         see zserve --help"
    )]
    NothingToServe,
    /// More idle descriptors than descriptors.
    #[error(
        "limits.keep_files ({keep}) is more than limits.open_files ({open}): keep at most as many \
         files open as may be open"
    )]
    KeepFiles {
        /// `keep_files`.
        keep: usize,
        /// `open_files`.
        open: usize,
    },
}

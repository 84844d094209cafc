//! Errors of an embedded store.

use std::{error::Error as StdError, io, path::PathBuf};

use thiserror::Error;

use crate::{connection::ConnectionError, key::path::KeystoreError};

/// Why the embedded store cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EmbeddedError {
    /// The store that the key file names is missing, or an empty directory.
    #[error(
        "there is no store {}, and the key file says that one was made (is its disk mounted? else \
         restore it from a backup, or set remote in the key file)",
        .0.display()
    )]
    NoStore(PathBuf),
    /// The store at this path has another server key than the key file states.
    #[error(
        "the store {} does not match the key file (is the right disk mounted? else restore \
         it from a backup; server_key in the key file says which store it is)",
        .0.display()
    )]
    AnotherStore(PathBuf),
    /// A store exists, and the key file is missing or does not name it.
    #[error(
        "there is a store {} and {} is not its key file (restore that from your backup: nothing \
         else opens the store; or move the store away)",
        store.display(), key_file.display()
    )]
    NoKeyFile {
        /// The store's path.
        store: PathBuf,
        /// The path of the missing key file.
        key_file: PathBuf,
    },
    /// The store cannot be opened.
    #[error("the store {} cannot be used", path.display())]
    Store {
        /// The store's path.
        path: PathBuf,
        /// The error of the store.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The server cannot be started.
    #[error("cannot start the embedded server")]
    Start(#[source] io::Error),
    /// The path is not UTF-8, which key files require.
    #[error("{} cannot be named in a key file: it is not UTF-8", .0.display())]
    Path(PathBuf),
    /// A file or directory of this user cannot be used.
    #[error("cannot use {}", path.display())]
    File {
        /// The path of the file or directory.
        path: PathBuf,
        /// The error of the file system.
        source: io::Error,
    },
    /// The key file cannot be used.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// The embedded server does not answer.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// This program was built without embedded stores.
    #[error(
        "the key file names the store {}, and this program was built without stores in the file \
         system (feature `embedded` of the crate zput)",
        .0.display()
    )]
    NotBuilt(PathBuf),
}

//! The embedded store: a server in this process, connected by a socket pair.
//!
//! Without any configuration the first put creates a key file and a store. It does so only where
//! neither exists: a store without its key file cannot be opened, and a new key file would hide
//! that.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use thiserror::Error;
use zput_common::{
    keys::{KeyFile, Remote, ServerPublicKey},
    proto::ClientConfig,
};
use zput_server::{
    EmbeddedServer, embedded,
    store::{Clock, Store, StoreError},
};

use crate::{
    atomic::{self, IfExists},
    connection::Connection,
    directories::Directories,
    error::{ClientError, ExitCode},
    key_file_lock::{self, KeyFileLock},
    keystore::KeyPath,
    owner, random,
};

/// Why the embedded store cannot be used.
#[derive(Debug, Error)]
pub enum EmbeddedError {
    /// The store that the key file names is missing, or an empty directory.
    #[error(
        "there is no store {}, and the key file says that one was made (is its disk mounted? else restore it \
         from a backup, or set remote in the key file)",
        .0.display()
    )]
    NoStore(PathBuf),
    /// The store at this path has another server key than the key file states.
    #[error(
        "the store {} is another one than the key file's (is the right disk mounted? else restore it from a \
         backup; server_key in the key file says which store it is)",
        .0.display()
    )]
    AnotherStore(PathBuf),
    /// A store exists, and the key file is missing or does not name it.
    #[error(
        "there is a store {} and {} is not its key file (restore that from your backup: nothing else \
         opens the store; or move the store away)",
        store.display(), key_file.display()
    )]
    NoKeyFile {
        /// The store's path.
        store: PathBuf,
        /// The path of the missing key file.
        key_file: PathBuf,
    },
    /// The store cannot be opened.
    #[error("the store {}: {error}", path.display())]
    Store {
        /// The store's path.
        path: PathBuf,
        /// The error of the store.
        error: StoreError,
    },
    /// The server cannot be started.
    #[error("cannot start the embedded server: {0}")]
    Start(io::Error),
    /// The path is not UTF-8, which key files require.
    #[error("{} cannot be named in a key file: it is not UTF-8", .0.display())]
    Path(PathBuf),
    /// A file or directory of this user cannot be used.
    #[error("cannot use {}: {error}", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// The error of the file system.
        error: io::Error,
    },
}

impl EmbeddedError {
    /// The exit code of a command that fails with this error.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::NoKeyFile { .. } => ExitCode::Key,
            Self::NoStore(_) => ExitCode::NotFound,
            Self::AnotherStore(_) => ExitCode::Integrity,
            _ => ExitCode::Other,
        }
    }
}

/// What the first put created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedStore {
    /// Path of the key file.
    pub key_file: PathBuf,
    /// Path of the store.
    pub store: PathBuf,
}

/// Creates a key file and a store if neither exists. Returns `None` if the key file exists.
///
/// # Errors
/// [`EmbeddedError::NoKeyFile`] if only the store exists.
pub fn create_on_first_use(directories: &Directories) -> Result<Option<CreatedStore>, ClientError> {
    let path = KeyPath::at(directories.default_key_file());
    if path.exists()? {
        return Ok(None);
    }
    let _lock = KeyFileLock::acquire(&path.path).map_err(|error| path.file_error(error))?;
    if path.exists()? {
        return Ok(None);
    }
    let mut key_file = KeyFile::generate(&mut random::os_rng());
    match create(&mut key_file, &path, IfExists::Keep, directories) {
        Ok(created) => Ok(Some(created)),
        // Without locks another process may have created the key file first; then that one is used.
        Err(_) if path.exists()? => {
            key_file_lock::wait_for_store(&directories.embedded_store());
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Creates a store for a key file that names none, as `zblob key new` makes it, and records it
/// there.
/// Returns `None` if another process did so meanwhile. On failure there is neither a store nor a
/// key file that names one.
///
/// # Errors
/// [`EmbeddedError::NoKeyFile`] when a store exists already, which belongs to another key file.
pub fn create_store(
    key_file: &mut KeyFile,
    path: &KeyPath,
    directories: &Directories,
) -> Result<Option<CreatedStore>, ClientError> {
    let _lock = KeyFileLock::acquire(&path.path).map_err(|error| path.file_error(error))?;
    *key_file = path.open()?;
    if key_file.remote.is_some() {
        return Ok(None);
    }
    create(key_file, path, IfExists::Replace, directories).map(Some)
}

fn create(
    key_file: &mut KeyFile,
    path: &KeyPath,
    if_exists: IfExists,
    directories: &Directories,
) -> Result<CreatedStore, ClientError> {
    let store = directories.embedded_store();
    let is_taken = atomic::is_taken(&store)
        .map_err(|error| EmbeddedError::File { path: store.clone(), error })?;
    if is_taken {
        return Err(EmbeddedError::NoKeyFile { store, key_file: path.path.clone() }.into());
    }
    let Some(text) = store.to_str() else { return Err(EmbeddedError::Path(store).into()) };
    let remote = Remote::Embedded(text.to_owned());
    let failed = |error| EmbeddedError::File { path: store.clone(), error };
    // Do what can fail in a temporary directory that nothing names yet; dropping it removes it.
    let parent = atomic::directory_of(&store);
    atomic::create_directory(parent).map_err(failed)?;
    let staging =
        tempfile::Builder::new().prefix(".zput-store-").tempdir_in(parent).map_err(failed)?;
    let staged = staging.path().join("store");
    // What root creates belongs to the owner of the parent directory, from the outermost directory
    // on.
    owner::give_directory_to_parent_owner(staging.path()).map_err(failed)?;
    atomic::create_directory(&staged).map_err(failed)?;
    let created = Store::open(&staged, Clock::system())
        .map_err(|error| EmbeddedError::Store { path: store.clone(), error })?;
    key_file.server_key = Some(created.server_key().public_key());
    drop(created);
    // Publish the key file first: of two concurrent first puts one fails to create it, and stops.
    key_file.remote = Some(remote);
    if let Err(error) = path.save(key_file, if_exists) {
        (key_file.remote, key_file.server_key) = (None, None);
        return Err(error.into());
    }
    if let Err(error) = fs::rename(&staged, &store) {
        (key_file.remote, key_file.server_key) = (None, None);
        roll_back(key_file, path, if_exists)?;
        return Err(failed(error).into());
    }
    atomic::sync_directory(parent).map_err(failed)?;
    Ok(CreatedStore { key_file: path.path.clone(), store })
}

/// Restores the key file after the store could not be moved into place.
fn roll_back(key_file: &KeyFile, path: &KeyPath, if_exists: IfExists) -> Result<(), ClientError> {
    match if_exists {
        IfExists::Keep => fs::remove_file(&path.path).map_err(|error| path.file_error(error))?,
        IfExists::Replace => path.save(key_file, IfExists::Replace)?,
    }
    Ok(())
}

/// Connects to the store at `path`, which must exist, and starts its server. An empty directory is
/// not a store: its disk may not be mounted. If `key` is given, the store must have it.
///
/// # Errors
/// When there is no store, it has another key, or it cannot be opened.
pub fn connect(
    path: &str,
    key: Option<&ServerPublicKey>,
    remote: &Remote,
) -> Result<(Connection, EmbeddedServer), ClientError> {
    let path = Path::new(path);
    let store = Store::open_existing(path, Clock::system()).map_err(|error| match error {
        StoreError::NoStore => EmbeddedError::NoStore(path.to_owned()),
        error => EmbeddedError::Store { path: path.to_owned(), error },
    })?;
    if key.is_some_and(|key| *key != store.server_key().public_key()) {
        return Err(EmbeddedError::AnotherStore(path.to_owned()).into());
    }
    let (stream, server) = embedded::serve(&store).map_err(EmbeddedError::Start)?;
    let connection = Connection::from_stream(stream, remote.clone(), &ClientConfig::Plaintext)?;
    Ok((connection, server))
}

/// Another connection to a running embedded server.
///
/// # Errors
/// When the server accepts no more.
pub(crate) fn reconnect(
    server: &EmbeddedServer,
    remote: &Remote,
) -> Result<Connection, ClientError> {
    let stream = server.connect().map_err(EmbeddedError::Start)?;
    Ok(Connection::from_stream(stream, remote.clone(), &ClientConfig::Plaintext)?)
}

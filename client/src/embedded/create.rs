//! Creates a store: by the first put, without any configuration.
//!
//! It does so only where neither key file nor store exists: a store without its key file cannot be
//! opened, and a new key file would hide that.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use zput_os::Clock;
use zput_proto::keys::Remote;
use zput_seal::keys::KeyFile;
use zput_server::store::Store;

use super::error::EmbeddedError;
use crate::{
    files::{
        create::{create_directory, sync_directory},
        directories::Directories,
        install::IfExists,
        owner,
        path::{directory_of, is_taken},
    },
    key::{lock::KeyFileLock, path::KeyPath},
    random,
};

/// How long to wait for the store of another process, where the directory cannot be locked.
const STORE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often to look for that store.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// What the first put created.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
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
pub fn create_on_first_use(
    directories: &Directories,
) -> Result<Option<CreatedStore>, EmbeddedError> {
    let path = KeyPath::new(directories.default_key_file());
    if path.exists()? {
        return Ok(None);
    }
    let _lock = KeyFileLock::acquire(path.as_path()).map_err(|error| path.file_error(error))?;
    if path.exists()? {
        return Ok(None);
    }
    let mut key_file = KeyFile::generate(&mut random::os_rng());
    match create(&mut key_file, &path, IfExists::Keep, directories.embedded_store()) {
        Ok(created) => Ok(Some(created)),
        // Without locks another process may have created the key file first; then that one is used.
        Err(_) if path.exists()? => {
            wait_for_store(&directories.embedded_store());
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Creates a key file at `path` and a store at `store`, of which neither may exist.
///
/// # Errors
/// [`EmbeddedError::NoKeyFile`] when the store exists, [`KeystoreError::Exists`] when the key file
/// does, and those of the file system.
///
/// [`KeystoreError::Exists`]: crate::key::path::KeystoreError::Exists
pub(crate) fn create_at(path: &KeyPath, store: &Path) -> Result<CreatedStore, EmbeddedError> {
    let _lock = KeyFileLock::acquire(path.as_path()).map_err(|error| path.file_error(error))?;
    let store = std::path::absolute(store)
        .map_err(|source| EmbeddedError::File { path: store.to_owned(), source })?;
    create(&mut KeyFile::generate(&mut random::os_rng()), path, IfExists::Keep, store)
}

/// Creates a store for a key file that names none, as `zblob key new` makes it, and records it
/// there. Returns `None` if another process did so meanwhile. On failure there is neither a store
/// nor a key file that names one.
///
/// # Errors
/// [`EmbeddedError::NoKeyFile`] when a store exists already, which belongs to another key file.
pub fn create_store(
    key_file: &mut KeyFile,
    path: &KeyPath,
    directories: &Directories,
) -> Result<Option<CreatedStore>, EmbeddedError> {
    let _lock = KeyFileLock::acquire(path.as_path()).map_err(|error| path.file_error(error))?;
    *key_file = path.open()?;
    if key_file.remote.is_some() {
        return Ok(None);
    }
    create(key_file, path, IfExists::Replace, directories.embedded_store()).map(Some)
}

fn create(
    key_file: &mut KeyFile,
    path: &KeyPath,
    if_exists: IfExists,
    store: PathBuf,
) -> Result<CreatedStore, EmbeddedError> {
    let is_taken =
        is_taken(&store).map_err(|source| EmbeddedError::File { path: store.clone(), source })?;
    if is_taken {
        return Err(EmbeddedError::NoKeyFile { store, key_file: path.as_path().to_owned() });
    }
    let Some(text) = store.to_str() else { return Err(EmbeddedError::Path(store)) };
    let remote = Remote::Embedded(text.to_owned());
    let failed = |source| EmbeddedError::File { path: store.clone(), source };
    // Do what can fail in a temporary directory that nothing names yet; dropping it removes it.
    let parent = directory_of(&store);
    create_directory(parent).map_err(failed)?;
    let staging =
        tempfile::Builder::new().prefix(".zput-store-").tempdir_in(parent).map_err(failed)?;
    let staged = staging.path().join("store");
    // What root creates belongs to the owner of the parent directory, from the outermost directory
    // on.
    owner::give_directory_to_parent_owner(staging.path()).map_err(failed)?;
    create_directory(&staged).map_err(failed)?;
    let created = Store::open(&staged, Clock::system())
        .map_err(|error| EmbeddedError::Store { path: store.clone(), source: error.into() })?;
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
        return Err(failed(error));
    }
    sync_directory(parent).map_err(failed)?;
    Ok(CreatedStore { key_file: path.as_path().to_owned(), store })
}

/// Restores the key file after the store could not be moved into place.
fn roll_back(key_file: &KeyFile, path: &KeyPath, if_exists: IfExists) -> Result<(), EmbeddedError> {
    match if_exists {
        IfExists::Keep => {
            fs::remove_file(path.as_path()).map_err(|error| path.file_error(error))?
        }
        IfExists::Replace => path.save(key_file, IfExists::Replace)?,
    }
    Ok(())
}

/// Waits until there is a directory at `path`, at most [`STORE_TIMEOUT`]. The caller's next use
/// shows whether it exists.
fn wait_for_store(path: &Path) {
    let started = Instant::now();
    while !path.is_dir() && started.elapsed() < STORE_TIMEOUT {
        thread::sleep(POLL_INTERVAL);
    }
}

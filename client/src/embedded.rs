//! The embedded store: a server in this very process, over a socket pair.
//!
//! With nothing configured, the first put makes a key file and a store. It does so only where neither
//! exists: a store without a key file is somebody's lost half, and is not papered over.

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
    atomic::{self, Existing},
    connection::Connection,
    directories::Directories,
    error::{ClientError, ExitCode},
    first_use::{self, Alone},
    keystore::KeyPath,
    owner, random,
};

/// Why the embedded store cannot be used.
#[derive(Debug, Error)]
pub enum EmbeddedError {
    /// The key file names a store that is not there, or an empty directory.
    #[error(
        "there is no store {}, and the key file says that one was made (is its disk mounted? else restore it \
         from a backup, or set remote in the key file)",
        .0.display()
    )]
    NoStore(PathBuf),
    /// There is a store, and it is another one.
    #[error(
        "the store {} is another one than the key file's (is the right disk mounted? else restore it from a \
         backup; server_key in the key file says which store it is)",
        .0.display()
    )]
    AnotherStore(PathBuf),
    /// A store whose key file is gone, or names no store.
    #[error(
        "there is a store {} and {} is not its key file (restore that from your backup: nothing else \
         opens the store; or move the store away)",
        store.display(), key_file.display()
    )]
    NoKeyFile {
        /// The store.
        store: PathBuf,
        /// Where its key file was.
        key_file: PathBuf,
    },
    /// The store does not open.
    #[error("the store {}: {error}", path.display())]
    Store {
        /// Which.
        path: PathBuf,
        /// Why not.
        error: StoreError,
    },
    /// The server does not start.
    #[error("cannot start the embedded server: {0}")]
    Start(io::Error),
    /// Something has a path that no key file can name.
    #[error("{} cannot be named in a key file: it is not UTF-8", .0.display())]
    Path(PathBuf),
    /// A file of this user.
    #[error("cannot use {}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

impl EmbeddedError {
    /// What the command's exit code says of it.
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

/// What the first put made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// The key file.
    pub key_file: PathBuf,
    /// The store.
    pub store: PathBuf,
}

/// Makes what the first put needs where there is neither: a key file and a store. Does nothing where
/// the key file is there.
///
/// # Errors
/// [`EmbeddedError::NoKeyFile`] for half of it.
pub fn first_use(directories: &Directories) -> Result<Option<Made>, ClientError> {
    let path = KeyPath::at(directories.default_key_file());
    if path.exists()? {
        return Ok(None);
    }
    let _alone = Alone::with(&path.path).map_err(|error| path.file_error(error))?;
    if path.exists()? {
        return Ok(None);
    }
    let mut key_file = KeyFile::generate(&mut random::system());
    match make(&mut key_file, &path, Existing::Keep, directories) {
        Ok(made) => Ok(Some(made)),
        // Where nothing can be locked another process may have been faster: its key file is the one.
        Err(_) if path.exists()? => {
            first_use::wait_for(&directories.embedded_store());
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Makes a store for a key file that names none (`zkey new` makes such), and notes it there. What
/// fails leaves neither a store nor a key file that names one. Does nothing where another process did it meanwhile.
///
/// # Errors
/// [`EmbeddedError::NoKeyFile`] when there is a store already: it is another key file's.
pub fn settle(
    key_file: &mut KeyFile,
    path: &KeyPath,
    directories: &Directories,
) -> Result<Option<Made>, ClientError> {
    let _alone = Alone::with(&path.path).map_err(|error| path.file_error(error))?;
    *key_file = path.open()?;
    if key_file.remote.is_some() {
        return Ok(None);
    }
    make(key_file, path, Existing::Replace, directories).map(Some)
}

fn make(
    key_file: &mut KeyFile,
    path: &KeyPath,
    existing: Existing,
    directories: &Directories,
) -> Result<Made, ClientError> {
    let store = directories.embedded_store();
    let is_taken = atomic::is_taken(&store)
        .map_err(|error| EmbeddedError::File { path: store.clone(), error })?;
    if is_taken {
        return Err(EmbeddedError::NoKeyFile { store, key_file: path.path.clone() }.into());
    }
    let Some(text) = store.to_str() else { return Err(EmbeddedError::Path(store).into()) };
    let remote = Remote::Embedded(text.to_owned());
    let failed = |error| EmbeddedError::File { path: store.clone(), error };
    // Whatever can fail about a store does so here, while nothing names it; dropped, it vanishes.
    let parent = atomic::directory_of(&store);
    atomic::make_directory(parent).map_err(failed)?;
    let nursery =
        tempfile::Builder::new().prefix(".zput-store-").tempdir_in(parent).map_err(failed)?;
    let newborn = nursery.path().join("store");
    // What root makes is the owner's of the directory above, from the outermost on.
    owner::settle_directory(nursery.path()).map_err(failed)?;
    atomic::make_directory(&newborn).map_err(failed)?;
    let made = Store::open(&newborn, Clock::system())
        .map_err(|error| EmbeddedError::Store { path: store.clone(), error })?;
    key_file.server_key = Some(made.server_key().public_key());
    drop(made);
    // Then the key file: of two first puts at once, one has its key file refused and makes nothing.
    key_file.remote = Some(remote);
    if let Err(error) = path.save(key_file, existing) {
        (key_file.remote, key_file.server_key) = (None, None);
        return Err(error.into());
    }
    if let Err(error) = fs::rename(&newborn, &store) {
        (key_file.remote, key_file.server_key) = (None, None);
        take_back(key_file, path, existing)?;
        return Err(failed(error).into());
    }
    atomic::sync_directory(parent).map_err(failed)?;
    Ok(Made { key_file: path.path.clone(), store })
}

/// The store that a key file names could not be put into its place: the file is as it was before.
fn take_back(key_file: &KeyFile, path: &KeyPath, existing: Existing) -> Result<(), ClientError> {
    match existing {
        Existing::Keep => fs::remove_file(&path.path).map_err(|error| path.file_error(error))?,
        Existing::Replace => path.save(key_file, Existing::Replace)?,
    }
    Ok(())
}

/// A connection to the store at `path`, which must be there, and the server behind it. An empty directory is no store: its
/// disk may not be mounted. Where the store's key is known, it has to be that one.
///
/// # Errors
/// When there is none, it is another one, or it does not open.
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
    let connection = Connection::on(stream, remote.clone(), &ClientConfig::Plaintext)?;
    Ok((connection, server))
}

/// Another connection to a server that runs already.
///
/// # Errors
/// When the server takes no more.
pub(crate) fn reconnect(
    server: &EmbeddedServer,
    remote: &Remote,
) -> Result<Connection, ClientError> {
    let stream = server.connect().map_err(EmbeddedError::Start)?;
    Ok(Connection::on(stream, remote.clone(), &ClientConfig::Plaintext)?)
}

//! How a client is made: which key file, where its state is, and what is told of its events.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use zeroize::Zeroizing;
use zput_seal::keys::KeyFile;

use super::handle::Client;
use crate::{
    error::Error,
    event::Notice,
    files::directories::Directories,
    key::path::KeyPath,
    retry::RETRIES,
    session::{NoticeHandler, Session},
};

impl Client {
    /// A client with the key file at `path`. Does not prompt for a passphrase: a key file that has
    /// one is an error that [is locked](Error::is_locked). Does not connect yet.
    ///
    /// # Errors
    /// As of [`ClientBuilder::open`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, Error> {
        Self::builder().key_file(path).open()
    }

    /// A client with other settings.
    pub fn builder<'a>() -> ClientBuilder<'a> {
        ClientBuilder::default()
    }
}

/// Makes a [`Client`].
#[must_use]
pub struct ClientBuilder<'a> {
    key: Key,
    state_dir: Option<PathBuf>,
    retries: u32,
    handler: NoticeHandler,
    passphrase: Option<Box<PassphraseCallback<'a>>>,
}

/// Gives the passphrase of the key file at a path.
type PassphraseCallback<'a> = dyn FnMut(&Path) -> io::Result<String> + 'a;

enum Key {
    /// The user's own key file.
    Default,
    File(PathBuf),
    Open(Box<KeyFile>),
}

impl Default for ClientBuilder<'_> {
    fn default() -> Self {
        Self {
            key: Key::Default,
            state_dir: None,
            retries: RETRIES,
            handler: Arc::new(|_| {}),
            passphrase: None,
        }
    }
}

impl<'a> ClientBuilder<'a> {
    /// Reads the key file at `path`; without this, `zput/default.zkey` in the user's configuration
    /// directory.
    pub fn key_file(self, path: impl Into<PathBuf>) -> Self {
        Self { key: Key::File(path.into()), ..self }
    }

    /// Uses a key file that was read or made before.
    pub fn key(self, key_file: KeyFile) -> Self {
        Self { key: Key::Open(Box::new(key_file)), ..self }
    }

    /// Keeps state in `directory`: the newest version seen of each blob, and what interrupted
    /// transfers need to be resumed. Without this, `zput` in the user's state directory.
    pub fn state_dir(self, directory: impl Into<PathBuf>) -> Self {
        Self { state_dir: Some(directory.into()), ..self }
    }

    /// How often in a row an operation is retried after temporary failures; 0 for never. Without
    /// this, 5 times, which takes at most 16 seconds.
    pub fn retry(self, retries: u32) -> Self {
        Self { retries, ..self }
    }

    /// Calls `handler` with each event that is no failure, from the thread that works on the
    /// operation.
    pub fn on_event(self, handler: impl Fn(&Notice<'_>) + Send + Sync + 'static) -> Self {
        Self { handler: Arc::new(handler), ..self }
    }

    /// Calls `passphrase` once with the path of a key file that has one.
    pub fn passphrase(self, passphrase: impl FnMut(&Path) -> io::Result<String> + 'a) -> Self {
        Self { passphrase: Some(Box::new(passphrase)), ..self }
    }

    /// Reads the key file. Does not connect yet.
    ///
    /// # Errors
    /// When the key file cannot be read or names no server. One with a passphrase is
    /// [locked](Error::is_locked) unless [`passphrase`](Self::passphrase) was called.
    pub fn open(self) -> Result<Client, Error> {
        let directories = match self.state_dir {
            Some(state) if !matches!(self.key, Key::Default) => Directories::of_state(state),
            Some(state) => Directories { state, ..Directories::of_user()? },
            None => Directories::of_user()?,
        };
        let path = match self.key {
            Key::Open(key_file) => {
                return Self::client(*key_file, &directories, self.retries, self.handler);
            }
            Key::File(path) => KeyPath::new(path),
            Key::Default => KeyPath::new(directories.default_key_file()),
        };
        let key_file = match self.passphrase {
            None => path.open()?,
            Some(mut passphrase) => {
                path.unlock(&mut |path| passphrase(path).map(Zeroizing::new))?.key_file
            }
        };
        Self::client(key_file, &directories, self.retries, self.handler)
    }

    fn client(
        key_file: KeyFile,
        directories: &Directories,
        retries: u32,
        handler: NoticeHandler,
    ) -> Result<Client, Error> {
        let mut session = Session::new(key_file, directories)?;
        session.set_retries(retries, handler);
        Ok(Client::new(session, directories))
    }
}

impl fmt::Debug for ClientBuilder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("state_dir", &self.state_dir)
            .field("retries", &self.retries)
            .finish_non_exhaustive()
    }
}

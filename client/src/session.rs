//! A session: a key file, the rollback guard, and a connection that is made when it is needed.

use std::{
    cell::Cell,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use zeroize::Zeroize as _;
use zput_os::Clock;
use zput_proto::{
    hello::Mode,
    keys::{Invite, Remote},
    message::{ErrorCode, Request, Response, Scopes, Version},
    session::{ClientConfig, ClientTls},
};
use zput_seal::{
    blob::open::{BarePolicy, Vouching},
    keys::{KeyFile, ModePolicy, VaultMacKey},
};

use crate::{
    connection::{Connection, ConnectionError, Route},
    embedded::{self, LocalServer},
    error::Error,
    event::{Event, Notice},
    files::directories::Directories,
    state::{
        journal::Journals,
        rollback::{RollbackError, RollbackGuard},
    },
};

/// Puts, gets, lists and removes blobs with the capability of one key file.
pub struct Session {
    // Dropped before the server: the embedded server then has no connection to wait for.
    connection: Option<Connection>,
    server: Option<LocalServer>,
    key_file: KeyFile,
    remote: Remote,
    route: Route,
    mac_key: VaultMacKey,
    rollback_guard: RollbackGuard,
    journals: Journals,
    retries: u32,
    /// Set once an operation has used up its retries, until one succeeds. While it is set nothing
    /// is retried.
    is_circuit_open: Cell<bool>,
    notice_handler: NoticeHandler,
    /// Names to suggest for one that does not exist; `None` until they were requested.
    suggestions: Option<Vec<String>>,
    /// Whether the caller was warned that the rollback guard cannot be written.
    has_warned: Arc<AtomicBool>,
}

/// Receives notices. Called from the thread that works on the operation.
pub(crate) type NoticeHandler = Arc<dyn Fn(&Notice<'_>) + Send + Sync>;

/// Warns once of a rollback guard that cannot be written.
#[derive(Clone)]
pub(crate) struct RollbackWarning {
    notice_handler: NoticeHandler,
    has_warned: Arc<AtomicBool>,
}

impl RollbackWarning {
    /// Turns a write error of the rollback guard into a warning: the blob is stored, or was
    /// verified, without being recorded here.
    ///
    /// # Errors
    /// Those that contradict the record: [`RollbackError::Conflict`] and
    /// [`RollbackError::Unreadable`].
    pub(crate) fn warn_once(
        &self,
        version: Version,
        recorded: Result<(), RollbackError>,
    ) -> Result<(), RollbackError> {
        let error = match recorded {
            Err(error @ RollbackError::File { .. }) => &Error::from(error),
            recorded => return recorded,
        };
        if !self.has_warned.swap(true, Ordering::Relaxed) {
            (self.notice_handler)(&Notice {
                thing: None,
                event: Event::NotRecorded { version, error },
            });
        }
        Ok(())
    }
}

impl Session {
    /// A session with the capability of `key_file`. Does not connect yet.
    ///
    /// # Errors
    /// [`Error::NoRemote`] when the key file does not name a server.
    pub fn new(key_file: KeyFile, directories: &Directories) -> Result<Self, Error> {
        let remote = key_file.remote.clone().ok_or(Error::NoRemote)?;
        let mac_key = key_file.vault_secret().mac_key();
        let vault_id = vault_id(&mac_key);
        Ok(Self {
            connection: None,
            server: None,
            key_file,
            remote,
            route: Route::default(),
            mac_key,
            rollback_guard: RollbackGuard::of_vault(directories, &vault_id, Clock::system()),
            journals: Journals::of_vault(directories, &vault_id),
            retries: 0,
            is_circuit_open: Cell::new(false),
            notice_handler: Arc::new(|_| {}),
            suggestions: None,
            has_warned: Arc::default(),
        })
    }

    /// Sets how often an operation is retried in a row without progress after temporary failures (0
    /// for never), and the receiver of notices. Once an operation has used up its retries, nothing
    /// is retried until one succeeds.
    pub fn set_retries(&mut self, retries: u32, notice_handler: NoticeHandler) {
        self.retries = retries;
        self.notice_handler = notice_handler;
    }

    /// A session with the same settings and its own connection, which is not made yet.
    pub(crate) fn clone_disconnected(&self) -> Self {
        Self {
            connection: None,
            server: None,
            key_file: self.key_file.clone(),
            remote: self.remote.clone(),
            route: self.route.clone(),
            mac_key: self.key_file.vault_secret().mac_key(),
            rollback_guard: self.rollback_guard.clone(),
            journals: self.journals.clone(),
            retries: self.retries,
            is_circuit_open: Cell::new(false),
            notice_handler: self.notice_handler(),
            suggestions: None,
            has_warned: Arc::clone(&self.has_warned),
        }
    }

    /// The same session with time from `clock`.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.rollback_guard = self.rollback_guard.with_clock(clock);
        self
    }

    /// Sets how the server is reached.
    pub fn set_route(&mut self, route: Route) {
        self.route = route;
    }

    pub(crate) fn retries(&self) -> u32 {
        self.retries
    }

    pub(crate) fn notice_handler(&self) -> NoticeHandler {
        Arc::clone(&self.notice_handler)
    }

    pub(crate) fn rollback_warning(&self) -> RollbackWarning {
        RollbackWarning {
            notice_handler: self.notice_handler(),
            has_warned: Arc::clone(&self.has_warned),
        }
    }

    pub(crate) fn is_circuit_open(&self) -> bool {
        self.is_circuit_open.get()
    }

    pub(crate) fn set_circuit_open(&self, is_circuit_open: bool) {
        self.is_circuit_open.set(is_circuit_open);
    }

    pub(crate) fn notify(&self, notice: &Notice<'_>) {
        (self.notice_handler)(notice);
    }

    pub(crate) fn suggestions(&self) -> Option<&[String]> {
        self.suggestions.as_deref()
    }

    pub(crate) fn set_suggestions(&mut self, names: Vec<String>) {
        self.suggestions = Some(names);
    }

    pub(crate) fn journals(&self) -> &Journals {
        &self.journals
    }

    /// Drops the connection without Abort, so that the server keeps an open upload.
    pub(crate) fn drop_connection(&mut self) {
        self.discard_connection(|_| None);
    }

    /// Takes a connection that failed; `keep` returns it if it can still be used. If the server
    /// never sent its hello, its address is forgotten, so that another one is tried first.
    fn discard_connection(&mut self, keep: impl FnOnce(Connection) -> Option<Connection>) {
        let Some(connection) = self.connection.take() else { return };
        if !connection.is_established() {
            self.route.forget_address();
        }
        self.connection = keep(connection);
    }

    /// Closes the connection in order. The next request makes another.
    pub fn disconnect(&mut self) {
        self.close_if_stale(|_| true);
    }

    /// Closes the connection if it `is_stale`. The next request makes another.
    pub(crate) fn close_if_stale(&mut self, is_stale: impl FnOnce(&Connection) -> bool) {
        if let Some(connection) = self.connection.take_if(|connection| is_stale(connection)) {
            connection.close();
        }
    }

    /// The key file.
    #[must_use]
    pub fn key_file(&self) -> &KeyFile {
        &self.key_file
    }

    /// The server's address.
    #[must_use]
    pub fn remote(&self) -> &Remote {
        &self.remote
    }

    /// The record of the newest generations that this machine has seen in the vault.
    #[must_use]
    pub fn rollback_guard(&self) -> &RollbackGuard {
        &self.rollback_guard
    }

    /// Redeems an invite, which gives this device an account on the server.
    ///
    /// # Errors
    /// When the invite is unknown, used or expired.
    pub fn join(&mut self, invite: &Invite, label: &str) -> Result<Scopes, Error> {
        let connection = self.connection()?;
        let mut request =
            Request::Join { secret: *invite.secret.as_bytes(), label: label.to_owned() };
        let answer = connection.call(&request);
        if let Request::Join { secret, .. } = &mut request {
            secret.zeroize();
        }
        match answer? {
            Response::Joined { scopes } => Ok(scopes),
            _ => Err(connection.unexpected("not whether this device joined").into()),
        }
    }

    /// The connection, made now if there is none.
    pub(crate) fn connection(&mut self) -> Result<&mut Connection, Error> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        Ok(self.connection.insert(connection))
    }

    /// Makes another connection.
    pub(crate) fn connect(&mut self) -> Result<Connection, Error> {
        let remote = self.remote.clone();
        match &remote {
            Remote::Embedded(path) => match &self.server {
                None => {
                    let (connection, server) =
                        embedded::connect(path, self.key_file.server_key.as_ref(), &remote)?;
                    self.server = Some(server);
                    Ok(connection)
                }
                Some(server) => Ok(embedded::reconnect(server, &remote)?),
            },
            Remote::Tcp { host, port, .. } => {
                let config = self.config()?;
                Ok(Connection::tcp(remote.clone(), host, *port, &config, &mut self.route)?)
            }
            Remote::Unix(path) => {
                let config = self.config()?;
                Ok(Connection::unix(remote.clone(), path, &config, &mut self.route)?)
            }
        }
    }

    fn config(&self) -> Result<ClientConfig, Error> {
        if self.key_file.mode == ModePolicy::Plaintext {
            return Ok(ClientConfig::Plaintext);
        }
        let Some(server_key) = &self.key_file.server_key else {
            return Err(Error::NoRemote);
        };
        let device = self.key_file.device_seed().tls_key();
        let tls = ClientTls::new(&device, server_key).map_err(|error| {
            ConnectionError::Session { remote: Box::new(self.remote.clone()), source: error.into() }
        })?;
        Ok(ClientConfig::Tls(tls))
    }

    /// Whether payload on this client's connections is encrypted by TLS.
    pub(crate) fn mode(&self) -> Mode {
        match (&self.remote, self.key_file.mode) {
            (Remote::Embedded(_), _) | (_, ModePolicy::Plaintext) => Mode::Plaintext,
            (Remote::Tcp { .. } | Remote::Unix(_), ModePolicy::Tls) => Mode::Tls,
        }
    }

    /// The MAC key and writers that authenticate a blob of this vault.
    pub(crate) fn vouching(&self) -> Vouching<'_> {
        Vouching {
            vault: Some(&self.mac_key),
            writers: &self.key_file.writers,
            bare: BarePolicy::Refuse,
        }
    }

    /// Drops the connection after a failed get, whose payload may still be on it; keeps it if the
    /// server refused the request.
    pub(crate) fn drop_on_error<T>(&mut self, got: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &got
            && !matches!(error, Error::Connection(ConnectionError::Refused { .. }))
        {
            self.drop_connection();
        }
        got
    }

    /// After a failure: if the connection is still usable, `reset` ends the open operation on it.
    /// Otherwise it is dropped, and the next request makes another.
    pub(crate) fn recover(
        &mut self,
        error: &Error,
        reset: impl FnOnce(&mut Connection) -> Result<(), ConnectionError>,
    ) {
        let is_unusable = match error {
            // A connection that damages bytes is not used again.
            Error::Connection(ConnectionError::Refused { error, .. }) => {
                matches!(error.known(), Some(ErrorCode::Malformed | ErrorCode::Digest))
            }
            Error::Connection(_) => true,
            _ => false,
        };
        self.discard_connection(|mut connection| {
            // The failure itself was reported already, so an error of `reset` only drops the
            // connection.
            (!is_unusable && reset(&mut connection).is_ok()).then_some(connection)
        });
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({})", self.remote)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.close();
        }
    }
}

/// A public id of the vault, for names of state files. It does not reveal the MAC key.
fn vault_id(mac_key: &VaultMacKey) -> String {
    let id = mac_key.mac(&[b"zput/v1/vault-id"]);
    hex::encode(id.first_chunk::<16>().unwrap_or(&[0; 16]))
}

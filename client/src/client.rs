//! A client: a key file, what this machine has seen, and a connection that is made when it is needed.

use std::{
    cell::Cell,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use zeroize::Zeroize as _;
use zput_common::{
    blob::open::{BarePolicy, Vouching},
    keys::{Invite, KeyFile, ModePolicy, Remote, VaultMacKey},
    proto::{
        ClientConfig, Mode,
        message::{ErrorCode, Request, Response, Scopes, Version},
        tls::ClientTls,
    },
};
use zput_server::{EmbeddedServer, store::Clock};

use crate::{
    connection::{Connection, ConnectionError, Route},
    directories::Directories,
    embedded,
    error::ClientError,
    journal::Journals,
    notice::{Event, Notice},
    seen::{Record, SeenError},
};

/// What puts, gets, lists and removes.
pub struct Client {
    // The connection goes first: its server drains behind it.
    connection: Option<Connection>,
    server: Option<EmbeddedServer>,
    key_file: KeyFile,
    remote: Remote,
    route: Route,
    mac_key: VaultMacKey,
    record: Record,
    journals: Journals,
    retries: u32,
    /// It was tried as often as it may be, and nothing has succeeded since.
    is_hopeless: Cell<bool>,
    listener: Listener,
    /// Names that may be meant by one that is not there; absent until they were asked for.
    guesses: Option<Vec<String>>,
    /// The rollback record cannot be written, and the listener has heard of it.
    is_warned: Arc<AtomicBool>,
}

/// Who hears of notices.
pub type Listener = Arc<dyn Fn(&Notice<'_>) + Send + Sync>;

/// Warns, once, of a rollback record that cannot be written.
#[derive(Clone)]
pub(crate) struct RecordWarning {
    listener: Listener,
    is_told: Arc<AtomicBool>,
}

impl RecordWarning {
    /// What was made durable, or verified, is so whether or not this machine has a note of it: where the record
    /// could not be written that is a warning. That the record contradicts it stays an error.
    pub(crate) fn of(
        &self,
        version: Version,
        noted: Result<(), SeenError>,
    ) -> Result<(), SeenError> {
        let error = match noted {
            Err(error @ SeenError::File { .. }) => &ClientError::from(error),
            noted => return noted,
        };
        if !self.is_told.swap(true, Ordering::Relaxed) {
            (self.listener)(&Notice { thing: None, event: Event::Unrecorded { version, error } });
        }
        Ok(())
    }
}

impl Client {
    /// A client with the capability of `key_file`. Nobody is called yet.
    ///
    /// # Errors
    /// When the key file does not say where the server is.
    pub fn new(key_file: KeyFile, directories: &Directories) -> Result<Self, ClientError> {
        let remote = key_file.remote.clone().ok_or(ClientError::NoRemote)?;
        let mac_key = key_file.vault_secret().mac_key();
        let vault_id = vault_id(&mac_key);
        Ok(Self {
            connection: None,
            server: None,
            key_file,
            remote,
            route: Route::default(),
            mac_key,
            record: Record::of_vault(directories, &vault_id, Clock::system()),
            journals: Journals::of_vault(directories, &vault_id),
            retries: 0,
            is_hopeless: Cell::new(false),
            listener: Arc::new(|_| {}),
            guesses: None,
            is_warned: Arc::default(),
        })
    }

    /// From now on `listener` hears of notices, and what fails for a moment is tried again, up to `retries` times
    /// in a row without any progress. Once that did not help, nothing is tried again until something succeeds.
    pub fn persist(&mut self, retries: u32, listener: Listener) {
        self.retries = retries;
        self.listener = listener;
    }

    /// A client like this one, with a connection of its own.
    pub(crate) fn twin(&self) -> Self {
        Self {
            connection: None,
            server: None,
            key_file: self.key_file.clone(),
            remote: self.remote.clone(),
            route: self.route.clone(),
            mac_key: self.key_file.vault_secret().mac_key(),
            record: self.record.clone(),
            journals: self.journals.clone(),
            retries: self.retries,
            is_hopeless: Cell::new(false),
            listener: self.listener(),
            guesses: None,
            is_warned: Arc::clone(&self.is_warned),
        }
    }

    /// A client like this one whose time is what `clock` says.
    #[must_use]
    pub fn at(mut self, clock: Clock) -> Self {
        self.record = self.record.with_clock(clock);
        self
    }

    /// From now on the server is reached by `route`.
    pub fn go_by(&mut self, route: Route) {
        self.route = route;
    }

    pub(crate) fn retries(&self) -> u32 {
        self.retries
    }

    pub(crate) fn listener(&self) -> Listener {
        Arc::clone(&self.listener)
    }

    pub(crate) fn record_warning(&self) -> RecordWarning {
        RecordWarning { listener: self.listener(), is_told: Arc::clone(&self.is_warned) }
    }

    pub(crate) fn is_hopeless(&self) -> bool {
        self.is_hopeless.get()
    }

    pub(crate) fn set_hopeless(&self, is_hopeless: bool) {
        self.is_hopeless.set(is_hopeless);
    }

    pub(crate) fn tell(&self, notice: &Notice<'_>) {
        (self.listener)(notice);
    }

    pub(crate) fn guesses(&self) -> Option<&[String]> {
        self.guesses.as_deref()
    }

    pub(crate) fn set_guesses(&mut self, names: Vec<String>) {
        self.guesses = Some(names);
    }

    pub(crate) fn journals(&self) -> &Journals {
        &self.journals
    }

    /// Without a word: the server keeps what it has of an upload.
    pub(crate) fn hang_up(&mut self) {
        self.lose(|_| None);
    }

    /// The connection failed; `keep` may save it. An address that takes connections and does not say hello is not the
    /// one to begin with.
    fn lose(&mut self, keep: impl FnOnce(Connection) -> Option<Connection>) {
        let Some(connection) = self.connection.take() else { return };
        if !connection.was_greeted() {
            self.route.forget();
        }
        self.connection = keep(connection);
    }

    /// Closes the connection in order; the next request makes another.
    pub fn disconnect(&mut self) {
        self.retire(|_| true);
    }

    /// Closes the connection if it `is_stale`; the next request makes another.
    pub(crate) fn retire(&mut self, is_stale: impl FnOnce(&Connection) -> bool) {
        if let Some(connection) = self.connection.take_if(|connection| is_stale(connection)) {
            connection.close();
        }
    }

    /// The key file.
    #[must_use]
    pub fn key_file(&self) -> &KeyFile {
        &self.key_file
    }

    /// Where the server is.
    #[must_use]
    pub fn remote(&self) -> &Remote {
        &self.remote
    }

    /// What this machine has seen of the vault.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Redeems an invite: from now on the server knows this device.
    ///
    /// # Errors
    /// When the invite is unknown, spent or expired.
    pub fn join(&mut self, invite: &Invite, label: &str) -> Result<Scopes, ClientError> {
        let connection = self.connection()?;
        let mut request =
            Request::Join { secret: *invite.secret.as_bytes(), label: label.to_owned() };
        let answer = connection.ask(&request);
        if let Request::Join { secret, .. } = &mut request {
            secret.zeroize();
        }
        match answer? {
            Response::Joined { scopes } => Ok(scopes),
            _ => Err(connection.unexpected("not whether this device joined").into()),
        }
    }

    /// The connection, made now if there is none.
    pub(crate) fn connection(&mut self) -> Result<&mut Connection, ClientError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        Ok(self.connection.insert(connection))
    }

    /// One more connection.
    pub(crate) fn connect(&mut self) -> Result<Connection, ClientError> {
        let remote = self.remote.clone();
        match &remote {
            Remote::Embedded(path) => match &self.server {
                None => {
                    let (connection, server) =
                        embedded::connect(path, self.key_file.server_key.as_ref(), &remote)?;
                    self.server = Some(server);
                    Ok(connection)
                }
                Some(server) => embedded::reconnect(server, &remote),
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

    fn config(&self) -> Result<ClientConfig, ClientError> {
        if self.key_file.mode == ModePolicy::Plaintext {
            return Ok(ClientConfig::Plaintext);
        }
        let Some(server_key) = &self.key_file.server_key else {
            return Err(ClientError::NoRemote);
        };
        let device = self.key_file.device_seed().tls_key();
        let tls = ClientTls::new(&device, server_key).map_err(|error| {
            ConnectionError::Session { remote: Box::new(self.remote.clone()), error: error.into() }
        })?;
        Ok(ClientConfig::Tls(tls))
    }

    /// How payload travels on this client's connections.
    pub(crate) fn mode(&self) -> Mode {
        match (&self.remote, self.key_file.mode) {
            (Remote::Embedded(_), _) | (_, ModePolicy::Plaintext) => Mode::Plaintext,
            (Remote::Tcp { .. } | Remote::Unix(_), ModePolicy::Tls) => Mode::Tls,
        }
    }

    /// Who has to vouch for a blob of this vault.
    pub(crate) fn vouching(&self) -> Vouching<'_> {
        Vouching {
            vault: Some(&self.mac_key),
            writers: &self.key_file.writers,
            bare: BarePolicy::Refuse,
        }
    }

    /// A get that failed leaves payload behind, unless the server refused it in the first place.
    pub(crate) fn after<T>(&mut self, got: Result<T, ClientError>) -> Result<T, ClientError> {
        if let Err(error) = &got
            && !matches!(error, ClientError::Connection(ConnectionError::Refused { .. }))
        {
            self.hang_up();
        }
        got
    }

    /// After a failure: where the connection still makes sense, `settle` ends what was under way on
    /// it; otherwise it is given up, and the next request makes another.
    pub(crate) fn recover(
        &mut self,
        error: &ClientError,
        settle: impl FnOnce(&mut Connection) -> Result<(), ConnectionError>,
    ) {
        let is_spoiled = match error {
            // A line that changes bytes is not used again.
            ClientError::Connection(ConnectionError::Refused { error, .. }) => {
                matches!(error.known(), Some(ErrorCode::Malformed | ErrorCode::Digest))
            }
            ClientError::Connection(_) => true,
            _ => false,
        };
        self.lose(|mut connection| {
            // One that cannot be settled is dropped; the failure itself is told already.
            (!is_spoiled && settle(&mut connection).is_ok()).then_some(connection)
        });
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.remote)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.close();
        }
    }
}

/// What tells the vaults of one machine apart; says nothing about their secrets.
fn vault_id(mac_key: &VaultMacKey) -> String {
    let id = mac_key.mac(&[b"zput/v1/vault-id"]);
    hex::encode(id.first_chunk::<16>().unwrap_or(&[0; 16]))
}

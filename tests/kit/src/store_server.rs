//! A server of a store, in the test's own process.

use std::{
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use tempfile::TempDir;
use zput_proto::{
    keys::{DeviceTlsKey, Invite, InviteSecret, Remote},
    message::Scopes,
    mount::MountName,
    session::{ClientConfig, ClientTls},
};
use zput_server::{
    Server, ServerHandle, ServerOptions,
    mounts::{MountPoint, Mounts, Policy, Source},
    store::{Clock, Store},
};

use crate::{Machine, RawClient, names, set_up};

/// How long an invite is valid.
const INVITE_TTL: Duration = Duration::from_secs(60);

/// A server on loopback. Its store is removed when it is dropped.
pub struct StoreServer {
    /// The running server.
    pub server: ServerHandle,
    /// Its store.
    pub store: Store,
    /// Where the store is.
    pub dir: TempDir,
}

impl StoreServer {
    /// All scopes for peers without a key, over plaintext, and objects that are not sealed.
    pub const EVERYTHING: Policy =
        Policy { anonymous: Scopes::ALL, allow_unsealed: true, ..Policy::PRIVATE };

    /// A server of an empty store that only devices with an account may use.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    #[track_caller]
    pub fn private() -> Self {
        Self::start(Policy::PRIVATE, |_| {})
    }

    /// A server of an empty store with this policy.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    #[track_caller]
    pub fn start(policy: Policy, change: impl FnOnce(&mut ServerOptions)) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), policy, [], change)
    }

    /// A server of the store in `dir`, which may be there already, at the root, and of other
    /// mounts.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    #[track_caller]
    pub fn start_in(
        dir: TempDir,
        policy: Policy,
        others: impl IntoIterator<Item = MountPoint>,
        change: impl FnOnce(&mut ServerOptions),
    ) -> Self {
        let store = Store::open(dir.path(), Clock::system()).unwrap();
        let listen = vec!["127.0.0.1:0".parse().unwrap()];
        let root = MountPoint::new("", Source::Store(store.clone()), policy);
        let mounts = Mounts::new(std::iter::once(root).chain(others)).unwrap();
        let mut options = ServerOptions::new(mounts, listen);
        options.workers = 2;
        options.limits.pool_threads = 4;
        options.limits.shutdown_timeout = Duration::from_secs(5);
        change(&mut options);
        let server = Server::bind(options).unwrap().spawn().unwrap();
        Self { server, store, dir }
    }

    /// Where it listens.
    ///
    /// # Panics
    /// When it does not listen for TCP.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.addresses()[0].tcp().unwrap()
    }

    /// Where it listens, as a key file says it.
    #[must_use]
    pub fn remote(&self) -> Remote {
        let address = self.address();
        Remote::Tcp { host: address.ip().to_string(), port: address.port(), mount: MountName::ROOT }
    }

    /// A connection that has said nothing.
    ///
    /// # Panics
    /// When the server does not accept it.
    #[must_use]
    #[track_caller]
    pub fn tcp(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address()).unwrap();
        set_up(&stream).unwrap();
        stream
    }

    /// A client without a key.
    ///
    /// # Panics
    /// When the server does not take it.
    #[must_use]
    #[track_caller]
    pub fn plain(&self) -> RawClient {
        RawClient::over(self.tcp(), &ClientConfig::Plaintext).unwrap()
    }

    /// A client with this key, known or not.
    ///
    /// # Panics
    /// When the server does not take it.
    #[must_use]
    #[track_caller]
    pub fn device(&self, key: &DeviceTlsKey) -> RawClient {
        RawClient::over(self.tcp(), &self.tls(key)).unwrap()
    }

    /// How a client with this key connects.
    ///
    /// # Panics
    /// Never with a key of 32 bytes.
    #[must_use]
    pub fn tls(&self, key: &DeviceTlsKey) -> ClientConfig {
        let server = self.store.server_key().public_key();
        ClientConfig::Tls(ClientTls::new(key, &server).unwrap())
    }

    /// Gives a device an account without the network.
    ///
    /// # Panics
    /// When the store cannot be written.
    #[track_caller]
    pub fn enroll(&self, key: &DeviceTlsKey, scopes: Scopes) {
        self.store.redeem_invite(&self.invite(scopes), &key.public_key(), "test").unwrap();
    }

    /// The secret of an invite.
    ///
    /// # Panics
    /// When the store cannot be written.
    #[must_use]
    #[track_caller]
    pub fn invite(&self, scopes: Scopes) -> InviteSecret {
        self.store.create_invite(scopes, INVITE_TTL).unwrap()
    }

    /// The text of an invite, as a user gets it.
    ///
    /// # Panics
    /// When the store cannot be written.
    #[must_use]
    #[track_caller]
    pub fn invite_text(&self, scopes: Scopes) -> String {
        self.invite_text_to(self.remote(), scopes)
    }

    /// The same, to another address than its own.
    ///
    /// # Panics
    /// When the store cannot be written.
    #[must_use]
    #[track_caller]
    pub fn invite_text_to(&self, address: Remote, scopes: Scopes) -> String {
        let server_key = self.store.server_key().public_key();
        let invite = Invite { address, server_key, secret: self.invite(scopes) };
        invite.to_text().to_string()
    }

    /// A machine with a key file of its own and an account.
    ///
    /// # Panics
    /// When `zblob key join` fails.
    #[must_use]
    #[track_caller]
    pub fn member(&self) -> Machine {
        let machine = Machine::new();
        machine.run_line_on(self.invite_text(Scopes::ALL).as_bytes(), "zblob key join").ok();
        machine
    }

    /// Files of uploads under way.
    ///
    /// # Panics
    /// When they cannot be listed.
    #[must_use]
    #[track_caller]
    pub fn staged(&self) -> usize {
        names(&self.dir.path().join("staging")).len()
    }
}

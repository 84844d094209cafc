//! A server in this process, connected by a socket pair.

use std::path::Path;

use zput_os::Clock;
use zput_proto::{
    keys::{Remote, ServerPublicKey},
    session::ClientConfig,
};
use zput_server::{
    EmbeddedServer, embedded,
    store::{Store, StoreError},
};

use super::error::EmbeddedError;
use crate::connection::Connection;

/// A running server. Dropping it stops it.
pub(crate) struct LocalServer(EmbeddedServer);

/// Connects to the store at `path`, which must exist, and starts its server. An empty directory is
/// not a store: its disk may not be mounted. If `key` is given, the store must have it.
///
/// # Errors
/// When there is no store, it has another key, or it cannot be opened.
pub(crate) fn connect(
    path: &str,
    key: Option<&ServerPublicKey>,
    remote: &Remote,
) -> Result<(Connection, LocalServer), EmbeddedError> {
    let path = Path::new(path);
    let store = Store::open_existing(path, Clock::system()).map_err(|error| match error {
        StoreError::NoStore => EmbeddedError::NoStore(path.to_owned()),
        error => EmbeddedError::Store { path: path.to_owned(), source: error.into() },
    })?;
    if key.is_some_and(|key| *key != store.server_key().public_key()) {
        return Err(EmbeddedError::AnotherStore(path.to_owned()));
    }
    let (stream, server) = embedded::serve(&store).map_err(EmbeddedError::Start)?;
    let connection = Connection::from_stream(stream, remote.clone(), &ClientConfig::Plaintext)?;
    Ok((connection, LocalServer(server)))
}

/// Another connection to a running embedded server.
///
/// # Errors
/// When the server accepts no more.
pub(crate) fn reconnect(
    server: &LocalServer,
    remote: &Remote,
) -> Result<Connection, EmbeddedError> {
    let stream = server.0.connect().map_err(EmbeddedError::Start)?;
    Ok(Connection::from_stream(stream, remote.clone(), &ClientConfig::Plaintext)?)
}

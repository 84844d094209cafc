//! What a program without embedded stores does about one: it says so.

use std::path::PathBuf;

use zput_proto::keys::{Remote, ServerPublicKey};

use super::error::EmbeddedError;
use crate::connection::Connection;

/// A running server, of which there is none.
pub(crate) enum LocalServer {}

/// Connects to no store.
///
/// # Errors
/// [`EmbeddedError::NotBuilt`], always.
pub(crate) fn connect(
    path: &str,
    _key: Option<&ServerPublicKey>,
    _remote: &Remote,
) -> Result<(Connection, LocalServer), EmbeddedError> {
    Err(EmbeddedError::NotBuilt(PathBuf::from(path)))
}

/// Another connection to a server that there cannot be.
///
/// # Errors
/// None.
pub(crate) fn reconnect(
    server: &LocalServer,
    _remote: &Remote,
) -> Result<Connection, EmbeddedError> {
    match *server {}
}

//! Errors of a connection.

use std::io;

use thiserror::Error;
use zput_proto::{keys::Remote, message::RemoteError, session::SessionError};

use super::{
    refusal::{MountRefused, Refusal, SessionEnded},
    resolve::ResolveError,
};

/// Why a connection could not be made or has ended. Remotes are boxed to keep results small.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The host's name could not be resolved.
    #[error("cannot find {host}")]
    Resolve {
        /// The host's name.
        host: String,
        /// The resolver's error.
        source: ResolveError,
    },
    /// No address accepted the connection.
    #[error("cannot connect to {remote}")]
    Connect {
        /// The server's address.
        remote: Box<Remote>,
        /// The error of the address that was tried last.
        source: io::Error,
        /// Whether this client was connected to it before.
        was_connected: bool,
    },
    /// The socket failed.
    #[error("the connection to {remote} failed")]
    Socket {
        /// The server's address.
        remote: Box<Remote>,
        /// The system's error.
        source: io::Error,
    },
    /// The session failed.
    #[error("{}", SessionEnded { remote, error: source })]
    Session {
        /// The server's address.
        remote: Box<Remote>,
        /// The session's error.
        source: SessionError,
    },
    /// The server refused a request.
    #[error("{}", Refusal { remote, error })]
    Refused {
        /// The server's address.
        remote: Box<Remote>,
        /// Code and text of the server.
        error: RemoteError,
    },
    /// The server refused the mount that the remote names.
    #[error("{}", MountRefused { remote, error })]
    NotMounted {
        /// The server's address, with the mount.
        remote: Box<Remote>,
        /// Code and text of the server.
        error: RemoteError,
    },
    /// The answer does not fit the request.
    #[error("{remote} sent an unexpected response: {what}")]
    Unexpected {
        /// The server's address.
        remote: Box<Remote>,
        /// What is wrong with the answer.
        what: &'static str,
    },
}

//! Why there is no connection, or none any more.

use std::io;

use thiserror::Error;
use zput_common::{
    keys::Remote,
    proto::{SessionError, message::RemoteError},
};

use super::resolve::ResolveError;
use crate::error::{Ended, Refusal, Unmounted};

/// Why a connection could not be made or does not go on. The remotes are boxed: results are passed on
/// through many hands.
#[derive(Debug, Error)]
pub enum ConnectionError {
    /// The host's name leads nowhere.
    #[error("cannot find {host}: {error}")]
    Resolve {
        /// Which host.
        host: String,
        /// Why not.
        error: ResolveError,
    },
    /// Nobody takes the connection.
    #[error("cannot connect to {remote}: {error} (is the server running?)")]
    Connect {
        /// Where to.
        remote: Box<Remote>,
        /// Why not, of the last address tried.
        error: io::Error,
        /// Whether this client had a connection there before.
        was_there: bool,
    },
    /// The socket failed.
    #[error("the connection to {remote} failed: {error} (try again)")]
    Socket {
        /// Where to.
        remote: Box<Remote>,
        /// How.
        error: io::Error,
    },
    /// The session does not go on.
    #[error("{}", Ended { remote, error })]
    Session {
        /// Where to.
        remote: Box<Remote>,
        /// Why.
        error: SessionError,
    },
    /// The server refused a request.
    #[error("{}", Refusal { remote, error })]
    Refused {
        /// Where to.
        remote: Box<Remote>,
        /// Code and text.
        error: RemoteError,
    },
    /// The server does not turn to the mount that the remote names.
    #[error("{}", Unmounted { remote, error })]
    NotMounted {
        /// Where to, and which mount.
        remote: Box<Remote>,
        /// Code and text.
        error: RemoteError,
    },
    /// An answer that does not fit what was asked.
    #[error("{remote} answered what was not asked: {what}")]
    Unexpected {
        /// Where to.
        remote: Box<Remote>,
        /// What is wrong with it.
        what: &'static str,
    },
}

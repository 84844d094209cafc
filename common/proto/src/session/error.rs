//! Why a session ends, or does not send a message.

use rustls::{AlertDescription, CertificateError};
use thiserror::Error;

use crate::{error_code::RemoteError, hello::HelloError, message::frame::FrameError};

/// Why a session is over, or does not send a message.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The peer sent no hello, or one that cannot be accepted.
    #[error(transparent)]
    Hello(#[from] HelloError),
    /// The server refused the connection: this side refused, or received the refusal.
    #[error("the server refuses the connection: {0}")]
    Refused(RemoteError),
    /// The server proved to hold another key than the pinned one.
    #[error(
        "the server's key is not the one that is pinned: somebody else answers, or the server was \
         set up anew"
    )]
    AnotherServerKey,
    /// TLS failed for another reason: a bad signature, damaged bytes, or an alert.
    #[error("TLS failed")]
    Tls(#[source] rustls::Error),
    /// A TLS record is longer than RFC 8446, 5.2 allows.
    #[error("a TLS record cannot have a body of {0} bytes")]
    RecordTooLong(usize),
    /// The peer sent a malformed frame. The bytes after it have no meaning.
    #[error("the peer broke the protocol")]
    Frame(#[source] FrameError),
    /// PROTOCOL 2: "Bytes behind an announcing frame in the same record are a protocol error."
    #[error("the peer broke the protocol: bytes behind a frame that announces payload")]
    BehindAnnouncement,
    /// PROTOCOL 3: "The first frame in each direction is `Echo`", and no other is.
    #[error("the peer broke the protocol: an echo is the first message, and only that")]
    EchoMisplaced,
    /// PROTOCOL 3: "somebody changed one on its way."
    #[error("the hellos were modified in transit")]
    EchoMismatch,
    /// The server's answer does not fit the oldest unanswered request.
    #[error("the server sent an unexpected response")]
    UnexpectedAnswer,
    /// A request that was sent before the server's hello is over a limit that the hello states.
    #[error("the server accepts less than was asked of it before it said so")]
    EarlyUnsendable,
    /// The client announced a slice over the limit that the server's hello states.
    #[error("the peer broke the protocol: a slice of {0} bytes")]
    SliceTooLong(u32),
    /// The stream ended where the protocol does not allow it.
    #[error("the connection was cut")]
    Truncated,
    /// No connection within [`HANDSHAKE_SECONDS`](crate::limits::HANDSHAKE_SECONDS).
    #[error("the peer sent no hello in time")]
    HandshakeTimeout,
    /// No byte moved for as long as a connection may be idle.
    #[error("the peer was idle for too long")]
    IdleTimeout,
    /// This side closed the session.
    #[error("the connection is closed")]
    Closed,
    /// The message was not sent: it breaks a bound, or a limit of the peer.
    #[error("this message cannot be sent")]
    Unsendable(#[source] FrameError),
    /// The message was not sent: this slice is longer than the server accepts.
    #[error("a slice of {0} bytes is longer than the server accepts")]
    SliceUnsendable(u32),
    /// The message was not sent: the pipeline is full.
    #[error("too many requests are unanswered")]
    PipelineFull,
    /// The message was not sent: there is no request that it could answer.
    #[error("there is nothing to answer")]
    NothingToAnswer,
}

/// rustls has no error of its own for a peer whose key is not the pinned one: the verifier of
/// server keys reports it as a failure of the application.
impl From<rustls::Error> for SessionError {
    fn from(error: rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure) => {
                Self::AnotherServerKey
            }
            error => Self::Tls(error),
        }
    }
}

impl SessionError {
    /// Whether bytes that a bad cable or bad memory changed can have caused the error, so that
    /// another connection may succeed. What was authenticated is no such damage.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        match self {
            Self::RecordTooLong(_) | Self::Frame(_) => true,
            Self::Tls(error) => match error {
                rustls::Error::DecryptError
                | rustls::Error::InvalidMessage(_)
                | rustls::Error::PeerMisbehaved(_)
                | rustls::Error::PeerSentOversizedRecord
                | rustls::Error::InappropriateMessage { .. }
                | rustls::Error::InappropriateHandshakeMessage { .. } => true,
                rustls::Error::AlertReceived(alert) => matches!(
                    alert,
                    AlertDescription::BadRecordMac
                        | AlertDescription::DecodeError
                        | AlertDescription::DecryptError
                        | AlertDescription::RecordOverflow
                        | AlertDescription::UnexpectedMessage
                        | AlertDescription::IllegalParameter
                ),
                _ => false,
            },
            _ => false,
        }
    }

    /// Whether the session is over. After an error that is not fatal it is as before the call.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        !matches!(
            self,
            Self::Unsendable(_)
                | Self::SliceUnsendable(_)
                | Self::PipelineFull
                | Self::NothingToAnswer
        )
    }
}

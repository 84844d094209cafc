//! Kinds of errors: what a caller can do about one.

use std::io;

use zput_proto::{hello::HelloError, message::ErrorCode, session::SessionError};
use zput_seal::{
    blob::{open::OpenError, seal::SealError},
    keys::{KeyFileError, PassphraseError},
};

use super::variants::Error;
use crate::{
    connection::ConnectionError,
    embedded::EmbeddedError,
    io::{sink::SinkError, source::SourceError},
    key::path::KeystoreError,
    state::rollback::RollbackError,
};

/// What kind of error it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An error without a kind of its own.
    Other,
    /// The arguments are invalid.
    InvalidInput,
    /// Some of several objects could not be read.
    Partial,
    /// There is no such blob, version or file.
    NotFound,
    /// A temporary failure: try again.
    Temporary,
    /// The server does not permit this device the request.
    Denied,
    /// A key is missing or is the wrong one.
    Key,
    /// Data was altered, or the server serves an old version.
    Integrity,
    /// The disk or a quota is full.
    Full,
    /// The name or the output exists already.
    Exists,
    /// The reader of a pipe is gone, which ended the output early.
    ReaderGone,
}

impl Error {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        self.kind() == ErrorKind::Temporary
    }

    /// Whether the condition of a put was not met, or an output exists already.
    #[must_use]
    pub fn already_exists(&self) -> bool {
        self.kind() == ErrorKind::Exists
    }

    /// The kind of this error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Connection(error) => of_connection(error),
            Self::Source(SourceError::Changed(_)) => ErrorKind::Temporary,
            Self::Source(SourceError::Read { source, .. })
                if source.kind() == io::ErrorKind::NotFound =>
            {
                ErrorKind::NotFound
            }
            Self::Source(_) => ErrorKind::Other,
            Self::Sink(SinkError::Exists(_)) => ErrorKind::Exists,
            Self::Sink(error) if error.is_reader_gone() => ErrorKind::ReaderGone,
            Self::Sink(error) if error.is_full() => ErrorKind::Full,
            Self::Sink(_) => ErrorKind::Other,
            Self::Rollback(RollbackError::Conflict | RollbackError::Unreadable(_)) => {
                ErrorKind::Integrity
            }
            Self::Rollback(RollbackError::File { .. }) => ErrorKind::Other,
            Self::Keystore(error) => of_keystore(error),
            Self::Embedded(error) => of_embedded(error),
            Self::Seal(SealError::Recipients(_) | SealError::Wrap(_)) => ErrorKind::Key,
            Self::Seal(_) => ErrorKind::Other,
            Self::Open(OpenError::NoIdentityMatches | OpenError::NoVaultKey) => ErrorKind::Key,
            Self::Open(_) | Self::Envelope(_) | Self::File(_) | Self::Sha256 => {
                ErrorKind::Integrity
            }
            Self::Name(_) | Self::Range { .. } => ErrorKind::InvalidInput,
            Self::NoRemote | Self::CannotOpen(_) | Self::CannotPut(_) => ErrorKind::Key,
            Self::UnsealedOverTls => ErrorKind::InvalidInput,
            Self::Overtaken { .. } | Self::PutUnderWay | Self::NotStored => ErrorKind::Temporary,
            Self::Journal(error) if error.is_full() => ErrorKind::Full,
            Self::Journal(_) => ErrorKind::Other,
            Self::NothingToResume(_)
            | Self::NotFound { .. }
            | Self::Removed(_)
            | Self::NoVersion { .. }
            | Self::NotYet { .. }
            | Self::NothingRemoved => ErrorKind::NotFound,
            Self::StreamLost(error) => match error.kind() {
                // A stream whose bytes were damaged in transit may succeed when it is run again.
                ErrorKind::Integrity => ErrorKind::Temporary,
                code => code,
            },
            Self::OutcomeUnknown(error) => error.kind(),
            Self::Damaged { .. } => ErrorKind::Integrity,
            Self::NotRecorded { .. }
            | Self::TooMuchToList
            | Self::Memory
            | Self::NoLaterGeneration
            | Self::Ahead { .. }
            | Self::Thread(_)
            | Self::Incomplete
            | Self::Directories(_) => ErrorKind::Other,
            Self::Unreadable(_) => ErrorKind::Partial,
        }
    }
}

fn of_keystore(error: &KeystoreError) -> ErrorKind {
    match error {
        KeystoreError::Exists(_) => ErrorKind::Exists,
        KeystoreError::File { source, .. } if is_full(source) => ErrorKind::Full,
        KeystoreError::Malformed {
            source: KeyFileError::Passphrase(PassphraseError::Memory(_)),
            ..
        } => ErrorKind::Other,
        _ => ErrorKind::Key,
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn of_embedded(error: &EmbeddedError) -> ErrorKind {
    match error {
        EmbeddedError::NoKeyFile { .. } => ErrorKind::Key,
        EmbeddedError::NoStore(_) => ErrorKind::NotFound,
        EmbeddedError::AnotherStore(_) => ErrorKind::Integrity,
        _ => ErrorKind::Other,
    }
}

fn of_connection(error: &ConnectionError) -> ErrorKind {
    match error {
        ConnectionError::Resolve { .. }
        | ConnectionError::Connect { .. }
        | ConnectionError::Socket { .. } => ErrorKind::Temporary,
        ConnectionError::Refused { error, .. } | ConnectionError::NotMounted { error, .. } => {
            of_code(error.code)
        }
        ConnectionError::Unexpected { .. } => ErrorKind::Integrity,
        ConnectionError::Session { source, .. } => of_session(source),
    }
}

/// A connection that violates the protocol was tampered with, by the server or in transit; one that
/// only ends can be retried.
fn of_session(error: &SessionError) -> ErrorKind {
    match error {
        // The server is not authenticated yet, so an attacker on the line may have sent this. It
        // says nothing about any blob.
        SessionError::Refused(error) => match error.known() {
            Some(ErrorCode::Busy) => ErrorKind::Temporary,
            _ => ErrorKind::Other,
        },
        SessionError::AnotherServerKey
        | SessionError::Tls(_)
        | SessionError::RecordTooLong(_)
        | SessionError::Frame(_)
        | SessionError::BehindAnnouncement
        | SessionError::EchoMisplaced
        | SessionError::EchoMismatch
        | SessionError::UnexpectedAnswer
        | SessionError::Hello(
            HelloError::VersionNotOffered(_)
            | HelloError::ModeNotOffered(_)
            | HelloError::FeaturesNotOffered(_),
        ) => ErrorKind::Integrity,
        SessionError::Truncated
        | SessionError::HandshakeTimeout
        | SessionError::IdleTimeout
        | SessionError::Closed => ErrorKind::Temporary,
        _ => ErrorKind::Other,
    }
}

fn of_code(code: u8) -> ErrorKind {
    match ErrorCode::from_u8(code) {
        Some(ErrorCode::Denied) => ErrorKind::Denied,
        Some(ErrorCode::NotFound) => ErrorKind::NotFound,
        Some(ErrorCode::Exists) => ErrorKind::Exists,
        Some(ErrorCode::Full) => ErrorKind::Full,
        Some(ErrorCode::Busy | ErrorCode::Suspect | ErrorCode::Older) => ErrorKind::Temporary,
        Some(ErrorCode::Digest) => ErrorKind::Integrity,
        Some(
            ErrorCode::Malformed
            | ErrorCode::Range
            | ErrorCode::Kind
            | ErrorCode::State
            | ErrorCode::Internal
            | ErrorCode::Version
            | ErrorCode::Mode
            | ErrorCode::ReadOnly
            | ErrorCode::Unreadable
            | ErrorCode::Ahead,
        )
        | None => ErrorKind::Other,
    }
}

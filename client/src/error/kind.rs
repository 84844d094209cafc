//! Exit codes of the commands.

use std::io;

use zput_common::{
    blob::{open::OpenError, seal::SealError},
    proto::{SessionError, hello::HelloError, message::ErrorCode},
};

use super::ClientError;
use crate::{
    connection::ConnectionError, sink::SinkError, source::SourceError,
    state::rollback::RollbackError,
};

/// A command's exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ExitCode {
    /// The command succeeded.
    Ok = 0,
    /// An error without a code of its own.
    Other = 1,
    /// The command line is invalid.
    Usage = 2,
    /// Some of several operations failed.
    Some = 3,
    /// There is no such blob, version or file.
    NotFound = 4,
    /// A temporary failure: try again.
    Temporary = 5,
    /// The server does not permit this device the request.
    Denied = 6,
    /// A key is missing or is the wrong one.
    Key = 7,
    /// Data was altered, or the server serves an old version.
    Integrity = 8,
    /// The disk or a quota is full.
    Full = 9,
    /// The name or the output exists already.
    Exists = 10,
    /// The reader of a pipe is gone, which ended the output early; the same code as of a process
    /// ended by SIGPIPE (128 + 13).
    ReaderGone = 141,
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}

impl ClientError {
    /// The exit code of a command that fails with this error.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Connection(error) => of_connection(error),
            Self::Source(SourceError::Changed(_)) => ExitCode::Temporary,
            Self::Source(SourceError::Read { error, .. })
                if error.kind() == io::ErrorKind::NotFound =>
            {
                ExitCode::NotFound
            }
            Self::Source(_) => ExitCode::Other,
            Self::Sink(SinkError::Exists(_)) => ExitCode::Exists,
            Self::Sink(error) if error.is_reader_gone() => ExitCode::ReaderGone,
            Self::Stdout(error) => of_stdout(error),
            Self::Sink(error) if error.is_full() => ExitCode::Full,
            Self::Sink(_) => ExitCode::Other,
            Self::Rollback(RollbackError::Conflict | RollbackError::Unreadable(_)) => {
                ExitCode::Integrity
            }
            Self::Rollback(RollbackError::File { .. }) => ExitCode::Other,
            Self::Keystore(error) => error.exit_code(),
            Self::Embedded(error) => error.exit_code(),
            Self::Seal(SealError::Recipients(_) | SealError::Wrap(_)) => ExitCode::Key,
            Self::Seal(_) => ExitCode::Other,
            Self::Open(OpenError::NoIdentityMatches | OpenError::NoVaultKey) => ExitCode::Key,
            Self::Open(_) | Self::Envelope(_) | Self::File(_) | Self::Sha256 => ExitCode::Integrity,
            Self::Name(_) | Self::Usage(_) | Self::Range { .. } => ExitCode::Usage,
            Self::Recipient(_)
            | Self::Invite(_)
            | Self::Identities { .. }
            | Self::NoRemote
            | Self::CannotOpen(_)
            | Self::CannotPut(_) => ExitCode::Key,
            Self::UnsealedOverTls => ExitCode::Usage,
            Self::Overtaken { .. } | Self::PutUnderWay | Self::NotStored => ExitCode::Temporary,
            Self::Journal(error) if error.is_full() => ExitCode::Full,
            Self::Journal(_) => ExitCode::Other,
            Self::NothingToResume(_)
            | Self::NoMatch(_)
            | Self::NotFound { .. }
            | Self::Removed(_)
            | Self::NoVersion { .. }
            | Self::NotYet { .. }
            | Self::NothingRemoved => ExitCode::NotFound,
            Self::StreamLost(error) => match error.exit_code() {
                // A stream whose bytes were damaged in transit may succeed when it is run again.
                ExitCode::Integrity => ExitCode::Temporary,
                code => code,
            },
            Self::OutcomeUnknown(error) => error.exit_code(),
            Self::Damaged { .. } => ExitCode::Integrity,
            Self::NotRecorded { .. }
            | Self::TooMuchToList
            | Self::Memory
            | Self::NoLaterGeneration
            | Self::Ahead { .. }
            | Self::Thread(_)
            | Self::Incomplete
            | Self::Local { .. } => ExitCode::Other,
            Self::Several { .. } | Self::Unreadable(_) => ExitCode::Some,
        }
    }
}

fn of_stdout(error: &io::Error) -> ExitCode {
    match error.kind() {
        io::ErrorKind::BrokenPipe => ExitCode::ReaderGone,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ExitCode::Full,
        _ => ExitCode::Other,
    }
}

fn of_connection(error: &ConnectionError) -> ExitCode {
    match error {
        ConnectionError::Resolve { .. }
        | ConnectionError::Connect { .. }
        | ConnectionError::Socket { .. } => ExitCode::Temporary,
        ConnectionError::Refused { error, .. } | ConnectionError::NotMounted { error, .. } => {
            of_code(error.code)
        }
        ConnectionError::Unexpected { .. } => ExitCode::Integrity,
        ConnectionError::Session { error, .. } => of_session(error),
    }
}

/// A connection that violates the protocol was tampered with, by the server or in transit; one that
/// only ends can be retried.
fn of_session(error: &SessionError) -> ExitCode {
    match error {
        // The server is not authenticated yet, so an attacker on the line may have sent this. It
        // says nothing about any blob.
        SessionError::Refused(error) => match error.known() {
            Some(ErrorCode::Busy) => ExitCode::Temporary,
            _ => ExitCode::Other,
        },
        SessionError::Tls(_)
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
        ) => ExitCode::Integrity,
        SessionError::Truncated
        | SessionError::HandshakeTimeout
        | SessionError::IdleTimeout
        | SessionError::Closed => ExitCode::Temporary,
        _ => ExitCode::Other,
    }
}

fn of_code(code: u8) -> ExitCode {
    match ErrorCode::from_u8(code) {
        Some(ErrorCode::Denied) => ExitCode::Denied,
        Some(ErrorCode::NotFound) => ExitCode::NotFound,
        Some(ErrorCode::Exists) => ExitCode::Exists,
        Some(ErrorCode::Full) => ExitCode::Full,
        Some(ErrorCode::Busy | ErrorCode::Suspect | ErrorCode::Older) => ExitCode::Temporary,
        Some(ErrorCode::Digest) => ExitCode::Integrity,
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
        | None => ExitCode::Other,
    }
}

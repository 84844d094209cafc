//! Errors of the programs: those of the library, and those that only a program has.

use std::{io, path::PathBuf};

use thiserror::Error;
use zput::{
    cli::printable,
    error::{EmbeddedError, KeystoreError, SinkError, SourceError},
};
use zput_proto::{keys::InviteError, name::NameError};
use zput_seal::age::{IdentityFileError, RecipientError};

use crate::{
    advice::{describe, with_causes},
    exit_code::ExitCode,
};

/// Why a command failed. The text has the causes in it and says what to do next, so there is no
/// `source`.
#[derive(Debug, Error)]
pub enum CommandError {
    /// The library failed.
    #[error("{}", describe(.0))]
    Library(zput::Error),
    /// The text is not a recipient.
    #[error("not a recipient: {}", with_causes(.0))]
    Recipient(RecipientError),
    /// The text is not an invite.
    #[error("{}", with_causes(.0))]
    Invite(InviteError),
    /// An identity file could not be parsed.
    #[error("{}: {}", path.display(), with_causes(error))]
    Identities {
        /// The file's path.
        path: PathBuf,
        /// The parser's error.
        error: IdentityFileError,
    },
    /// The key file has a passphrase, and there is no terminal to ask for it.
    #[error(
        "{} is encrypted and there is no terminal to ask for the passphrase (--passphrase-command \
         or --passphrase-fd gives it; zblob key passphrase remove removes it)",
        .0.display()
    )]
    CannotAsk(PathBuf),
    /// The terminal failed while the passphrase was asked for.
    #[error("cannot ask for the passphrase: {0}")]
    Ask(io::Error),
    /// Writing to stdout failed.
    #[error("cannot write to stdout: {0}")]
    Stdout(io::Error),
    /// An operation on this machine failed.
    #[error("{what}: {error}")]
    Local {
        /// The operation, as the error text names it.
        what: String,
        /// The system's error.
        error: io::Error,
    },
    /// The arguments contradict each other.
    #[error("{0}")]
    Usage(String),
    /// No blob's name has this prefix or matches this pattern.
    #[error("nothing matches {} (zblob ls lists what is there)", printable(.0))]
    NoMatch(String),
    /// Some of several operations failed. Each failure was reported before.
    #[error("{failed} of {all} failed")]
    Several {
        /// How many failed.
        failed: usize,
        /// How many there were.
        all: usize,
    },
}

impl CommandError {
    /// The exit code of a command that fails with this error.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Library(error) => error.kind().into(),
            Self::Recipient(_)
            | Self::Invite(_)
            | Self::Identities { .. }
            | Self::CannotAsk(_)
            | Self::Ask(_) => ExitCode::Key,
            Self::Stdout(error) => match error.kind() {
                io::ErrorKind::BrokenPipe => ExitCode::ReaderGone,
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ExitCode::Full,
                _ => ExitCode::Other,
            },
            Self::Local { .. } => ExitCode::Other,
            Self::Usage(_) => ExitCode::Usage,
            Self::NoMatch(_) => ExitCode::NotFound,
            Self::Several { .. } => ExitCode::Some,
        }
    }
}

impl From<zput::Error> for CommandError {
    fn from(error: zput::Error) -> Self {
        Self::Library(error)
    }
}

impl From<RecipientError> for CommandError {
    fn from(error: RecipientError) -> Self {
        Self::Recipient(error)
    }
}

impl From<InviteError> for CommandError {
    fn from(error: InviteError) -> Self {
        Self::Invite(error)
    }
}

impl From<NameError> for CommandError {
    fn from(error: NameError) -> Self {
        Self::Library(error.into())
    }
}

impl From<SourceError> for CommandError {
    fn from(error: SourceError) -> Self {
        Self::Library(error.into())
    }
}

impl From<SinkError> for CommandError {
    fn from(error: SinkError) -> Self {
        Self::Library(error.into())
    }
}

impl From<KeystoreError> for CommandError {
    fn from(error: KeystoreError) -> Self {
        Self::Library(error.into())
    }
}

impl From<EmbeddedError> for CommandError {
    fn from(error: EmbeddedError) -> Self {
        Self::Library(error.into())
    }
}

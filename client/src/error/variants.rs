//! What can go wrong, and what it is about.

use std::io;

use thiserror::Error as ThisError;
use zput_proto::{
    envelope::EnvelopeError,
    keys::Remote,
    message::{ErrorCode, Version},
    name::NameError,
};
use zput_seal::{
    blob::{header::HeaderError, open::OpenError, part::PartError, seal::SealError},
    keys::Role,
};

use super::{clock_skew::clock_skew, restart_reason::RestartReason};
use crate::{
    calendar::{local_version_time, version_time},
    connection::ConnectionError,
    embedded::EmbeddedError,
    escape::printable,
    files::directories::DirectoriesError,
    io::{sink::SinkError, source::SourceError},
    key::path::KeystoreError,
    limits::LISTED_MAX,
    memory::OutOfMemory,
    state::{journal::JournalError, rollback::RollbackError},
};

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation failed.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum Error {
    /// The connection failed, or the server refused a request.
    #[error(transparent)]
    Connection(ConnectionError),
    /// The source could not be read, or changed.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The output could not be written.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The rollback guard could not be used.
    #[error(transparent)]
    Rollback(#[from] RollbackError),
    /// The key file could not be used.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// The embedded store could not be used.
    #[error(transparent)]
    Embedded(EmbeddedError),
    /// It is not known where this user's files are.
    #[error(transparent)]
    Directories(#[from] DirectoriesError),
    /// The blob could not be sealed.
    #[error("cannot seal")]
    Seal(#[from] SealError),
    /// The blob could not be opened or authenticated.
    #[error("the blob cannot be opened")]
    Open(#[from] OpenError),
    /// The plaintext is as it was sealed, but does not have the SHA-256 that the writer stated.
    #[error(
        "the plaintext is what was sealed, but its SHA-256 is not the one that its writer recorded"
    )]
    Sha256,
    /// The server stated lengths that no sealed blob has.
    #[error("the server's answer is not a sealed blob: {0}")]
    Envelope(&'static str),
    /// A local file that is not a sealed blob, or only part of one.
    #[error("not a sealed blob, or truncated: {0}")]
    File(&'static str),
    /// The text is not a valid blob name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The key file does not name a server.
    #[error("the key file names no server")]
    NoRemote,
    /// The key file has a role that cannot open blobs.
    #[error("this key file has the role {0} and cannot open blobs")]
    CannotOpen(Role),
    /// The key file has a role that cannot seal blobs.
    #[error("this key file has the role {0} and cannot put")]
    CannotPut(Role),
    /// Unsealed objects are not sent over TLS.
    #[error(
        "unsealed objects move only on plaintext connections, and the key file has mode = \"tls\""
    )]
    UnsealedOverTls,
    /// The range begins after the end of the blob.
    #[error("the range begins at byte {offset}, counted from 0, and the blob has {length} bytes")]
    Range {
        /// Offset of the first byte asked for.
        offset: u64,
        /// Length of the blob in bytes.
        length: u64,
    },
    /// The listing exceeds its bounds.
    #[error("more than {LISTED_MAX} objects, or too many empty pages: nothing is listed")]
    TooMuchToList,
    /// The server could not read this many objects of the listing.
    #[error("objects that the server could not read: {0}")]
    Unreadable(u64),
    /// The current version has a generation that is not lower than this blob's: another put of this
    /// name was faster, or the clock of its machine is ahead.
    #[error(
        "the version under this name was sealed at {}, and this put was not sealed later; nothing \
         was stored (try again)",
        version_time(Version(*newest))
    )]
    Overtaken {
        /// Generation of the newest blob known under this name, in ns since 1970.
        newest: u64,
    },
    /// The blob's generation is further ahead of the server's clock than the server accepts.
    #[error("{}", clock_skew(remote, *server, *here))]
    Ahead {
        /// The server's address.
        remote: Box<Remote>,
        /// The server's time, in ns since 1970.
        server: u64,
        /// This machine's time, in ns since 1970.
        here: u64,
    },
    /// The newest known generation under this name is the highest possible one.
    #[error("the current version has the highest possible generation, so no put can follow it")]
    NoLaterGeneration,
    /// Bytes were damaged in transit on several connections in a row.
    #[error(
        "bytes were damaged {times} times in a row: the network, or the server's disk or memory, \
         changes them"
    )]
    Damaged {
        /// The error of the last connection.
        source: Box<Error>,
        /// Number of connections that brought damaged bytes.
        times: u32,
    },
    /// The journal of a put could not be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Resuming was required, and there is nothing to resume; with the reason, if there was an
    /// interrupted put.
    #[error(
        "there is nothing to resume{}",
        .0.map(|why| format!(": {why}")).unwrap_or_default()
    )]
    NothingToResume(Option<RestartReason>),
    /// Another process is putting this name.
    #[error("another put of this name is in progress")]
    PutUnderWay,
    /// A stream failed after the client no longer had all of its bytes.
    #[error("the put failed, and a stream cannot be sent again")]
    StreamLost(#[source] Box<Error>),
    /// The connection ended after a request that changes something, and the server could not be
    /// asked for the outcome.
    #[error("whether the server has carried out the request is unknown")]
    OutcomeUnknown(#[source] Box<Error>),
    /// The server does not have a stream whose connection ended during the commit.
    #[error("the connection ended before it was stored, and a stream cannot be sent again")]
    NotStored,
    /// The blob is stored, and the rollback guard contradicts it.
    #[error(
        "stored as version {}, but this machine will not detect a rollback to a version before it",
        version.0
    )]
    NotRecorded {
        /// The version that the server made durable.
        version: Version,
        /// The error of the rollback guard.
        source: RollbackError,
    },
    /// A memory limit was reached.
    #[error(
        "not enough memory (a put takes 64 MiB, and a get 48 MiB, beside the program; raise its \
         limit: ulimit -v, LimitAS=)"
    )]
    Memory,
    /// A thread of the pipeline could not be started.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    /// A thread of the pipeline ended without a result.
    #[error("internal error: the pipeline ended early")]
    Incomplete,
    /// There is no blob of this name, but one of a similar name.
    #[error("not found (did you mean {}?)", printable(near))]
    NotFound {
        /// The similar name.
        near: String,
    },
    /// The blob is in the trash.
    #[error("it was removed; its version of {} is in the trash", local_version_time(*.0))]
    Removed(Version),
    /// The blob exists, without this version.
    #[error(
        "it has no version {asked}; the newest is {newest} of {}",
        local_version_time(*newest)
    )]
    NoVersion {
        /// The version that was asked for.
        asked: Version,
        /// The newest version that exists.
        newest: Version,
    },
    /// The blob did not exist yet at the time that was asked for.
    #[error(
        "it did not exist at {moment}; the oldest version is {oldest} of {}",
        local_version_time(*oldest)
    )]
    NotYet {
        /// That time, as it was typed and understood.
        moment: String,
        /// The oldest version that exists.
        oldest: Version,
    },
    /// No version of this name is in the trash.
    #[error("no version of it is in the trash")]
    NothingRemoved,
}

impl From<ConnectionError> for Error {
    fn from(error: ConnectionError) -> Self {
        match &error {
            ConnectionError::Refused { error: refusal, .. }
                if refusal.known() == Some(ErrorCode::Older) =>
            {
                Self::Overtaken { newest: refusal.number }
            }
            _ => Self::Connection(error),
        }
    }
}

impl From<EmbeddedError> for Error {
    fn from(error: EmbeddedError) -> Self {
        match error {
            EmbeddedError::Keystore(error) => error.into(),
            EmbeddedError::Connection(error) => error.into(),
            error => Self::Embedded(error),
        }
    }
}

impl Error {
    /// Whether there is no such blob, or no such version of it.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.is_no_such_object()
            || matches!(
                self,
                Self::NotFound { .. }
                    | Self::Removed(_)
                    | Self::NoVersion { .. }
                    | Self::NotYet { .. }
                    | Self::NothingRemoved
            )
    }

    /// Whether the key file has a passphrase and none was given.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        matches!(self, Self::Keystore(KeystoreError::Locked(_)))
    }

    /// Whether the server answered that there is no such object.
    pub(crate) fn is_no_such_object(&self) -> bool {
        matches!(self, Self::Connection(ConnectionError::Refused { error, .. })
            if error.known() == Some(ErrorCode::NotFound))
    }

    /// Adds this machine's time to an error about clocks; leaves other errors as they are.
    pub(crate) fn with_local_time(self, here: u64) -> Self {
        match self {
            Self::Connection(ConnectionError::Refused { remote, error })
                if error.known() == Some(ErrorCode::Ahead) =>
            {
                Self::Ahead { remote, server: error.number, here }
            }
            other => other,
        }
    }
}

impl From<OutOfMemory> for Error {
    fn from(_: OutOfMemory) -> Self {
        Self::Memory
    }
}

impl From<HeaderError> for Error {
    fn from(error: HeaderError) -> Self {
        Self::Open(error.into())
    }
}

impl From<EnvelopeError> for Error {
    fn from(error: EnvelopeError) -> Self {
        HeaderError::Envelope(error).into()
    }
}

impl From<PartError> for Error {
    fn from(error: PartError) -> Self {
        Self::Open(error.into())
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use zput_proto::message::RemoteError;

    use super::*;

    fn refused(code: u8) -> Error {
        let remote = Box::new("zput://example.org:7447".parse().unwrap());
        let error = RemoteError { code, text: "no\x1b[2J".into(), number: 0 };
        ConnectionError::Refused { remote, error }.into()
    }

    /// Control characters in a server's error text do not reach the terminal.
    #[test]
    fn server_error_text_is_escaped_for_terminals() {
        for code in 0..=20 {
            assert!(!refused(code).to_string().contains('\x1b'), "code {code}");
        }
    }

    #[test]
    fn not_found_is_about_a_blob() {
        assert!(refused(ErrorCode::NotFound as u8).is_not_found());
        assert!(Error::Removed(Version(1)).is_not_found());
        assert!(!refused(ErrorCode::Denied as u8).is_not_found());
        // A mount that does not exist is no missing blob.
        let remote = Box::new("zput://example.org:7447/m".parse().unwrap());
        let error = RemoteError::new(ErrorCode::NotFound, "no mount");
        assert!(!Error::from(ConnectionError::NotMounted { remote, error }).is_not_found());
    }

    #[test]
    fn a_text_does_not_repeat_its_cause() {
        let open = Error::from(OpenError::Rollback { seen: 9, found: 8 });
        assert_eq!(open.to_string(), "the blob cannot be opened");
        let cause = open.source().unwrap().to_string();
        assert_eq!(cause, "the blob has generation 8, and generation 9 has been seen");
        let source = std::io::Error::other("it is full");
        let file = KeystoreError::File { path: "/k".into(), source };
        let error = Error::from(file);
        assert_eq!(error.to_string(), "cannot use the key file /k");
        assert_eq!(error.source().unwrap().to_string(), "it is full");
    }
}

//! Errors of the client: the text for the user, and the exit code for scripts.

mod clock_skew;
mod codes;
mod exit_code;
mod refusal;

use std::{io, path::PathBuf};

use thiserror::Error;
use zput_common::{
    age::{IdentityFileError, RecipientError},
    blob::{
        envelope::EnvelopeError, header::HeaderError, open::OpenError, part::PartError,
        seal::SealError,
    },
    keys::{InviteError, Remote, Role},
    name::NameError,
    proto::message::{ErrorCode, Version},
};

use self::clock_skew::{clock_skew, time};
pub use self::codes::{CODES, split_hint};
pub use self::exit_code::ExitCode;
pub(crate) use self::refusal::{MountRefused, Refusal, SessionEnded};
use crate::{
    calendar::local_version_time, connection::ConnectionError, embedded::EmbeddedError,
    keystore::KeystoreError, list::LISTED_MAX, notice::RestartReason, sink::SinkError,
    source::SourceError, state::journal::JournalError, state::rollback::RollbackError,
    terminal::printable,
};

/// Why an operation failed.
#[derive(Debug, Error)]
pub enum ClientError {
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
    Embedded(#[from] EmbeddedError),
    /// The blob could not be sealed.
    #[error("cannot seal: {0}")]
    Seal(#[from] SealError),
    /// The blob could not be opened or authenticated.
    #[error("{}{}", printable(&.0.to_string()), advice(.0))]
    Open(#[from] OpenError),
    /// The plaintext is as it was sealed, but does not have the SHA-256 that the writer stated.
    #[error("it is as it was sealed, but its SHA-256 is not the one that its writer noted")]
    Sha256,
    /// The server stated lengths that no sealed blob has.
    #[error("the server's answer fits no sealed blob: {0}")]
    Envelope(&'static str),
    /// A local file that is not a sealed blob, or only part of one.
    #[error("it is no sealed blob, or not all of one: {0}")]
    File(&'static str),
    /// The text is not a valid blob name.
    #[error("{0}")]
    Name(#[from] NameError),
    /// The text is not a recipient.
    #[error("not a recipient: {0}")]
    Recipient(#[from] RecipientError),
    /// The text is not an invite.
    #[error("{0}")]
    Invite(#[from] InviteError),
    /// An identity file could not be parsed.
    #[error("{}: {error}", path.display())]
    Identities {
        /// The file's path.
        path: PathBuf,
        /// The parser's error.
        error: IdentityFileError,
    },
    /// The key file does not name a server.
    #[error("the key file names no server (zblob key join takes an invite; or set remote in it)")]
    NoRemote,
    /// The key file has a role that cannot open blobs.
    #[error(
        "this key file has the role {0} and cannot open blobs (use one of role full or get: --key PATH)"
    )]
    CannotOpen(Role),
    /// The key file has a role that cannot seal blobs.
    #[error(
        "this key file has the role {0} and cannot put (use one of role full or put: --key PATH)"
    )]
    CannotPut(Role),
    /// Unsealed objects are not sent over TLS.
    #[error(
        "unsealed objects move only on plaintext connections, and the key file says mode = \"tls\""
    )]
    UnsealedOverTls,
    /// The range begins after the end of the blob.
    #[error("bytes from {offset} on were asked for, counted from 0, and there are {length}")]
    Range {
        /// Offset of the first byte asked for.
        offset: u64,
        /// Length of the blob in bytes.
        length: u64,
    },
    /// The listing exceeds its bounds.
    #[error("more than {LISTED_MAX} objects, or too little in too many pages: nothing is listed")]
    TooMuchToList,
    /// The current version has a generation that is not lower than this blob's: another put of this
    /// name was faster, or the clock of its machine is ahead.
    #[error(
        "what is there under this name is of {}, and this put was not sealed later; nothing was stored (try again)",
        time(*.newest)
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
    #[error(
        "what was put under this name claims the last of all times, so nothing can be later (zblob \
         restore brings an earlier version back; zget --allow-rollback takes what is there for the newest)"
    )]
    NoLaterGeneration,
    /// Bytes were damaged in transit on several connections in a row.
    #[error(
        "{error}; so it was {times} times in a row: the line to the server, or the server's disk or memory, changes bytes \
         (what was verified stays; try another line, or let the operator run zserve scrub)"
    )]
    Damaged {
        /// The error of the last connection.
        error: Box<ClientError>,
        /// Number of connections that brought damaged bytes.
        times: u32,
    },
    /// The journal of a put could not be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Resuming was required, and there is nothing to resume; with the reason, if there was an
    /// interrupted put.
    #[error(
        "there is nothing to go on with{} (without --resume it starts over)",
        .0.map(|why| format!(": {why}")).unwrap_or_default()
    )]
    NothingToResume(Option<RestartReason>),
    /// Another process is putting this name.
    #[error("another put of this name is under way (without --resume this one starts over)")]
    PutUnderWay,
    /// A stream failed after the client no longer had all of its bytes.
    #[error("{0}; what comes from stdin or a command cannot be sent again: start it over")]
    StreamLost(Box<ClientError>),
    /// The connection ended after a request that changes something, and the server could not be
    /// asked for the outcome.
    #[error("{0}; whether the server had done it by then is not known")]
    OutcomeUnknown(Box<ClientError>),
    /// The server does not have a stream whose connection ended during the commit.
    #[error(
        "the connection ended before it was stored; what comes from stdin or a command cannot be \
         sent again: start it over"
    )]
    NotStored,
    /// The blob is stored, and the rollback guard contradicts it.
    #[error(
        "stored as version {}, but this machine will not notice if the server goes back behind it: \
         {error} (there is no need to put it again)",
        version.0
    )]
    NotRecorded {
        /// The version that the server made durable.
        version: Version,
        /// The error of the rollback guard.
        error: RollbackError,
    },
    /// A memory limit was reached.
    #[error(
        "not enough memory (a put takes 64 MiB, and a get 48 MiB, beside the program; raise its limit: ulimit -v, LimitAS=)"
    )]
    Memory,
    /// A thread of the pipeline could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    /// A thread of the pipeline ended without a result.
    #[error("internal error: the pipeline ended early")]
    Incomplete,
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
    /// There is no blob of this name, but one of a similar name.
    #[error("not found (did you mean {}?)", printable(near))]
    NotFound {
        /// The similar name.
        near: String,
    },
    /// The blob is in the trash.
    #[error(
        "it was removed; what was put {} is in the trash (zblob restore NAME takes it out)",
        local_version_time(*.0)
    )]
    Removed(Version),
    /// The blob exists, without this version.
    #[error(
        "it has no version {asked}; the newest is {newest} of {} (zblob stat --versions lists \
         them)",
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
        "it was not there yet at {moment}; the oldest version is {oldest} of {}",
        local_version_time(*oldest)
    )]
    NotYet {
        /// That time, as it was typed and understood.
        moment: String,
        /// The oldest version that exists.
        oldest: Version,
    },
    /// No version of this name is in the trash.
    #[error(
        "nothing of it is in the trash (zblob restore NAME VERSION takes an earlier version; \
         zblob stat --versions lists them)"
    )]
    NothingRemoved,
    /// The server could not read this many objects of the listing.
    #[error("{0} more could not be read by the server (its operator's zserve check says why)")]
    Unreadable(u64),
    /// Some of several operations failed. Each failure was reported before.
    #[error("{failed} of {all} failed")]
    Several {
        /// How many failed.
        failed: usize,
        /// How many there were.
        all: usize,
    },
}

impl From<ConnectionError> for ClientError {
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

impl ClientError {
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

impl ClientError {
    /// Whether the server answered that there is no such object.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Connection(ConnectionError::Refused { error, .. })
            if error.known() == Some(ErrorCode::NotFound))
    }
}

impl From<HeaderError> for ClientError {
    fn from(error: HeaderError) -> Self {
        Self::Open(error.into())
    }
}

impl From<EnvelopeError> for ClientError {
    fn from(error: EnvelopeError) -> Self {
        HeaderError::Envelope(error).into()
    }
}

impl From<PartError> for ClientError {
    fn from(error: PartError) -> Self {
        Self::Open(error.into())
    }
}

/// Advice to the user about a blob that could not be opened; empty if there is none.
fn advice(error: &OpenError) -> &'static str {
    match error {
        OpenError::NoIdentityMatches => " (is this the right key file? --key PATH names another)",
        OpenError::Rollback { .. } | OpenError::Equivocation { .. } => {
            ": the server gives something else than the newest. Either somebody has restored an earlier version, or \
             the server goes back by itself (--allow-rollback accepts what is there, --at VERSION asks for an old one)"
        }
        OpenError::Bare => " (zblob open --bare opens such a blob)",
        OpenError::UnpinnedWriter(_) => " (writers in the key file lists them)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use zput_common::proto::{Mode, SessionError, hello::HelloError, message::RemoteError};

    use super::*;

    fn refused(code: u8) -> ClientError {
        let remote = Box::new("zput://example.org:7447".parse().unwrap());
        let error = RemoteError { code, text: "no\x1b[2J".into(), number: 0 };
        ConnectionError::Refused { remote, error }.into()
    }

    /// Exit codes of the README for the error codes of PROTOCOL 7, and for an unknown one.
    #[test]
    fn the_servers_codes_become_exit_codes() {
        let expected = [1, 6, 4, 10, 9, 5, 8, 1, 1, 1, 1, 1, 1, 5, 5, 1, 1, 1, 1];
        for (code, exit) in (1..).zip(expected) {
            assert_eq!(refused(code).exit_code() as u8, exit, "code {code}");
        }
    }

    #[test]
    fn what_nobody_honest_says_is_an_integrity_error() {
        let exit = |error| {
            let remote = Box::new("zput://example.org:7447".parse().unwrap());
            ClientError::from(ConnectionError::Session { remote, error }).exit_code() as u8
        };
        assert_eq!(exit(HelloError::ModeNotOffered(Mode::Plaintext).into()), 8);
        assert_eq!(exit(HelloError::VersionNotOffered(2).into()), 8);
        assert_eq!(exit(HelloError::FeaturesNotOffered(1).into()), 8);
        assert_eq!(exit(SessionError::EchoMismatch), 8);
        assert_eq!(exit(SessionError::UnexpectedAnswer), 8);
        assert_eq!(exit(SessionError::BehindAnnouncement), 8);
        assert_eq!(exit(SessionError::Truncated), 5);
        // A peer of another protocol is not an attack.
        assert_eq!(exit(HelloError::Magic.into()), 1);
        // Before the server is authenticated, "not found" or "exists" on the line means nothing.
        for (code, expected) in (1..).zip([1, 1, 1, 1, 1, 5, 1, 1, 1, 1, 1, 1, 1, 1, 1]) {
            let refused = RemoteError { code, text: String::new(), number: 0 };
            assert_eq!(exit(SessionError::Refused(refused)), expected, "code {code}");
        }
    }

    #[test]
    fn errors_name_the_next_step() {
        assert_eq!(
            refused(3).to_string(),
            "not found on zput://example.org:7447 (zblob ls lists what is there)"
        );
        assert_eq!(
            ClientError::from(OpenError::Rollback { seen: 9, found: 8 }).to_string(),
            "the blob is of generation 8, and 9 has been seen: the server gives something else than the newest. Either \
             somebody has restored an earlier version, or the server goes back by itself (--allow-rollback accepts \
             what is there, --at VERSION asks for an old one)"
        );
    }

    #[test]
    fn a_servers_text_cannot_act_on_a_terminal() {
        for code in 0..=20 {
            assert!(!refused(code).to_string().contains('\x1b'), "code {code}");
        }
    }
}

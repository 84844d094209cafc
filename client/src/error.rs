//! What can go wrong, as the user is told of it, and the exit code that a script sees.

#[path = "error/clock_skew.rs"]
mod ahead;
mod exit_code;
mod refusal;
#[path = "error/codes.rs"]
mod words;

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

use self::ahead::{ahead, time};
pub use self::exit_code::ExitCode;
pub(crate) use self::refusal::{Ended, Refusal, Unmounted};
pub use self::words::{CODES, split_hint};
use crate::{
    calendar::local_version_time, connection::ConnectionError, embedded::EmbeddedError,
    journal::JournalError, keystore::KeystoreError, list::LISTED_MAX, notice::StartOver,
    seen::SeenError, sink::SinkError, source::SourceError, terminal::printable,
};

/// Why a command did not do what it was asked for.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The connection, or what the server said on it.
    #[error(transparent)]
    Connection(ConnectionError),
    /// What was to be put.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Where it was to go.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The rollback record.
    #[error(transparent)]
    Seen(#[from] SeenError),
    /// The key file.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// The embedded store.
    #[error(transparent)]
    Embedded(#[from] EmbeddedError),
    /// Sealing.
    #[error("cannot seal: {0}")]
    Seal(#[from] SealError),
    /// What came is not what was put.
    #[error("{}{}", printable(&.0.to_string()), advice(.0))]
    Open(#[from] OpenError),
    /// The writer noted the SHA-256 of something else.
    #[error("it is as it was sealed, but its SHA-256 is not the one that its writer noted")]
    Sha256,
    /// The server says lengths that no sealed blob has.
    #[error("the server's answer fits no sealed blob: {0}")]
    Envelope(&'static str),
    /// A file that is no sealed blob.
    #[error("it is no sealed blob, or not all of one: {0}")]
    File(&'static str),
    /// The name cannot be one.
    #[error("{0}")]
    Name(#[from] NameError),
    /// A recipient's text.
    #[error("not a recipient: {0}")]
    Recipient(#[from] RecipientError),
    /// An invite.
    #[error("{0}")]
    Invite(#[from] InviteError),
    /// An identity file.
    #[error("{}: {error}", path.display())]
    Identities {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        error: IdentityFileError,
    },
    /// The key file does not say where the server is.
    #[error("the key file names no server (zkey join takes an invite; or set remote in it)")]
    NoRemote,
    /// This key file seals and does not open.
    #[error(
        "this key file has the role {0} and cannot open blobs (use one of role full or get: --key PATH)"
    )]
    CannotOpen(Role),
    /// This key file opens and does not seal.
    #[error(
        "this key file has the role {0} and cannot put (use one of role full or put: --key PATH)"
    )]
    CannotPut(Role),
    /// Unsealed bytes have no place on a protected connection.
    #[error(
        "unsealed objects move only on plaintext connections, and the key file says mode = \"tls\""
    )]
    UnsealedOverTls,
    /// More was asked for than there is.
    #[error("bytes from {offset} on were asked for, counted from 0, and there are {length}")]
    Range {
        /// First byte asked for.
        offset: u64,
        /// What there is.
        length: u64,
    },
    /// A listing that is not held in memory, or that comes to nothing.
    #[error("more than {LISTED_MAX} objects, or too little in too many pages: nothing is listed")]
    TooMuchToList,
    /// What is there has as high a generation: another put of this name was faster, or the clock of its machine is ahead.
    #[error(
        "what is there under this name is of {}, and this put was not sealed later; nothing was stored (try again)",
        time(*.there)
    )]
    Overtaken {
        /// The generation of what is there.
        there: u64,
    },
    /// What was sealed is further ahead of the server's clock than clocks differ.
    #[error("{}", ahead(remote, *server, *here))]
    Ahead {
        /// Which server.
        remote: Box<Remote>,
        /// What its clock says, in ns since 1970.
        server: u64,
        /// What this machine's clock says, in ns since 1970.
        here: u64,
    },
    /// What this machine has seen under this name, or what is there, claims to be the last there can be.
    #[error(
        "what was put under this name claims the last of all times, so nothing can be later (zrestore brings an earlier \
         version back; zget --allow-rollback takes what is there for the newest)"
    )]
    NoLaterGeneration,
    /// Bytes came to harm on their way, on several connections in a row.
    #[error(
        "{error}; so it was {times} times in a row: the line to the server, or the server's disk or memory, changes bytes \
         (what was verified stays; try another line, or let the operator run zserve scrub)"
    )]
    Damaged {
        /// The last time.
        error: Box<ClientError>,
        /// How many connections brought them.
        times: u32,
    },
    /// The journal of a put.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// No put was interrupted that this one goes on with.
    #[error(
        "there is nothing to go on with{} (without --resume it starts over)",
        .0.map(|why| format!(": {why}")).unwrap_or_default()
    )]
    NothingToResume(Option<StartOver>),
    /// Another process is putting this name.
    #[error("another put of this name is under way (without --resume this one starts over)")]
    PutUnderWay,
    /// What was sent of a stream is gone, and so is the stream.
    #[error("{0}; what comes from stdin or a command cannot be sent again: start it over")]
    StreamLost(Box<ClientError>),
    /// The connection ended behind a request that changes something, and nobody can be asked what came of it.
    #[error("{0}; whether the server had done it by then is not known")]
    Unanswered(Box<ClientError>),
    /// The connection ended behind the commit of a stream, and the server has nothing.
    #[error(
        "the connection ended before it was stored; what comes from stdin or a command cannot be \
         sent again: start it over"
    )]
    NotStored,
    /// The blob is stored, and this machine has no note of it.
    #[error(
        "stored as version {}, but this machine will not notice if the server goes back behind it: \
         {error} (there is no need to put it again)",
        version.0
    )]
    Unrecorded {
        /// The version that the server made durable.
        version: Version,
        /// What is wrong with the rollback record.
        error: SeenError,
    },
    /// A limit of memory was reached.
    #[error(
        "not enough memory (a put takes 64 MiB, and a get 48 MiB, beside the program; raise its limit: ulimit -v, LimitAS=)"
    )]
    Memory,
    /// A thread of the pipeline could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    /// A thread of the pipeline ended without a word.
    #[error("internal error: the pipeline ended early")]
    Incomplete,
    /// Lines for stdout.
    #[error("cannot write to stdout: {0}")]
    Stdout(io::Error),
    /// Something about this machine.
    #[error("{what}: {error}")]
    Local {
        /// What.
        what: String,
        /// Why.
        error: io::Error,
    },
    /// A combination of arguments that makes no sense.
    #[error("{0}")]
    Usage(String),
    /// No blob's name begins with this, or fits this pattern.
    #[error("nothing matches {} (zls lists what is there)", printable(.0))]
    NoMatch(String),
    /// There is none of this name, but something like it.
    #[error("not found (did you mean {}?)", printable(near))]
    NotFound {
        /// A name that is there.
        near: String,
    },
    /// It is in the trash.
    #[error(
        "it was removed; what was put {} is in the trash (zrestore NAME takes it out)",
        local_version_time(*.0)
    )]
    Removed(Version),
    /// The blob is there, and has no such version.
    #[error(
        "it has no version {asked}; the newest is {newest} of {} (zstat --versions lists them)",
        local_version_time(*newest)
    )]
    NoVersion {
        /// The version that was asked for.
        asked: Version,
        /// The newest that there is.
        newest: Version,
    },
    /// The blob is younger than the moment that was asked for.
    #[error(
        "it was not there yet at {moment}; the oldest version is {oldest} of {}",
        local_version_time(*oldest)
    )]
    NotYet {
        /// The moment.
        moment: String,
        /// The oldest version that there is.
        oldest: Version,
    },
    /// Nothing of it was removed.
    #[error(
        "nothing of it is in the trash (zrestore NAME VERSION takes an earlier version; zstat \
         --versions lists them)"
    )]
    NothingRemoved,
    /// Objects that the server could not read are missing in a listing.
    #[error("{0} more could not be read by the server (its operator's zserve check says why)")]
    Unreadable(u64),
    /// Of several, some failed; each was told of already.
    #[error("{failed} of {all} failed")]
    Several {
        /// How many failed.
        failed: usize,
        /// Of how many.
        all: usize,
    },
}

impl From<ConnectionError> for ClientError {
    fn from(error: ConnectionError) -> Self {
        match &error {
            ConnectionError::Refused { error: refusal, .. }
                if refusal.known() == Some(ErrorCode::Older) =>
            {
                Self::Overtaken { there: refusal.number }
            }
            _ => Self::Connection(error),
        }
    }
}

impl ClientError {
    /// The same; what has to do with clocks, with what this machine's says.
    pub(crate) fn dated(self, here: u64) -> Self {
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
    /// Whether a server says that there is no such thing.
    pub(crate) fn is_absent(&self) -> bool {
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

/// What to do about a blob that is not opened.
fn advice(error: &OpenError) -> &'static str {
    match error {
        OpenError::NoIdentityMatches => " (is this the right key file? --key PATH names another)",
        OpenError::Rollback { .. } | OpenError::Equivocation { .. } => {
            ": the server gives something else than the newest. Either somebody has restored an earlier version, or \
             the server goes back by itself (--allow-rollback accepts what is there, --at VERSION asks for an old one)"
        }
        OpenError::Bare => " (zopen --bare opens such a blob)",
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

    /// The exit codes of the README for the error codes of PROTOCOL 7, and one that is none.
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
        // Another protocol is no attack.
        assert_eq!(exit(HelloError::Magic.into()), 1);
        // Nobody can say "not found" or "exists" before it is known who speaks.
        for (code, expected) in (1..).zip([1, 1, 1, 1, 1, 5, 1, 1, 1, 1, 1, 1, 1, 1, 1]) {
            let refused = RemoteError { code, text: String::new(), number: 0 };
            assert_eq!(exit(SessionError::Refused(refused)), expected, "code {code}");
        }
    }

    #[test]
    fn errors_name_the_next_step() {
        assert_eq!(
            refused(3).to_string(),
            "not found on zput://example.org:7447 (zls lists what is there)"
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

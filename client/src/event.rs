//! Notices: events of an operation that are not failures.

use std::{fmt, time::Duration};

use zput_common::proto::message::Version;

use crate::{calendar::version_time, error::ClientError, sizes::size, terminal::printable};

/// An event, and the blob that it is about.
#[derive(Clone, Copy, Debug)]
pub struct Notice<'a> {
    /// The name of the blob; `None` if the event is not about a single one.
    pub thing: Option<&'a str>,
    /// The event.
    pub event: Event<'a>,
}

/// An event of an operation.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A temporary failure, after which the operation is retried.
    Retry {
        /// The failure.
        error: &'a ClientError,
        /// Time until the retry.
        pause: Duration,
        /// Number of this retry since the last progress, from 1.
        number: u32,
        /// The highest number of retries without progress.
        max_retries: u32,
    },
    /// An interrupted transfer is resumed.
    Resumed {
        /// Bytes of plaintext that were transferred before and verified.
        held: u64,
        /// Length of the plaintext in bytes.
        length: u64,
    },
    /// An interrupted transfer is not resumed.
    Restarted(RestartReason),
    /// An interrupted put had been committed as this version; only the answer was lost.
    AlreadyStored(Version),
    /// The rollback guard could not be written. The blob is stored, or was verified, as this
    /// version.
    NotRecorded {
        /// The version.
        version: Version,
        /// The write error.
        error: &'a ClientError,
    },
    /// No journal can be kept, so the put starts over if it is interrupted.
    JournalUnavailable {
        /// Why it cannot be kept.
        error: &'a ClientError,
    },
    /// The server could not read this many versions.
    Unreadable(u32),
    /// The generation of the current version is more than 24 hours ahead of this machine's clock,
    /// so it is not recorded.
    GenerationAhead {
        /// That generation, in ns since 1970.
        generation: u64,
    },
    /// The blob is stored, but its journal could not be removed.
    JournalNotRemoved {
        /// The error of the file system.
        error: &'a ClientError,
    },
}

/// Why an interrupted transfer is not resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartReason {
    /// The file, its contents, or the way to seal it have changed.
    Changed,
    /// The server holds nothing of the upload.
    NotKept,
    /// A newer blob was put under the name, or the version that was being got is not the one asked
    /// for any more.
    Superseded,
    /// The upload had been committed, and its version was removed or replaced since.
    NoLongerCurrent,
    /// The server refuses the upload.
    Refused,
}

impl fmt::Display for Notice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(thing) = self.thing {
            write!(f, "{}: ", printable(thing))?;
        }
        match self.event {
            Event::Retry { error, pause, number, max_retries } => {
                let seconds = pause.as_secs_f64();
                let error = error.to_string();
                write!(
                    f,
                    "{}; again in {seconds:.1} s (try {number} of {max_retries})",
                    printable(&error)
                )
            }
            Event::Resumed { held, length } => {
                let (held, length) = (size(held), size(length));
                write!(f, "going on where it was interrupted: {held} of {length} are there")
            }
            Event::Restarted(why) => write!(f, "{why}: starting over"),
            Event::AlreadyStored(version) => {
                write!(f, "had been stored already, as version {version}: only the answer was lost")
            }
            Event::NotRecorded { version, error } => write!(
                f,
                "warning: this machine will not notice if the server goes back behind version {}: {}",
                version.0,
                printable(&error.to_string())
            ),
            Event::JournalUnavailable { error } => write!(
                f,
                "warning: if this put is interrupted it starts over: {}",
                printable(&error.to_string())
            ),
            Event::Unreadable(1) => {
                f.write_str("1 version is there and could not be read by the server")
            }
            Event::Unreadable(count) => {
                write!(f, "{count} versions are there and could not be read by the server")
            }
            Event::GenerationAhead { generation } => {
                let at = version_time(Version(generation));
                write!(
                    f,
                    "what is there was sealed at {at} by its writer's clock, far ahead of this machine's: that it is the \
                     newest is not remembered"
                )
            }
            Event::JournalNotRemoved { error } => {
                write!(f, "is stored; but {}", printable(&error.to_string()))
            }
        }
    }
}

impl fmt::Display for RestartReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Changed => "not what was interrupted",
            Self::NotKept => "nothing was kept of what was interrupted",
            Self::Superseded => "something newer is there than what was interrupted",
            Self::Refused => "the server does not take what was interrupted",
            Self::NoLongerCurrent => {
                "what was interrupted had been stored, and was removed or replaced since"
            }
        })
    }
}

//! What a person may want to know while something is under way, and that is no failure.

use std::{fmt, time::Duration};

use zput_common::proto::message::Version;

use crate::{calendar::version_time, error::ClientError, sizes::size, terminal::printable};

/// Something that happened to `thing`.
#[derive(Clone, Copy, Debug)]
pub struct Notice<'a> {
    /// The name of what is put or got; none where it is about no single one.
    pub thing: Option<&'a str>,
    /// What happened.
    pub event: Event<'a>,
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// Something failed that may not fail again.
    Retry {
        /// How it failed.
        error: &'a ClientError,
        /// After how long it is tried again.
        pause: Duration,
        /// Which of the tries without any progress is next, from 1.
        number: u32,
        /// How many there may be.
        most: u32,
    },
    /// An interrupted transfer goes on.
    GoesOn {
        /// Bytes of plaintext that are there and verified.
        held: u64,
        /// Of so many.
        length: u64,
    },
    /// An interrupted transfer does not go on.
    StartsOver(StartOver),
    /// An interrupted put had come to its end: only the answer was lost.
    WasStored(Version),
    /// The rollback record could not be written. The blob is stored, or was got and verified, as this version.
    Unrecorded {
        /// Which.
        version: Version,
        /// Why it could not.
        error: &'a ClientError,
    },
    /// No journal can be kept: should the put be interrupted, it starts over.
    NoJournal {
        /// Why it cannot.
        error: &'a ClientError,
    },
    /// So many versions are there and could not be read by the server.
    Unreadable(u32),
    /// What is there was sealed by a clock that is far ahead of this machine's.
    Ahead {
        /// Its generation.
        generation: u64,
    },
    /// What was noted of a put cannot be removed. The blob is stored.
    JournalStays {
        /// Why it cannot.
        error: &'a ClientError,
    },
}

/// Why an interrupted transfer is not gone on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartOver {
    /// Another file, or the same with other contents, or to be sealed in another way.
    Changed,
    /// The server has nothing of it.
    NotKept,
    /// Something newer has been put under the name, or the version that was got is no longer the one asked for.
    Superseded,
    /// It had been stored, and is not the current version any more.
    Gone,
    /// The server will not have it.
    Refused,
}

impl fmt::Display for Notice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(thing) = self.thing {
            write!(f, "{}: ", printable(thing))?;
        }
        match self.event {
            Event::Retry { error, pause, number, most } => {
                let seconds = pause.as_secs_f64();
                let error = error.to_string();
                write!(f, "{}; again in {seconds:.1} s (try {number} of {most})", printable(&error))
            }
            Event::GoesOn { held, length } => {
                let (held, length) = (size(held), size(length));
                write!(f, "going on where it was interrupted: {held} of {length} are there")
            }
            Event::StartsOver(why) => write!(f, "{why}: starting over"),
            Event::WasStored(version) => {
                write!(f, "had been stored already, as version {version}: only the answer was lost")
            }
            Event::Unrecorded { version, error } => write!(
                f,
                "warning: this machine will not notice if the server goes back behind version {}: {}",
                version.0,
                printable(&error.to_string())
            ),
            Event::NoJournal { error } => write!(
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
            Event::Ahead { generation } => {
                let at = version_time(Version(generation));
                write!(
                    f,
                    "what is there was sealed at {at} by its writer's clock, far ahead of this machine's: that it is the \
                     newest is not remembered"
                )
            }
            Event::JournalStays { error } => {
                write!(f, "is stored; but {}", printable(&error.to_string()))
            }
        }
    }
}

impl fmt::Display for StartOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Changed => "not what was interrupted",
            Self::NotKept => "nothing was kept of what was interrupted",
            Self::Superseded => "something newer is there than what was interrupted",
            Self::Refused => "the server does not take what was interrupted",
            Self::Gone => "what was interrupted had been stored, and was removed or replaced since",
        })
    }
}

//! Notices: events of an operation that are not failures.

use std::time::Duration;

use zput_proto::message::Version;

use crate::{
    error::{Error, RestartReason},
    io::sink::AttributeWarning,
};

/// An event, and the blob that it is about.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Notice<'a> {
    /// The name of the blob; `None` if the event is not about a single one.
    pub thing: Option<&'a str>,
    /// What happened.
    pub event: Event<'a>,
}

/// An event of an operation.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A temporary failure, after which the operation is retried.
    Retry {
        /// Why the attempt failed.
        error: &'a Error,
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
        /// The version that is stored, or was verified.
        version: Version,
        /// The write error.
        error: &'a Error,
    },
    /// No journal can be kept, so the put starts over if it is interrupted.
    JournalUnavailable {
        /// Why it cannot be kept.
        error: &'a Error,
    },
    /// The server could not read this many versions.
    Unreadable(u32),
    /// The generation of the current version is more than 24 hours ahead of this machine's clock,
    /// so it is not recorded.
    GenerationAhead {
        /// That generation, in ns since 1970.
        generation: u64,
    },
    /// A file is saved and complete, but its mode or time could not be set, or what the replaced
    /// file had could not be kept.
    AttributeNotSet {
        /// Which attribute, of which file, and why.
        warning: &'a AttributeWarning,
    },
    /// The blob is stored, but its journal could not be removed.
    JournalNotRemoved {
        /// The error of the file system.
        error: &'a Error,
    },
}

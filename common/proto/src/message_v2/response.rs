//! Answers (PROTOCOL 6). The order of the variants is the wire format.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    bounds::{check_info, check_version},
    error::RemoteError,
    head::Head,
    object::{Entry, Info, VersionInfo},
};
use crate::{
    hello_v2::{CLIENT_HELLO_MAX_BYTES, SERVER_HELLO_MAX_BYTES},
    limits::{CHARTER_MAX_BYTES, CURSOR_MAX_BYTES, PAGE_MAX_ENTRIES},
    message::{
        Message, OutOfBounds, Version,
        bounded::{Bytes, List, OptionBytes},
    },
    mount::MountName,
    vault::Scopes,
};

/// A server's answer (PROTOCOL 6). Exhaustive: a client has to decide which request it may follow.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// Both hellos, as the server received and sent them.
    Echo {
        /// The client's hello.
        #[serde(with = "Bytes::<CLIENT_HELLO_MAX_BYTES>")]
        client: Vec<u8>,
        /// The server's hello.
        #[serde(with = "Bytes::<SERVER_HELLO_MAX_BYTES>")]
        server: Vec<u8>,
    },
    /// Answers a `Ping`.
    Pong,
    /// The device has a grant on the server now.
    Joined {
        /// The mount of the grant.
        mount: MountName,
        /// What the device may do there.
        scopes: Scopes,
        /// How many vaults the device may found there.
        vaults: u32,
    },
    /// The requests after that one are about the mount, and may name the vault.
    Entered {
        /// What the device may do in the vault, or without one on the mount.
        scopes: Scopes,
        /// The charter in force, if it is newer than the one that the device knows.
        #[serde(with = "OptionBytes::<CHARTER_MAX_BYTES>")]
        charter: Option<Vec<u8>>,
    },
    /// The vault is there.
    Founded,
    /// The charter is in force.
    Chartered,
    /// The sections that were asked for. `payload` raw bytes follow.
    Object {
        /// The object that the sections belong to.
        info: Info,
        /// Header and tail, if they were asked for and the object is sealed.
        head: Option<Head>,
        /// Number of raw bytes that follow.
        payload: u64,
    },
    /// What the server knows of an object.
    Stat {
        /// The version that was asked for.
        info: Info,
        /// Header and tail of a sealed object.
        head: Option<Head>,
    },
    /// A page of a listing.
    Page {
        /// The entries of the page, in the server's own order.
        #[serde(with = "List::<{ PAGE_MAX_ENTRIES as usize }>")]
        entries: Vec<Entry>,
        /// Where the next page begins; `None` on the last page.
        #[serde(with = "OptionBytes::<CURSOR_MAX_BYTES>")]
        next: Option<Vec<u8>>,
        /// Number of objects that belong on this page and cannot be read.
        unreadable: u32,
    },
    /// A page of an object's versions.
    Versions {
        /// The versions, newest first.
        #[serde(with = "List::<{ PAGE_MAX_ENTRIES as usize }>")]
        versions: Vec<VersionInfo>,
        /// Where the next page begins; `None` on the last page.
        next: Option<Version>,
        /// Number of versions that belong on this page and cannot be read.
        unreadable: u32,
    },
    /// The upload is open.
    Begun,
    /// The server holds the first of the claimed slices, and they match their digests.
    Held {
        /// Number of slices that the server holds, from the first one.
        slices: u32,
    },
    /// The server has received the slice, and it matches its digest.
    SliceHeld,
    /// The change is durable, and the current version.
    Committed {
        /// The version that it became.
        version: Version,
    },
    /// The upload was discarded.
    Aborted,
    /// The object has no current version any more.
    Deleted {
        /// The version that was current.
        version: Version,
        /// The instant at which it ended, in ns since 1970.
        end: u64,
    },
    /// The request failed for this reason.
    Error(RemoteError),
}

impl Message for Response {
    fn check(&self) -> Result<(), OutOfBounds> {
        match self {
            Self::Object { info, head, .. } | Self::Stat { info, head } => {
                check_info(info, head.as_ref())
            }
            Self::Page { entries, .. } => {
                entries.iter().try_for_each(|entry| check_info(&entry.info, entry.head.as_ref()))
            }
            Self::Versions { versions, .. } => versions.iter().try_for_each(check_version),
            Self::Error(error) => error.check(),
            Self::Echo { .. }
            | Self::Pong
            | Self::Joined { .. }
            | Self::Entered { .. }
            | Self::Founded
            | Self::Chartered
            | Self::Begun
            | Self::Held { .. }
            | Self::SliceHeld
            | Self::Committed { .. }
            | Self::Aborted
            | Self::Deleted { .. } => Ok(()),
        }
    }

    fn announces(&self) -> u64 {
        match self {
            Self::Object { payload, .. } => *payload,
            _ => 0,
        }
    }
}

/// Omits contents, of which a page has many.
impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Echo { .. } => f.write_str("Echo"),
            Self::Pong => f.write_str("Pong"),
            Self::Joined { mount, scopes, vaults } => {
                write!(f, "Joined({mount}, {scopes}, {vaults})")
            }
            Self::Entered { scopes, charter } => {
                write!(f, "Entered({scopes}, {:?})", charter.as_ref().map(Vec::len))
            }
            Self::Founded => f.write_str("Founded"),
            Self::Chartered => f.write_str("Chartered"),
            Self::Object { info, head, payload } => {
                write!(f, "Object({info:?}, {head:?}, {payload})")
            }
            Self::Stat { info, head } => write!(f, "Stat({info:?}, {head:?})"),
            Self::Page { entries, next, unreadable } => {
                let (entries, next) = (entries.len(), next.is_some());
                write!(f, "Page({entries} entries, next: {next}, {unreadable})")
            }
            Self::Versions { versions, next, unreadable } => {
                write!(f, "Versions({} versions, {next:?}, {unreadable})", versions.len())
            }
            Self::Begun => f.write_str("Begun"),
            Self::Held { slices } => write!(f, "Held({slices})"),
            Self::SliceHeld => f.write_str("SliceHeld"),
            Self::Committed { version } => write!(f, "Committed({version})"),
            Self::Aborted => f.write_str("Aborted"),
            Self::Deleted { version, end } => write!(f, "Deleted({version}, {end})"),
            Self::Error(error) => write!(f, "Error({error:?})"),
        }
    }
}

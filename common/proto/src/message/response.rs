//! Answers (PROTOCOL 6). The order of the variants is the wire format.

use serde::{Deserialize, Serialize};

use super::{
    bounded::{Bytes, List, OptionBytes},
    bounds::{Message, OutOfBounds, check_cursor, check_echo, check_header, check_page},
    object::{Entry, Info, Version, VersionInfo},
    scopes::Scopes,
};
use crate::{
    error_code::RemoteError,
    hello::{CLIENT_HELLO_MAX_BYTES, SERVER_HELLO_MAX_BYTES},
    limits::{CURSOR_MAX_BYTES, ERROR_TEXT_MAX_BYTES, HEADER_MAX_BYTES, PAGE_MAX_ENTRIES},
};

/// A server's answer (PROTOCOL 6). Exhaustive: a client has to decide which request it may follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// The device has an account on the server now.
    Joined {
        /// The requests that the device may make.
        scopes: Scopes,
    },
    /// The sections that were asked for. `payload` raw bytes follow.
    Object {
        /// The object that the sections belong to.
        info: Info,
        /// The header of the object, if it was asked for.
        #[serde(with = "OptionBytes::<HEADER_MAX_BYTES>")]
        header: Option<Vec<u8>>,
        /// Number of raw bytes that follow.
        payload: u64,
    },
    /// What the server knows of an object.
    Stat {
        /// The version that was asked for.
        info: Info,
    },
    /// A page of a listing.
    Page {
        /// The entries of the page, in the order of their keys.
        #[serde(deserialize_with = "List::<{ PAGE_MAX_ENTRIES as usize }>::deserialize")]
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
        #[serde(deserialize_with = "List::<{ PAGE_MAX_ENTRIES as usize }>::deserialize")]
        versions: Vec<VersionInfo>,
        /// Where the next page begins; `None` on the last page.
        next: Option<Version>,
        /// Number of versions that belong on this page and cannot be read.
        unreadable: u32,
    },
    /// The upload is open.
    Begun,
    /// The server has received the slice, and it matches its digest.
    SliceHeld,
    /// The upload is durable, and the current version.
    Committed {
        /// The version that the upload became.
        version: Version,
    },
    /// The upload was discarded.
    Aborted,
    /// The object was moved to the trash.
    Deleted {
        /// The version that was current.
        version: Version,
    },
    /// The request failed for this reason.
    Error(RemoteError),
    /// The requests after that one apply to the mount.
    Mounted,
    /// The server holds the first of the claimed slices, and they match their digests.
    Held {
        /// Number of slices that the server holds, from the first one.
        slices: u32,
    },
}

impl Message for Response {
    fn check(&self) -> Result<(), OutOfBounds> {
        match self {
            Self::Echo { client, server } => check_echo(client, server),
            Self::Page { entries, next, .. } => {
                check_page(entries.len())?;
                for entry in entries {
                    check_header(entry.header.as_deref())?;
                }
                check_cursor(next.as_deref())
            }
            Self::Versions { versions, .. } => check_page(versions.len()),
            Self::Object { header, .. } => check_header(header.as_deref()),
            Self::Error(error) if error.text.len() > ERROR_TEXT_MAX_BYTES => {
                Err(OutOfBounds::ErrorText(error.text.len()))
            }
            _ => Ok(()),
        }
    }

    fn announces(&self) -> u64 {
        match self {
            Self::Object { payload, .. } => *payload,
            _ => 0,
        }
    }
}

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

/// What a server answers (PROTOCOL 6).
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
    /// Here I am.
    Pong,
    /// The device has an account now.
    Joined {
        /// What it may do.
        scopes: Scopes,
    },
    /// The sections asked for; `payload` raw bytes follow.
    Object {
        /// Of the object they belong to.
        info: Info,
        /// The object's header, where asked for.
        #[serde(with = "OptionBytes::<HEADER_MAX_BYTES>")]
        header: Option<Vec<u8>>,
        /// Number of raw bytes.
        payload: u64,
    },
    /// What is known of an object.
    Stat {
        /// It.
        info: Info,
    },
    /// A page of the catalogue.
    Page {
        /// Its entries.
        #[serde(deserialize_with = "List::<{ PAGE_MAX_ENTRIES as usize }>::deserialize")]
        entries: Vec<Entry>,
        /// Where the next page begins; absent on the last.
        #[serde(with = "OptionBytes::<CURSOR_MAX_BYTES>")]
        next: Option<Vec<u8>>,
        /// How many objects that belong on it are there and cannot be read.
        unreadable: u32,
    },
    /// A page of an object's versions.
    Versions {
        /// Newest first.
        #[serde(deserialize_with = "List::<{ PAGE_MAX_ENTRIES as usize }>::deserialize")]
        versions: Vec<VersionInfo>,
        /// Where the next page begins; absent on the last.
        next: Option<Version>,
        /// How many versions that belong on it are there and cannot be read.
        unreadable: u32,
    },
    /// The upload is open.
    Begun,
    /// The slice was received and matches its digest.
    SliceHeld,
    /// Durable, and current.
    Committed {
        /// The version it became.
        version: Version,
    },
    /// The upload is gone.
    Aborted,
    /// The object is in the trash.
    Deleted {
        /// The version that was current.
        version: Version,
    },
    /// The request failed.
    Error(RemoteError),
    /// The requests behind that one speak of that mount.
    Mounted,
    /// So many of the slices that were claimed are there, and match their digests.
    Held {
        /// Of the first ones.
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

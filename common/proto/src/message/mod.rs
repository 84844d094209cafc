//! Requests and answers (PROTOCOL 4 to 7): typed, bounded, in postcard.
//!
//! The order of the variants is the wire format; numbers past the last one are unknown and refused.

use std::fmt;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;

pub use super::error_code::{ErrorCode, RemoteError};
use super::{
    bounded::{Bytes, List, OptionBytes},
    hello::{CLIENT_HELLO_MAX_BYTES, SERVER_HELLO_MAX_BYTES},
};
use crate::{
    digest::Digest,
    label::is_label,
    limits::{
        CLAIM_MAX_SLICES, CURSOR_MAX_BYTES, ERROR_TEXT_MAX_BYTES, HEADER_MAX_BYTES,
        LABEL_MAX_BYTES, PAGE_MAX_ENTRIES, SECTIONS_MAX, SLICE_MAX_BYTES,
    },
    mount::MountName,
    name::ObjectKey,
};

/// Commit time in ns since 1970 by the server's clock, strictly increasing per key.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Version(pub u64);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// A sealed blob.
    Sealed,
    /// Bytes as they came (PROTOCOL 8).
    Plain,
}

/// What must hold of the current version for a change to take place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Condition {
    /// Nothing.
    Any,
    /// There is none.
    Absent,
    /// It is this one.
    Version(Version),
}

/// What of an object is asked for. All but the header travels raw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Section {
    /// The header of a sealed object, inside the answer.
    Header,
    /// The footer of a sealed object.
    Footer,
    /// `length` bytes from `offset` of the object; of a sealed one, behind its header.
    Range {
        /// First byte.
        offset: u64,
        /// Number of bytes.
        length: u64,
    },
    /// The whole of a plain object.
    All,
    /// The parts of a sealed object: all between header and footer.
    Body,
}

/// The header of a sealed object, as its upload begins with it. It names the object, so it travels inside a frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderSlice {
    /// Its bytes, magic to MAC.
    #[serde(with = "Bytes::<HEADER_MAX_BYTES>")]
    pub bytes: Vec<u8>,
    /// Their digest.
    pub digest: Digest,
}

impl HeaderSlice {
    /// `bytes` with their digest.
    #[must_use]
    pub fn of(bytes: Vec<u8>) -> Self {
        let digest = Digest::of(&bytes);
        Self { bytes, digest }
    }
}

/// A slice that a client has sent before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimedSlice {
    /// Its length in bytes.
    pub length: u32,
    /// Its digest.
    pub digest: Digest,
}

/// What a client asks (PROTOCOL 5).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Both hellos, as the client sent and received them.
    Echo {
        /// The client's hello.
        #[serde(with = "Bytes::<CLIENT_HELLO_MAX_BYTES>")]
        client: Vec<u8>,
        /// The server's hello.
        #[serde(with = "Bytes::<SERVER_HELLO_MAX_BYTES>")]
        server: Vec<u8>,
    },
    /// Are you there?
    Ping,
    /// Redeems an invite for this connection's device.
    Join {
        /// The invite's secret.
        secret: [u8; 32],
        /// What the operator will see this device as.
        label: String,
    },
    /// Sections of an object.
    Get {
        /// Of which object.
        key: ObjectKey,
        /// Of which version; the current one when absent.
        version: Option<Version>,
        /// Which stretches, in this order.
        #[serde(deserialize_with = "List::<SECTIONS_MAX>::deserialize")]
        sections: Vec<Section>,
        /// The kind that the reader accepts.
        kind: Kind,
    },
    /// What is known of an object.
    Stat {
        /// Of which object.
        key: ObjectKey,
        /// Of which version; the current one when absent.
        version: Option<Version>,
    },
    /// A page of the catalogue.
    List {
        /// Where the page before ended.
        #[serde(with = "OptionBytes::<CURSOR_MAX_BYTES>")]
        after: Option<Vec<u8>>,
        /// Most entries wanted.
        limit: u32,
        /// Whether the entries carry their headers.
        headers: bool,
    },
    /// A page of an object's versions, newest first.
    Versions {
        /// Of which object.
        key: ObjectKey,
        /// The last version of the page before.
        after: Option<Version>,
        /// Most versions wanted.
        limit: u32,
    },
    /// Opens the connection's one upload.
    Begin {
        /// The object it will be.
        key: ObjectKey,
        /// What it will be.
        kind: Kind,
        /// What must hold at its commit.
        condition: Condition,
        /// Its first slice, where it is sealed.
        header: Option<HeaderSlice>,
    },
    /// The next slice of the upload; `length` raw bytes follow.
    Slice {
        /// Number of raw bytes.
        length: u32,
        /// Their digest.
        digest: Digest,
    },
    /// Makes the upload the current version, durably.
    Commit,
    /// Throws the upload away.
    Abort,
    /// Moves the current version to the trash.
    Delete {
        /// Of which object.
        key: ObjectKey,
        /// What must hold.
        condition: Condition,
    },
    /// Makes an earlier or deleted version the current one.
    Restore {
        /// Of which object.
        key: ObjectKey,
        /// Which version.
        version: Version,
    },
    /// Says which mount the requests behind this one speak of.
    Mount {
        /// Its name; the root mount's is empty.
        name: MountName,
    },
    /// Opens the connection's one upload with what an upload that was cut off has left.
    Resume {
        /// The object it will be.
        key: ObjectKey,
        /// What must hold at its commit.
        condition: Condition,
        /// The header that the upload began with: what tells it from every other.
        header: HeaderSlice,
    },
    /// What follows in the upload that was resumed, as the client knows it.
    Claim {
        /// The next slices, in order.
        #[serde(deserialize_with = "List::<CLAIM_MAX_SLICES>::deserialize")]
        slices: Vec<ClaimedSlice>,
    },
}

impl Request {
    /// Whether it speaks of the connection's mount (PROTOCOL 5): all do that read or change objects.
    #[must_use]
    pub const fn speaks_of_mount(&self) -> bool {
        match self {
            Self::Echo { .. } | Self::Ping | Self::Join { .. } | Self::Mount { .. } => false,
            Self::Get { .. }
            | Self::Stat { .. }
            | Self::List { .. }
            | Self::Versions { .. }
            | Self::Begin { .. }
            | Self::Slice { .. }
            | Self::Commit
            | Self::Abort
            | Self::Delete { .. }
            | Self::Restore { .. }
            | Self::Resume { .. }
            | Self::Claim { .. } => true,
        }
    }
}

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

/// What a server knows of an object's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Info {
    /// Which version.
    pub version: Version,
    /// What it is.
    pub kind: Kind,
    /// Bytes of the whole object.
    pub length: u64,
    /// Bytes of its header; 0 for a plain object.
    pub header_length: u32,
    /// Bytes of its footer; 0 for a plain object.
    pub footer_length: u32,
}

/// An object in a page of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The object.
    pub key: ObjectKey,
    /// Its current version.
    pub info: Info,
    /// Its header, where asked for.
    #[serde(with = "OptionBytes::<HEADER_MAX_BYTES>")]
    pub header: Option<Vec<u8>>,
}

/// A version in a page of an object's versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct VersionInfo {
    /// Which.
    pub version: Version,
    /// What it is.
    pub kind: Kind,
    /// Bytes of the object.
    pub length: u64,
    /// Where it is.
    pub state: VersionState,
}

/// Where a version is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum VersionState {
    /// The one that a get without a version gives.
    Current,
    /// Replaced by a later one.
    History,
    /// Deleted.
    Trash,
}

/// What a device may do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scopes(u8);

impl Scopes {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Begin, Slice, Commit, Abort.
    pub const PUT: Self = Self(1);
    /// Get, Stat, Versions.
    pub const GET: Self = Self(2);
    /// List.
    pub const LIST: Self = Self(4);
    /// Delete, Restore.
    pub const DELETE: Self = Self(8);
    /// Everything.
    pub const ALL: Self = Self(15);

    const NAMED: [(Self, &'static str); 4] =
        [(Self::PUT, "put"), (Self::GET, "get"), (Self::LIST, "list"), (Self::DELETE, "delete")];

    /// Whether all of `needed` is in here.
    #[must_use]
    pub const fn allows(self, needed: Self) -> bool {
        self.0 & needed.0 == needed.0
    }

    /// Both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The scope of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMED.iter().find(|(_, n)| *n == name).map(|(scope, _)| *scope)
    }

    /// The names of the scopes in here, in the order of their bits.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMED.into_iter().filter(move |(scope, _)| self.allows(*scope)).map(|(_, name)| name)
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, name) in self.names().enumerate() {
            write!(f, "{}{name}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scopes({self})")
    }
}

/// Secrets do not reach a log by way of `Debug`.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Echo { .. } => f.write_str("Echo"),
            Self::Ping => f.write_str("Ping"),
            Self::Join { label, .. } => write!(f, "Join({label:?}, [secret])"),
            Self::Get { key, version, sections, kind } => {
                write!(f, "Get({key}, {version:?}, {sections:?}, {kind:?})")
            }
            Self::Stat { key, version } => write!(f, "Stat({key}, {version:?})"),
            Self::List { limit, headers, .. } => write!(f, "List({limit}, headers: {headers})"),
            Self::Versions { key, after, limit } => {
                write!(f, "Versions({key}, {after:?}, {limit})")
            }
            Self::Begin { key, kind, condition, .. } => {
                write!(f, "Begin({key}, {kind:?}, {condition:?})")
            }
            Self::Slice { length, .. } => write!(f, "Slice({length})"),
            Self::Commit => f.write_str("Commit"),
            Self::Abort => f.write_str("Abort"),
            Self::Delete { key, condition } => write!(f, "Delete({key}, {condition:?})"),
            Self::Restore { key, version } => write!(f, "Restore({key}, {version})"),
            Self::Mount { name } => write!(f, "Mount({name})"),
            Self::Resume { key, condition, .. } => write!(f, "Resume({key}, {condition:?})"),
            Self::Claim { slices } => write!(f, "Claim({} slices)", slices.len()),
        }
    }
}

/// A message as a frame carries it.
pub trait Message: Serialize + DeserializeOwned {
    /// Holds the values against the bounds of PROTOCOL 5, 6 and 9, on both ways.
    ///
    /// # Errors
    /// Which bound does not hold.
    fn check(&self) -> Result<(), OutOfBounds>;

    /// How many raw bytes follow the message's frame on the stream.
    fn announces(&self) -> u64;
}

/// A message whose values no peer may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OutOfBounds {
    /// Over [`SECTIONS_MAX`].
    #[error("a request has at most {SECTIONS_MAX} sections, this one has {0}")]
    Sections(usize),
    /// Over [`LABEL_MAX_BYTES`], or with control characters.
    #[error("a label has at most {LABEL_MAX_BYTES} bytes and no control characters")]
    Label,
    /// Over [`CURSOR_MAX_BYTES`].
    #[error("a cursor has at most {CURSOR_MAX_BYTES} bytes, this one has {0}")]
    Cursor(usize),
    /// A page of nothing.
    #[error("the limit of a page is at least 1")]
    PageLimit,
    /// Over [`PAGE_MAX_ENTRIES`].
    #[error("a page has at most {PAGE_MAX_ENTRIES} entries, this one has {0}")]
    Page(usize),
    /// Empty, or over [`SLICE_MAX_BYTES`].
    #[error("a slice has 1 to {SLICE_MAX_BYTES} bytes, this one has {0}")]
    Slice(u32),
    /// None, or over [`CLAIM_MAX_SLICES`].
    #[error("a claim has 1 to {CLAIM_MAX_SLICES} slices, this one has {0}")]
    Claim(usize),
    /// A sealed object's upload without a header, or a plain one's with one.
    #[error("an upload begins with a header where the object is sealed, and only there")]
    HeaderMisplaced,
    /// Over [`HEADER_MAX_BYTES`].
    #[error("a header has at most {HEADER_MAX_BYTES} bytes, this one has {0}")]
    Header(usize),
    /// Over [`ERROR_TEXT_MAX_BYTES`].
    #[error("an error's text has at most {ERROR_TEXT_MAX_BYTES} bytes, this one has {0}")]
    ErrorText(usize),
    /// Longer than any hello.
    #[error("an echoed hello is longer than any hello")]
    Echo,
}

impl Message for Request {
    fn check(&self) -> Result<(), OutOfBounds> {
        match self {
            Self::Echo { client, server } => check_echo(client, server),
            Self::Join { label, .. } if !is_label(label) => Err(OutOfBounds::Label),
            Self::Get { sections, .. } if sections.len() > SECTIONS_MAX => {
                Err(OutOfBounds::Sections(sections.len()))
            }
            Self::List { limit: 0, .. } | Self::Versions { limit: 0, .. } => {
                Err(OutOfBounds::PageLimit)
            }
            Self::List { after, .. } => check_cursor(after.as_deref()),
            Self::Begin { kind, header, .. } => {
                if header.is_some() != (*kind == Kind::Sealed) {
                    return Err(OutOfBounds::HeaderMisplaced);
                }
                check_header(header.as_ref().map(|header| &*header.bytes))
            }
            Self::Slice { length, .. } if !is_slice(*length) => Err(OutOfBounds::Slice(*length)),
            Self::Resume { header, .. } => check_header(Some(&header.bytes)),
            Self::Claim { slices } if !(1..=CLAIM_MAX_SLICES).contains(&slices.len()) => {
                Err(OutOfBounds::Claim(slices.len()))
            }
            Self::Claim { slices } => match slices.iter().find(|s| !is_slice(s.length)) {
                Some(slice) => Err(OutOfBounds::Slice(slice.length)),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn announces(&self) -> u64 {
        match self {
            Self::Slice { length, .. } => u64::from(*length),
            _ => 0,
        }
    }
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

fn is_slice(length: u32) -> bool {
    (1..=SLICE_MAX_BYTES).contains(&length)
}

fn check_echo(client: &[u8], server: &[u8]) -> Result<(), OutOfBounds> {
    if client.len() > CLIENT_HELLO_MAX_BYTES || server.len() > SERVER_HELLO_MAX_BYTES {
        return Err(OutOfBounds::Echo);
    }
    Ok(())
}

fn check_cursor(cursor: Option<&[u8]>) -> Result<(), OutOfBounds> {
    match cursor {
        Some(bytes) if bytes.len() > CURSOR_MAX_BYTES => Err(OutOfBounds::Cursor(bytes.len())),
        _ => Ok(()),
    }
}

fn check_header(header: Option<&[u8]>) -> Result<(), OutOfBounds> {
    match header {
        Some(bytes) if bytes.len() > HEADER_MAX_BYTES => Err(OutOfBounds::Header(bytes.len())),
        _ => Ok(()),
    }
}

fn check_page(entries: usize) -> Result<(), OutOfBounds> {
    if entries > PAGE_MAX_ENTRIES as usize {
        return Err(OutOfBounds::Page(entries));
    }
    Ok(())
}

#[cfg(test)]
mod tests;

//! Requests (PROTOCOL 5). The order of the variants is the wire format.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    bounded::{Bytes, List, OptionBytes},
    bounds::{Message, OutOfBounds, check_cursor, check_echo, check_header, is_slice},
    object::{ClaimedSlice, Condition, HeaderSlice, Kind, Section, Version},
};
use crate::{
    digest::Digest,
    hello::{CLIENT_HELLO_MAX_BYTES, SERVER_HELLO_MAX_BYTES},
    label::is_label,
    limits::{CLAIM_MAX_SLICES, CURSOR_MAX_BYTES, SECTIONS_MAX},
    mount::MountName,
    name::ObjectKey,
};

/// A client's request (PROTOCOL 5). Exhaustive: a server has to answer each.
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
    /// Asks for a [`Pong`](super::Response::Pong).
    Ping,
    /// Redeems an invite for this connection's device.
    Join {
        /// The secret of the invite.
        secret: [u8; 32],
        /// The label by which the operator will see this device.
        label: String,
    },
    /// Asks for sections of an object.
    Get {
        /// The key of the object.
        key: ObjectKey,
        /// The version that is meant; `None` means the current one.
        version: Option<Version>,
        /// The sections that are asked for, in this order.
        #[serde(deserialize_with = "List::<SECTIONS_MAX>::deserialize")]
        sections: Vec<Section>,
        /// The kind that the reader accepts.
        kind: Kind,
    },
    /// Asks what the server knows of an object.
    Stat {
        /// The key of the object.
        key: ObjectKey,
        /// The version that is meant; `None` means the current one.
        version: Option<Version>,
    },
    /// A page of the catalogue.
    List {
        /// Where the page before ended.
        #[serde(with = "OptionBytes::<CURSOR_MAX_BYTES>")]
        after: Option<Vec<u8>>,
        /// Most entries that the page may have.
        limit: u32,
        /// Whether the entries carry their headers.
        headers: bool,
    },
    /// A page of an object's versions, newest first.
    Versions {
        /// The key of the object.
        key: ObjectKey,
        /// The last version of the page before.
        after: Option<Version>,
        /// Most versions that the page may have.
        limit: u32,
    },
    /// Opens the connection's one upload.
    Begin {
        /// The key of the object that the upload will be.
        key: ObjectKey,
        /// What it will be.
        kind: Kind,
        /// The condition under which the commit takes place.
        condition: Condition,
        /// Its first slice, where it is sealed.
        header: Option<HeaderSlice>,
    },
    /// The next slice of the upload; `length` raw bytes follow.
    Slice {
        /// Number of raw bytes that follow.
        length: u32,
        /// Digest of the raw bytes.
        digest: Digest,
    },
    /// Makes the upload the current version, durably.
    Commit,
    /// Discards the upload.
    Abort,
    /// Moves the current version to the trash.
    Delete {
        /// The key of the object.
        key: ObjectKey,
        /// The condition under which the change takes place.
        condition: Condition,
    },
    /// Makes an earlier or deleted version the current one.
    Restore {
        /// The key of the object.
        key: ObjectKey,
        /// The version that becomes current.
        version: Version,
    },
    /// Selects the mount that the requests after this one apply to.
    Mount {
        /// The name of the mount. The empty name is that of the root mount.
        name: MountName,
    },
    /// Opens the connection's one upload with what an interrupted upload has left.
    Resume {
        /// The key of the object that the upload will be.
        key: ObjectKey,
        /// The condition under which the commit takes place.
        condition: Condition,
        /// The header that the upload began with, which identifies it.
        header: HeaderSlice,
    },
    /// States the next slices of the resumed upload, as the client knows them.
    Claim {
        /// The next slices of the upload, in order.
        #[serde(deserialize_with = "List::<CLAIM_MAX_SLICES>::deserialize")]
        slices: Vec<ClaimedSlice>,
    },
}

impl Request {
    /// Whether the request applies to the connection's mount (PROTOCOL 5): all do that read or
    /// change objects.
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

/// Omits secrets and contents, so that they do not reach a log.
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

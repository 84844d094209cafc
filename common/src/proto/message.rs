//! Requests and answers (PROTOCOL 4 to 7): typed, bounded, in postcard.
//!
//! The order of the variants is the wire format; numbers past the last one are unknown and refused.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{digest::Digest, name::ObjectKey};

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

/// A stretch of an object, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Section {
    /// The header of a sealed object.
    Header,
    /// The footer of a sealed object.
    Footer,
    /// `length` bytes from `offset` of the object.
    Range {
        /// First byte.
        offset: u64,
        /// Number of bytes.
        length: u64,
    },
    /// The whole object.
    All,
    /// The parts of a sealed object: all between header and footer.
    Body,
}

/// What a client asks (PROTOCOL 5).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Both hellos, as the client sent and received them.
    Echo {
        /// The client's hello.
        client: Vec<u8>,
        /// The server's hello.
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
}

/// What a server answers (PROTOCOL 6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// Both hellos, as the server received and sent them.
    Echo {
        /// The client's hello.
        client: Vec<u8>,
        /// The server's hello.
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
        entries: Vec<Entry>,
        /// Where the next page begins; absent on the last.
        next: Option<Vec<u8>>,
    },
    /// A page of an object's versions.
    Versions {
        /// Newest first.
        versions: Vec<VersionInfo>,
        /// Where the next page begins; absent on the last.
        next: Option<Version>,
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

/// A failure as the peer is told of it: a code and a short text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteError {
    /// Which (PROTOCOL 7).
    pub code: u8,
    /// For a person; echoes no secret and no path.
    pub text: String,
}

/// The codes of PROTOCOL 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ErrorCode {
    /// The peer broke the protocol or sent an object that breaks the format.
    Malformed = 1,
    /// Unknown device, scope missing, invite unknown, spent or expired.
    Denied = 2,
    /// No such object or version.
    NotFound = 3,
    /// A condition does not hold.
    Exists = 4,
    /// Disk full or quota reached.
    Full = 5,
    /// A limit is reached; try again.
    Busy = 6,
    /// A slice does not match its digest.
    Digest = 7,
    /// A section lies outside the object.
    Range = 8,
    /// The object is of the other kind.
    Kind = 9,
    /// No upload is open, or one is open already.
    State = 10,
    /// The server failed.
    Internal = 11,
    /// No common protocol version.
    Version = 12,
    /// No common mode.
    Mode = 13,
    /// The volume takes no writes until it has been verified.
    Suspect = 14,
}

impl ErrorCode {
    const ALL: [Self; 14] = [
        Self::Malformed,
        Self::Denied,
        Self::NotFound,
        Self::Exists,
        Self::Full,
        Self::Busy,
        Self::Digest,
        Self::Range,
        Self::Kind,
        Self::State,
        Self::Internal,
        Self::Version,
        Self::Mode,
        Self::Suspect,
    ];

    /// The code with this number.
    #[must_use]
    pub fn from_u8(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|code| *code as u8 == number)
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
            Self::Begin { key, kind, condition } => {
                write!(f, "Begin({key}, {kind:?}, {condition:?})")
            }
            Self::Slice { length, .. } => write!(f, "Slice({length})"),
            Self::Commit => f.write_str("Commit"),
            Self::Abort => f.write_str("Abort"),
            Self::Delete { key, condition } => write!(f, "Delete({key}, {condition:?})"),
            Self::Restore { key, version } => write!(f, "Restore({key}, {version})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The variant numbers of PROTOCOL 5 and 6, as literals.
    #[test]
    fn variant_numbers_are_those_of_the_protocol() {
        let key = ObjectKey::new("k").unwrap();
        let request = |r: &Request| postcard::to_allocvec(r).unwrap();
        assert_eq!(request(&Request::Ping), [1]);
        assert_eq!(
            request(&Request::Get {
                key: key.clone(),
                version: None,
                sections: vec![Section::Header, Section::Range { offset: 1, length: 300 }],
                kind: Kind::Sealed,
            }),
            [3, 1, b'k', 0, 2, 0, 2, 1, 0xac, 0x02, 0]
        );
        assert_eq!(request(&Request::Commit), [9]);
        assert_eq!(request(&Request::Restore { key, version: Version(5) }), [12, 1, b'k', 5]);
        let error = Response::Error(RemoteError { code: 3, text: "no".into() });
        assert_eq!(postcard::to_allocvec(&error).unwrap(), [12, 3, 2, b'n', b'o']);
    }

    #[test]
    fn reserved_and_free_numbers_are_refused() {
        for number in 13..=16 {
            assert!(postcard::from_bytes::<Request>(&[number, 0, 0, 0]).is_err());
        }
    }

    #[test]
    fn scopes_read_as_words() {
        assert_eq!(Scopes::ALL.to_string(), "put,get,list,delete");
        assert_eq!(Scopes::named("list"), Some(Scopes::LIST));
        assert!(!Scopes::PUT.allows(Scopes::GET));
        assert!(Scopes::PUT.and(Scopes::GET).allows(Scopes::GET));
    }

    #[test]
    fn a_secret_does_not_show_in_debug() {
        let join = Request::Join { secret: [0x5a; 32], label: "x".into() };
        assert!(!format!("{join:?}").contains("90"));
        assert!(!format!("{join:?}").contains("5a"));
    }
}

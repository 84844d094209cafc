//! What messages say of objects: versions, sections, slices, pages.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::bounded::{Bytes, OptionBytes};
use crate::{digest::Digest, limits::HEADER_MAX_BYTES, name::ObjectKey};

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

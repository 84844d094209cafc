//! What messages say of objects: versions, sections, slices, pages.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::bounded::{Bytes, OptionBytes};
use crate::{digest::Digest, limits::HEADER_MAX_BYTES, name::ObjectKey};

/// A version of an object: its commit time in ns since 1970 by the server's clock, strictly
/// increasing per key.
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

/// The kind of an object. Exhaustive: two values of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// The object is a sealed blob.
    Sealed,
    /// The object is plain bytes (PROTOCOL 8).
    Plain,
}

/// The condition on the current version under which a change takes place. Exhaustive: three values
/// of the wire, each of which a server has to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Condition {
    /// There is no condition.
    Any,
    /// There is no current version.
    Absent,
    /// The current version is this one.
    Version(Version),
}

/// The part of an object that a reader asks for. All but the header travels as raw payload.
/// Exhaustive: a server has to find the bytes of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Section {
    /// The header of a sealed object. It travels inside the answer.
    Header,
    /// The footer of a sealed object.
    Footer,
    /// `length` bytes from `offset` of the object; in a sealed object, after its header.
    Range {
        /// Offset of the first byte in the object.
        offset: u64,
        /// Number of bytes of the section.
        length: u64,
    },
    /// The whole of a plain object.
    All,
    /// The parts of a sealed object: all bytes between header and footer.
    Body,
}

/// The header of a sealed object, the first slice of its upload. It names the object, so it travels
/// inside a frame. Exhaustive, as a message is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderSlice {
    /// The bytes of the header, magic to MAC.
    #[serde(with = "Bytes::<HEADER_MAX_BYTES>")]
    pub bytes: Vec<u8>,
    /// The digest of `bytes`.
    pub digest: Digest,
}

impl HeaderSlice {
    /// The slice of `bytes`, whose digest it computes.
    #[must_use]
    pub fn of(bytes: Vec<u8>) -> Self {
        let digest = Digest::of(&bytes);
        Self { bytes, digest }
    }
}

/// A slice that a client has sent in an upload that was interrupted. Exhaustive, as a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimedSlice {
    /// Length of the slice in bytes.
    pub length: u32,
    /// Digest of the slice.
    pub digest: Digest,
}

/// What a server knows of one version of an object. Exhaustive, as a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Info {
    /// The version that is described.
    pub version: Version,
    /// The kind of the object.
    pub kind: Kind,
    /// Bytes of the whole object.
    pub length: u64,
    /// Bytes of the header; 0 for a plain object.
    pub header_length: u32,
    /// Bytes of the footer; 0 for a plain object.
    pub footer_length: u32,
}

/// An object in a page of a listing. Exhaustive, as a message is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The key of the object.
    pub key: ObjectKey,
    /// The current version of the object.
    pub info: Info,
    /// The header of the object, if the request asked for headers.
    #[serde(with = "OptionBytes::<HEADER_MAX_BYTES>")]
    pub header: Option<Vec<u8>>,
}

/// A version in a page of an object's versions. Exhaustive, as a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct VersionInfo {
    /// The version that is described.
    pub version: Version,
    /// The kind of the object.
    pub kind: Kind,
    /// Bytes of the object.
    pub length: u64,
    /// Where the server keeps the version.
    pub state: VersionState,
}

/// Where a server keeps a version. Exhaustive: three values of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum VersionState {
    /// The version is the one that a get without a version returns.
    Current,
    /// A later version has replaced it.
    History,
    /// The version is in the trash.
    Trash,
}

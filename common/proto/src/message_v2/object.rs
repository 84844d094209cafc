//! What messages say of objects: sections, lengths, versions, pages.

use serde::{Deserialize, Serialize};

use super::{head::Head, zeros};
use crate::{
    keys::DevicePublicKey,
    message::{Kind, Version},
    name::ObjectKey,
};

/// The part of an object that a reader asks for; it travels as raw payload. Exhaustive: a server
/// has to find the bytes of each. Number 3, some parts, is reserved (PROTOCOL 8), and refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Section {
    /// `length` bytes from `offset`: of a sealed object, of body ‖ front; of a plain one, of the
    /// object.
    Range {
        /// Offset of the first byte, from that of the first part.
        offset: u64,
        /// Number of bytes, which may be 0.
        length: u64,
    },
    /// All parts of a sealed object; the whole of a plain one.
    Body,
    /// The footer of a sealed object without its tail.
    Front,
}

/// What a server knows of one version of an object. Exhaustive, as a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Info {
    /// The version that is described.
    pub version: Version,
    /// The kind of the object.
    pub kind: Kind,
    /// Bytes of all parts of a sealed object, or of a whole plain one.
    pub body_length: u64,
    /// Bytes of the front; 0 of a plain object.
    pub front_length: u32,
    /// Bytes of the header; 0 of a plain object.
    pub header_length: u32,
    /// Bytes of the tail; 0 of a plain object.
    pub tail_length: u32,
}

/// An object in a page of a listing. Exhaustive, as a message is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Entry {
    /// The key of the object.
    pub key: ObjectKey,
    /// The current version of the object.
    pub info: Info,
    /// Header and tail, if the request asked for heads and the object is sealed.
    pub head: Option<Head>,
}

/// A version in a page of an object's versions. Exhaustive, as a message is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct VersionInfo {
    /// The version that is described. A corrupt one has lengths of 0.
    pub info: Info,
    /// How the version ended; `None` of the current one.
    pub end: Option<End>,
    /// The device that committed it; `None`, on the wire 32 zeros, for a peer without a key.
    #[serde(with = "zeros")]
    pub device: Option<DevicePublicKey>,
    /// Header and tail, if the request asked for heads, and the version is sealed and not corrupt.
    pub head: Option<Head>,
}

/// When and how a version ceased to be current. Exhaustive, as a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct End {
    /// The instant in ns since 1970, by the server's clock.
    pub at: u64,
    /// What ended it.
    pub how: How,
}

/// How a version ended. Exhaustive: numbers 3 and 4, moved and expunged, are reserved (PROTOCOL 8),
/// and refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum How {
    /// A later version took its place.
    Replaced,
    /// The object was deleted.
    Deleted,
    /// It was found to be damaged, and set aside.
    Corrupt,
}

//! Which object, and which version of it, a request is about; by which name an upload is found
//! again.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::zeros;
use crate::{message::Version, name::ObjectKey, vault::VaultId};

/// An object as requests name it. Exhaustive, as a message is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Address {
    /// The vault; `None`, on the wire 32 zeros, for an object of no vault.
    #[serde(with = "zeros")]
    pub vault: Option<VaultId>,
    /// The object's name there.
    pub object: Object,
}

/// What is named. Exhaustive: number 1, a pack, is reserved (PROTOCOL 8), and refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Object {
    /// The object with this key; in a tree or an archive, with this path.
    Key(ObjectKey),
}

/// The version that is meant. Exhaustive: number 2, the one at an instant, is reserved (PROTOCOL
/// 8), and refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Which {
    /// The current version.
    Current,
    /// This version.
    Version(Version),
}

/// 16 random bytes that a client chose, by which an upload is found again. Written as 32 lower-case
/// hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UploadId([u8; UploadId::BYTES]);

impl UploadId {
    /// Length of an upload's id.
    pub const BYTES: usize = 16;

    /// Takes over bytes that were drawn, stored or received.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

impl Address {
    /// The object with this key in a vault, or with `None` in no vault.
    #[must_use]
    pub const fn of_key(vault: Option<VaultId>, key: ObjectKey) -> Self {
        Self { vault, object: Object::Key(key) }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Object::Key(key) = &self.object;
        match &self.vault {
            Some(vault) => write!(f, "{vault}/{key}"),
            None => write!(f, "{key}"),
        }
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UploadId({self})")
    }
}

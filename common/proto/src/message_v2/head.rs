//! Header and tail of a sealed object. They name the object and its writer, so they travel inside
//! frames.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    digest::{Digest, Hasher},
    limits::{HEADER_MAX_BYTES, TAIL_FIELD_MAX_BYTES},
    message::bounded::{Bytes, OptionBytes},
};

/// Header and tail of a version. Exhaustive, as a message is. `Debug` shows lengths alone.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Head {
    /// The bytes of the header.
    #[serde(with = "Bytes::<HEADER_MAX_BYTES>")]
    pub header: Vec<u8>,
    /// The bytes of the tail.
    #[serde(with = "Bytes::<TAIL_FIELD_MAX_BYTES>")]
    pub tail: Vec<u8>,
}

/// Header and tail that are to be committed. Exhaustive, as a message is. `Debug` shows lengths
/// alone.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NewHead {
    /// The bytes of the header; `None` where it is the one of an earlier request.
    #[serde(with = "OptionBytes::<HEADER_MAX_BYTES>")]
    pub header: Option<Vec<u8>>,
    /// The bytes of the tail.
    #[serde(with = "Bytes::<TAIL_FIELD_MAX_BYTES>")]
    pub tail: Vec<u8>,
    /// The digest of both, see [`NewHead::digest`].
    pub digest: Digest,
}

impl NewHead {
    /// A header and its tail.
    #[must_use]
    pub fn new(header: Vec<u8>, tail: Vec<u8>) -> Self {
        let digest = Self::digest(&tail, &header);
        Self { header: Some(header), tail, digest }
    }

    /// A tail for the header that an earlier request of the upload brought.
    #[must_use]
    pub fn for_header(earlier: &[u8], tail: Vec<u8>) -> Self {
        let digest = Self::digest(&tail, earlier);
        Self { header: None, tail, digest }
    }

    /// PROTOCOL 4: "Digest of tail ‖ the header that is to be committed, also where an earlier
    /// request brought it".
    #[must_use]
    pub fn digest(tail: &[u8], header: &[u8]) -> Digest {
        let mut hasher = Hasher::new();
        hasher.update(tail);
        hasher.update(header);
        hasher.finish()
    }

    /// The header that is to be committed, if the digest is that of tail and header: the header
    /// that came, or else `earlier`, the one that an earlier request brought. `None` where there is
    /// neither, and where the digest is another one: something was changed on its way.
    #[must_use]
    pub fn verified_header<'a>(&'a self, earlier: Option<&'a [u8]>) -> Option<&'a [u8]> {
        let header = self.header.as_deref().or(earlier)?;
        (Self::digest(&self.tail, header) == self.digest).then_some(header)
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Head({} + {} bytes)", self.header.len(), self.tail.len())
    }
}

impl fmt::Debug for NewHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = self.header.as_ref().map(Vec::len);
        write!(f, "NewHead({header:?} + {} bytes, {})", self.tail.len(), self.digest)
    }
}

//! The digest of a body: by it a tail vouches for every byte of the parts (FORMAT 7).

use std::fmt;

use super::front::Front;
use super::shape::BodyShape;
use crate::digest::{Digest, Hasher};

/// What the footer says of the parts, in 32 bytes. A body keeps it under each header that it gets.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct BodyDigest([u8; Digest::BYTES]);

impl BodyDigest {
    /// The digest of a body of `total_length` bytes of plaintext with this front.
    ///
    /// ```text
    /// body_digest = BLAKE3-256("zput/v2/body" 00
    ///     || suite || part_size_log2 || content || total_length
    ///     || digests || facts_length || facts || references_length || references)
    /// ```
    #[must_use]
    pub fn of(shape: BodyShape, total_length: u64, front: &Front<'_>) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(b"zput/v2/body\0");
        hasher.update(&shape.to_bytes());
        hasher.update(&total_length.to_be_bytes());
        // The front is the rest: digests to references.
        hasher.update(front.as_bytes());
        Self(*hasher.finish().as_bytes())
    }

    /// Takes over a digest that was stored or received.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Digest::BYTES]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes of the digest.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Digest::BYTES] {
        &self.0
    }
}

impl fmt::Debug for BodyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BodyDigest({})", hex::encode(self.0))
    }
}

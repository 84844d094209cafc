//! The transcript: what the MACs and the signature of a footer cover (FORMAT 7).

use std::fmt;

use sha2::{Digest, Sha512};

/// SHA-512 over everything in header and footer except the stanzas, the header's length and MAC,
/// and the footer's MACs. Two blobs of one generation with one transcript are the same blob,
/// perhaps for other recipients.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Transcript([u8; Transcript::BYTES]);

impl Transcript {
    /// Number of bytes of a transcript.
    pub const BYTES: usize = 64;

    /// Takes over a transcript that was stored.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// The 64 bytes of the transcript.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// The transcript of `header`, its parts that are vouched for, and `footer`, its fields from
    /// total length to provenance.
    pub(super) fn of(header: [&[u8]; 3], footer: &[u8]) -> Self {
        let mut hash = Sha512::new();
        hash.update(LABEL);
        for piece in header {
            hash.update(piece);
        }
        hash.update(footer);
        Self(hash.finalize().into())
    }
}

impl fmt::Debug for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Transcript({})", hex::encode(self.0))
    }
}

const LABEL: &[u8] = b"zput/v1/transcript";

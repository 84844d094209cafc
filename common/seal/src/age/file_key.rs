//! The key that the stanzas of a blob wrap.

use rand::CryptoRng;
use thiserror::Error;
use zput_proto::{envelope::FILE_KEY_BYTES, secret::Secret};

/// The file key: 16 random bytes from which every key of a blob is derived (FORMAT 2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileKey(Secret<{ FileKey::BYTES }>);

impl FileKey {
    /// Number of bytes of a file key.
    pub const BYTES: usize = FILE_KEY_BYTES;

    /// Draws a new file key from `rng`.
    pub fn generate(rng: &mut dyn CryptoRng) -> Self {
        Self(Secret::generate(rng))
    }

    /// Takes over a file key that was stored, as in the journal of an upload.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(Secret::from_bytes(bytes))
    }

    /// The 16 secret bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        self.0.as_bytes()
    }
}

/// The file key could not be wrapped. No recipient that was parsed or derived gives this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the file key cannot be wrapped for this recipient")]
#[non_exhaustive]
pub struct WrapError;

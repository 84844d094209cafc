//! What the stanzas wrap.

use std::fmt;

use rand::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The file key: 16 random bytes from which every key of a blob is derived (FORMAT 2).
///
/// Zeroized on drop; never shown by `Debug`; compared in constant time.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct FileKey([u8; FileKey::BYTES]);

impl FileKey {
    /// Length of a file key.
    pub const BYTES: usize = 16;

    /// A fresh file key.
    pub fn generate(rng: &mut dyn CryptoRng) -> Self {
        let mut key = Self([0; Self::BYTES]);
        rng.fill_bytes(&mut key.0);
        key
    }

    /// A file key that was kept, as in the journal of an upload.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

impl PartialEq for FileKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for FileKey {}

impl fmt::Debug for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileKey([secret])")
    }
}

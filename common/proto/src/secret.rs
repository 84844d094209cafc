//! Secret bytes: what every key and seed of zput is made of.

use std::fmt;

use rand::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// `N` secret bytes: zeroized on drop, never shown by `Debug`, compared in constant time.
///
/// A key of a certain use is a newtype around it, so that one key cannot be taken for another:
///
/// ```
/// #[derive(Clone, Debug, PartialEq, Eq)]
/// struct SessionKey(zput_proto::secret::Secret<32>);
///
/// let key = SessionKey(zput_proto::secret::Secret::from_bytes([7; 32]));
/// assert_eq!(format!("{key:?}"), "SessionKey([secret])");
/// ```
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret<const N: usize>([u8; N]);

impl<const N: usize> Secret<N> {
    /// Draws a new secret from `rng`.
    pub fn generate(rng: &mut dyn CryptoRng) -> Self {
        let mut secret = Self([0; N]);
        rng.fill_bytes(&mut secret.0);
        secret
    }

    /// Takes over bytes that were stored, received or derived.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; N]) -> Self {
        Self(bytes)
    }

    /// The secret bytes themselves.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; N] {
        &self.0
    }
}

impl<const N: usize> PartialEq for Secret<N> {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl<const N: usize> Eq for Secret<N> {}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

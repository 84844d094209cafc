//! A server's own key.

use std::fmt;

use ed25519_dalek::SigningKey;
use rand::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::public::ServerPublicKey;

/// The Ed25519 private key by which clients know a server; zeroized on drop, never shown by `Debug`.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct ServerKeySeed([u8; 32]);

impl ServerKeySeed {
    /// A new server.
    pub fn generate(rng: &mut dyn CryptoRng) -> Self {
        let mut seed = Self([0; 32]);
        rng.fill_bytes(&mut seed.0);
        seed
    }

    /// A seed that was read from a store.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes, the private key of RFC 8032, 5.1.5.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// What clients pin.
    #[must_use]
    pub fn public_key(&self) -> ServerPublicKey {
        ServerPublicKey::from_bytes(SigningKey::from_bytes(&self.0).verifying_key().to_bytes())
    }
}

impl fmt::Debug for ServerKeySeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerKeySeed({}, [secret])", self.public_key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed by Python's `cryptography`.
    #[test]
    fn the_public_key_has_a_fixed_value() {
        let seed = ServerKeySeed::from_bytes([0x42; 32]);
        let public = "2152f8d19b791d24453242e15f2eab6cb7cffa7b6a5ed30097960e069881db12";
        assert_eq!(seed.public_key().to_string(), public);
        assert_eq!(format!("{seed:?}"), format!("ServerKeySeed({public}, [secret])"));
    }
}

//! The private keys by which a server and a device prove in TLS who they are (PROTOCOL 2).

use std::fmt;

use ed25519_dalek::SigningKey;
use rand::CryptoRng;

use super::public::{DevicePublicKey, ServerPublicKey};
use crate::secret::Secret;

/// A server's Ed25519 private key. `Debug` shows the public half alone.
#[derive(Clone)]
pub struct ServerKeySeed(Secret<32>);

impl ServerKeySeed {
    /// Draws the key of a new server.
    pub fn generate(rng: &mut dyn CryptoRng) -> Self {
        Self(Secret::generate(rng))
    }

    /// Takes over a key that was read from a store.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Secret::from_bytes(bytes))
    }

    /// The private key of RFC 8032, 5.1.5.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// The public key, which clients pin.
    #[must_use]
    pub fn public_key(&self) -> ServerPublicKey {
        ServerPublicKey::from_bytes(public_half(&self.0))
    }
}

impl fmt::Debug for ServerKeySeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerKeySeed({}, [secret])", self.public_key())
    }
}

/// A device's Ed25519 private key. `Debug` shows the public half alone.
///
/// `zput_seal::keys::DeviceSeed::tls_key` derives it from the seed in a key file.
#[derive(Clone)]
pub struct DeviceTlsKey(Secret<32>);

impl DeviceTlsKey {
    /// Takes over a key that was derived.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Secret::from_bytes(bytes))
    }

    /// The private key of RFC 8032, 5.1.5.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// The public key, which is the device's account on a server.
    #[must_use]
    pub fn public_key(&self) -> DevicePublicKey {
        DevicePublicKey::from_bytes(public_half(&self.0))
    }
}

impl fmt::Debug for DeviceTlsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceTlsKey({}, [secret])", self.public_key())
    }
}

fn public_half(seed: &Secret<32>) -> [u8; 32] {
    SigningKey::from_bytes(seed.as_bytes()).verifying_key().to_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed by Python's `cryptography`.
    #[test]
    fn server_key_seed_derives_a_fixed_public_key() {
        let seed = ServerKeySeed::from_bytes([0x42; 32]);
        let public = "2152f8d19b791d24453242e15f2eab6cb7cffa7b6a5ed30097960e069881db12";
        assert_eq!(seed.public_key().to_string(), public);
        assert_eq!(format!("{seed:?}"), format!("ServerKeySeed({public}, [secret])"));
        let device = DeviceTlsKey::from_bytes([0x42; 32]);
        assert_eq!(format!("{device:?}"), format!("DeviceTlsKey({public}, [secret])"));
    }
}

//! The seed of a device, and the two keys that are derived from it.

use std::fmt;

use ed25519_dalek::{Signer, SigningKey};
use rand::CryptoRng;
use zput_proto::keys::{DeviceTlsKey, WriterPublicKey};
use zput_proto::secret::Secret;

use super::derive;

/// The identity of a device: 32 random bytes in its key file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceSeed(Secret<32>);

impl DeviceSeed {
    /// Draws the seed of a new device from `rng`.
    pub fn generate(rng: &mut dyn CryptoRng) -> Self {
        Self(Secret::generate(rng))
    }

    /// Takes over a seed that was read from a key file.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Secret::from_bytes(bytes))
    }

    /// The 32 secret bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// The key by which a server knows the device (FORMAT 10, `tls_seed`).
    #[must_use]
    pub fn tls_key(&self) -> DeviceTlsKey {
        let seed = derive::key(self.as_bytes(), "zput/v1/device/tls");
        DeviceTlsKey::from_bytes(*seed.as_bytes())
    }

    /// The key under which the device signs its blobs (FORMAT 10, `writer_seed`).
    #[must_use]
    pub fn writer_key(&self) -> WriterKey {
        let seed = derive::key(self.as_bytes(), "zput/v1/device/writer");
        WriterKey::from_seed(&seed)
    }
}

/// The key that signs blobs. It is zeroized on drop.
#[derive(Clone)]
pub struct WriterKey(SigningKey);

impl WriterKey {
    /// The key of this seed (RFC 8032, 5.1.5).
    pub(super) fn from_seed(seed: &Secret<32>) -> Self {
        Self(SigningKey::from_bytes(seed.as_bytes()))
    }

    /// The public key, under which signatures are verified.
    #[must_use]
    pub fn public_key(&self) -> WriterPublicKey {
        WriterPublicKey::from_bytes(self.0.verifying_key().to_bytes())
    }

    /// The Ed25519 signature of `message`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for WriterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WriterKey({}, [secret])", self.public_key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed by Python's `hmac` and `cryptography` from the seed 20 21 … 3F.
    #[test]
    fn device_seed_derives_keys_of_fixed_value() {
        let seed = DeviceSeed::from_bytes(std::array::from_fn(|i| 32 + i as u8));
        let tls = seed.tls_key();
        assert_eq!(
            hex::encode(tls.as_bytes()),
            "0cc4a4fc4f057f653e3fa6d1d604f7b1e8255ecd11b8a27d8d4e23bd484d93cc"
        );
        assert_eq!(
            tls.public_key().to_string(),
            "e3ab85b2ef399b5591273648293273bccca60dcb82c4266be0b4cbf5c532b956"
        );
        let writer = seed.writer_key();
        assert_eq!(
            hex::encode(writer.0.to_bytes()),
            "a64594cc80b6537b9c7954fa4d95e7ccdf7a9ca9b0f6099b76de04dd586b54ba"
        );
        assert_eq!(
            writer.public_key().to_string(),
            "2cf367c72787471981130c5d4f80cb653a11f5446f5c81f70937e2ca8ad14a9c"
        );
        let signature = writer.sign(b"message");
        assert_eq!(
            hex::encode(signature),
            "d85fa852221d6037299267be58fe48267165e02424e3b7b3500830ab96cb96b7\
             29d2e2a1b553a2f63ae00512df30d5cfa277aabb33b92b26e909c3b44190da0a"
        );
        assert_eq!(writer.public_key().verify(b"message", &signature), Ok(()));
        assert!(writer.public_key().verify(b"massage", &signature).is_err());
    }

    /// The Debug texts of a device's seed and keys show only the public keys.
    #[test]
    fn device_seed_debug_shows_only_public_keys() {
        let seed = DeviceSeed::from_bytes([0x5a; 32]);
        assert_eq!(format!("{seed:?}"), "DeviceSeed([secret])");
        let (tls, writer) = (seed.tls_key(), seed.writer_key());
        let shown = format!("{tls:?} {writer:?}");
        assert!(shown.contains(&tls.public_key().to_string()));
        assert!(!shown.contains(&hex::encode(tls.as_bytes())));
        assert!(!shown.contains(&hex::encode(writer.0.to_bytes())));
    }
}

//! A device's seed and the two keys that come out of it.

use std::fmt;

use ed25519_dalek::{Signer, SigningKey};
use rand::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::derive;
use super::public::{DevicePublicKey, WriterPublicKey};

/// What makes a device itself: 32 random bytes of its key file.
///
/// Zeroized on drop; never shown by `Debug`; compared in constant time.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct DeviceSeed([u8; 32]);

impl DeviceSeed {
    /// A new device.
    pub fn generate(rng: &mut dyn CryptoRng) -> Self {
        let mut seed = Self([0; 32]);
        rng.fill_bytes(&mut seed.0);
        seed
    }

    /// A seed that was read from a key file.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key with which the device shows itself to a server (FORMAT 10, `tls_seed`).
    #[must_use]
    pub fn tls_key(&self) -> DeviceTlsKey {
        DeviceTlsKey(derive::key(&self.0, "zput/v1/device/tls"))
    }

    /// The key under which the device signs its blobs (FORMAT 10, `writer_seed`).
    #[must_use]
    pub fn writer_key(&self) -> WriterKey {
        WriterKey(SigningKey::from_bytes(&derive::key(&self.0, "zput/v1/device/writer")))
    }
}

impl PartialEq for DeviceSeed {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for DeviceSeed {}

impl fmt::Debug for DeviceSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeviceSeed([secret])")
    }
}

/// A device's TLS key: an Ed25519 private key, zeroized on drop.
#[derive(Clone)]
pub struct DeviceTlsKey(Zeroizing<[u8; 32]>);

impl DeviceTlsKey {
    /// The Ed25519 private key (RFC 8032, 5.1.5): what TLS signs with.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The device's account.
    #[must_use]
    pub fn public_key(&self) -> DevicePublicKey {
        DevicePublicKey::from_bytes(SigningKey::from_bytes(&self.0).verifying_key().to_bytes())
    }
}

impl fmt::Debug for DeviceTlsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceTlsKey({}, [secret])", self.public_key())
    }
}

/// The key that signs blobs; zeroized on drop.
#[derive(Clone)]
pub struct WriterKey(SigningKey);

impl WriterKey {
    /// Who signs.
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
    fn derived_keys_have_fixed_values() {
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

    #[test]
    fn debug_shows_public_keys_only() {
        let seed = DeviceSeed::from_bytes([0x5a; 32]);
        assert_eq!(format!("{seed:?}"), "DeviceSeed([secret])");
        let (tls, writer) = (seed.tls_key(), seed.writer_key());
        let shown = format!("{tls:?} {writer:?}");
        assert!(shown.contains(&tls.public_key().to_string()));
        assert!(!shown.contains(&hex::encode(tls.as_bytes())));
        assert!(!shown.contains(&hex::encode(writer.0.to_bytes())));
    }
}

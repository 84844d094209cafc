//! The seed of a device in format 2. It differs from that of format 1 by its labels only, and takes
//! its place when key files become format 2.

use rand::CryptoRng;
use zput_proto::keys::{Algorithm, DevicePublicKey, DeviceTlsKey, SigningPublicKey};
use zput_proto::secret::Secret;

use super::derive;
use super::device::WriterKey;

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

    /// The device: the public half of its TLS key, which is in its certificates.
    #[must_use]
    pub fn device(&self) -> DevicePublicKey {
        self.tls_key().public_key()
    }

    /// The public half of the key that signs the device's blobs, which is in its certificates.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a scalar of RFC 8032 gives no point of small order")]
    pub fn writer(&self) -> SigningPublicKey {
        let key = self.writer_key().public_key();
        SigningPublicKey::parse(Algorithm::Ed25519, key.as_bytes()).expect("a key of RFC 8032")
    }

    /// The key whose public half is the device (FORMAT 10, `tls_seed`).
    #[must_use]
    pub fn tls_key(&self) -> DeviceTlsKey {
        let seed = derive::key(self.as_bytes(), "zput/v2/device/tls");
        DeviceTlsKey::from_bytes(*seed.as_bytes())
    }

    /// The key under which the device signs its blobs (FORMAT 10, `writer_seed`).
    #[must_use]
    pub fn writer_key(&self) -> WriterKey {
        WriterKey::from_seed(&derive::key(self.as_bytes(), "zput/v2/device/writer"))
    }
}

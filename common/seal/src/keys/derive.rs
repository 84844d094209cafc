//! The one key derivation of FORMAT 10.

use hkdf::Hkdf;
use sha2::Sha512;
use zeroize::Zeroizing;
use zput_proto::secret::Secret;

/// `HKDF(salt = "", ikm, info)` with SHA-512, 32 bytes.
#[expect(clippy::expect_used, reason = "HKDF-SHA-512 fails only beyond 16,320 bytes of output")]
pub(super) fn key(ikm: &[u8; 32], info: &str) -> Secret<32> {
    let mut key = Zeroizing::new([0; 32]);
    Hkdf::<Sha512>::new(None, ikm).expand(info.as_bytes(), key.as_mut()).expect("32 bytes");
    Secret::from_bytes(*key)
}

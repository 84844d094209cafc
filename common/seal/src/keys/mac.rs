//! HMAC-SHA-256 under keys of 32 bytes (RFC 2104).

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The HMAC of the concatenation of `pieces`, to be finished or to be compared.
#[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
pub(super) fn hmac(key: &[u8; 32], pieces: &[&[u8]]) -> Hmac<Sha256> {
    let mut hmac = Hmac::<Sha256>::new_from_slice(key).expect("any length");
    for piece in pieces {
        hmac.update(piece);
    }
    hmac
}

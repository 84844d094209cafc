//! The `X25519` recipient type (c2sp.org/age, "The X25519 recipient type").

use chacha20poly1305::aead::{Aead, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use hkdf::Hkdf;
use rand::CryptoRng;
use sha2::Sha256;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use super::file_key::FileKey;
use super::recipient::WrapError;
use super::stanza::Stanza;

/// The stanza's first argument.
pub(super) const KIND: &str = "X25519";
/// Length of a public key and of a share.
pub(super) const POINT_BYTES: usize = 32;

const INFO: &[u8] = b"age-encryption.org/v1/X25519";
/// The order of the field, 2^255 - 19, little-endian.
const FIELD_ORDER: [u8; POINT_BYTES] = {
    let mut order = [0xff; POINT_BYTES];
    order[0] = 0xed;
    order[31] = 0x7f;
    order
};

/// Whether every X25519 with this point gives zeros: one of seven, as RFC 7748 reads it, without its highest bit.
pub(super) fn is_low_order(point: &[u8; POINT_BYTES]) -> bool {
    let mut masked = *point;
    masked[POINT_BYTES - 1] &= 0x7f;
    LOW_ORDER.contains(&masked)
}

/// 0 and 1; the two points of order 8; -1, and then 0 and 1 once more, written as the field's order and one above it.
const LOW_ORDER: [[u8; POINT_BYTES]; 7] = [
    [0; POINT_BYTES],
    {
        let mut one = [0; POINT_BYTES];
        one[0] = 1;
        one
    },
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4,
        0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49,
        0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef,
        0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f,
        0x11, 0x57,
    ],
    beside_the_order(0xec),
    FIELD_ORDER,
    beside_the_order(0xee),
];

/// The order of the field with another lowest byte.
const fn beside_the_order(lowest: u8) -> [u8; POINT_BYTES] {
    let mut number = FIELD_ORDER;
    number[0] = lowest;
    number
}

/// Whether the point is written as X25519 would write it: below the field's order.
///
/// Another spelling of the same point would seal blobs that its owner cannot open, as the recipient
/// is part of the wrap key's salt.
pub(super) fn is_canonical(point: &[u8; POINT_BYTES]) -> bool {
    point.iter().rev().lt(FIELD_ORDER.iter().rev())
}

/// The public key of the secret `seed`.
pub(super) fn public_key(seed: &[u8; 32]) -> [u8; POINT_BYTES] {
    PublicKey::from(&StaticSecret::from(*seed)).to_bytes()
}

/// Wraps `file_key` for `recipient` with a fresh ephemeral secret.
pub(super) fn wrap(
    recipient: &[u8; POINT_BYTES],
    file_key: &FileKey,
    rng: &mut dyn CryptoRng,
) -> Result<Stanza, WrapError> {
    let mut seed = Zeroizing::new([0; 32]);
    rng.fill_bytes(seed.as_mut());
    let ephemeral = StaticSecret::from(*seed);
    let share = PublicKey::from(&ephemeral).to_bytes();
    let shared = ephemeral.diffie_hellman(&PublicKey::from(*recipient));
    if !shared.was_contributory() {
        return Err(WrapError);
    }
    let body = cipher(shared.as_bytes(), &share, recipient)
        .and_then(|cipher| cipher.encrypt(&Nonce::default(), file_key.as_bytes().as_slice()).ok())
        .ok_or(WrapError)?;
    Ok(Stanza::with_share(KIND, &share, body))
}

/// Tries the secret `seed` on a stanza's share and body.
///
/// `Ok(None)`: it is for somebody else. `Err`: "If the shared secret is all 0x00 bytes, the identity
/// implementation MUST abort."
pub(super) fn unwrap(
    seed: &[u8; 32],
    share: &[u8; POINT_BYTES],
    body: &[u8],
) -> Result<Option<FileKey>, LowOrder> {
    let secret = StaticSecret::from(*seed);
    let recipient = PublicKey::from(&secret).to_bytes();
    let shared = secret.diffie_hellman(&PublicKey::from(*share));
    if !shared.was_contributory() {
        return Err(LowOrder);
    }
    let opened = cipher(shared.as_bytes(), share, &recipient)
        .and_then(|cipher| cipher.decrypt(&Nonce::default(), body).ok())
        .map(Zeroizing::new);
    Ok(opened.and_then(|bytes| bytes.as_slice().try_into().ok()).map(FileKey::from_bytes))
}

/// The share is a point of low order: the shared secret would be zeros whatever the identity.
#[derive(Debug)]
pub(super) struct LowOrder;

/// The AEAD under the wrap key of `shared`. "the ChaCha20-Poly1305 nonce is fixed as 12 0x00 bytes":
/// the key is used once.
fn cipher(shared: &[u8; 32], share: &[u8], recipient: &[u8]) -> Option<ChaCha20Poly1305> {
    let salt = [share, recipient].concat();
    let mut key = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(Some(&salt), shared).expand(INFO, key.as_mut()).ok()?;
    ChaCha20Poly1305::new_from_slice(key.as_ref()).ok()
}

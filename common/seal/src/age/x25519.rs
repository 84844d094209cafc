//! The `X25519` recipient type (c2sp.org/age, "The X25519 recipient type").

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use chacha20poly1305::aead::{Aead, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use hkdf::Hkdf;
use rand::CryptoRng;
use sha2::Sha256;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;
use zput_proto::envelope::{POINT_BYTES, Stanza, X25519};

use super::file_key::{FileKey, WrapError};

const INFO: &[u8] = b"age-encryption.org/v1/X25519";
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
    stanza(X25519, &share, body)
}

/// The stanza of a known type: one argument, the base64 of `share`, and the wrapped key.
pub(super) fn stanza(kind: &str, share: &[u8], body: Vec<u8>) -> Result<Stanza, WrapError> {
    Stanza::new(kind, vec![STANDARD_NO_PAD.encode(share)], body).map_err(|_| WrapError)
}

/// Tries the secret `seed` on a stanza's share and body.
///
/// `Ok(None)`: the stanza is for another recipient. `Err`: "If the shared secret is all 0x00 bytes,
/// the identity implementation MUST abort."
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

/// The share is a point of low order: the shared secret would be zeros under every identity.
#[derive(Debug)]
pub(super) struct LowOrder;

/// The AEAD under the wrap key of `shared`. "the ChaCha20-Poly1305 nonce is fixed as 12 0x00
/// bytes": the key is used once.
fn cipher(shared: &[u8; 32], share: &[u8], recipient: &[u8]) -> Option<ChaCha20Poly1305> {
    let salt = [share, recipient].concat();
    let mut key = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(Some(&salt), shared).expand(INFO, key.as_mut()).ok()?;
    ChaCha20Poly1305::new_from_slice(key.as_ref()).ok()
}

//! The reference engine: `aes-gcm` and `chacha20poly1305`.

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::array::Array;
use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::aead::{AeadCore, AeadInOut, KeyInit};
use chacha20poly1305::ChaCha20Poly1305;
use zput_proto::envelope::Suite;

use super::cipher::{ChunkCipher, EngineFailure, KEY_BYTES, NONCE_BYTES, TAG_BYTES, TagMismatch};

/// A cipher of `suite` under `key`; the ciphers wipe themselves when dropped.
pub(super) fn cipher(suite: Suite, key: &[u8; KEY_BYTES]) -> Box<dyn ChunkCipher> {
    let key = key.into();
    match suite {
        Suite::Aes256Gcm => Box::new(Cipher(Aes256Gcm::new(key))),
        Suite::ChaCha20Poly1305 => Box::new(Cipher(ChaCha20Poly1305::new(key))),
    }
}

struct Cipher<A>(A);

impl<A> ChunkCipher for Cipher<A>
where
    A: AeadInOut + Send + Sync,
    for<'a> &'a Array<u8, <A as AeadCore>::NonceSize>: From<&'a [u8; NONCE_BYTES]>,
    for<'a> &'a Array<u8, <A as AeadCore>::TagSize>: From<&'a [u8; TAG_BYTES]>,
    Array<u8, <A as AeadCore>::TagSize>: Into<[u8; TAG_BYTES]>,
{
    fn seal(
        &self,
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        plaintext: &[u8],
        ciphertext: &mut [u8],
    ) -> Result<[u8; TAG_BYTES], EngineFailure> {
        let buffer = InOutBuf::new(plaintext, ciphertext).map_err(|_| EngineFailure)?;
        let tag = self.0.encrypt_inout_detached(nonce.into(), aad, buffer);
        tag.map(Into::into).map_err(|_| EngineFailure)
    }

    fn open(
        &self,
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        ciphertext: &[u8],
        tag: &[u8; TAG_BYTES],
        plaintext: &mut [u8],
    ) -> Result<(), TagMismatch> {
        let buffer = InOutBuf::new(ciphertext, plaintext).map_err(|_| TagMismatch)?;
        let opened = self.0.decrypt_inout_detached(nonce.into(), aad, buffer, tag.into());
        opened.map_err(|_| TagMismatch)
    }
}

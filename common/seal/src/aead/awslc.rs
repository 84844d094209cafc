//! The bulk engine: `aws-lc-rs`, whose AES-GCM uses the widest vector instructions of the CPU.

use aws_lc_rs::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use zput_proto::envelope::Suite;

use super::cipher::{ChunkCipher, EngineFailure, KEY_BYTES, NONCE_BYTES, TAG_BYTES, TagMismatch};

/// The library wipes a key's context when it is freed.
pub(super) struct Cipher(LessSafeKey);

impl Cipher {
    pub(super) fn new(suite: Suite, key: &[u8; KEY_BYTES]) -> Result<Self, EngineFailure> {
        let algorithm = match suite {
            Suite::Aes256Gcm => &AES_256_GCM,
            Suite::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        };
        let key = UnboundKey::new(algorithm, key).map_err(|_| EngineFailure)?;
        Ok(Self(LessSafeKey::new(key)))
    }
}

impl ChunkCipher for Cipher {
    fn seal(
        &self,
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        plaintext: &[u8],
        ciphertext: &mut [u8],
    ) -> Result<[u8; TAG_BYTES], EngineFailure> {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let mut tag = [0; TAG_BYTES];
        self.0
            .seal_out_of_place_scatter(nonce, Aad::from(aad), plaintext, ciphertext, &[], &mut tag)
            .map_err(|_| EngineFailure)?;
        Ok(tag)
    }

    fn open(
        &self,
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        ciphertext: &[u8],
        tag: &[u8; TAG_BYTES],
        plaintext: &mut [u8],
    ) -> Result<(), TagMismatch> {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.0
            .open_separate_gather(nonce, Aad::from(aad), ciphertext, tag, plaintext)
            .map_err(|_| TagMismatch)
    }
}

//! What an engine gives: a cipher that seals and opens single chunks.

use thiserror::Error;

pub use zput_proto::envelope::chunks::TAG_BYTES;

/// Bytes of a key, both suites.
pub const KEY_BYTES: usize = 32;
/// Bytes of a nonce, both suites.
pub const NONCE_BYTES: usize = 12;

/// Seals and opens single chunks under one key, from one buffer straight into another. The caller keeps
/// nonces apart. The chunked scheme has no associated data; `aad` is here so that every published
/// vector can go through this seam.
pub trait ChunkCipher: Send + Sync {
    /// Encrypts `plaintext` into `ciphertext`, which is as long, and returns the tag.
    ///
    /// # Errors
    /// When the engine fails or the two lengths differ.
    fn seal(
        &self,
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        plaintext: &[u8],
        ciphertext: &mut [u8],
    ) -> Result<[u8; TAG_BYTES], EngineFailure>;

    /// Decrypts `ciphertext` into `plaintext`, which is as long, if `tag` belongs to it. After an error
    /// the contents of `plaintext` are meaningless and must not be used.
    ///
    /// # Errors
    /// When the tag does not match, or the two lengths differ.
    fn open(
        &self,
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        ciphertext: &[u8],
        tag: &[u8; TAG_BYTES],
        plaintext: &mut [u8],
    ) -> Result<(), TagMismatch>;
}

/// The tag is not the ciphertext's: wrong key, wrong place or changed bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the authentication tag does not match")]
pub struct TagMismatch;

/// An engine could not do what it must always be able to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the cipher engine failed")]
pub struct EngineFailure;

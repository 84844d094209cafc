//! The cipher that an engine makes: it seals and opens single chunks.

use thiserror::Error;

pub use zput_proto::envelope::chunks::TAG_BYTES;

/// Bytes of a key, both suites.
pub const KEY_BYTES: usize = 32;
/// Bytes of a nonce, both suites.
pub const NONCE_BYTES: usize = 12;

/// Seals and opens single chunks under one key, from one buffer straight into another. The caller
/// uses each nonce once. The chunked scheme has no associated data; `aad` is there so that every
/// published vector can be tested.
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

    /// Decrypts `ciphertext` into `plaintext`, which is as long, if `tag` belongs to it. After an
    /// error the contents of `plaintext` are meaningless and must not be used.
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

/// The tag does not belong to the ciphertext: the key is wrong, the chunk is out of place, or bytes
/// were changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the authentication tag does not match")]
#[non_exhaustive]
pub struct TagMismatch;

/// An engine failed at an operation that must always succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the cipher engine failed")]
#[non_exhaustive]
pub struct EngineFailure;

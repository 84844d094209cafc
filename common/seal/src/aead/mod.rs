//! The AEADs of the two suites behind one seam.
//!
//! A [`Suite`] says which AEAD a blob uses; an [`Engine`] says whose code computes it. Both engines give
//! the same bytes: the tests hold them against each other and against published vectors.

#[cfg(feature = "aws-lc")]
mod awslc;
mod rustcrypto;
#[cfg(test)]
mod tests;

use std::fmt;

use thiserror::Error;

/// Length of a key, both suites.
pub const KEY_BYTES: usize = 32;
/// Length of a nonce, both suites.
pub const NONCE_BYTES: usize = 12;
/// Length of a tag, both suites.
pub const TAG_BYTES: usize = 16;

/// Which AEAD seals a blob (FORMAT 1). The discriminant is the suite's number in a header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Suite {
    /// AES-256 in GCM; with the chunked scheme, the C2SP's Cobblestone-256.
    #[default]
    Aes256Gcm = 1,
    /// ChaCha20-Poly1305 (RFC 8439): for machines without AES instructions.
    ChaCha20Poly1305 = 2,
}

impl Suite {
    /// Every suite there is.
    pub const ALL: [Self; 2] = [Self::Aes256Gcm, Self::ChaCha20Poly1305];

    /// The suite a header's number stands for.
    #[must_use]
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Aes256Gcm),
            2 => Some(Self::ChaCha20Poly1305),
            _ => None,
        }
    }

    /// Its number in a header.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Its name in the IANA registry of AEAD algorithms, which goes into every key derivation.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes256Gcm => "AEAD_AES_256_GCM",
            Self::ChaCha20Poly1305 => "AEAD_CHACHA20_POLY1305",
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whose implementation of the AEADs does the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Engine {
    /// Pure Rust, always there: the reference.
    RustCrypto,
    /// aws-lc, several times faster on bulk data.
    #[cfg(feature = "aws-lc")]
    AwsLc,
}

impl Engine {
    /// The engines that are compiled in.
    #[cfg(feature = "aws-lc")]
    pub const ALL: &'static [Self] = &[Self::RustCrypto, Self::AwsLc];
    /// The engines that are compiled in.
    #[cfg(not(feature = "aws-lc"))]
    pub const ALL: &'static [Self] = &[Self::RustCrypto];

    /// A cipher of `suite` under `key`.
    ///
    /// # Errors
    /// When the engine refuses the key, which no 32-byte key gives it a reason to do.
    pub fn cipher(
        self,
        suite: Suite,
        key: &[u8; KEY_BYTES],
    ) -> Result<Box<dyn ChunkCipher>, EngineFailure> {
        Ok(match self {
            Self::RustCrypto => rustcrypto::cipher(suite, key),
            #[cfg(feature = "aws-lc")]
            Self::AwsLc => Box::new(awslc::Cipher::new(suite, key)?),
        })
    }
}

impl Default for Engine {
    /// The fastest one that is compiled in.
    fn default() -> Self {
        #[cfg(feature = "aws-lc")]
        return Self::AwsLc;
        #[cfg(not(feature = "aws-lc"))]
        return Self::RustCrypto;
    }
}

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

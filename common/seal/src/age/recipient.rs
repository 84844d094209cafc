//! Recipients: the public keys that blobs are sealed for.

use std::fmt;
use std::str::FromStr;

use rand::CryptoRng;
use thiserror::Error;
use zput_proto::envelope::{POINT_BYTES, Stanza, is_canonical, is_low_order};
use zput_proto::long_bech32::{self, Bech32Error};

use super::file_key::{FileKey, WrapError};
use super::{mlkem768x25519, x25519};

const X25519_PREFIX: &str = "age";
const HYBRID_PREFIX: &str = "age1pq";

/// A recipient: `age1…` or `age1pq…`. Only its [`Identity`](super::Identity) opens what is sealed
/// for it.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recipient {
    /// X25519 alone. An attacker who keeps a blob until there is a quantum computer can open it.
    X25519(X25519Recipient),
    /// The post-quantum hybrid: ML-KEM-768 and X25519 together.
    MlKem768X25519(HybridRecipient),
}

/// An X25519 public key that is canonical and not of low order.
#[derive(Clone, PartialEq, Eq)]
pub struct X25519Recipient([u8; POINT_BYTES]);

/// An X-Wing public key that has been checked.
#[derive(Clone, PartialEq, Eq)]
pub struct HybridRecipient(mlkem768x25519::PublicKey);

/// Why a text is not a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RecipientError {
    /// The text is no age recipient of a known type.
    #[error("not an age recipient of a known type: those begin with \"age1\" or \"age1pq1\"")]
    UnknownType,
    /// The text is damaged.
    #[error("not an age recipient")]
    Text(#[from] Bech32Error),
    /// The text is sound, but the key that it encodes is not.
    #[error("not an age recipient: the key in it is not a valid public key")]
    Key,
}

impl Recipient {
    /// Wraps `file_key` for this recipient, with fresh randomness.
    ///
    /// # Errors
    /// [`WrapError`] when the algorithms refuse the key.
    pub fn wrap(&self, file_key: &FileKey, rng: &mut dyn CryptoRng) -> Result<Stanza, WrapError> {
        match self {
            Self::X25519(key) => x25519::wrap(&key.0, file_key, rng),
            Self::MlKem768X25519(key) => key.0.wrap(file_key, rng),
        }
    }

    /// Accepts an X25519 public key: the point alone.
    ///
    /// # Errors
    /// When it is not canonical, or of low order.
    pub(crate) fn parse_x25519(key: [u8; POINT_BYTES]) -> Result<Self, RecipientError> {
        if !is_canonical(&key) || is_low_order(&key) {
            return Err(RecipientError::Key);
        }
        Ok(Self::of_x25519(key))
    }

    /// Accepts an X-Wing public key of 1,216 bytes.
    ///
    /// # Errors
    /// When a half of it is not a valid key.
    pub(crate) fn parse_hybrid(key: &[u8]) -> Result<Self, RecipientError> {
        let key = mlkem768x25519::PublicKey::from_bytes(key).ok_or(RecipientError::Key)?;
        Ok(Self::of_hybrid(key))
    }

    /// The bytes of the public key, which has 32 or 1,216.
    pub(crate) fn key_bytes(&self) -> Vec<u8> {
        match self {
            Self::X25519(key) => key.0.to_vec(),
            Self::MlKem768X25519(key) => key.0.to_bytes(),
        }
    }

    pub(super) const fn of_x25519(key: [u8; POINT_BYTES]) -> Self {
        Self::X25519(X25519Recipient(key))
    }

    pub(super) fn of_hybrid(key: mlkem768x25519::PublicKey) -> Self {
        Self::MlKem768X25519(HybridRecipient(key))
    }
}

impl FromStr for Recipient {
    type Err = RecipientError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with("age1pq1") {
            return Self::parse_hybrid(&long_bech32::decode(HYBRID_PREFIX, text)?);
        }
        // The data part has no `1`, so a second `1` means a longer prefix: that of a plugin or a
        // newer type.
        if !text.starts_with("age1") || text[4..].contains('1') {
            return Err(RecipientError::UnknownType);
        }
        let key = long_bech32::decode(X25519_PREFIX, text)?;
        Self::parse_x25519(key.as_slice().try_into().map_err(|_| RecipientError::Key)?)
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::X25519(key) => f.write_str(&long_bech32::encode(X25519_PREFIX, &key.0)),
            Self::MlKem768X25519(key) => {
                f.write_str(&long_bech32::encode(HYBRID_PREFIX, &key.0.to_bytes()))
            }
        }
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipient({self})")
    }
}

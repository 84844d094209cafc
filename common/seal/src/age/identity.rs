//! Identities: the private keys that open blobs.

use std::fmt;
use std::str::FromStr;

use rand::CryptoRng;
use thiserror::Error;
use zeroize::Zeroizing;
use zput_proto::long_bech32::{self, Bech32Error};
use zput_proto::secret::Secret;

use super::mlkem768x25519;
use super::recipient::Recipient;
use super::x25519;

const X25519_PREFIX: &str = "AGE-SECRET-KEY-";
const HYBRID_PREFIX: &str = "AGE-SECRET-KEY-PQ-";

/// An identity: `AGE-SECRET-KEY-1…` or `AGE-SECRET-KEY-PQ-1…`.
///
/// Its seed is zeroized on drop, never shown by `Debug`, and compared in constant time.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Identity {
    /// The seed of an X25519 identity.
    X25519(Secret<32>),
    /// The seed of a hybrid identity: ML-KEM-768 and X25519 together.
    MlKem768X25519(Secret<32>),
}

/// Why a text is not an identity. It never repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The text is no age identity of a known type.
    #[error(
        "not an age identity of a known type: those begin with \"AGE-SECRET-KEY-1\" or \
         \"AGE-SECRET-KEY-PQ-1\""
    )]
    UnknownType,
    /// The text is damaged.
    #[error("not an age identity")]
    Text(#[from] Bech32Error),
    /// The text is sound, but does not encode 32 bytes.
    #[error("not an age identity: the key in it is not 32 bytes long")]
    Length,
}

impl Identity {
    /// Draws a new post-quantum identity from `rng`.
    pub fn generate_hybrid(rng: &mut dyn CryptoRng) -> Self {
        Self::MlKem768X25519(Secret::generate(rng))
    }

    /// Draws a new X25519 identity from `rng`.
    pub fn generate_x25519(rng: &mut dyn CryptoRng) -> Self {
        Self::X25519(Secret::generate(rng))
    }

    /// The recipient whose stanzas this identity opens.
    #[must_use]
    pub fn to_recipient(&self) -> Recipient {
        match self {
            Self::X25519(seed) => Recipient::of_x25519(x25519::public_key(seed.as_bytes())),
            Self::MlKem768X25519(seed) => {
                Recipient::of_hybrid(mlkem768x25519::PublicKey::of(seed.as_bytes()))
            }
        }
    }

    /// The identity as text, which is the secret itself.
    #[must_use]
    pub fn to_secret_string(&self) -> Zeroizing<String> {
        match self {
            Self::X25519(seed) => long_bech32::encode(X25519_PREFIX, seed.as_bytes()),
            Self::MlKem768X25519(seed) => long_bech32::encode(HYBRID_PREFIX, seed.as_bytes()),
        }
    }
}

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (prefix, of): (_, fn(Secret<32>) -> Self) = if text.starts_with("AGE-SECRET-KEY-1") {
            (X25519_PREFIX, Self::X25519)
        } else if text.starts_with("AGE-SECRET-KEY-PQ-1") {
            (HYBRID_PREFIX, Self::MlKem768X25519)
        } else {
            return Err(IdentityError::UnknownType);
        };
        let data = long_bech32::decode(prefix, text)?;
        let seed = data.as_slice().try_into().map_err(|_| IdentityError::Length)?;
        Ok(of(Secret::from_bytes(seed)))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::X25519(_) => "Identity::X25519([secret])",
            Self::MlKem768X25519(_) => "Identity::MlKem768X25519([secret])",
        })
    }
}

//! Private keys: what opens.

use std::fmt;
use std::str::FromStr;

use rand::CryptoRng;
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::file_key::FileKey;
use super::mlkem768x25519;
use super::recipient::Recipient;
use super::stanza::Stanza;
use super::unwrap::{UnwrapError, unwrap_file_key};
use crate::long_bech32::{self, Bech32Error};

const X25519_PREFIX: &str = "AGE-SECRET-KEY-";
const HYBRID_PREFIX: &str = "AGE-SECRET-KEY-PQ-";

/// An identity: `AGE-SECRET-KEY-1…` or `AGE-SECRET-KEY-PQ-1…`.
///
/// Zeroized on drop; never shown by `Debug`; compared in constant time.
#[derive(Clone)]
pub enum Identity {
    /// Elliptic curves only.
    X25519(Seed),
    /// ML-KEM-768 and X25519 together.
    MlKem768X25519(Seed),
}

/// The 32 bytes an identity is made of. It shows nothing of itself.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Seed([u8; 32]);

impl Seed {
    fn generate(rng: &mut dyn CryptoRng) -> Self {
        let mut seed = Self([0; 32]);
        rng.fill_bytes(&mut seed.0);
        seed
    }

    pub(super) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Why a text is not an identity. It never repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum IdentityError {
    /// Not an age identity of a type that is known here.
    #[error(
        "not an age identity of a known type: those begin with \"AGE-SECRET-KEY-1\" or \
         \"AGE-SECRET-KEY-PQ-1\""
    )]
    UnknownType,
    /// The text is damaged.
    #[error("not an age identity: {0}")]
    Text(#[from] Bech32Error),
    /// The text is fine; it does not carry 32 bytes.
    #[error("not an age identity: the key in it is not 32 bytes long")]
    Length,
}

impl Identity {
    /// A fresh post-quantum identity: what `zblob key new` makes.
    pub fn generate_hybrid(rng: &mut dyn CryptoRng) -> Self {
        Self::MlKem768X25519(Seed::generate(rng))
    }

    /// A fresh X25519 identity.
    pub fn generate_x25519(rng: &mut dyn CryptoRng) -> Self {
        Self::X25519(Seed::generate(rng))
    }

    /// The recipient whose stanzas it opens.
    #[must_use]
    pub fn to_recipient(&self) -> Recipient {
        match self {
            Self::X25519(seed) => Recipient::of_x25519(&seed.0),
            Self::MlKem768X25519(seed) => {
                Recipient::of_hybrid(mlkem768x25519::PublicKey::of(&seed.0))
            }
        }
    }

    /// The file key out of the stanza that is for this identity; `None` when there is none.
    ///
    /// # Errors
    /// As [`unwrap_file_key`].
    pub fn unwrap(&self, stanzas: &[Stanza]) -> Result<Option<FileKey>, UnwrapError> {
        unwrap_file_key(stanzas, std::slice::from_ref(self))
    }

    /// Its text, which is the secret itself.
    #[must_use]
    pub fn to_secret_string(&self) -> Zeroizing<String> {
        match self {
            Self::X25519(seed) => long_bech32::encode(X25519_PREFIX, &seed.0),
            Self::MlKem768X25519(seed) => long_bech32::encode(HYBRID_PREFIX, &seed.0),
        }
    }
}

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (prefix, of): (_, fn(Seed) -> Self) = if text.starts_with("AGE-SECRET-KEY-1") {
            (X25519_PREFIX, Self::X25519)
        } else if text.starts_with("AGE-SECRET-KEY-PQ-1") {
            (HYBRID_PREFIX, Self::MlKem768X25519)
        } else {
            return Err(IdentityError::UnknownType);
        };
        let data = long_bech32::decode(prefix, text)?;
        let mut seed = Seed([0; 32]);
        if data.len() != seed.0.len() {
            return Err(IdentityError::Length);
        }
        seed.0.copy_from_slice(&data);
        Ok(of(seed))
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::X25519(a), Self::X25519(b))
            | (Self::MlKem768X25519(a), Self::MlKem768X25519(b)) => a.0.ct_eq(&b.0).into(),
            _ => false,
        }
    }
}

impl Eq for Identity {}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::X25519(_) => "Identity::X25519([secret])",
            Self::MlKem768X25519(_) => "Identity::MlKem768X25519([secret])",
        })
    }
}

//! The public keys that identify servers, devices and writers. This module handles no secret.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signature, VerifyingKey};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The text is not 64 lower-case hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a public key is written as 64 lower-case hex digits")]
#[non_exhaustive]
pub struct PublicKeyError;

/// The signature does not hold, or the key is one under which none can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the signature is not valid")]
#[non_exhaustive]
pub struct SignatureError;

macro_rules! public_key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// An Ed25519 public key (RFC 8032) as it came: whether it is a sound one shows when a
        /// signature is verified. Written as 64 lower-case hex digits, by serde too.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name([u8; 32]);

        impl $name {
            /// Takes over a key that was stored or received.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The 32 bytes of the key.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = PublicKeyError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                parse_hex(text).map(Self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = PublicKeyError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(key: $name) -> Self {
                key.to_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

public_key! {
    /// The public key of a server, which clients pin.
    ServerPublicKey
}
public_key! {
    /// The public TLS key of a device, which is its account on a server.
    DevicePublicKey
}
public_key! {
    /// The key under which a device signs its blobs.
    WriterPublicKey
}

impl WriterPublicKey {
    /// Verifies `signature` over `message`, strictly (FORMAT 1): no small-order key or point,
    /// canonical encodings of point and scalar, and the equation without the cofactor.
    ///
    /// A key has no second encoding under which a signature could be made: of the 19 values above
    /// the field's order, those that are points are of small order or have no known private key.
    ///
    /// # Errors
    /// [`SignatureError`] when it does not hold.
    pub fn verify(&self, message: &[u8], signature: &[u8; 64]) -> Result<(), SignatureError> {
        let key = VerifyingKey::from_bytes(&self.0).map_err(|_| SignatureError)?;
        key.verify_strict(message, &Signature::from_bytes(signature)).map_err(|_| SignatureError)
    }
}

/// Hex digits in one spelling only, so that texts can be compared.
fn parse_hex(text: &str) -> Result<[u8; 32], PublicKeyError> {
    let mut bytes = [0; 32];
    if text.bytes().any(|digit| digit.is_ascii_uppercase()) {
        return Err(PublicKeyError);
    }
    hex::decode_to_slice(text, &mut bytes).map_err(|_| PublicKeyError)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;

//! Signatures by the number of their algorithm, and the keys that verify them
//! (docs/next/FORMAT 1).

use std::fmt;

use ed25519_dalek::VerifyingKey;
use thiserror::Error;

/// Why a key or a signature is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AlgorithmError {
    /// No algorithm has this number, as far as this program knows.
    #[error("a key of algorithm {0}, which is not known here: a newer program made it")]
    UnknownAlgorithm(u8),
    /// A key of the algorithm has another length; the number is that of the key's bytes.
    #[error("a public key of this algorithm cannot be {0} bytes long")]
    KeyLength(usize),
    /// The key is not the canonical encoding of a point of the curve.
    #[error("the public key is not the canonical encoding of a point")]
    NotCanonical,
    /// Everybody can sign for a key of small order.
    #[error("the public key is a point of small order, for which everybody can sign")]
    SmallOrder,
    /// A signature of the algorithm has another length; the number is that of its bytes.
    #[error("a signature of this algorithm cannot be {0} bytes long")]
    SignatureLength(usize),
    /// The signature is not the key's over these bytes.
    #[error("the signature does not hold")]
    Signature,
}

/// A signature algorithm, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// 1: Ed25519 (RFC 8032), verified strictly.
    Ed25519,
}

impl Algorithm {
    /// The algorithm with this number.
    ///
    /// # Errors
    /// When it is none that this program knows. 2 to 4 and 64 are reserved.
    pub const fn from_u8(number: u8) -> Result<Self, AlgorithmError> {
        match number {
            1 => Ok(Self::Ed25519),
            other => Err(AlgorithmError::UnknownAlgorithm(other)),
        }
    }

    /// Its number in certificates and charters.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Ed25519 => 1,
        }
    }

    /// Bytes of a public key.
    #[must_use]
    pub const fn key_bytes(self) -> usize {
        match self {
            Self::Ed25519 => 32,
        }
    }

    /// Bytes of a signature.
    #[must_use]
    pub const fn signature_bytes(self) -> usize {
        match self {
            Self::Ed25519 => 64,
        }
    }
}

/// What a signature is over. The label begins the bytes that are signed, so no signature of one
/// purpose is one of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignatureLabel {
    /// A root's succession, signed by the root before it.
    Root,
    /// A certificate, signed by a root.
    Certificate,
    /// A charter, signed by the last root.
    Charter,
    /// The transcript of a blob, signed by its writer.
    Writer,
}

impl SignatureLabel {
    const fn text(self) -> &'static str {
        match self {
            Self::Root => "zput/v2/root",
            Self::Certificate => "zput/v2/certificate",
            Self::Charter => "zput/v2/charter",
            Self::Writer => "zput/v2/writer",
        }
    }

    /// The bytes that are signed: the label, a zero byte, and `pieces` one behind the other.
    #[must_use]
    pub fn input(self, pieces: &[&[u8]]) -> Vec<u8> {
        let mut input = self.text().as_bytes().to_vec();
        input.push(0);
        for piece in pieces {
            input.extend_from_slice(piece);
        }
        input
    }
}

/// A signature of the right length for its algorithm; whether it holds, the key says.
#[derive(Clone, PartialEq, Eq)]
pub struct Signature {
    algorithm: Algorithm,
    bytes: Vec<u8>,
}

impl Signature {
    /// Takes over a signature that was made or received.
    ///
    /// # Errors
    /// When no signature of `algorithm` has this length.
    pub fn parse(algorithm: Algorithm, bytes: &[u8]) -> Result<Self, AlgorithmError> {
        if bytes.len() != algorithm.signature_bytes() {
            return Err(AlgorithmError::SignatureLength(bytes.len()));
        }
        Ok(Self { algorithm, bytes: bytes.to_vec() })
    }

    /// The algorithm that made it.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The bytes of the signature.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({:?}, {})", self.algorithm, hex::encode(&self.bytes))
    }
}

/// A public key of a root or a writer: one for which not everybody can sign.
///
/// ```
/// use zput_proto::keys::{Algorithm, AlgorithmError, SigningPublicKey};
///
/// // The neutral point, for which everybody can sign.
/// let mut neutral = [0; 32];
/// neutral[0] = 1;
/// let key = SigningPublicKey::parse(Algorithm::Ed25519, &neutral);
/// assert_eq!(key, Err(AlgorithmError::SmallOrder));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct SigningPublicKey(Key);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    Ed25519(VerifyingKey),
}

impl SigningPublicKey {
    /// Parses the key of an algorithm.
    ///
    /// FORMAT 1: "canonical encodings of points that are not of small order". Keys of mixed order
    /// are taken.
    ///
    /// # Errors
    /// When it has another length, or is one for which anybody could sign.
    pub fn parse(algorithm: Algorithm, bytes: &[u8]) -> Result<Self, AlgorithmError> {
        match algorithm {
            Algorithm::Ed25519 => {
                let bytes: &[u8; 32] =
                    bytes.try_into().map_err(|_| AlgorithmError::KeyLength(bytes.len()))?;
                let key =
                    VerifyingKey::from_bytes(bytes).map_err(|_| AlgorithmError::NotCanonical)?;
                // Decompression reduces y, and takes both signs of an x that is zero.
                if key.to_edwards().compress().as_bytes() != bytes {
                    return Err(AlgorithmError::NotCanonical);
                }
                if key.is_weak() {
                    return Err(AlgorithmError::SmallOrder);
                }
                Ok(Self(Key::Ed25519(key)))
            }
        }
    }

    /// The key's algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        match self.0 {
            Key::Ed25519(_) => Algorithm::Ed25519,
        }
    }

    /// The bytes of the key, without the number of its algorithm.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Key::Ed25519(key) => key.as_bytes(),
        }
    }

    /// The number of the algorithm in one byte, and the key.
    #[must_use]
    pub fn to_numbered_bytes(&self) -> Vec<u8> {
        [&[self.algorithm().number()], self.as_bytes()].concat()
    }

    /// Verifies that `signature` is this key's over `label` and `pieces`
    /// ([`SignatureLabel::input`]).
    ///
    /// FORMAT 1: "`S < L`, `A` and `R` are canonical encodings of points that are not of small
    /// order, and `[S]B = R + [k]A` without the cofactor".
    ///
    /// # Errors
    /// When it does not hold.
    pub fn verify(
        &self,
        label: SignatureLabel,
        pieces: &[&[u8]],
        signature: &Signature,
    ) -> Result<(), AlgorithmError> {
        self.verify_bytes(&label.input(pieces), signature)
    }

    fn verify_bytes(&self, message: &[u8], signature: &Signature) -> Result<(), AlgorithmError> {
        match (&self.0, signature.algorithm) {
            (Key::Ed25519(key), Algorithm::Ed25519) => {
                let bytes = signature.bytes.as_slice().try_into();
                let bytes = bytes.map_err(|_| AlgorithmError::Signature)?;
                // It compares R as bytes with what it computes, so R is canonical.
                key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(bytes))
                    .map_err(|_| AlgorithmError::Signature)
            }
        }
    }
}

impl fmt::Debug for SigningPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningPublicKey({:?}, {})", self.algorithm(), hex::encode(self.as_bytes()))
    }
}

#[cfg(test)]
mod tests;

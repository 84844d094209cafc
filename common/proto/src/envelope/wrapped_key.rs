//! The shape of a stanza of a known type (FORMAT 4), checked before any key is tried.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use thiserror::Error;

use super::stanza::Stanza;
use super::x25519_key::{POINT_BYTES, is_low_order};

/// First argument of an X25519 stanza.
pub const X25519: &str = "X25519";
/// First argument of a stanza of the post-quantum hybrid.
pub const HYBRID: &str = "mlkem768x25519";
/// Bytes of an encapsulated key of the hybrid: ML-KEM-768's ciphertext, then an X25519 share.
pub const ENCAPSULATED_BYTES: usize = 1088 + POINT_BYTES;
/// Bytes of a file key.
pub const FILE_KEY_BYTES: usize = 16;
/// Bytes of a stanza's body: a file key and a Poly1305 tag.
pub const WRAPPED_KEY_BYTES: usize = FILE_KEY_BYTES + 16;

/// A stanza whose shape has been checked. Exhaustive: a reader has to decide which it can open.
#[derive(Debug)]
pub enum WrappedKey<'a> {
    /// A file key wrapped for an X25519 recipient.
    X25519 {
        /// The sender's ephemeral public key, not of low order.
        share: [u8; POINT_BYTES],
        /// The file key, sealed.
        body: &'a [u8; WRAPPED_KEY_BYTES],
    },
    /// A file key wrapped for a recipient of the hybrid.
    Hybrid {
        /// ML-KEM-768's ciphertext, then an X25519 share that is not of low order.
        encapsulated: Box<[u8; ENCAPSULATED_BYTES]>,
        /// The file key, sealed.
        body: &'a [u8; WRAPPED_KEY_BYTES],
    },
    /// A stanza of another type. "Stanzas of types it does not know are skipped."
    Unknown,
}

/// Why a stanza of a known type is refused. `stanza` is its index in the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ShapeError {
    /// The number of arguments after the type is not one.
    #[error("stanza {stanza} of type {kind} has {arguments} arguments in place of one")]
    Arguments {
        /// Index of the stanza, from 0.
        stanza: usize,
        /// Type of the stanza.
        kind: &'static str,
        /// Number of arguments after the type.
        arguments: usize,
    },
    /// The share or encapsulated key is not canonical base64 of the right length.
    #[error(
        "stanza {stanza} of type {kind} has a share that is not canonical base64 of its length"
    )]
    Share {
        /// Index of the stanza, from 0.
        stanza: usize,
        /// Type of the stanza.
        kind: &'static str,
    },
    /// The body is not a wrapped file key of 16 bytes.
    #[error(
        "stanza {stanza} of type {kind} has a body of {length} bytes in place of \
         {WRAPPED_KEY_BYTES}"
    )]
    BodyLength {
        /// Index of the stanza, from 0.
        stanza: usize,
        /// Type of the stanza.
        kind: &'static str,
        /// Bytes of the body.
        length: usize,
    },
    /// The shared secret would be zeros under every private key.
    #[error("stanza {stanza} of type {kind} has a share of low order")]
    LowOrder {
        /// Index of the stanza, from 0.
        stanza: usize,
        /// Type of the stanza.
        kind: &'static str,
    },
}

/// Checks the shape of every stanza of a known type.
///
/// # Errors
/// Says which stanza breaks which rule of FORMAT 4.
pub fn check_shapes(stanzas: &[Stanza]) -> Result<(), ShapeError> {
    for (index, stanza) in stanzas.iter().enumerate() {
        WrappedKey::parse(index, stanza)?;
    }
    Ok(())
}

impl<'a> WrappedKey<'a> {
    /// Checks the shape of `stanza`, the one at `index` in its header.
    ///
    /// # Errors
    /// Says which rule of FORMAT 4 the stanza breaks.
    pub fn parse(index: usize, stanza: &'a Stanza) -> Result<Self, ShapeError> {
        Ok(match stanza.kind() {
            X25519 => Self::X25519 {
                share: *share(index, X25519, stanza)?,
                body: body(index, X25519, stanza)?,
            },
            HYBRID => Self::Hybrid {
                encapsulated: share(index, HYBRID, stanza)?,
                body: body(index, HYBRID, stanza)?,
            },
            _ => Self::Unknown,
        })
    }
}

/// "MUST otherwise reject any stanza that has more or less than two arguments, or where the second
/// argument is not a canonical base64 encoding of a 32-byte" (1120-byte) "value."
fn share<const BYTES: usize>(
    index: usize,
    kind: &'static str,
    stanza: &Stanza,
) -> Result<Box<[u8; BYTES]>, ShapeError> {
    let [argument] = stanza.arguments() else {
        let arguments = stanza.arguments().len();
        return Err(ShapeError::Arguments { stanza: index, kind, arguments });
    };
    let share = STANDARD_NO_PAD.decode(argument).ok().and_then(|share| share.try_into().ok());
    let share: Box<[u8; BYTES]> = share.ok_or(ShapeError::Share { stanza: index, kind })?;
    // The X25519 share is all of it, or the end of it. FORMAT 4: every reader of the blob refuses
    // it.
    if share.last_chunk().is_some_and(is_low_order) {
        return Err(ShapeError::LowOrder { stanza: index, kind });
    }
    Ok(share)
}

/// "It MUST check that the body length is exactly 32 bytes before attempting to decrypt it, to
/// mitigate partitioning oracle attacks."
fn body<'a>(
    index: usize,
    kind: &'static str,
    stanza: &'a Stanza,
) -> Result<&'a [u8; WRAPPED_KEY_BYTES], ShapeError> {
    let length = stanza.body().len();
    stanza.body().try_into().map_err(|_| ShapeError::BodyLength { stanza: index, kind, length })
}

//! From stanzas and identities to the file key.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use thiserror::Error;

use super::file_key::FileKey;
use super::identity::Identity;
use super::stanza::Stanza;
use super::{mlkem768x25519, x25519};

/// Length of a wrapped file key: the key and a Poly1305 tag.
const BODY_BYTES: usize = FileKey::BYTES + 16;

/// Why the stanzas of a header are refused, whoever reads them. `stanza` counts from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum UnwrapError {
    /// A known type has another number of arguments.
    #[error("stanza {stanza} of type {kind} has {arguments} arguments in place of one")]
    Arguments {
        /// Which one.
        stanza: usize,
        /// Its type.
        kind: &'static str,
        /// How many there are behind the type.
        arguments: usize,
    },
    /// The share or encapsulated key is not canonical base64 of the right length.
    #[error(
        "stanza {stanza} of type {kind} has a share that is not canonical base64 of its length"
    )]
    Share {
        /// Which one.
        stanza: usize,
        /// Its type.
        kind: &'static str,
    },
    /// The body is not a wrapped file key of 16 bytes.
    #[error("stanza {stanza} of type {kind} has a body of {length} bytes in place of {BODY_BYTES}")]
    BodyLength {
        /// Which one.
        stanza: usize,
        /// Its type.
        kind: &'static str,
        /// Bytes of its body.
        length: usize,
    },
    /// Every shared secret would be zeros: a point of low order.
    #[error("stanza {stanza} of type {kind} has a share of low order")]
    LowOrder {
        /// Which one.
        stanza: usize,
        /// Its type.
        kind: &'static str,
    },
}

/// Checks the shape of every stanza of a known type, for which no key is needed.
///
/// # Errors
/// Says which stanza breaks which rule of FORMAT 4.
pub fn check_shapes(stanzas: &[Stanza]) -> Result<(), UnwrapError> {
    for (index, stanza) in stanzas.iter().enumerate() {
        Wrapped::parse(index, stanza)?;
    }
    Ok(())
}

/// A stanza whose shape has been checked; the encapsulated key is boxed because it is 1,120 bytes.
enum Wrapped<'a> {
    X25519 {
        share: [u8; x25519::POINT_BYTES],
        body: &'a [u8; BODY_BYTES],
    },
    Hybrid {
        encapsulated: Box<[u8; mlkem768x25519::ENCAPSULATED_BYTES]>,
        body: &'a [u8; BODY_BYTES],
    },
    /// "Stanzas of types it does not know are skipped."
    Unknown,
}

/// Finds the stanza that one of `identities` opens, and opens it; `None` when there is none.
///
/// FORMAT 4: a reader checks the shape of every stanza of a known type before it tries any key.
///
/// # Errors
/// Says which stanza breaks which rule. A stanza for somebody else, or one whose tag does not match,
/// is no error: the two cannot be told apart.
pub fn unwrap_file_key(
    stanzas: &[Stanza],
    identities: &[Identity],
) -> Result<Option<FileKey>, UnwrapError> {
    let mut wrapped = Vec::with_capacity(stanzas.len());
    for (index, stanza) in stanzas.iter().enumerate() {
        wrapped.push(Wrapped::parse(index, stanza)?);
    }
    for identity in identities {
        for (index, wrapped) in wrapped.iter().enumerate() {
            if let Some(file_key) = wrapped.open(index, identity)? {
                return Ok(Some(file_key));
            }
        }
    }
    Ok(None)
}

impl<'a> Wrapped<'a> {
    fn parse(index: usize, stanza: &'a Stanza) -> Result<Self, UnwrapError> {
        Ok(match stanza.kind() {
            x25519::KIND => Self::X25519 {
                share: *share(index, x25519::KIND, stanza)?,
                body: body(index, x25519::KIND, stanza)?,
            },
            mlkem768x25519::KIND => Self::Hybrid {
                encapsulated: share(index, mlkem768x25519::KIND, stanza)?,
                body: body(index, mlkem768x25519::KIND, stanza)?,
            },
            _ => Self::Unknown,
        })
    }

    fn open(&self, stanza: usize, identity: &Identity) -> Result<Option<FileKey>, UnwrapError> {
        match (self, identity) {
            (Self::X25519 { share, body }, Identity::X25519(seed)) => {
                x25519::unwrap(seed.as_bytes(), share, *body)
                    .map_err(|_| UnwrapError::LowOrder { stanza, kind: x25519::KIND })
            }
            (Self::Hybrid { encapsulated, body }, Identity::MlKem768X25519(seed)) => {
                mlkem768x25519::unwrap(seed.as_bytes(), encapsulated, *body)
                    .map_err(|_| UnwrapError::LowOrder { stanza, kind: mlkem768x25519::KIND })
            }
            _ => Ok(None),
        }
    }
}

/// "MUST otherwise reject any stanza that has more or less than two arguments, or where the second
/// argument is not a canonical base64 encoding of a 32-byte" (1120-byte) "value."
fn share<const BYTES: usize>(
    index: usize,
    kind: &'static str,
    stanza: &Stanza,
) -> Result<Box<[u8; BYTES]>, UnwrapError> {
    let [argument] = stanza.arguments() else {
        let arguments = stanza.arguments().len();
        return Err(UnwrapError::Arguments { stanza: index, kind, arguments });
    };
    let share = STANDARD_NO_PAD.decode(argument).ok().and_then(|share| share.try_into().ok());
    let share: Box<[u8; BYTES]> = share.ok_or(UnwrapError::Share { stanza: index, kind })?;
    // The X25519 share is all of it, or the end of it. FORMAT 4: whoever reads the blob refuses it.
    if share.last_chunk().is_some_and(x25519::is_low_order) {
        return Err(UnwrapError::LowOrder { stanza: index, kind });
    }
    Ok(share)
}

/// "It MUST check that the body length is exactly 32 bytes before attempting to decrypt it, to mitigate
/// partitioning oracle attacks."
fn body<'a>(
    index: usize,
    kind: &'static str,
    stanza: &'a Stanza,
) -> Result<&'a [u8; BODY_BYTES], UnwrapError> {
    let length = stanza.body().len();
    stanza.body().try_into().map_err(|_| UnwrapError::BodyLength { stanza: index, kind, length })
}

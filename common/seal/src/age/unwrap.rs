//! From stanzas and identities to the file key.

use zput_proto::envelope::{HYBRID, ShapeError, Stanza, WrappedKey, X25519};

use super::file_key::FileKey;
use super::identity::Identity;
use super::{mlkem768x25519, x25519};

/// Opens the stanza that one of `identities` can open; `None` when there is no such stanza.
///
/// FORMAT 4: a reader checks the shape of every stanza of a known type before it tries any key.
///
/// # Errors
/// Says which stanza breaks which rule. A stanza for another recipient is no error, and neither is
/// one whose tag does not match: the two cannot be told apart.
pub fn unwrap_file_key(
    stanzas: &[Stanza],
    identities: &[Identity],
) -> Result<Option<FileKey>, ShapeError> {
    let mut wrapped = Vec::with_capacity(stanzas.len());
    for (index, stanza) in stanzas.iter().enumerate() {
        wrapped.push(WrappedKey::parse(index, stanza)?);
    }
    for identity in identities {
        for (index, wrapped) in wrapped.iter().enumerate() {
            if let Some(file_key) = open(wrapped, index, identity)? {
                return Ok(Some(file_key));
            }
        }
    }
    Ok(None)
}

impl Identity {
    /// Opens the stanza that is for this identity; `None` when there is no such stanza.
    ///
    /// # Errors
    /// As [`unwrap_file_key`].
    pub fn unwrap(&self, stanzas: &[Stanza]) -> Result<Option<FileKey>, ShapeError> {
        unwrap_file_key(stanzas, std::slice::from_ref(self))
    }
}

fn open(
    wrapped: &WrappedKey<'_>,
    stanza: usize,
    identity: &Identity,
) -> Result<Option<FileKey>, ShapeError> {
    match (wrapped, identity) {
        (WrappedKey::X25519 { share, body }, Identity::X25519(seed)) => {
            x25519::unwrap(seed.as_bytes(), share, *body)
                .map_err(|_| ShapeError::LowOrder { stanza, kind: X25519 })
        }
        (WrappedKey::Hybrid { encapsulated, body }, Identity::MlKem768X25519(seed)) => {
            mlkem768x25519::unwrap(seed.as_bytes(), encapsulated, *body)
                .map_err(|_| ShapeError::LowOrder { stanza, kind: HYBRID })
        }
        _ => Ok(None),
    }
}

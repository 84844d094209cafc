//! Extensions: what a hello says beyond its fixed fields.

use crate::{hello::HelloError, tagged::TaggedFields};

/// A list of tagged fields without an unknown critical one.
///
/// PROTOCOL 1: "An extension of an unknown type is skipped, or refused where bit 7 of its type is
/// set. This version sends none", and knows none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extensions(Vec<u8>);

/// The types that this version knows, of either hello.
const KNOWN: &[u8] = &[];

impl Extensions {
    /// The empty list.
    pub const NONE: Self = Self(Vec::new());

    /// Parses a whole list, such as the field of a hello.
    ///
    /// # Errors
    /// When it is no list of tagged fields, or has a critical one.
    pub fn parse(bytes: &[u8]) -> Result<Self, HelloError> {
        TaggedFields::parse(bytes, KNOWN)?;
        Ok(Self(bytes.to_vec()))
    }

    /// The bytes of the list.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

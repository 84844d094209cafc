//! The fields of a header (FORMAT 3): framing and bounds, checked without a key.

use std::ops::Range;

use thiserror::Error;

use super::chunks::sealed_len;
use super::framing::{EnvelopeError, header_length};
use super::layout::PartSize;
use super::stanza::{Stanza, StanzaError};
use super::suite::Suite;
use super::wrapped_key::{ShapeError, check_shapes};
use crate::cursor::Cursor;
use crate::limits::NAME_MAX_BYTES;
use crate::name::{KeyLengthError, ObjectKey};

/// Why bytes are not a header.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// The framing is wrong.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The number of bytes is not the length that the header states.
    #[error("the header says that it has {stated} bytes, and {found} are here")]
    Length {
        /// The header's `header_length`.
        stated: u32,
        /// Number of bytes that were given.
        found: usize,
    },
    /// The fields do not end where the header ends.
    #[error("the header's fields do not fill it exactly")]
    Fields,
    /// No suite has this number.
    #[error("the blob is sealed with suite {0}, which is not known here")]
    UnknownSuite(u8),
    /// `part_size_log2` is not 16 to 24.
    #[error("a part size of 2^{0} bytes is out of bounds")]
    PartSize(u8),
    /// The generation is 2^64-1, which no other could follow.
    #[error("a generation of 2^64-1 leaves none for the next blob of its key")]
    LastGeneration,
    /// The object key has a length that no key has.
    #[error(transparent)]
    ObjectKey(#[from] KeyLengthError),
    /// The stanzas are not canonical, too many, or missing.
    #[error(transparent)]
    Stanzas(#[from] StanzaError),
    /// A stanza of a known type does not have the shape of its type.
    #[error(transparent)]
    Stanza(#[from] ShapeError),
    /// No sealed metadata has this length.
    #[error("sealed metadata cannot be {0} bytes long")]
    Metadata(u16),
}

/// The fields of a well-formed header. Nothing in it is authenticated.
#[derive(Clone, Debug)]
pub struct HeaderFields {
    length: u32,
    suite: Suite,
    part_size: PartSize,
    salt: [u8; SALT_BYTES],
    generation: u64,
    object_key: Option<ObjectKey>,
    stanzas: Vec<Stanza>,
    vouched: Range<usize>,
    metadata: Range<usize>,
}

impl HeaderFields {
    /// Parses `bytes`, a whole header and nothing else.
    ///
    /// # Errors
    /// Says which rule of FORMAT 3 and 4 they break.
    pub fn parse(bytes: &[u8]) -> Result<Self, HeaderError> {
        let length = header_length(bytes)?;
        if length as usize != bytes.len() {
            return Err(HeaderError::Length { stated: length, found: bytes.len() });
        }
        let fields = Fields::read(bytes).ok_or(HeaderError::Fields)?;
        let key = fields.key;
        let object_key = if key.is_empty() { None } else { Some(ObjectKey::new(key)?) };
        if fields.generation == u64::MAX {
            return Err(HeaderError::LastGeneration);
        }
        let suite = Suite::from_u8(fields.suite).ok_or(HeaderError::UnknownSuite(fields.suite))?;
        let part_size = PartSize::from_log2(fields.part_size_log2)
            .ok_or(HeaderError::PartSize(fields.part_size_log2))?;
        let stanzas = Stanza::parse_all(fields.stanzas)?;
        check_shapes(&stanzas)?;
        if !METADATA_BYTES.contains(&u64::from(fields.metadata_length)) {
            return Err(HeaderError::Metadata(fields.metadata_length));
        }
        Ok(Self {
            length,
            suite,
            part_size,
            salt: fields.salt,
            generation: fields.generation,
            object_key,
            stanzas,
            vouched: HEADER_LENGTH_FIELD.end..fields.key_end,
            metadata: fields.metadata_start..bytes.len() - MAC_BYTES,
        })
    }

    /// Number of bytes of the whole header, magic to MAC.
    #[must_use]
    pub const fn length(&self) -> u32 {
        self.length
    }

    /// The AEAD that seals the blob.
    #[must_use]
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// The public salt of the blob's key derivation.
    #[must_use]
    pub const fn salt(&self) -> &[u8; SALT_BYTES] {
        &self.salt
    }

    /// The writer's clock in ns since 1970, or one more than the newest generation it knew.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// The file key, wrapped for each recipient.
    #[must_use]
    pub fn stanzas(&self) -> &[Stanza] {
        &self.stanzas
    }

    /// Where in the header the fields from suite to object key are, which the transcript covers.
    #[must_use]
    pub fn vouched(&self) -> Range<usize> {
        self.vouched.clone()
    }

    /// Where in the header the sealed metadata is, with its length of 2 bytes in front.
    #[must_use]
    pub fn metadata(&self) -> Range<usize> {
        self.metadata.clone()
    }

    /// Plaintext bytes of a full part.
    #[must_use]
    pub const fn part_size(&self) -> PartSize {
        self.part_size
    }

    /// The object key that the blob was sealed for; `None` when it was sealed for none.
    #[must_use]
    pub const fn object_key(&self) -> Option<&ObjectKey> {
        self.object_key.as_ref()
    }
}

/// The fields, read and not yet checked.
struct Fields<'a> {
    suite: u8,
    part_size_log2: u8,
    salt: [u8; SALT_BYTES],
    generation: u64,
    key: &'a [u8],
    key_end: usize,
    stanzas: &'a [u8],
    metadata_start: usize,
    metadata_length: u16,
}

impl<'a> Fields<'a> {
    /// `None` when the fields do not fill `bytes` exactly.
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut cursor = Cursor::new(bytes);
        cursor.take(HEADER_LENGTH_FIELD.end)?;
        let (suite, part_size_log2) = (cursor.u8()?, cursor.u8()?);
        let (salt, generation) = (cursor.array()?, cursor.u64()?);
        let key_length = cursor.u16()?;
        let key = cursor.take(key_length.into())?;
        let key_end = cursor.position();
        let stanzas_length = cursor.u16()?;
        let stanzas = cursor.take(stanzas_length.into())?;
        let metadata_start = cursor.position();
        let metadata_length = cursor.u16()?;
        cursor.take(metadata_length.into())?;
        cursor.take(MAC_BYTES)?;
        cursor.is_at_end().then_some(Self {
            suite,
            part_size_log2,
            salt,
            generation,
            key,
            key_end,
            stanzas,
            metadata_start,
            metadata_length,
        })
    }
}

/// Where `header_length` is in a header.
pub const HEADER_LENGTH_FIELD: Range<usize> = 10..14;
/// Number of bytes of the MAC at the end of a header.
pub const MAC_BYTES: usize = 32;
/// Bytes of the salt of the blob's key derivation.
pub const SALT_BYTES: usize = 32;

/// Metadata without its name: two lengths of names, times and the mode (FORMAT 5).
const METADATA_FIXED_BYTES: u64 = 2 + 8 + 4 + 4;
/// Sealed metadata, with a name of 1 to 1,024 bytes: one chunk.
const METADATA_BYTES: std::ops::RangeInclusive<u64> =
    sealed_len(METADATA_FIXED_BYTES + 1)..=sealed_len(METADATA_FIXED_BYTES + NAME_MAX_BYTES as u64);

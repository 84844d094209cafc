//! The header (FORMAT 3): framing, bounds, one encoding for each header. Nothing in it is proven until
//! [`Unwrapped::authenticate`](super::open::Unwrapped::authenticate).

use std::ops::Range;

use thiserror::Error;

use super::derive::{HeaderSalt, MacKey};
use super::envelope::{self, EnvelopeError, HEADER_MAGIC, VERSION};
use super::layout::PartSize;
use crate::aead::Suite;
use crate::age::{Stanza, StanzaError};
use crate::cursor::Cursor;
use crate::limits::HEADER_MAX_BYTES;
use crate::name::{KeyLengthError, ObjectKey};

/// A header that is well-formed, and no more than that.
#[derive(Clone, Debug)]
pub struct Header {
    bytes: Vec<u8>,
    suite: Suite,
    part_size: PartSize,
    pub(super) salt: HeaderSalt,
    generation: u64,
    object_key: Option<ObjectKey>,
    stanzas: Vec<Stanza>,
    /// Suite to object key.
    fields: Range<usize>,
    /// The sealed metadata with its length in front.
    metadata: Range<usize>,
}

/// Why bytes are not a header.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// Already its framing is wrong.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// There are more or fewer bytes than the header says it has.
    #[error("the header says that it has {stated} bytes, and {found} are here")]
    Length {
        /// Its `header_length`.
        stated: u32,
        /// What was given.
        found: usize,
    },
    /// Its fields end behind or before the end of the header.
    #[error("the header's fields do not fill it exactly")]
    Fields,
    /// No suite has this number.
    #[error("the blob is sealed with suite {0}, which is not known here")]
    UnknownSuite(u8),
    /// `part_size_log2` is not 16 to 24.
    #[error("a part size of 2^{0} bytes is out of bounds")]
    PartSize(u8),
    /// The object key has a length that no key has.
    #[error(transparent)]
    ObjectKey(#[from] KeyLengthError),
    /// The stanzas are not canonical, or too many, or none.
    #[error(transparent)]
    Stanzas(#[from] StanzaError),
}

impl Header {
    /// Accepts `bytes`, a whole header and nothing behind it.
    ///
    /// # Errors
    /// Says which rule of FORMAT 3 they break.
    pub fn parse(bytes: &[u8]) -> Result<Self, HeaderError> {
        let stated = envelope::header_length(bytes)?;
        if stated as usize != bytes.len() {
            return Err(HeaderError::Length { stated, found: bytes.len() });
        }
        let fields = Fields::read(bytes).ok_or(HeaderError::Fields)?;
        let key = fields.key;
        let object_key = if key.is_empty() { None } else { Some(ObjectKey::new(key)?) };
        Ok(Self {
            bytes: bytes.to_vec(),
            suite: Suite::from_u8(fields.suite).ok_or(HeaderError::UnknownSuite(fields.suite))?,
            part_size: PartSize::from_log2(fields.part_size_log2)
                .ok_or(HeaderError::PartSize(fields.part_size_log2))?,
            salt: HeaderSalt(fields.salt),
            generation: fields.generation,
            object_key,
            stanzas: Stanza::parse_all(fields.stanzas)?,
            fields: LENGTH.end..fields.key_end,
            metadata: fields.metadata_start..bytes.len() - MAC_BYTES,
        })
    }

    /// Which AEAD seals the blob.
    #[must_use]
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// Plaintext bytes of a full part.
    #[must_use]
    pub const fn part_size(&self) -> PartSize {
        self.part_size
    }

    /// The writer's clock in ns since 1970, or one more than the newest generation it knew.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// What the blob was sealed for; `None` when for no key.
    #[must_use]
    pub const fn object_key(&self) -> Option<&ObjectKey> {
        self.object_key.as_ref()
    }

    /// The file key, wrapped for each recipient.
    #[must_use]
    pub fn stanzas(&self) -> &[Stanza] {
        &self.stanzas
    }

    /// Its bytes, magic to MAC.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many those are.
    #[must_use]
    pub fn length(&self) -> u32 {
        // `parse` has compared the two.
        self.bytes.len() as u32
    }

    /// The sealed metadata.
    pub(super) fn metadata(&self) -> &[u8] {
        self.slice(self.metadata.start + 2..self.metadata.end)
    }

    /// What the MAC is over, and the MAC.
    pub(super) fn split_mac(&self) -> Option<(&[u8], &[u8; MAC_BYTES])> {
        self.bytes.split_last_chunk()
    }

    /// What a transcript holds of it: "magic || version || suite … key || metadata_length || metadata".
    pub(super) fn vouched(&self) -> [&[u8]; 3] {
        [
            self.slice(0..LENGTH.start),
            self.slice(self.fields.clone()),
            self.slice(self.metadata.clone()),
        ]
    }

    /// The ranges come from `parse`, which read them from these bytes.
    fn slice(&self, range: Range<usize>) -> &[u8] {
        self.bytes.get(range).unwrap_or_default()
    }
}

/// The fields as they stand, not yet understood.
struct Fields<'a> {
    suite: u8,
    part_size_log2: u8,
    salt: [u8; HeaderSalt::BYTES],
    generation: u64,
    key: &'a [u8],
    key_end: usize,
    stanzas: &'a [u8],
    metadata_start: usize,
}

impl<'a> Fields<'a> {
    /// `None` when they do not fill `bytes` exactly.
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut cursor = Cursor::new(bytes);
        cursor.take(LENGTH.end)?;
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
        })
    }
}

/// What a header is made of.
pub(super) struct Draft<'a> {
    pub(super) suite: Suite,
    pub(super) part_size: PartSize,
    pub(super) salt: HeaderSalt,
    pub(super) generation: u64,
    pub(super) object_key: Option<&'a ObjectKey>,
    pub(super) stanzas: &'a [Stanza],
    /// Sealed.
    pub(super) metadata: &'a [u8],
}

impl Draft<'_> {
    /// The header's bytes; `None` when it would be longer than a header can be.
    pub(super) fn encode(&self, key: &MacKey) -> Option<Vec<u8>> {
        let mut stanzas = Vec::new();
        for stanza in self.stanzas {
            stanza.encode(&mut stanzas);
        }
        let object_key = self.object_key.map_or(&[][..], ObjectKey::as_bytes);
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&HEADER_MAGIC);
        bytes.extend_from_slice(&VERSION.to_be_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&[self.suite.number(), self.part_size.log2()]);
        bytes.extend_from_slice(&self.salt.0);
        bytes.extend_from_slice(&self.generation.to_be_bytes());
        for field in [object_key, &stanzas, self.metadata] {
            bytes.extend_from_slice(&u16::try_from(field.len()).ok()?.to_be_bytes());
            bytes.extend_from_slice(field);
        }
        let length = bytes.len() + MAC_BYTES;
        if length > HEADER_MAX_BYTES {
            return None;
        }
        bytes.get_mut(LENGTH)?.copy_from_slice(&u32::try_from(length).ok()?.to_be_bytes());
        let mac = key.mac(&[&bytes]);
        bytes.extend_from_slice(&mac);
        Some(bytes)
    }
}

/// Where `header_length` stands.
const LENGTH: Range<usize> = 10..14;
const MAC_BYTES: usize = 32;

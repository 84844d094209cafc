//! A parsed header (FORMAT 3), and the encoding of one. Nothing in a header is authenticated before
//! [`Unwrapped::authenticate`](super::open::Unwrapped::authenticate).

use std::ops::Range;

pub use zput_proto::envelope::HeaderError;

use zput_proto::envelope::{
    HEADER_LENGTH_FIELD, HEADER_MAGIC, HeaderFields, MAC_BYTES, PartSize, Stanza, VERSION,
};
use zput_proto::limits::HEADER_MAX_BYTES;
use zput_proto::name::ObjectKey;

use super::derive::{HeaderSalt, MacKey};
use crate::aead::Suite;

/// A well-formed header. Nothing in it is authenticated.
#[derive(Clone, Debug)]
pub struct Header {
    bytes: Vec<u8>,
    fields: HeaderFields,
}

impl Header {
    /// Parses `bytes`, a whole header and nothing else.
    ///
    /// # Errors
    /// Says which rule of FORMAT 3 the bytes break.
    pub fn parse(bytes: &[u8]) -> Result<Self, HeaderError> {
        Ok(Self { fields: HeaderFields::parse(bytes)?, bytes: bytes.to_vec() })
    }

    /// The AEAD that seals the blob.
    #[must_use]
    pub const fn suite(&self) -> Suite {
        self.fields.suite()
    }

    /// Plaintext bytes of a full part.
    #[must_use]
    pub const fn part_size(&self) -> PartSize {
        self.fields.part_size()
    }

    /// The writer's clock in ns since 1970, or one more than the newest generation it knew.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.fields.generation()
    }

    /// The object key that the blob was sealed for; `None` when it was sealed for none.
    #[must_use]
    pub const fn object_key(&self) -> Option<&ObjectKey> {
        self.fields.object_key()
    }

    /// The file key, wrapped for each recipient.
    #[must_use]
    pub fn stanzas(&self) -> &[Stanza] {
        self.fields.stanzas()
    }

    /// The bytes of the header, magic to MAC.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Number of bytes of the header.
    #[must_use]
    pub fn length(&self) -> u32 {
        self.fields.length()
    }

    pub(super) const fn fields(&self) -> &HeaderFields {
        &self.fields
    }

    pub(super) const fn salt(&self) -> HeaderSalt {
        HeaderSalt(*self.fields.salt())
    }

    /// The sealed metadata, without its length.
    pub(super) fn metadata(&self) -> &[u8] {
        let Range { start, end } = self.fields.metadata();
        self.slice(start + 2..end)
    }

    /// The bytes that the MAC covers, and the MAC.
    pub(super) fn split_mac(&self) -> Option<(&[u8], &[u8; MAC_BYTES])> {
        self.bytes.split_last_chunk()
    }

    /// The parts of the header that the transcript covers: "magic || version || suite … key ||
    /// metadata_length || metadata".
    pub(super) fn vouched(&self) -> [&[u8]; 3] {
        [
            self.slice(0..HEADER_LENGTH_FIELD.start),
            self.slice(self.fields.vouched()),
            self.slice(self.fields.metadata()),
        ]
    }

    /// `range` comes from `parse`, which read it from these bytes.
    fn slice(&self, range: Range<usize>) -> &[u8] {
        self.bytes.get(range).unwrap_or_default()
    }
}

/// The fields of a header that is being made.
pub(super) struct Draft<'a> {
    pub(super) suite: Suite,
    pub(super) part_size: PartSize,
    pub(super) salt: HeaderSalt,
    pub(super) generation: u64,
    pub(super) object_key: Option<&'a ObjectKey>,
    pub(super) stanzas: &'a [Stanza],
    /// The sealed metadata, without its length.
    pub(super) metadata: &'a [u8],
}

impl Draft<'_> {
    /// Encodes the header; `None` when it would be longer than a header can be.
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
        bytes
            .get_mut(HEADER_LENGTH_FIELD)?
            .copy_from_slice(&u32::try_from(length).ok()?.to_be_bytes());
        let mac = key.mac(&[&bytes]);
        bytes.extend_from_slice(&mac);
        Some(bytes)
    }
}

//! Headers: framing, bounds and the one encoding of each, checked without a key (FORMAT 3 and 4).

use std::ops::Range;

use thiserror::Error;

use super::references::PACK_ID_BYTES;
use super::shape::{BodyShape, Content};
use crate::cursor::Cursor;
use crate::envelope::chunks::{plain_len, sealed_len};
use crate::envelope::{
    HEADER_MAGIC, PREFIX_BYTES, PartSize, ShapeError, Stanza, StanzaError, Suite, check_shapes,
};
use crate::limits::{HEADER_MAX_BYTES, METADATA_MAX_BYTES, OBJECT_KEY_MAX_BYTES};
use crate::name::ObjectKey;
use crate::tagged::{TaggedError, TaggedFields};
use crate::vault::{CharterTag, Epoch, Order, VaultId};

/// The version of the format.
pub const VERSION: u16 = 2;
/// Number of bytes of the salt of the keys that are derived from the file key.
pub const HEADER_SALT_BYTES: usize = 32;
/// Number of bytes of the sealed content secret.
pub const CONTENT_KEY_BYTES: usize = 104;
/// Number of bytes of the MAC at the end of a header.
pub const HEADER_MAC_BYTES: usize = 32;

/// Why bytes are not a header.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// There are too few bytes to tell.
    #[error("the object is too short to be a sealed blob")]
    Truncated,
    /// The bytes do not begin as a header does.
    #[error("this is not a sealed blob")]
    NotABlob,
    /// A newer or an older program made it.
    #[error("a sealed blob of version {0}, which is not known here")]
    UnknownVersion(u16),
    /// No header has this length.
    #[error("the header cannot be {0} bytes long")]
    HeaderLength(u32),
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
    /// No content has this number.
    #[error("the blob holds content {0}, which is not known here")]
    UnknownContent(u8),
    /// A field has a value that it has in blobs of a vault only.
    #[error("a bare blob has zeros as its {0}")]
    Bare(&'static str),
    /// The generation is not below 2^63.
    #[error("a generation is below 2^63, this one is {0}")]
    Generation(u64),
    /// A field has a value that it has in no pack.
    #[error("a pack cannot have this {0}")]
    Pack(&'static str),
    /// No object key has this length.
    #[error("the header's object key cannot be {0} bytes long")]
    KeyLength(u16),
    /// No sealed metadata has this length.
    #[error("sealed metadata cannot be {0} bytes long")]
    Metadata(u16),
    /// The extensions are refused.
    #[error("the header's extensions are refused")]
    Extensions(#[from] TaggedError),
    /// The stanzas are for an epoch before the one that the writer knew.
    #[error("the stanzas are for epoch {stanzas}, and the blob is of epoch {epoch}")]
    StanzaEpoch {
        /// The epoch of the stanzas.
        stanzas: Epoch,
        /// The epoch of the blob.
        epoch: Epoch,
    },
    /// The stanzas are not canonical, too many, or missing.
    #[error("the header's recipient stanzas are refused")]
    Stanzas(#[from] StanzaError),
    /// A stanza of a known type does not have the shape of its type.
    #[error("a recipient stanza of the header is refused")]
    Shape(#[from] ShapeError),
    /// A field is longer than its length can say; the number is that of its bytes.
    #[error("a field of {0} bytes does not fit into a header")]
    FieldLength(usize),
}

/// What a header says. To write one, fill it, compute the MAC of [`to_mac`](Self::to_mac), and put
/// it together by [`with_mac`](Self::with_mac).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderFields {
    /// What the transcript covers.
    pub core: Core,
    /// The epoch whose recipient the stanzas are for; 0 if bare.
    pub stanza_epoch: Epoch,
    /// The file key, wrapped for each recipient.
    pub stanzas: Vec<Stanza>,
}

/// The part of a header that the transcript covers: `suite` to `extensions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Core {
    /// How the body is sealed, and what it holds.
    pub shape: BodyShape,
    /// The vault that the blob is for; `None` if bare.
    pub vault: Option<OfVault>,
    /// The vault's epoch that the writer knew, 0 if bare, and the writer's generation. A pack has
    /// no generation of its own, but 0.
    pub order: Order,
    /// The salt of the keys that are derived from the file key.
    pub header_salt: [u8; HEADER_SALT_BYTES],
    /// The object key; `None` in a blob that was sealed for none. A pack's is its id.
    pub key: Option<ObjectKey>,
    /// The content secret, sealed.
    pub content_key: [u8; CONTENT_KEY_BYTES],
    /// The sealed metadata; empty in a pack.
    pub metadata: Vec<u8>,
    /// A list of tagged fields; format 2 has none of its own, so writers leave it empty.
    pub extensions: Vec<u8>,
}

/// The vault of a blob that is not bare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfVault {
    /// The vault's id.
    pub id: VaultId,
    /// The tag of the charter of the epoch that the writer knew.
    pub charter_tag: CharterTag,
}

impl HeaderFields {
    /// Every byte before the MAC, which is over them.
    ///
    /// # Errors
    /// When a field, or all of them, are too long for a header.
    pub fn to_mac(&self) -> Result<Vec<u8>, HeaderError> {
        let mut core = Vec::new();
        self.core.write(&mut core)?;
        let mut stanzas = Vec::new();
        self.stanzas.iter().for_each(|stanza| stanza.encode(&mut stanzas));
        let behind = 4 + 2 + stanzas.len() + HEADER_MAC_BYTES;
        let length = PREFIX_BYTES + core.len() + behind;
        let header_length = u32::try_from(length).ok().filter(|_| length <= HEADER_MAX_BYTES);
        let header_length = header_length.ok_or(HeaderError::FieldLength(length))?;

        let mut bytes = Vec::with_capacity(length);
        bytes.extend(HEADER_MAGIC);
        bytes.extend(VERSION.to_be_bytes());
        bytes.extend(header_length.to_be_bytes());
        bytes.extend(core);
        bytes.extend(self.stanza_epoch.number().to_be_bytes());
        write_field(&mut bytes, &stanzas)?;
        Ok(bytes)
    }

    /// The header with `mac`, that of [`to_mac`](Self::to_mac).
    ///
    /// # Errors
    /// Says which rule of FORMAT 3 or 4 the fields break: what is put together is a header that
    /// parses.
    pub fn with_mac(&self, mac: &[u8; HEADER_MAC_BYTES]) -> Result<Header, HeaderError> {
        let mut bytes = self.to_mac()?;
        bytes.extend(mac);
        Header::parse(&bytes)
    }
}

impl Core {
    fn write(&self, bytes: &mut Vec<u8>) -> Result<(), HeaderError> {
        let (vault, tag) = self.vault.map_or(BARE, |of| (*of.id.as_bytes(), of.charter_tag));
        bytes.extend(self.shape.to_bytes());
        bytes.extend(vault);
        bytes.extend(self.order.epoch().number().to_be_bytes());
        bytes.extend(tag.as_bytes());
        bytes.extend(self.order.generation().to_be_bytes());
        bytes.extend(self.header_salt);
        write_field(bytes, self.key.as_ref().map_or(&[], ObjectKey::as_bytes))?;
        bytes.extend(self.content_key);
        write_field(bytes, &self.metadata)?;
        write_field(bytes, &self.extensions)
    }
}

/// A field behind its length in 2 bytes.
fn write_field(bytes: &mut Vec<u8>, field: &[u8]) -> Result<(), HeaderError> {
    let length = u16::try_from(field.len());
    bytes.extend(length.map_err(|_| HeaderError::FieldLength(field.len()))?.to_be_bytes());
    bytes.extend(field);
    Ok(())
}

/// A well-formed header: the only encoding of what it says. Nothing in it is authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    bytes: Vec<u8>,
    fields: HeaderFields,
    core: Range<usize>,
}

impl Header {
    /// Parses `bytes`, a whole header and nothing else.
    ///
    /// # Errors
    /// Says which rule of FORMAT 3 or 4 they break.
    pub fn parse(bytes: &[u8]) -> Result<Self, HeaderError> {
        let stated = header_length(bytes)?;
        if stated as usize != bytes.len() {
            return Err(HeaderError::Length { stated, found: bytes.len() });
        }
        let raw = Raw::read(bytes).ok_or(HeaderError::Fields)?;
        let core = raw.core()?;
        let stanza_epoch = Epoch::new(raw.stanza_epoch);
        if core.vault.is_none() && raw.stanza_epoch != 0 {
            return Err(HeaderError::Bare("epoch of the stanzas"));
        }
        if stanza_epoch < core.order.epoch() {
            let epoch = core.order.epoch();
            return Err(HeaderError::StanzaEpoch { stanzas: stanza_epoch, epoch });
        }
        let stanzas = Stanza::parse_all(raw.stanzas)?;
        check_shapes(&stanzas)?;
        let fields = HeaderFields { core, stanza_epoch, stanzas };
        Ok(Self { bytes: bytes.to_vec(), fields, core: PREFIX_BYTES..raw.core_end })
    }

    /// The whole header.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What it says.
    #[must_use]
    pub const fn fields(&self) -> &HeaderFields {
        &self.fields
    }

    /// Number of bytes of the whole header, magic to MAC.
    #[must_use]
    pub fn length(&self) -> u32 {
        // The parser saw to it that there are at most 65,536.
        u32::try_from(self.bytes.len()).unwrap_or(u32::MAX)
    }

    /// The bytes of the core, which the transcript covers.
    #[must_use]
    pub fn core(&self) -> &[u8] {
        &self.bytes[self.core.clone()]
    }

    /// Every byte before the MAC, and the MAC, which is over them.
    #[must_use]
    pub fn mac(&self) -> (&[u8], &[u8]) {
        self.bytes.split_at(self.bytes.len() - HEADER_MAC_BYTES)
    }

    /// The first two fields, which the transcript covers.
    pub(super) fn magic_and_version(&self) -> &[u8] {
        &self.bytes[..HEADER_LENGTH_OFFSET]
    }
}

/// Length of the header that begins with `prefix`, of at least 14 bytes.
///
/// # Errors
/// When this is not the start of a blob that is known here.
pub fn header_length(prefix: &[u8]) -> Result<u32, HeaderError> {
    let known = prefix.len().min(HEADER_MAGIC.len());
    if prefix.get(..known) != HEADER_MAGIC.get(..known) {
        return Err(HeaderError::NotABlob);
    }
    let mut cursor = Cursor::new(prefix);
    cursor.take(HEADER_MAGIC.len()).ok_or(HeaderError::Truncated)?;
    let version = cursor.u16().ok_or(HeaderError::Truncated)?;
    if version != VERSION {
        return Err(HeaderError::UnknownVersion(version));
    }
    let length = cursor.u32().ok_or(HeaderError::Truncated)?;
    if (HEADER_FIXED_BYTES..=HEADER_MAX_BYTES).contains(&(length as usize)) {
        Ok(length)
    } else {
        Err(HeaderError::HeaderLength(length))
    }
}

/// The fields, read and not yet checked.
struct Raw<'a> {
    shape: [u8; 3],
    vault: [u8; 32],
    epoch: u32,
    charter_tag: [u8; 16],
    generation: u64,
    header_salt: [u8; HEADER_SALT_BYTES],
    key: &'a [u8],
    content_key: [u8; CONTENT_KEY_BYTES],
    metadata: &'a [u8],
    extensions: &'a [u8],
    core_end: usize,
    stanza_epoch: u32,
    stanzas: &'a [u8],
}

impl<'a> Raw<'a> {
    /// `None` when the fields do not fill `bytes` exactly.
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut cursor = Cursor::new(bytes);
        cursor.take(PREFIX_BYTES)?;
        let raw = Self {
            shape: cursor.array()?,
            vault: cursor.array()?,
            epoch: cursor.u32()?,
            charter_tag: cursor.array()?,
            generation: cursor.u64()?,
            header_salt: cursor.array()?,
            key: read_field(&mut cursor)?,
            content_key: cursor.array()?,
            metadata: read_field(&mut cursor)?,
            extensions: read_field(&mut cursor)?,
            core_end: cursor.position(),
            stanza_epoch: cursor.u32()?,
            stanzas: read_field(&mut cursor)?,
        };
        cursor.take(HEADER_MAC_BYTES)?;
        cursor.is_at_end().then_some(raw)
    }

    fn core(&self) -> Result<Core, HeaderError> {
        let shape = self.shape()?;
        let vault = self.vault(shape.content)?;
        let order = Order::new(Epoch::new(self.epoch), self.generation);
        let order = order.ok_or(HeaderError::Generation(self.generation))?;
        self.check_lengths(shape.content)?;
        TaggedFields::parse(self.extensions, &[])?;
        Ok(Core {
            shape,
            vault,
            order,
            header_salt: self.header_salt,
            // The length is right, unless there is none.
            key: ObjectKey::new(self.key).ok(),
            content_key: self.content_key,
            metadata: self.metadata.to_vec(),
            extensions: self.extensions.to_vec(),
        })
    }

    fn shape(&self) -> Result<BodyShape, HeaderError> {
        let [suite, part_size, content] = self.shape;
        Ok(BodyShape {
            suite: Suite::from_u8(suite).ok_or(HeaderError::UnknownSuite(suite))?,
            part_size: PartSize::from_log2(part_size).ok_or(HeaderError::PartSize(part_size))?,
            content: Content::from_u8(content).ok_or(HeaderError::UnknownContent(content))?,
        })
    }

    /// FORMAT 3: "A bare blob has zeros in `vault`, `epoch`, `charter_tag` and `stanza_epoch`, all
    /// of them; its content is 0."
    fn vault(&self, content: Content) -> Result<Option<OfVault>, HeaderError> {
        let (no_vault, no_tag) = BARE;
        let (id, charter_tag) =
            (VaultId::from_bytes(self.vault), CharterTag::from_bytes(self.charter_tag));
        if self.vault != no_vault {
            return Ok(Some(OfVault { id, charter_tag }));
        }
        if self.epoch != 0 {
            return Err(HeaderError::Bare("epoch"));
        }
        if charter_tag != no_tag {
            return Err(HeaderError::Bare("charter tag"));
        }
        if content != Content::File {
            return Err(HeaderError::Bare("content"));
        }
        Ok(None)
    }

    /// The bounds of generation, key and metadata, of which a pack has its own.
    fn check_lengths(&self, content: Content) -> Result<(), HeaderError> {
        if content == Content::Pack {
            return self.check_pack();
        }
        // A field behind 2 bytes of length.
        let length = |field: &[u8]| u16::try_from(field.len()).unwrap_or(u16::MAX);
        if self.key.len() > OBJECT_KEY_MAX_BYTES {
            return Err(HeaderError::KeyLength(length(self.key)));
        }
        let metadata = self.metadata.len() as u64;
        if !METADATA_BYTES.contains(&metadata) || plain_len(metadata).is_none() {
            return Err(HeaderError::Metadata(length(self.metadata)));
        }
        Ok(())
    }

    fn check_pack(&self) -> Result<(), HeaderError> {
        if self.generation != 0 {
            return Err(HeaderError::Pack("generation"));
        }
        if self.key.len() != PACK_ID_BYTES {
            return Err(HeaderError::Pack("length of its id"));
        }
        if !self.metadata.is_empty() {
            return Err(HeaderError::Pack("metadata"));
        }
        Ok(())
    }
}

/// A field behind its length in 2 bytes.
fn read_field<'a>(cursor: &mut Cursor<'a>) -> Option<&'a [u8]> {
    let length = cursor.u16()?;
    cursor.take(length.into())
}

/// Vault and charter tag of a bare blob.
const BARE: ([u8; 32], CharterTag) = ([0; 32], CharterTag::from_bytes([0; 16]));
/// Where `header_length` is in a header.
const HEADER_LENGTH_OFFSET: usize = 10;
/// Bytes of a header's fields without those of a length of their own.
const HEADER_FIXED_BYTES: usize = 257;
/// Sealed metadata: a name of one byte at least, behind type and length.
const METADATA_BYTES: std::ops::RangeInclusive<u64> =
    sealed_len(4)..=sealed_len(METADATA_MAX_BYTES as u64);

//! Where header and footer end: a blob says how long they are at its start and at its end.

use thiserror::Error;

use super::chunks::sealed_len;
use crate::cursor::Cursor;
use crate::limits::{HEADER_MAX_BYTES, OBJECT_KEY_MAX_BYTES, PARTS_MAX};

/// The bytes that a header begins with (FORMAT 3).
pub const HEADER_MAGIC: [u8; 8] = *b"\x8Azput\r\n\x1A";
/// The bytes that a footer ends with (FORMAT 7).
pub const FOOTER_MAGIC: [u8; 8] = *b"\x8Azputend";
/// The version of the format.
pub const VERSION: u16 = 1;
/// Bytes of an object's start that [`header_length`] needs: magic, version, length.
pub const PREFIX_BYTES: usize = 14;
/// Bytes of an object's end that [`footer_length`] needs: length, magic.
pub const TAIL_BYTES: usize = 12;

/// Bytes of a header without key, stanzas and metadata. Such a header is refused later.
const HEADER_MIN_BYTES: usize = KEY_OFFSET + 2 + 2 + 32;
/// Offset of the generation.
const GENERATION_OFFSET: usize = 48;
/// Offset of the object key.
const KEY_OFFSET: usize = 58;
/// Bytes of a bare footer of one part without facts.
const FOOTER_MIN_BYTES: u64 = 8 + 32 + 2 + 1 + 32 + 4 + 8;

/// Length of the longest footer of `parts` parts: `F(n) = 1207 + 32 n` (FORMAT 9).
#[must_use]
pub const fn longest_footer(parts: u64) -> u64 {
    1207 + 32 * parts
}

/// The lengths that say where the parts of an object begin and end. Exhaustive: FORMAT has no third
/// length that varies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Bytes of the header, and so the offset of the payload.
    pub header_length: u32,
    /// Bytes of the footer after the payload.
    pub footer_length: u32,
}

/// Why bytes do not have the framing of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// There are too few bytes to tell.
    #[error("the object is too short to be a sealed blob")]
    Truncated,
    /// The object does not begin with [`HEADER_MAGIC`].
    #[error("this is not a sealed blob")]
    NotABlob,
    /// The blob was made by a newer program.
    #[error("a sealed blob of version {0}, which is not known here")]
    UnknownVersion(u16),
    /// No header has this length.
    #[error("the header cannot be {0} bytes long")]
    HeaderLength(u32),
    /// The object key is longer than a key can be, or than the header.
    #[error("the header's object key cannot be {0} bytes long")]
    KeyLength(u16),
    /// The object does not end with [`FOOTER_MAGIC`]: it is truncated, or something follows it.
    #[error("the object does not end with a footer")]
    NoFooter,
    /// No footer has this length.
    #[error("the footer cannot be {0} bytes long")]
    FooterLength(u32),
    /// Header and footer leave no room for a part between them.
    #[error("an object of {0} bytes has no room for a part between its header and its footer")]
    NoPayload(u64),
}

impl Envelope {
    /// The envelope of an object of `object_length` bytes that begins with `prefix` and ends with
    /// `tail`.
    ///
    /// # Errors
    /// When prefix or tail is not that of a blob, or no part fits between header and footer.
    pub fn new(prefix: &[u8], tail: &[u8], object_length: u64) -> Result<Self, EnvelopeError> {
        let header_length = header_length(prefix)?;
        let footer_length = footer_length(tail)?;
        let around = u64::from(header_length) + u64::from(footer_length);
        match object_length.checked_sub(around) {
            Some(payload) if payload >= sealed_len(0) => Ok(Self { header_length, footer_length }),
            _ => Err(EnvelopeError::NoPayload(object_length)),
        }
    }
}

/// Length of the header that begins with `prefix`, of at least [`PREFIX_BYTES`] bytes.
///
/// # Errors
/// When this is not the start of a blob that is known here.
pub fn header_length(prefix: &[u8]) -> Result<u32, EnvelopeError> {
    let known = prefix.len().min(HEADER_MAGIC.len());
    if prefix.get(..known) != HEADER_MAGIC.get(..known) {
        return Err(EnvelopeError::NotABlob);
    }
    let mut cursor = Cursor::new(prefix);
    cursor.take(HEADER_MAGIC.len()).ok_or(EnvelopeError::Truncated)?;
    let version = cursor.u16().ok_or(EnvelopeError::Truncated)?;
    if version != VERSION {
        return Err(EnvelopeError::UnknownVersion(version));
    }
    let length = cursor.u32().ok_or(EnvelopeError::Truncated)?;
    if (HEADER_MIN_BYTES..=HEADER_MAX_BYTES).contains(&(length as usize)) {
        Ok(length)
    } else {
        Err(EnvelopeError::HeaderLength(length))
    }
}

/// Length of the footer that ends with `tail`, of at least [`TAIL_BYTES`] bytes.
///
/// # Errors
/// When this is not the end of a blob.
pub fn footer_length(tail: &[u8]) -> Result<u32, EnvelopeError> {
    let (front, magic) = tail.split_last_chunk().ok_or(EnvelopeError::Truncated)?;
    if *magic != FOOTER_MAGIC {
        return Err(EnvelopeError::NoFooter);
    }
    let length = front.last_chunk().copied().map(u32::from_be_bytes);
    let length = length.ok_or(EnvelopeError::Truncated)?;
    if (FOOTER_MIN_BYTES..=longest_footer(PARTS_MAX)).contains(&u64::from(length)) {
        Ok(length)
    } else {
        Err(EnvelopeError::FooterLength(length))
    }
}

/// The generation in `header`, which may be the start of a header.
///
/// # Errors
/// When this is not the start of a blob that is known here, or ends before the generation does.
pub fn generation(header: &[u8]) -> Result<u64, EnvelopeError> {
    header_length(header)?;
    let mut cursor = Cursor::new(header);
    cursor.take(GENERATION_OFFSET).ok_or(EnvelopeError::Truncated)?;
    cursor.u64().ok_or(EnvelopeError::Truncated)
}

/// The object key in `header`, which may be the start of a header; empty when the blob was sealed
/// for no key.
///
/// # Errors
/// When this is not the start of a blob that is known here, or ends before the key does.
pub fn object_key(header: &[u8]) -> Result<&[u8], EnvelopeError> {
    let header_length = header_length(header)? as usize;
    let mut cursor = Cursor::new(header);
    cursor.take(KEY_OFFSET - 2).ok_or(EnvelopeError::Truncated)?;
    let length = cursor.u16().ok_or(EnvelopeError::Truncated)?;
    let key_length = usize::from(length);
    if key_length > OBJECT_KEY_MAX_BYTES || HEADER_MIN_BYTES + key_length > header_length {
        return Err(EnvelopeError::KeyLength(length));
    }
    cursor.take(key_length).ok_or(EnvelopeError::Truncated)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Version 1, a header of 300 bytes with the key "abc".
    fn header() -> Vec<u8> {
        let mut header = b"\x8Azput\r\n\x1A\x00\x01\x00\x00\x01\x2c".to_vec();
        header.resize(56, 9);
        header.extend_from_slice(b"\x00\x03abc");
        header
    }

    /// The envelope gives the header length, object key, generation and footer length.
    #[test]
    fn envelope_reads_lengths_key_and_generation() {
        assert_eq!(header_length(&header()), Ok(300));
        assert_eq!(header_length(&header()[..14]), Ok(300));
        assert_eq!(object_key(&header()), Ok(&b"abc"[..]));
        assert_eq!(generation(&header()), Ok(0x0909_0909_0909_0909));
        assert_eq!(generation(&header()[..55]), Err(EnvelopeError::Truncated));
        let tail = b"\x00\x00\x00\x57\x8Azputend";
        assert_eq!(footer_length(tail), Ok(87));
        let envelope = Envelope { header_length: 300, footer_length: 87 };
        assert_eq!(Envelope::new(&header(), tail, 300 + 87 + 72), Ok(envelope));
        for length in [0, 299, 387, 300 + 87 + 71] {
            let expected = Err(EnvelopeError::NoPayload(length));
            assert_eq!(Envelope::new(&header(), tail, length), expected);
        }
    }

    /// The envelope refuses headers that are foreign, truncated, newer or out of bounds.
    #[test]
    fn envelope_refuses_malformed_headers() {
        assert_eq!(header_length(b""), Err(EnvelopeError::Truncated));
        assert_eq!(header_length(b"\x8Azp"), Err(EnvelopeError::Truncated));
        assert_eq!(header_length(b"GIF"), Err(EnvelopeError::NotABlob));
        assert_eq!(header_length(b"-----BEGIN AGE"), Err(EnvelopeError::NotABlob));
        for length in 0..14 {
            assert_eq!(header_length(&header()[..length]), Err(EnvelopeError::Truncated));
        }
        for length in 14..61 {
            assert_eq!(object_key(&header()[..length]), Err(EnvelopeError::Truncated));
        }
        let mut newer = header();
        newer[9] = 2;
        assert_eq!(header_length(&newer), Err(EnvelopeError::UnknownVersion(2)));
        for length in [0, 93, 65_537, u32::MAX] {
            let mut header = header();
            header[10..14].copy_from_slice(&length.to_be_bytes());
            assert_eq!(header_length(&header), Err(EnvelopeError::HeaderLength(length)));
        }
        let mut long_key = header();
        long_key[56..58].copy_from_slice(&1025_u16.to_be_bytes());
        assert_eq!(object_key(&long_key), Err(EnvelopeError::KeyLength(1025)));
        let mut longest = long_key.clone();
        longest[10..14].copy_from_slice(&65_536_u32.to_be_bytes());
        longest.resize(65_536, 0);
        assert_eq!(object_key(&longest), Err(EnvelopeError::KeyLength(1025)));
        longest[56..58].copy_from_slice(&1024_u16.to_be_bytes());
        assert_eq!(object_key(&longest).map(<[u8]>::len), Ok(1024));
        // 300 bytes of header hold a key of at most 206.
        long_key[56..58].copy_from_slice(&207_u16.to_be_bytes());
        long_key.resize(300, 0);
        assert_eq!(object_key(&long_key), Err(EnvelopeError::KeyLength(207)));
    }

    /// The envelope refuses footer tails that are truncated, foreign or out of bounds.
    #[test]
    fn envelope_refuses_malformed_footers() {
        assert_eq!(footer_length(b"zputend"), Err(EnvelopeError::Truncated));
        assert_eq!(footer_length(b"\x8Azputend"), Err(EnvelopeError::Truncated));
        assert_eq!(footer_length(b"\x00\x00\x00\x57\x8AzputenD"), Err(EnvelopeError::NoFooter));
        for length in [0, 86, 1207 + 32 * 262_144 + 1, u32::MAX] {
            let tail = [&length.to_be_bytes()[..], b"\x8Azputend"].concat();
            assert_eq!(footer_length(&tail), Err(EnvelopeError::FooterLength(length)));
        }
        let longest = 1207 + 32 * 262_144_u32;
        let tail = [&longest.to_be_bytes()[..], b"\x8Azputend"].concat();
        assert_eq!(footer_length(&tail), Ok(longest));
    }
}

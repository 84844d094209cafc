//! The sealed metadata of a blob (FORMAT 5). Any device that may put can write it, so a reader
//! treats it as hostile.

use thiserror::Error;
use zput_proto::cursor::Cursor;
use zput_proto::name::{BlobName, NameError};

/// The permission bits that a reader keeps.
pub const MODE_MASK: u32 = 0o777;

/// The attributes of a file at the time it was sealed. Made by [`Metadata::new`]; the other fields
/// can be set then.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metadata {
    /// The name that the user gave the blob.
    pub name: BlobName,
    /// Time of the last modification, in whole seconds since 1970.
    pub mtime_s: i64,
    /// Nanoseconds within that second, below 10⁹.
    pub mtime_ns: u32,
    /// Unix permission bits. Bits outside [`MODE_MASK`] are neither written nor read.
    pub mode: u32,
}

/// Why a plaintext is not metadata.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MetadataError {
    /// The plaintext is too short or too long, or its name is not UTF-8.
    #[error("the metadata is malformed")]
    Malformed,
    /// The name is not a valid one.
    #[error("the metadata's name is refused")]
    Name(#[from] NameError),
    /// The nanoseconds are 10⁹ or more.
    #[error("the metadata's modification time has {0} nanoseconds")]
    Nanoseconds(u32),
}

impl Metadata {
    /// A file of this name that was last modified in 1970 and that its owner alone may read and
    /// write (mode 0600).
    #[must_use]
    pub const fn new(name: BlobName) -> Self {
        Self { name, mtime_s: 0, mtime_ns: 0, mode: 0o600 }
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, MetadataError> {
        if self.mtime_ns >= NANOSECONDS {
            return Err(MetadataError::Nanoseconds(self.mtime_ns));
        }
        let name = self.name.as_str().as_bytes();
        let length = u16::try_from(name.len()).map_err(|_| MetadataError::Malformed)?;
        let mode = self.mode & MODE_MASK;
        Ok([
            &length.to_be_bytes()[..],
            name,
            &self.mtime_s.to_be_bytes(),
            &self.mtime_ns.to_be_bytes(),
            &mode.to_be_bytes(),
        ]
        .concat())
    }

    pub(super) fn parse(plaintext: &[u8]) -> Result<Self, MetadataError> {
        let mut cursor = Cursor::new(plaintext);
        let (name, mtime_s, mtime_ns, mode) =
            fields(&mut cursor).ok_or(MetadataError::Malformed)?;
        // "Nothing follows; a longer or shorter plaintext is refused."
        if !cursor.is_at_end() {
            return Err(MetadataError::Malformed);
        }
        if mtime_ns >= NANOSECONDS {
            return Err(MetadataError::Nanoseconds(mtime_ns));
        }
        let name = str::from_utf8(name).map_err(|_| MetadataError::Malformed)?;
        Ok(Self { name: BlobName::parse(name)?, mtime_s, mtime_ns, mode: mode & MODE_MASK })
    }
}

fn fields<'a>(cursor: &mut Cursor<'a>) -> Option<(&'a [u8], i64, u32, u32)> {
    let length = cursor.u16()?;
    Some((cursor.take(length.into())?, cursor.i64()?, cursor.u32()?, cursor.u32()?))
}

const NANOSECONDS: u32 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const ENCODED: &[u8] =
        b"\x00\x03a/b\xff\xff\xff\xff\xff\xff\xff\xfe\x3b\x9a\xc9\xff\x00\x00\x01\xa4";

    fn metadata() -> Metadata {
        let name = BlobName::parse("a/b").unwrap();
        Metadata { name, mtime_s: -2, mtime_ns: 999_999_999, mode: 0o644 }
    }

    /// Metadata encodes to the literal bytes of FORMAT 5 and parses back.
    #[test]
    fn metadata_encodes_to_the_bytes_of_the_format() {
        assert_eq!(metadata().encode().unwrap(), ENCODED);
        assert_eq!(Metadata::parse(ENCODED).unwrap(), metadata());
    }

    /// Metadata is written and read without the bits above 0777 of the mode.
    #[test]
    fn metadata_drops_set_uid_bits_on_both_sides() {
        let privileged = Metadata { mode: 0o104_644, ..metadata() };
        assert_eq!(privileged.encode().unwrap(), ENCODED);
        let mut bytes = ENCODED.to_vec();
        bytes[17..21].copy_from_slice(&0o107_644_u32.to_be_bytes());
        assert_eq!(Metadata::parse(&bytes).unwrap().mode, 0o644);
    }

    /// Parsing refuses metadata that is cut, padded, badly named or with too many nanoseconds.
    #[test]
    fn metadata_parse_refuses_malformed_fields() {
        for length in 0..ENCODED.len() {
            assert_eq!(Metadata::parse(&ENCODED[..length]), Err(MetadataError::Malformed));
        }
        assert_eq!(Metadata::parse(&[ENCODED, b"x"].concat()), Err(MetadataError::Malformed));
        let with_name = |name: &[u8]| {
            let length = u16::try_from(name.len()).unwrap();
            Metadata::parse(&[&length.to_be_bytes(), name, &ENCODED[5..]].concat())
        };
        assert_eq!(with_name(b"\xff"), Err(MetadataError::Malformed));
        assert_eq!(with_name(b""), Err(MetadataError::Name(NameError::Empty)));
        let dots = NameError::Dots("..".to_owned());
        assert_eq!(with_name(b"../x"), Err(MetadataError::Name(dots)));
        assert_eq!(with_name(b"/x"), Err(MetadataError::Name(NameError::EmptyComponent)));
        let mut bytes = ENCODED.to_vec();
        bytes[13..17].copy_from_slice(&1_000_000_000_u32.to_be_bytes());
        assert_eq!(Metadata::parse(&bytes), Err(MetadataError::Nanoseconds(1_000_000_000)));
        let late = Metadata { mtime_ns: 1_000_000_000, ..metadata() };
        assert_eq!(late.encode(), Err(MetadataError::Nanoseconds(1_000_000_000)));
    }
}

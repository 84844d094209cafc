//! Where the parts of a blob are (FORMAT 6): arithmetic on lengths, and nothing else.

use std::ops::Range;

use thiserror::Error;

use super::chunks::sealed_len;
use crate::limits::PARTS_MAX;

/// Plaintext bytes of a full part: a power of two from 64 KiB to 16 MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PartSize(u8);

impl PartSize {
    /// The smallest part size, 64 KiB.
    pub const MIN: Self = Self(16);
    /// The largest part size, 16 MiB, which writers use.
    pub const MAX: Self = Self(24);

    /// The part size of `2^log2` bytes; `None` unless `log2` is 16 to 24.
    #[must_use]
    pub const fn from_log2(log2: u8) -> Option<Self> {
        if log2 >= Self::MIN.0 && log2 <= Self::MAX.0 { Some(Self(log2)) } else { None }
    }

    /// The binary logarithm of the part size, as a header holds it.
    #[must_use]
    pub const fn log2(self) -> u8 {
        self.0
    }

    /// Plaintext bytes of a full part.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        1 << self.0
    }

    /// Sealed bytes of a full part.
    #[must_use]
    pub const fn sealed_bytes(self) -> u64 {
        sealed_len(self.bytes())
    }
}

impl Default for PartSize {
    fn default() -> Self {
        Self::MAX
    }
}

/// The plaintext needs more than [`PARTS_MAX`] parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{0} bytes are more than {PARTS_MAX} parts can hold")]
pub struct TooManyParts(pub u64);

/// The lengths and offsets of the parts of one blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    header_length: u32,
    part_size: PartSize,
    total_length: u64,
}

impl Layout {
    /// The layout of `total_length` bytes of plaintext after a header of `header_length` bytes.
    ///
    /// # Errors
    /// When they do not fit into [`PARTS_MAX`] parts.
    pub const fn new(
        header_length: u32,
        part_size: PartSize,
        total_length: u64,
    ) -> Result<Self, TooManyParts> {
        if total_length / part_size.bytes() < PARTS_MAX {
            Ok(Self { header_length, part_size, total_length })
        } else {
            Err(TooManyParts(total_length))
        }
    }

    /// The part size of the blob.
    #[must_use]
    pub const fn part_size(&self) -> PartSize {
        self.part_size
    }

    /// Number of bytes of plaintext in all parts.
    #[must_use]
    pub const fn total_length(&self) -> u64 {
        self.total_length
    }

    /// The number of parts, at least one.
    #[must_use]
    pub const fn parts(&self) -> u64 {
        self.total_length / self.part_size.bytes() + 1
    }

    /// Plaintext bytes of part `index`; `None` after the last part.
    #[must_use]
    pub const fn plain_part_len(&self, index: u64) -> Option<u64> {
        let last = self.parts() - 1;
        if index < last {
            Some(self.part_size.bytes())
        } else if index == last {
            Some(self.total_length % self.part_size.bytes())
        } else {
            None
        }
    }

    /// Sealed bytes of part `index`; `None` after the last part.
    #[must_use]
    pub const fn sealed_part_len(&self, index: u64) -> Option<u64> {
        match self.plain_part_len(index) {
            Some(plain) => Some(sealed_len(plain)),
            None => None,
        }
    }

    /// Offset of part `index` in the object; `None` after the last part.
    #[must_use]
    pub const fn part_offset(&self, index: u64) -> Option<u64> {
        if index < self.parts() {
            Some(self.header_length as u64 + index * self.part_size.sealed_bytes())
        } else {
            None
        }
    }

    /// Bytes of all sealed parts.
    #[must_use]
    pub const fn payload_length(&self) -> u64 {
        (self.parts() - 1) * self.part_size.sealed_bytes()
            + sealed_len(self.total_length % self.part_size.bytes())
    }

    /// Offset of the footer in the object.
    #[must_use]
    pub const fn footer_offset(&self) -> u64 {
        self.header_length as u64 + self.payload_length()
    }

    /// Bytes of the whole object, with a footer of `footer_length` bytes.
    #[must_use]
    pub const fn object_length(&self, footer_length: u32) -> u64 {
        self.footer_offset() + footer_length as u64
    }

    /// The parts that hold the bytes `range` of the plaintext. Bytes after its end are ignored;
    /// empty when none is left.
    #[must_use]
    pub fn parts_of(&self, range: Range<u64>) -> Range<u64> {
        let end = range.end.min(self.total_length);
        if range.start >= end {
            return 0..0;
        }
        range.start / self.part_size.bytes()..(end - 1) / self.part_size.bytes() + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A part size is a power of two from 64 KiB to 16 MiB.
    #[test]
    fn part_size_is_between_64_kib_and_16_mib() {
        assert_eq!(PartSize::from_log2(15), None);
        assert_eq!(PartSize::from_log2(25), None);
        assert_eq!(PartSize::from_log2(16).map(PartSize::bytes), Some(65_536));
        assert_eq!(PartSize::from_log2(24).map(PartSize::bytes), Some(16_777_216));
        assert_eq!(PartSize::default().bytes(), 16_777_216);
        assert_eq!(PartSize::MIN.sealed_bytes(), 65_672);
        assert_eq!(PartSize::MAX.sealed_bytes(), 16_793_672);
    }

    /// Header of 1,000 bytes, parts of 64 KiB: `(length, parts, last sealed part, payload)`.
    #[test]
    fn layout_lengths_and_offsets_follow_the_format() {
        let table = [
            (0, 1, 72, 72),
            (1, 1, 73, 73),
            (65_535, 1, 65_655, 65_655),
            (65_536, 2, 72, 65_744),
            (65_537, 2, 73, 65_745),
            (131_072, 3, 72, 131_416),
        ];
        for (length, parts, last, payload) in table {
            let layout = Layout::new(1000, PartSize::MIN, length).unwrap();
            assert_eq!(layout.parts(), parts);
            assert_eq!(layout.sealed_part_len(parts - 1), Some(last));
            assert_eq!(layout.sealed_part_len(parts), None);
            assert_eq!(layout.plain_part_len(parts), None);
            assert_eq!(layout.part_offset(parts), None);
            assert_eq!(layout.payload_length(), payload);
            assert_eq!(layout.footer_offset(), 1000 + payload);
            assert_eq!(layout.object_length(87), 1087 + payload);
        }
        let layout = Layout::new(1000, PartSize::MIN, 131_072).unwrap();
        assert_eq!(layout.sealed_part_len(0), Some(65_672));
        assert_eq!(layout.plain_part_len(1), Some(65_536));
        assert_eq!(layout.plain_part_len(2), Some(0));
        assert_eq!(layout.part_offset(0), Some(1000));
        assert_eq!(layout.part_offset(2), Some(132_344));
    }

    /// A layout has at most 262,144 parts and refuses a longer plaintext.
    #[test]
    fn layout_refuses_more_than_262144_parts() {
        let most = 262_144 * 65_536 - 1;
        assert_eq!(Layout::new(0, PartSize::MIN, most).map(|l| l.parts()), Ok(262_144));
        assert_eq!(Layout::new(0, PartSize::MIN, most + 1), Err(TooManyParts(most + 1)));
        assert_eq!(Layout::new(0, PartSize::MAX, u64::MAX), Err(TooManyParts(u64::MAX)));
    }

    /// A layout gives the parts that a byte range of the plaintext touches.
    #[test]
    fn layout_maps_byte_ranges_to_parts() {
        let layout = Layout::new(1000, PartSize::MIN, 200_000).unwrap();
        for (range, parts) in [
            (0..1, 0..1),
            (0..65_536, 0..1),
            (0..65_537, 0..2),
            (65_535..65_537, 0..2),
            (65_536..65_537, 1..2),
            (0..u64::MAX, 0..4),
            (199_999..200_000, 3..4),
            (200_000..u64::MAX, 0..0),
            (5..5, 0..0),
        ] {
            assert_eq!(layout.parts_of(range.clone()), parts, "{range:?}");
        }
    }
}

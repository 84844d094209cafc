//! Reading big-endian fields off the front of a byte string: headers, footers, hellos, records.

/// A position in a byte string. A read is `None` when too few bytes are left, and then takes none.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    /// A cursor at the front of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// How many bytes have been read.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.position
    }

    /// The bytes that have not been read.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.position..).unwrap_or_default()
    }

    /// Whether all bytes have been read.
    #[must_use]
    pub const fn is_at_end(&self) -> bool {
        self.position == self.bytes.len()
    }

    /// Reads the next `length` bytes.
    pub fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.position.checked_add(length)?;
        let taken = self.bytes.get(self.position..end)?;
        self.position = end;
        Some(taken)
    }

    /// Reads the next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    /// Reads the next byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    /// Reads the next 2 bytes.
    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// Reads the next 4 bytes.
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// Reads the next 8 bytes.
    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// Reads the next 8 bytes, in two's complement.
    pub fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cursor reads consecutive big-endian integers, arrays and the rest.
    #[test]
    fn cursor_reads_consecutive_big_endian_fields() {
        let mut fields = Cursor::new(
            b"\x01\x02\x03\x04\x05\x06\x07\0\0\0\0\0\0\x01\0\xff\xff\xff\xff\xff\xff\xff\xfeab",
        );
        assert_eq!(fields.u8(), Some(1));
        assert_eq!(fields.u16(), Some(0x0203));
        assert_eq!(fields.u32(), Some(0x0405_0607));
        assert_eq!(fields.u64(), Some(256));
        assert_eq!(fields.i64(), Some(-2));
        assert_eq!((fields.position(), fields.rest()), (23, &b"ab"[..]));
        assert_eq!(fields.array(), Some(*b"ab"));
        assert!(fields.is_at_end());
    }

    /// A read past the end of the cursor returns nothing and consumes nothing.
    #[test]
    fn cursor_consumes_nothing_when_too_short() {
        let mut fields = Cursor::new(b"abc");
        assert_eq!(fields.u32(), None);
        assert_eq!(fields.take(4), None);
        assert_eq!(fields.take(usize::MAX), None);
        assert_eq!(fields.rest(), b"abc");
        assert_eq!(fields.take(3), Some(&b"abc"[..]));
        assert_eq!(fields.take(usize::MAX), None);
        assert_eq!(fields.u8(), None);
        assert_eq!(fields.rest(), b"");
    }
}

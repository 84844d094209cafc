//! One header block of an archive (POSIX.1-2017, pax, "ustar Interchange Format"; GNU tar, "Basic
//! Tar Format").

use super::error::ArchiveErrorKind;

/// Everything in an archive is padded to a multiple of this.
pub(super) const BLOCK_BYTES: usize = 512;
pub(super) type Block = [u8; BLOCK_BYTES];

/// Eleven octal digits: the largest size in a header without base 256, which not all readers know.
pub(super) const OCTAL_SIZE_MAX: u64 = 0o777_7777_7777;

/// The fields of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The name, with its prefix. Not checked.
    pub(super) name: Vec<u8>,
    /// The target of a link. Not checked.
    pub(super) link_name: Vec<u8>,
    /// The type of the member, or of the extension of the next one.
    pub(super) kind: u8,
    /// Bytes of the data that follows; at most 2^63 - 1.
    pub(super) size: u64,
    /// Time of the last modification, in seconds since 1970; negative before.
    pub(super) modified: i64,
    /// GNU's old sparse format: another block of the sparse map follows this one.
    pub(super) sparse_map_continues: bool,
    dialect: Dialect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    /// Before POSIX: no magic, no prefix.
    V7,
    Ustar,
    Gnu,
}

impl Header {
    pub(super) fn parse(block: &Block) -> Result<Self, ArchiveErrorKind> {
        check_sum(block)?;
        let prefix = string(&block[345..500]);
        let dialect = match &block[257..265] {
            b"ustar\x0000" => Dialect::Ustar,
            b"ustar  \0" => Dialect::Gnu,
            // GNU tar reads the prefix of a version that it does not know; other readers do not.
            magic if magic.starts_with(b"ustar") && !prefix.is_empty() => {
                return Err(ArchiveErrorKind::Dialect);
            }
            _ => Dialect::V7,
        };
        let name = string(&block[..100]);
        // Where ustar has the prefix, GNU's format has other fields.
        let name = if dialect == Dialect::Ustar && !prefix.is_empty() {
            [prefix, b"/", name].concat()
        } else {
            name.to_vec()
        };
        let size = number(&block[124..136]).and_then(|size| u64::try_from(size).ok());
        Ok(Self {
            name,
            link_name: string(&block[157..257]).to_vec(),
            kind: block[156],
            size: size.ok_or(ArchiveErrorKind::Number("size"))?,
            modified: number(&block[136..148]).ok_or(ArchiveErrorKind::Number("mtime"))?,
            sparse_map_continues: block[482] != 0,
            dialect,
        })
    }

    /// Whether a sparse member has its map where GNU tar puts it.
    pub(super) fn is_gnu(&self) -> bool {
        self.dialect == Dialect::Gnu
    }
}

/// POSIX: "the simple sum of all octets in the header logical record \[with\] the chksum field … as
/// if it were filled with \<space\> characters". Old tars summed signed bytes, and all readers
/// accept either sum.
fn check_sum(block: &Block) -> Result<(), ArchiveErrorKind> {
    let (mut unsigned, mut signed) = (0_i64, 0_i64);
    for (at, byte) in block.iter().enumerate() {
        let byte = if (148..156).contains(&at) { b' ' } else { *byte };
        unsigned += i64::from(byte);
        signed += i64::from(i8::from_ne_bytes([byte]));
    }
    match number(&block[148..156]) {
        Some(sum) if sum == unsigned || sum == signed => Ok(()),
        _ => Err(ArchiveErrorKind::Checksum),
    }
}

/// The field up to its first NUL, or all of it.
fn string(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// A number: octal digits, with spaces before and spaces or NULs after them; only NULs, which is 0;
/// or GNU's base 256, whose first byte is 0x80, or 0xFF before a negative number.
fn number(field: &[u8]) -> Option<i64> {
    match field {
        [0x80, rest @ ..] => base_256(rest, 0),
        [0xff, rest @ ..] => base_256(rest, -1),
        _ if field.iter().all(|byte| *byte == 0) => Some(0),
        _ => {
            let begin = field.iter().position(|byte| *byte != b' ')?;
            let digits = &field[begin..];
            let end =
                digits.iter().position(|b| !(b'0'..=b'7').contains(b)).unwrap_or(digits.len());
            let (digits, behind) = digits.split_at(end);
            if digits.is_empty() || behind.iter().any(|byte| !matches!(byte, b' ' | 0)) {
                return None;
            }
            // Twelve octal digits have 36 bits.
            Some(digits.iter().fold(0, |sum, digit| sum * 8 + i64::from(digit - b'0')))
        }
    }
}

/// Two's complement, most significant byte first; `None` when it takes more than 64 bits.
fn base_256(bytes: &[u8], sign: i64) -> Option<i64> {
    bytes.iter().try_fold(sign, |sum, byte| {
        let shifted = sum.checked_mul(256)?;
        Some(shifted | i64::from(*byte))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tar number field is read in octal and in base 256.
    #[test]
    fn tar_number_parses_octal_and_base_256() {
        for (field, value) in [
            (&b"00000000017\0"[..], 15),
            (b"00000000017 ", 15),
            (b"     17 \0", 15),
            (b"777777777777", 0o777_777_777_777),
            (b"\0\0\0\0\0\0\0\0", 0),
            (b"0", 0),
            (b"\x80\0\0\0\0\0\0\0\0\0\x01\0", 256),
            (b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", i64::MAX),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", -1),
            (b"\xff\xff\xff\xff\x80\0\0\0\0\0\0\0", i64::MIN),
        ] {
            assert_eq!(number(field), Some(value), "{field:x?}");
        }
    }

    /// A tar number field with garbage, signs or overflow is no number.
    #[test]
    fn tar_number_rejects_garbage_and_overflow() {
        for field in [
            &b"            "[..],
            b"8\0\0\0",
            b"12a\0",
            b"12 34\0",
            b"12\x0034\0",
            b"\x0012\0",
            b"-12\0",
            b"+AAA\0",
            b"0x12\0",
            b"\x81\0\0\0",
            b"\xfe\0\0\0",
            b"\x80\0\0\0\x80\0\0\0\0\0\0\0",
            b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\xff\xff\xff\xff\x7f\xff\xff\xff\xff\xff\xff\xff",
        ] {
            assert_eq!(number(field), None, "{field:x?}");
        }
    }
}

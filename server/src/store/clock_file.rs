//! The bytes of `STORE/clock` (STORE, "Instants").

use zput_proto::digest::Digest;

/// What the file `clock` says, and how it is written.
///
/// ```text
/// magic[8] || last[8] || reserved[8] || boot[16] || spare[8] || check[16]
/// ```
///
/// Numbers are big-endian, and `check` is the beginning of BLAKE3-256 of what is before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockFile {
    /// The newest instant that was given; 0 before the first.
    pub last: u64,
    /// No instant above this one was given.
    pub reserved: u64,
    /// The boot id of the machine at the last write.
    pub boot: [u8; 16],
}

impl ClockFile {
    /// Bytes of the file.
    pub const BYTES: usize = 64;

    /// Parses a whole file; `None` where a store did not write it like this.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::BYTES] = bytes.try_into().ok()?;
        let (checked, check) = bytes.split_at(CHECKED_BYTES);
        if !checked.starts_with(&MAGIC) || check != check_of(checked) {
            return None;
        }
        let (_, fields) = checked.split_at(MAGIC.len());
        let (last, fields) = fields.split_first_chunk()?;
        let (reserved, fields) = fields.split_first_chunk()?;
        let (boot, spare) = fields.split_first_chunk()?;
        let [last, reserved] = [last, reserved].map(|bytes| u64::from_be_bytes(*bytes));
        (spare == SPARE).then_some(Self { last, reserved, boot: *boot })
    }

    /// The bytes of the file.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let Self { last, reserved, boot } = self;
        let mut bytes = Vec::with_capacity(Self::BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&last.to_be_bytes());
        bytes.extend_from_slice(&reserved.to_be_bytes());
        bytes.extend_from_slice(boot);
        bytes.extend_from_slice(&SPARE);
        let check = check_of(&bytes);
        bytes.extend_from_slice(&check);
        let mut file = [0; Self::BYTES];
        file.copy_from_slice(&bytes);
        file
    }

    /// The instant above which the next one has to be, in the boot `boot`.
    ///
    /// What another boot wrote behind its last sync is not there any more after a power cut, so it
    /// may have given all that it had reserved.
    #[must_use]
    pub fn base(&self, boot: &[u8; 16]) -> u64 {
        if self.boot == *boot { self.last } else { self.last.max(self.reserved) }
    }
}

const MAGIC: [u8; 8] = *b"\x8Azputclk";
const SPARE: [u8; 8] = [0; 8];
const CHECKED_BYTES: usize = 48;

/// The check of the bytes before it.
fn check_of(checked: &[u8]) -> [u8; 16] {
    let mut check = [0; 16];
    check.copy_from_slice(&Digest::of(checked).as_bytes()[..16]);
    check
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file of the instants 1 and 2^64 - 2 and of the boot 00 to 0F; `check` by another BLAKE3.
    const GOLDEN: &str = "\
        8a7a707574636c6b 0000000000000001 fffffffffffffffe \
        000102030405060708090a0b0c0d0e0f 0000000000000000 d358fc8e5f9fb0f2aa30376510dc6047";

    fn golden() -> (ClockFile, Vec<u8>) {
        let boot = std::array::from_fn(|n| n as u8);
        let file = ClockFile { last: 1, reserved: u64::MAX - 1, boot };
        (file, hex::decode(GOLDEN.replace(' ', "")).unwrap())
    }

    /// ClockFile has the documented bytes.
    #[test]
    fn clock_file_has_documented_bytes() {
        let (file, bytes) = golden();
        assert_eq!(file.encode()[..], bytes);
        assert_eq!(ClockFile::parse(&bytes), Some(file));
    }

    /// ClockFile with any byte changed, or of another length, is damaged.
    #[test]
    fn clock_file_detects_every_changed_byte() {
        let (_, bytes) = golden();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                assert_eq!(ClockFile::parse(&changed), None, "byte {at}, bit {bit}");
            }
            assert_eq!(ClockFile::parse(&bytes[..at]), None, "{at} bytes");
        }
        assert_eq!(ClockFile::parse(&[&bytes[..], &[0]].concat()), None);
        assert_eq!(ClockFile::parse(&[0; 64]), None);
    }

    /// What a power cut may have taken counts as given.
    #[test]
    fn clock_file_base_after_other_boot_is_reserved() {
        let file = ClockFile { last: 10, reserved: 20, boot: [1; 16] };
        assert_eq!(file.base(&[1; 16]), 10);
        assert_eq!(file.base(&[2; 16]), 20);
        let file = ClockFile { last: 30, ..file };
        assert_eq!((file.base(&[1; 16]), file.base(&[2; 16])), (30, 30));
    }
}

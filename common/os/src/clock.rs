//! The clock, passed in as an argument.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::{SystemTime, UNIX_EPOCH},
};

/// Where the kernel tells its boot id: a random UUID that each boot makes anew (random(4)).
const BOOT_ID_FILE: &str = "/proc/sys/kernel/random/boot_id";

/// Tells the time in nanoseconds since 1970, and which boot of the machine it is. The clock may
/// stand still or go backwards; version numbers increase regardless.
#[derive(Clone)]
pub struct Clock {
    now: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// `None`: the kernel's.
    boot: Option<[u8; 16]>,
}

impl Clock {
    /// The system's clock. It reads 0 before 1970.
    #[must_use]
    pub fn system() -> Self {
        Self::new(|| {
            let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX)
        })
    }

    /// A clock that calls `now` for the nanoseconds since 1970.
    pub fn new(now: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self { now: Arc::new(now), boot: None }
    }

    /// The same clock in another boot of the machine, for a test of what a power cut leaves.
    #[must_use]
    pub fn with_boot_id(self, boot: [u8; 16]) -> Self {
        Self { boot: Some(boot), ..self }
    }

    /// The time in nanoseconds since 1970.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        (self.now)()
    }

    /// The boot id: another one after each boot. `None` where the kernel does not tell it, as
    /// without /proc. It is read once, by the first caller in the process.
    #[must_use]
    pub fn boot_id(&self) -> Option<[u8; 16]> {
        static KERNELS: OnceLock<Option<[u8; 16]>> = OnceLock::new();
        self.boot.or_else(|| *KERNELS.get_or_init(|| parse(&std::fs::read(BOOT_ID_FILE).ok()?)))
    }
}

/// The 16 bytes of a UUID in its usual spelling; dashes and white space are left out.
fn parse(text: &[u8]) -> Option<[u8; 16]> {
    let is_digit = |byte: &&u8| **byte != b'-' && !byte.is_ascii_whitespace();
    let digits: Option<Vec<u8>> = text
        .iter()
        .filter(is_digit)
        .map(|byte| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect();
    let digits = digits.filter(|digits| digits.len() == 32)?;
    let bytes: Vec<u8> =
        digits.chunks(2).map(|pair| pair.iter().fold(0, |n, d| n << 4 | d)).collect();
    bytes.try_into().ok()
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A boot id is the bytes of the kernel's UUID, and nothing else is one.
    #[test]
    fn clock_boot_id_is_kernels_uuid() {
        let bytes = [
            0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54,
            0x32, 0x10,
        ];
        assert_eq!(parse(b"01234567-89ab-cdef-fedc-ba9876543210\n"), Some(bytes));
        for text in
            ["", "01234567-89ab-cdef-fedc-ba987654321", "x1234567-89ab-cdef-fedc-ba9876543210"]
        {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
        let clock = Clock::system();
        assert_eq!(clock.boot_id(), Clock::new(|| 7).boot_id());
        assert_eq!(clock.with_boot_id([9; 16]).boot_id(), Some([9; 16]));
    }
}

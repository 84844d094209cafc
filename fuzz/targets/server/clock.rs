//! The file of a store's newest instant: what is read is written again byte by byte, and what
//! another boot has written never makes the next instant a lesser one.

use zput_server::store::ClockFile;

pub(crate) fn run(input: &[u8]) {
    if let Some(file) = ClockFile::parse(input) {
        assert_eq!(file.encode()[..], *input);
        let other = file.boot.map(|byte| !byte);
        assert_eq!(file.base(&file.boot), file.last);
        assert_eq!(file.base(&other), file.last.max(file.reserved));
    }
    // A check that holds, which random bytes do not have.
    if let Some((last, rest)) = input.split_first_chunk()
        && let Some((reserved, rest)) = rest.split_first_chunk()
        && let Ok(boot) = rest.try_into()
    {
        let [last, reserved] = [last, reserved].map(|bytes| u64::from_be_bytes(*bytes));
        let file = ClockFile { last, reserved, boot };
        let bytes = file.encode();
        assert_eq!(ClockFile::parse(&bytes), Some(file));
        assert_eq!(ClockFile::parse(&bytes[..63]), None);
    }
}

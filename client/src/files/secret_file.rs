//! Reads files of secrets: with a size limit, and wiped from memory after use.

use std::{
    io::{self, Read},
    mem,
};

use zeroize::Zeroizing;

/// The text of `from`, which may be a pipe or a device; at most `max_bytes` bytes.
///
/// # Errors
/// [`io::ErrorKind::FileTooLarge`] beyond `max_bytes`, [`io::ErrorKind::InvalidData`] for what is
/// not UTF-8, and those of the file system.
pub fn read(from: impl Read, max_bytes: usize) -> io::Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(Vec::new());
    // Allocated at once, so that growing leaves no copy of the secret in memory.
    bytes.reserve_exact(max_bytes + 1);
    from.take(max_bytes as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > max_bytes {
        let text = format!("it has more than {max_bytes} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    // Editors and shells of other systems write a byte order mark.
    if bytes.starts_with(BYTE_ORDER_MARK_UTF8) {
        bytes.drain(..BYTE_ORDER_MARK_UTF8.len());
    }
    let is_utf16 = BYTE_ORDER_MARKS_UTF16.iter().any(|order| bytes.starts_with(order));
    match String::from_utf8(mem::take(&mut *bytes)) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(error) => {
            drop(Zeroizing::new(error.into_bytes()));
            let text = if is_utf16 { "it is UTF-16: save it as UTF-8" } else { "it is not UTF-8" };
            Err(io::Error::new(io::ErrorKind::InvalidData, text))
        }
    }
}

const BYTE_ORDER_MARK_UTF8: &[u8] = b"\xef\xbb\xbf";
const BYTE_ORDER_MARKS_UTF16: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];

#[cfg(test)]
mod tests {
    use super::*;

    /// A secret file is read up to its limit, and a longer or endless one is an error.
    #[test]
    fn secret_file_read_is_bounded() {
        assert_eq!(read(&b"abc"[..], 3).unwrap().as_str(), "abc");
        assert_eq!(read(&b""[..], 3).unwrap().as_str(), "");
        let error = read(&b"abcd"[..], 3).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(error.to_string(), "it has more than 3 bytes");
        // An endless input is not read to its end.
        let error = read(io::repeat(b'#'), 65_536).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(read(&b"\xff"[..], 3).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    /// A byte order mark is dropped from a secret file, and UTF-16 is an error that says so.
    #[test]
    fn secret_file_read_drops_bom_and_refuses_utf16() {
        assert_eq!(read(&b"\xef\xbb\xbfabc"[..], 6).unwrap().as_str(), "abc");
        let error = read(&b"\xff\xfea\0"[..], 6).unwrap_err();
        assert_eq!(error.to_string(), "it is UTF-16: save it as UTF-8");
    }
}

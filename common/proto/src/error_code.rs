//! The codes and texts that report a failure to the peer (PROTOCOL 7).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::limits::ERROR_TEXT_MAX_BYTES;

/// A failure as it is reported to the peer: a code and a short text.
/// Exhaustive, as a message is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteError {
    /// Number of an [`ErrorCode`], or one that this version does not know (PROTOCOL 7).
    pub code: u8,
    /// An explanation for a person. It repeats no secret and no path.
    pub text: String,
    /// The number that the code is about (PROTOCOL 7); 0 with codes that are about none.
    pub number: u64,
}

/// The codes of PROTOCOL 7. Exhaustive: a client has to decide what a caller can do about each. A
/// code of a newer server is `None` of [`from_u8`](Self::from_u8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ErrorCode {
    /// The peer broke the protocol or sent an object that breaks the format.
    Malformed = 1,
    /// Unknown device, scope missing, invite unknown, spent or expired.
    Denied = 2,
    /// No such object or version.
    NotFound = 3,
    /// A condition does not hold.
    Exists = 4,
    /// Disk full or quota reached.
    Full = 5,
    /// A limit is reached; try again.
    Busy = 6,
    /// A slice does not match its digest.
    Digest = 7,
    /// A section lies outside the object.
    Range = 8,
    /// The object is of the other kind.
    Kind = 9,
    /// No upload is open, or one is open already.
    State = 10,
    /// The server failed for a reason of its own.
    Internal = 11,
    /// The peers have no protocol version in common.
    Version = 12,
    /// The peers have no mode in common.
    Mode = 13,
    /// The store takes no writes until it has been verified.
    Suspect = 14,
    /// The current version has as high a generation, which is the number.
    Older = 15,
    /// The store cannot be written to: it is read-only, or the server may not.
    ReadOnly = 16,
    /// Something is stored and cannot be read: it is damaged, or the disk or its permissions fail.
    Unreadable = 17,
    /// The generation lies too far beyond the server's clock, which is the number.
    Ahead = 18,
}

impl RemoteError {
    /// A failure of this code; `text` loses its control characters and what is over
    /// [`ERROR_TEXT_MAX_BYTES`].
    #[must_use]
    pub fn new(code: ErrorCode, text: &str) -> Self {
        Self { code: code as u8, text: short_text(text), number: 0 }
    }

    /// The same failure, about this number.
    #[must_use]
    pub fn about(self, number: u64) -> Self {
        Self { number, ..self }
    }

    /// The code; `None` when this version does not know it.
    #[must_use]
    pub fn known(&self) -> Option<ErrorCode> {
        ErrorCode::from_u8(self.code)
    }
}

/// The peer wrote the text, so control characters are replaced before a terminal shows it.
impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.known() {
            Some(code) => write!(f, "{code:?}: {}", short_text(&self.text)),
            None => write!(f, "code {}: {}", self.code, short_text(&self.text)),
        }
    }
}

/// `text` with `?` for control characters, which makes none longer, cut to
/// [`ERROR_TEXT_MAX_BYTES`] at a character's end.
pub(crate) fn short_text(text: &str) -> String {
    let mut short = String::new();
    for c in text.chars() {
        let c = if c.is_control() { '?' } else { c };
        if short.len() + c.len_utf8() > ERROR_TEXT_MAX_BYTES {
            break;
        }
        short.push(c);
    }
    short
}

impl ErrorCode {
    const ALL: [Self; 18] = [
        Self::Malformed,
        Self::Denied,
        Self::NotFound,
        Self::Exists,
        Self::Full,
        Self::Busy,
        Self::Digest,
        Self::Range,
        Self::Kind,
        Self::State,
        Self::Internal,
        Self::Version,
        Self::Mode,
        Self::Suspect,
        Self::Older,
        Self::ReadOnly,
        Self::Unreadable,
        Self::Ahead,
    ];

    /// The code with this number.
    #[must_use]
    pub fn from_u8(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|code| *code as u8 == number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Error codes have the numbers of PROTOCOL 7; 0 and 19 are unknown.
    #[test]
    fn error_code_numbers_match_the_protocol() {
        assert_eq!(ErrorCode::from_u8(1), Some(ErrorCode::Malformed));
        assert_eq!(ErrorCode::from_u8(7), Some(ErrorCode::Digest));
        assert_eq!(ErrorCode::from_u8(13), Some(ErrorCode::Mode));
        assert_eq!(ErrorCode::from_u8(14), Some(ErrorCode::Suspect));
        assert_eq!(ErrorCode::from_u8(0), None);
        assert_eq!(ErrorCode::from_u8(15), Some(ErrorCode::Older));
        assert_eq!(ErrorCode::from_u8(16), Some(ErrorCode::ReadOnly));
        assert_eq!(ErrorCode::from_u8(17), Some(ErrorCode::Unreadable));
        assert_eq!(ErrorCode::from_u8(18), Some(ErrorCode::Ahead));
        assert_eq!(ErrorCode::from_u8(19), None);
    }

    /// The text of a remote error is cut to 256 bytes and its control characters become a ?.
    #[test]
    fn remote_error_text_is_truncated_and_sanitized() {
        let error = RemoteError::new(ErrorCode::Full, &"x\u{1b}ä".repeat(100));
        assert_eq!(error.text.len(), 256);
        assert!(error.text.starts_with("x?äx?ä"));
        let foreign = RemoteError { code: 99, text: "a\nb".into(), number: 0 };
        assert_eq!(foreign.to_string(), "code 99: a?b");
    }
}

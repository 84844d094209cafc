//! The bounds that the values of a message keep, whichever side sends it.

use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;

use crate::{
    hello::{CLIENT_HELLO_MAX_BYTES, SERVER_HELLO_MAX_BYTES},
    limits::{
        CLAIM_MAX_SLICES, CURSOR_MAX_BYTES, ERROR_TEXT_MAX_BYTES, HEADER_MAX_BYTES,
        LABEL_MAX_BYTES, PAGE_MAX_ENTRIES, SECTIONS_MAX, SLICE_MAX_BYTES,
    },
};

/// A message as a frame carries it.
pub trait Message: Serialize + DeserializeOwned {
    /// Checks the values against the bounds of PROTOCOL 5, 6 and 9, before sending and after
    /// receiving.
    ///
    /// # Errors
    /// Says which bound does not hold.
    fn check(&self) -> Result<(), OutOfBounds>;

    /// The number of raw bytes that follow the message's frame on the stream.
    fn announces(&self) -> u64;
}

/// A value that no message may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OutOfBounds {
    /// There are more sections than [`SECTIONS_MAX`].
    #[error("a request has at most {SECTIONS_MAX} sections, this one has {0}")]
    Sections(usize),
    /// The label is longer than [`LABEL_MAX_BYTES`], or has control characters.
    #[error("a label has at most {LABEL_MAX_BYTES} bytes and no control characters")]
    Label,
    /// The cursor is longer than [`CURSOR_MAX_BYTES`].
    #[error("a cursor has at most {CURSOR_MAX_BYTES} bytes, this one has {0}")]
    Cursor(usize),
    /// The limit of the page is 0.
    #[error("the limit of a page is at least 1")]
    PageLimit,
    /// The page has more entries than [`PAGE_MAX_ENTRIES`].
    #[error("a page has at most {PAGE_MAX_ENTRIES} entries, this one has {0}")]
    Page(usize),
    /// The slice is empty, or longer than [`SLICE_MAX_BYTES`].
    #[error("a slice has 1 to {SLICE_MAX_BYTES} bytes, this one has {0}")]
    Slice(u32),
    /// The claim has no slices, or more than [`CLAIM_MAX_SLICES`].
    #[error("a claim has 1 to {CLAIM_MAX_SLICES} slices, this one has {0}")]
    Claim(usize),
    /// The upload of a sealed object has no header, or that of a plain one has one.
    #[error("an upload begins with a header where the object is sealed, and only there")]
    HeaderMisplaced,
    /// The header is longer than [`HEADER_MAX_BYTES`].
    #[error("a header has at most {HEADER_MAX_BYTES} bytes, this one has {0}")]
    Header(usize),
    /// The text of the error is longer than [`ERROR_TEXT_MAX_BYTES`].
    #[error("an error's text has at most {ERROR_TEXT_MAX_BYTES} bytes, this one has {0}")]
    ErrorText(usize),
    /// A length of a version is more than it can be, or is not 0 where the version is plain or
    /// corrupt (docs/next/PROTOCOL 6).
    #[error("a version has a length that it cannot have")]
    Lengths,
    /// A plain or corrupt version has a head (docs/next/PROTOCOL 6).
    #[error("a version that is plain or corrupt has a header and a tail")]
    HeadMisplaced,
    /// The error of this code is about something else than its code is (docs/next/PROTOCOL 7).
    #[error("an error of code {0} is about what no such error is about")]
    About(u8),
    /// An echoed hello is longer than any hello.
    #[error("an echoed hello is longer than any hello")]
    Echo,
}

pub(super) fn is_slice(length: u32) -> bool {
    (1..=SLICE_MAX_BYTES).contains(&length)
}

pub(super) fn check_echo(client: &[u8], server: &[u8]) -> Result<(), OutOfBounds> {
    if client.len() > CLIENT_HELLO_MAX_BYTES || server.len() > SERVER_HELLO_MAX_BYTES {
        return Err(OutOfBounds::Echo);
    }
    Ok(())
}

pub(super) fn check_cursor(cursor: Option<&[u8]>) -> Result<(), OutOfBounds> {
    match cursor {
        Some(bytes) if bytes.len() > CURSOR_MAX_BYTES => Err(OutOfBounds::Cursor(bytes.len())),
        _ => Ok(()),
    }
}

pub(super) fn check_header(header: Option<&[u8]>) -> Result<(), OutOfBounds> {
    match header {
        Some(bytes) if bytes.len() > HEADER_MAX_BYTES => Err(OutOfBounds::Header(bytes.len())),
        _ => Ok(()),
    }
}

pub(super) fn check_page(entries: usize) -> Result<(), OutOfBounds> {
    if entries > PAGE_MAX_ENTRIES as usize {
        return Err(OutOfBounds::Page(entries));
    }
    Ok(())
}

//! What frames either hello: magic and length before it, extensions at its end.

use super::extensions::Extensions;
use crate::{
    cursor::Cursor,
    hello::{HelloError, HelloReader},
};

/// The version of the protocol whose hellos these are.
pub const VERSION: u8 = 2;
/// First bytes of a client hello.
pub const CLIENT_MAGIC: [u8; 8] = *b"zput/c2\n";
/// First bytes of a server hello.
pub const SERVER_MAGIC: [u8; 8] = *b"zput/s2\n";
/// Longest client hello: "9 plus the length of the extensions, at most 1,024".
pub const CLIENT_HELLO_MAX_BYTES: usize = PREFIX_BYTES + 1024;
/// Longest server hello: "24 plus the lengths of reason and extensions, at most 2,048".
pub const SERVER_HELLO_MAX_BYTES: usize = PREFIX_BYTES + 2048;

pub(super) const PREFIX_BYTES: usize = 10;
const CLIENT_FIELDS_BYTES: usize = 9;
const SERVER_FIELDS_BYTES: usize = 24;

/// Collects a client's hello from a stream.
#[must_use]
pub fn client_reader() -> HelloReader {
    let lengths = CLIENT_FIELDS_BYTES..=CLIENT_HELLO_MAX_BYTES - PREFIX_BYTES;
    HelloReader::new(CLIENT_MAGIC, lengths)
}

/// Collects a server's hello from a stream.
#[must_use]
pub fn server_reader() -> HelloReader {
    let lengths = SERVER_FIELDS_BYTES..=SERVER_HELLO_MAX_BYTES - PREFIX_BYTES;
    HelloReader::new(SERVER_MAGIC, lengths)
}

/// Magic, length, `fields` and extensions: a hello of at most `most` bytes.
pub(super) fn whole(
    magic: [u8; 8],
    mut fields: Vec<u8>,
    extensions: &Extensions,
    most: usize,
) -> Result<Vec<u8>, HelloError> {
    let extensions = extensions.as_bytes();
    let length = fields.len() + 2 + extensions.len();
    if PREFIX_BYTES + length > most {
        return Err(HelloError::Length(length));
    }
    fields.extend((extensions.len() as u16).to_be_bytes());
    fields.extend(extensions);
    Ok([&magic[..], &(length as u16).to_be_bytes(), &fields].concat())
}

/// What follows the magic and the length, at most `most` bytes.
pub(super) fn fields(bytes: &[u8], magic: [u8; 8], most: usize) -> Result<Cursor<'_>, HelloError> {
    let mut cursor = Cursor::new(bytes);
    if cursor.array().ok_or(HelloError::Length(bytes.len()))? != magic {
        return Err(HelloError::Magic);
    }
    let length = usize::from(cursor.u16().ok_or(HelloError::Length(cursor.rest().len()))?);
    if length != cursor.rest().len() || length > most {
        return Err(HelloError::Length(length));
    }
    // What is read is the rest alone, so that its end is the end.
    Ok(Cursor::new(cursor.rest()))
}

/// The extensions at the end of a hello, which has nothing behind them; else the error `length`.
pub(super) fn extensions(
    cursor: &mut Cursor<'_>,
    length: HelloError,
) -> Result<Extensions, HelloError> {
    let extensions_length = cursor.u16().ok_or(length)?;
    let extensions = cursor.take(extensions_length.into()).ok_or(length)?;
    if !cursor.is_at_end() {
        return Err(length);
    }
    Extensions::parse(extensions)
}

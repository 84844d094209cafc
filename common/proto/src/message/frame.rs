//! Frames (PROTOCOL 3): a length, then one message in postcard.

use thiserror::Error;

use super::bounds::{Message, OutOfBounds};
use crate::limits::FRAME_MAX_BYTES;

/// Bytes of a frame's length.
pub const LENGTH_BYTES: usize = 4;

/// Encodes `message` as a frame with a body of at most `max_body` bytes.
///
/// # Errors
/// When the message breaks a bound or does not fit.
pub fn encode<M: Message>(message: &M, max_body: usize) -> Result<Vec<u8>, FrameError> {
    message.check()?;
    let mut frame = postcard::to_extend(message, vec![0; LENGTH_BYTES])?;
    let length = frame.len() - LENGTH_BYTES;
    if length > max_body.min(FRAME_MAX_BYTES) {
        return Err(FrameError::Length(length));
    }
    frame[..LENGTH_BYTES].copy_from_slice(&(length as u32).to_be_bytes());
    Ok(frame)
}

/// Decodes the message in a frame's body. PROTOCOL 3: "A body with bytes left over is refused."
///
/// # Errors
/// When the body is no message of this protocol, or breaks a bound.
pub fn decode<M: Message>(body: &[u8]) -> Result<M, FrameError> {
    let (message, rest) = postcard::take_from_bytes::<M>(body)?;
    if !rest.is_empty() {
        return Err(FrameError::LeftOver(rest.len()));
    }
    message.check()?;
    Ok(message)
}

/// Why bytes are not a frame of this protocol, or a message does not become one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The body is empty, or longer than the receiver accepts.
    #[error("a frame cannot have a body of {0} bytes")]
    Length(usize),
    /// The body does not encode a known message.
    #[error("a frame holds no message of this protocol")]
    Encoding(#[from] postcard::Error),
    /// The body has bytes after the message.
    #[error("{0} bytes are left over behind a frame's message")]
    LeftOver(usize),
    /// The message has a value that it may not have.
    #[error(transparent)]
    OutOfBounds(#[from] OutOfBounds),
}

/// Collects frames from a stream, one at a time, and takes no byte beyond the frame.
#[derive(Debug)]
pub struct FrameReader {
    /// A frame that is not whole yet: its length, and the bytes of its body so far. At most
    /// `LENGTH_BYTES + max_body`; nothing between frames.
    partial: Vec<u8>,
    max_body: usize,
}

impl FrameReader {
    /// A reader of frames with bodies of at most `max_body` bytes, and never more than
    /// [`FRAME_MAX_BYTES`].
    #[must_use]
    pub fn new(max_body: usize) -> Self {
        Self { partial: Vec::new(), max_body: max_body.min(FRAME_MAX_BYTES) }
    }

    /// Whether the stream is between two frames.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.partial.is_empty()
    }

    /// Takes the bytes of the frame from `input`, and returns its message once it is whole.
    ///
    /// # Errors
    /// As [`decode`]; also when the frame's length is over the bound, before its body is read.
    pub fn read<M: Message>(&mut self, input: &mut &[u8]) -> Result<Option<M>, FrameError> {
        if self.partial.is_empty()
            && let Some((length, rest)) = input.split_first_chunk::<LENGTH_BYTES>()
            && let Some((body, rest)) = rest.split_at_checked(self.body_length(*length)?)
        {
            *input = rest;
            return decode(body).map(Some);
        }
        loop {
            let whole = match self.partial.first_chunk::<LENGTH_BYTES>() {
                Some(length) => LENGTH_BYTES + self.body_length(*length)?,
                None => LENGTH_BYTES,
            };
            let missing = whole - self.partial.len();
            if missing == 0 {
                return decode(&std::mem::take(&mut self.partial)[LENGTH_BYTES..]).map(Some);
            }
            if input.is_empty() {
                return Ok(None);
            }
            let (taken, rest) = input.split_at(missing.min(input.len()));
            self.hold(taken, whole);
            *input = rest;
        }
    }

    fn body_length(&self, length: [u8; LENGTH_BYTES]) -> Result<usize, FrameError> {
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length == 0 || length > self.max_body {
            return Err(FrameError::Length(length));
        }
        Ok(length)
    }

    /// The buffer grows with the bytes received, not with the length announced, and never beyond
    /// the frame.
    fn hold(&mut self, bytes: &[u8], whole: usize) {
        let needed = self.partial.len() + bytes.len();
        if needed > self.partial.capacity() {
            let goal = needed.max(2 * self.partial.len()).min(whole);
            self.partial.reserve_exact(goal - self.partial.len());
        }
        self.partial.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Request;

    /// A frame is a 4-byte length and a body; its reader stops at the end of it.
    #[test]
    fn frame_is_a_length_and_a_body() {
        assert_eq!(encode(&Request::Ping, 1).unwrap(), [0, 0, 0, 1, 1]);
        let mut reader = FrameReader::new(FRAME_MAX_BYTES);
        let mut input = &[0, 0, 0, 1, 9, 0xff][..];
        assert_eq!(reader.read(&mut input), Ok(Some(Request::Commit)));
        assert_eq!(input, [0xff]);
    }

    /// The frame reader refuses a length of 0 or over 131,072 without a byte of the body.
    #[test]
    fn frame_reader_refuses_length_before_the_body() {
        let read =
            |bytes: &[u8]| FrameReader::new(FRAME_MAX_BYTES).read::<Request>(&mut &bytes[..]);
        assert_eq!(read(&[0, 0, 0, 0]), Err(FrameError::Length(0)));
        assert_eq!(read(&[0, 2, 0, 1]), Err(FrameError::Length(131_073)));
        assert_eq!(read(&[0, 2, 0, 0]), Ok(None));
        assert_eq!(read(&[0xff; 4]), Err(FrameError::Length(0xffff_ffff)));
    }

    /// Decoding refuses a body with bytes after the message.
    #[test]
    fn frame_decode_refuses_left_over_bytes() {
        assert_eq!(decode::<Request>(&[1, 0]), Err(FrameError::LeftOver(1)));
    }

    /// The frame reader allocates memory as bytes arrive, not for the announced length.
    #[test]
    fn frame_reader_allocates_only_as_bytes_arrive() {
        let mut reader = FrameReader::new(FRAME_MAX_BYTES);
        assert_eq!(reader.read::<Request>(&mut &[0, 2, 0, 0, 1][..]), Ok(None));
        assert!(reader.partial.capacity() < 64);
        for _ in 0..131_070 {
            assert_eq!(reader.read::<Request>(&mut &[0][..]), Ok(None));
        }
        assert!(reader.partial.capacity() <= 131_076);
        assert_eq!(reader.read::<Request>(&mut &[0][..]), Err(FrameError::LeftOver(131_071)));
        assert_eq!(reader.partial.capacity(), 0);
    }

    /// Encoding refuses a message whose body is longer than the receiver takes.
    #[test]
    fn frame_encode_refuses_body_over_the_receivers_limit() {
        let join = Request::Join { secret: [1; 32], label: "laptop".into() };
        assert_eq!(encode(&join, 39), Err(FrameError::Length(40)));
        assert_eq!(encode(&join, 40).map(|frame| frame.len()), Ok(44));
    }
}

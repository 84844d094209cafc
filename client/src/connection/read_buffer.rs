//! What came and is not taken yet: control bytes, and the payload that came in with them.

use rustix::io::Errno;

use super::stream::Stream;

/// Control bytes that are read at once. Payload that comes in with them is copied once.
const CONTROL_READ_BYTES: usize = 16 * 1024;

/// Bytes that came, and how many of them were taken.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    bytes: Vec<u8>,
    taken: usize,
}

impl Incoming {
    /// Receives bytes in place of those that were there; 0 at the stream's end.
    pub(super) fn fill(&mut self, stream: &Stream) -> Result<usize, Errno> {
        self.bytes.resize(CONTROL_READ_BYTES, 0);
        self.taken = 0;
        let received = stream.receive(&mut self.bytes);
        self.bytes.truncate(received.unwrap_or(0));
        received
    }

    /// What was not taken yet.
    pub(super) fn rest(&self) -> &[u8] {
        self.bytes.get(self.taken..).unwrap_or_default()
    }

    /// Whether all of it was taken.
    pub(super) fn is_empty(&self) -> bool {
        self.taken == self.bytes.len()
    }

    /// `count` bytes of the rest were taken.
    pub(super) fn advance(&mut self, count: usize) {
        self.taken += count;
    }
}

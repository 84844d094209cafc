//! The read buffer: control bytes, and payload that came with them.

use rustix::io::Errno;

use super::socket::Socket;

/// Bytes that are read at once for control messages. Payload among them is copied once.
const CONTROL_READ_BYTES: usize = 16 * 1024;

/// Received bytes, and how many of them were consumed.
#[derive(Debug, Default)]
pub(super) struct ReadBuffer {
    bytes: Vec<u8>,
    taken: usize,
}

impl ReadBuffer {
    /// Replaces the contents by newly received bytes; returns their number, 0 at the end of the
    /// stream.
    pub(super) fn fill(&mut self, socket: &Socket) -> Result<usize, Errno> {
        self.bytes.resize(CONTROL_READ_BYTES, 0);
        self.taken = 0;
        let received = socket.receive(&mut self.bytes);
        self.bytes.truncate(received.unwrap_or(0));
        received
    }

    /// The bytes that were not consumed yet.
    pub(super) fn rest(&self) -> &[u8] {
        self.bytes.get(self.taken..).unwrap_or_default()
    }

    /// Whether everything was consumed.
    pub(super) fn is_empty(&self) -> bool {
        self.taken == self.bytes.len()
    }

    /// Marks `count` more bytes as consumed.
    pub(super) fn advance(&mut self, count: usize) {
        self.taken += count;
    }
}

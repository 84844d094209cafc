//! Buffers for received bytes of uploads: a bounded number for each worker.
//!
//! A buffer travels from the worker to the pool and back. A parked connection holds one only while
//! its job is running, so a connection that waits for a buffer waits for the disk and never for a
//! slow peer.

use tracing::warn;

use crate::sys::memory;

/// Bytes of one buffer: large enough that hashing and writing it cost more than handing it over,
/// small enough for a core's second-level cache.
pub(crate) const BUFFER_BYTES: usize = 256 * 1024;

/// Maximum buffers of one connection: one being filled, and those that wait for the pool.
pub(crate) const BUFFERS_PER_CONNECTION: usize = 4;

/// Bytes of memory that must be free besides before another buffer is allocated.
const SLACK_BYTES: usize = 4 * 1024 * 1024;

/// Received bytes of a slice, in order.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Box<[u8]>,
    filled: usize,
}

impl Buffer {
    fn new() -> Self {
        Self { bytes: vec![0; BUFFER_BYTES].into_boxed_slice(), filled: 0 }
    }

    /// The bytes received so far.
    pub(crate) fn filled(&self) -> &[u8] {
        self.bytes.get(..self.filled).unwrap_or_default()
    }

    /// Where the next bytes go: at most `most` of them.
    pub(crate) fn room(&mut self, most: u64) -> &mut [u8] {
        let free = self.bytes.len() - self.filled;
        let end = self.filled + usize::try_from(most).unwrap_or(free).min(free);
        self.bytes.get_mut(self.filled..end).unwrap_or_default()
    }

    /// Notes that `n` bytes were received into [`Self::room`].
    pub(crate) fn received(&mut self, n: usize) {
        self.filled = (self.filled + n).min(self.bytes.len());
    }

    /// Whether it has no bytes.
    pub(crate) const fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Whether it has no room left.
    pub(crate) fn is_full(&self) -> bool {
        self.filled == self.bytes.len()
    }
}

/// A worker's buffers: the free ones, and the number of all.
#[derive(Debug)]
pub(crate) struct Buffers {
    free: Vec<Buffer>,
    made: usize,
    most: usize,
}

impl Buffers {
    /// Without buffers yet; at most `most` are ever allocated.
    pub(crate) const fn new(most: usize) -> Self {
        Self { free: Vec::new(), made: 0, most }
    }

    /// An empty buffer, unless all are in use or memory is too short for another one.
    pub(crate) fn take(&mut self) -> Option<Buffer> {
        if let Some(buffer) = self.free.pop() {
            return Some(buffer);
        }
        if self.made == self.most {
            return None;
        }
        // Uploads then wait for the buffers that exist; the rest of the memory is for small
        // allocations.
        if self.made > 0 && !memory::has_room(SLACK_BYTES) {
            warn!(
                buffers = self.made,
                "out of memory: no further upload buffers, uploads wait for these"
            );
            self.most = self.made;
            return None;
        }
        self.made += 1;
        Some(Buffer::new())
    }

    /// Gives a buffer back. Its contents are discarded.
    pub(crate) fn give(&mut self, mut buffer: Buffer) {
        buffer.filled = 0;
        self.free.push(buffer);
    }

    /// Notes that `n` buffers will never be given back, so that others may be allocated for them.
    pub(crate) const fn lost(&mut self, n: usize) {
        self.made = self.made.saturating_sub(n);
    }

    /// Number of buffers in use.
    pub(crate) const fn in_use(&self) -> usize {
        self.made - self.free.len()
    }

    /// Whether [`Self::take`] would return a buffer.
    pub(crate) fn available(&self) -> bool {
        !self.free.is_empty() || self.made < self.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Buffers lends at most its bound, and a returned buffer is empty and available.
    #[test]
    fn buffers_never_exceed_bound() {
        let mut buffers = Buffers::new(2);
        let first = buffers.take().unwrap();
        let _second = buffers.take().unwrap();
        assert!(!buffers.available());
        assert!(buffers.take().is_none());
        buffers.give(first);
        assert!(buffers.available());
        assert!(buffers.take().unwrap().is_empty());
    }

    /// A buffer gives room up to its 262,144 bytes and none when it is full.
    #[test]
    fn buffer_fills_to_its_end_and_no_further() {
        let mut buffer = Buffer::new();
        assert_eq!(buffer.room(3).len(), 3);
        buffer.room(3).copy_from_slice(b"abc");
        buffer.received(3);
        assert_eq!(buffer.filled(), b"abc");
        assert_eq!(buffer.room(u64::MAX).len(), 262_141);
        buffer.received(262_141);
        assert!(buffer.is_full());
        assert!(buffer.room(1).is_empty());
    }
}

//! The write buffer: the session's output, gathered so that a small put is one packet.

use std::time::Instant;

use zput_proto::session::{ClientSession, Transmit};

/// Output is gathered up to this many bytes before it is written.
const GATHER_BYTES: usize = 64 * 1024;

/// The state of the session's output after gathering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gathered {
    /// The buffer holds all of it, or as much as is gathered at once.
    All,
    /// The caller's payload comes next.
    Payload,
}

/// Gathered bytes, and how many of them were written.
#[derive(Debug, Default)]
pub(super) struct WriteBuffer {
    bytes: Vec<u8>,
    written: usize,
}

impl WriteBuffer {
    /// Takes the session's output, up to a payload.
    pub(super) fn gather(&mut self, session: &mut ClientSession) -> Gathered {
        loop {
            if self.bytes.len() >= GATHER_BYTES {
                return Gathered::All;
            }
            match session.poll_transmit(Instant::now()) {
                Some(Transmit::Bytes(bytes)) if self.bytes.is_empty() => self.bytes = bytes,
                Some(Transmit::Bytes(bytes)) => self.bytes.extend_from_slice(&bytes),
                Some(Transmit::Payload(_)) => return Gathered::Payload,
                None => return Gathered::All,
            }
        }
    }

    /// Whether `more` bytes still fit.
    pub(super) fn has_room_for(&self, more: usize) -> bool {
        self.bytes.len() + more <= GATHER_BYTES
    }

    /// Appends payload, which was announced before.
    pub(super) fn append(&mut self, payload: &[u8]) {
        self.bytes.extend_from_slice(payload);
    }

    /// The bytes that were not written yet.
    pub(super) fn rest(&self) -> &[u8] {
        self.bytes.get(self.written..).unwrap_or_default()
    }

    /// Whether everything was written.
    pub(super) fn is_flushed(&self) -> bool {
        self.written == self.bytes.len()
    }

    /// Marks `count` more bytes as written.
    pub(super) fn advance(&mut self, count: usize) {
        self.written += count;
        if self.is_flushed() {
            self.bytes.clear();
            self.written = 0;
        }
    }
}

//! The control bytes that are being sent.

use std::time::Instant;

use zput_proto::session::{self, ServerSession};

use super::super::driver::Transmit;

/// Bytes that were taken from the session, and the number sent of them.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
}

impl Outgoing {
    /// Whether all were sent.
    pub(super) const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What is to be sent next, of these bytes or of what `session` has.
    pub(super) fn next(
        &mut self,
        session: &mut ServerSession,
        now: Instant,
    ) -> Option<Transmit<'_>> {
        if self.bytes.is_empty() {
            match session.poll_transmit(now)? {
                session::Transmit::Payload(_) => return Some(Transmit::Payload),
                session::Transmit::Bytes(bytes) => self.bytes = bytes,
            }
        }
        let bytes = self.bytes.get(self.sent..).unwrap_or_default();
        Some(Transmit::Bytes { bytes, more: session.payload_is_next() })
    }

    /// Notes that `n` of the bytes were sent. Frees their memory with the last one, because an idle
    /// connection needs none.
    pub(super) fn sent(&mut self, n: usize) {
        self.sent += n;
        if self.sent >= self.bytes.len() {
            *self = Self::default();
        }
    }
}

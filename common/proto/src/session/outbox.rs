//! The queue of outgoing bytes: control bytes, and raw payload that the caller holds.

use std::collections::VecDeque;

/// The next bytes of the outgoing stream. Exhaustive: a caller has to send each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transmit {
    /// Control bytes. The caller writes all of them before it polls again.
    Bytes(Vec<u8>),
    /// Number of raw bytes that the caller is to send. The payload is named again, with the number
    /// left, until all of it was reported as sent.
    Payload(u64),
}

/// The queue of outgoing bytes.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    queue: VecDeque<Transmit>,
    control_bytes: usize,
}

impl Outbox {
    /// Appends control bytes. Short neighbours are joined, so that one write sends them.
    pub(super) fn push(&mut self, bytes: Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        self.control_bytes += bytes.len();
        match self.queue.back_mut() {
            Some(Transmit::Bytes(last)) if last.len() + bytes.len() <= TOGETHER_MAX_BYTES => {
                last.extend_from_slice(&bytes);
            }
            _ => self.queue.push_back(Transmit::Bytes(bytes)),
        }
    }

    /// Appends `length` raw bytes that the caller will send.
    pub(super) fn push_payload(&mut self, length: u64) {
        if length > 0 {
            self.queue.push_back(Transmit::Payload(length));
        }
    }

    pub(super) fn next(&mut self) -> Option<Transmit> {
        if let Some(Transmit::Payload(left)) = self.queue.front() {
            return Some(Transmit::Payload(*left));
        }
        let next = self.queue.pop_front();
        if let Some(Transmit::Bytes(bytes)) = &next {
            self.control_bytes -= bytes.len();
        }
        self.shrink();
        next
    }

    /// Notes that `length` bytes of the payload in front were sent.
    pub(super) fn payload_sent(&mut self, length: u64) {
        if let Some(Transmit::Payload(left)) = self.queue.front_mut() {
            *left = left.saturating_sub(length);
            if *left == 0 {
                self.queue.pop_front();
                self.shrink();
            }
        }
    }

    /// Whether the next bytes are raw payload.
    pub(super) fn payload_is_next(&self) -> bool {
        matches!(self.queue.front(), Some(Transmit::Payload(_)))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Number of control bytes in the queue.
    pub(super) fn control_bytes(&self) -> usize {
        self.control_bytes
    }

    /// Frees an empty queue, so that an idle connection holds no memory for one.
    fn shrink(&mut self) {
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
    }
}

/// Longest run of control bytes that is copied together for one write.
const TOGETHER_MAX_BYTES: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    /// The outbox keeps control bytes and payload in order and names payload until it is sent.
    #[test]
    fn outbox_keeps_order_and_repeats_payload_until_sent() {
        let mut outbox = Outbox::default();
        outbox.push(vec![1]);
        outbox.push(vec![2]);
        outbox.push_payload(10);
        outbox.push(vec![3]);
        assert_eq!(outbox.control_bytes(), 3);
        assert!(!outbox.payload_is_next());
        assert_eq!(outbox.next(), Some(Transmit::Bytes(vec![1, 2])));
        assert!(outbox.payload_is_next());
        assert_eq!(outbox.next(), Some(Transmit::Payload(10)));
        outbox.payload_sent(4);
        assert_eq!(outbox.next(), Some(Transmit::Payload(6)));
        outbox.payload_sent(6);
        assert_eq!(outbox.next(), Some(Transmit::Bytes(vec![3])));
        assert!(outbox.is_empty());
        assert_eq!(outbox.control_bytes(), 0);
        assert_eq!(outbox.next(), None);
    }
}

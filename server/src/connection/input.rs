//! The receiving side of a connection, as its protocol may use it for one turn.

use std::io;

use super::{
    close::CloseReason,
    context::{Budget, NoBuffer},
    min_rate::RateMonitor,
};
use crate::{
    jobs::Append,
    metrics::WorkerMetrics,
    transfer::socket::{ReadySocket, Received},
};

/// Receives bytes: first those that were read before and not taken, then from the socket.
pub(crate) struct Input<'a> {
    socket: &'a mut ReadySocket,
    unread: &'a mut Vec<u8>,
    rate: &'a mut RateMonitor,
    budget: &'a mut Budget,
}

/// The result of an attempt to receive.
pub(crate) enum Filled {
    /// Bytes were received, or taken that were received before.
    Bytes,
    /// Nothing was received.
    Nothing,
    /// The peer has shut down its side.
    End,
    /// Received bytes are to be written.
    Append(Append),
    /// All buffers of the worker are in use, none of them by this connection.
    Starved(NoBuffer),
}

impl<'a> Input<'a> {
    pub(super) const fn new(
        socket: &'a mut ReadySocket,
        unread: &'a mut Vec<u8>,
        rate: &'a mut RateMonitor,
        budget: &'a mut Budget,
    ) -> Self {
        Self { socket, unread, rate, budget }
    }

    /// Whether the turn may go on.
    pub(super) const fn has_budget(&self) -> bool {
        self.budget.left() > 0
    }

    /// Reads once from the socket.
    pub(super) fn read(
        &mut self,
        room: &mut [u8],
        metrics: &WorkerMetrics,
    ) -> io::Result<Received> {
        let received = self.socket.read(room)?;
        if let Received::Bytes(n) = received {
            self.budget.spend(n);
            metrics.received(n as u64);
        }
        Ok(received)
    }

    /// Receives bytes of a payload.
    pub(super) fn payload(
        &mut self,
        room: &mut [u8],
        metrics: &WorkerMetrics,
    ) -> io::Result<Received> {
        let received = if self.unread.is_empty() {
            self.read(room, metrics)?
        } else {
            let n = room.len().min(self.unread.len());
            room[..n].copy_from_slice(&self.unread[..n]);
            self.forget(n, 0);
            self.budget.spend(n);
            Received::Bytes(n)
        };
        if let Received::Bytes(n) = received {
            self.rate.moved(n as u64);
        }
        Ok(received)
    }

    /// Receives control bytes, of which `handle` takes at least one. Of the memory for the others
    /// at most `kept` bytes stay.
    pub(super) fn control(
        &mut self,
        scratch: &mut [u8],
        kept: usize,
        metrics: &WorkerMetrics,
        handle: impl FnOnce(&[u8]) -> usize,
    ) -> Result<Filled, CloseReason> {
        if !self.unread.is_empty() {
            let taken = handle(self.unread);
            self.forget(taken, kept);
            return match taken {
                0 => Err(CloseReason::Stuck("bytes that the protocol does not take")),
                _ => Ok(Filled::Bytes),
            };
        }
        match self.read(scratch, metrics)? {
            Received::Blocked => Ok(Filled::Nothing),
            Received::End => Ok(Filled::End),
            Received::Bytes(n) => {
                let bytes = scratch.get(..n).unwrap_or_default();
                let taken = handle(bytes);
                self.unread.extend_from_slice(bytes.get(taken..).unwrap_or_default());
                Ok(Filled::Bytes)
            }
        }
    }

    /// Removes the first `n` unread bytes.
    fn forget(&mut self, n: usize, kept: usize) {
        self.unread.drain(..n);
        if self.unread.len() <= kept {
            self.unread.shrink_to(kept);
        }
    }
}

//! Where the result of a job goes, and the proof that it comes.
//!
//! A job is submitted with the id of the connection that needs it, and its result is sent to that
//! connection's worker. Every connection has at most one job under way. The queues have room for
//! one job of each connection, so they are never full for them. The same holds for the completions.

use tracing::warn;

use super::{
    completions::{Completion, Completions},
    device::Device,
    job::Done,
    slab::ConnectionId,
};

/// Proof that a job of this connection is under way and that its result will wake the connection.
#[derive(Debug)]
pub(crate) struct Ticket(());

impl Ticket {
    pub(super) const fn new() -> Self {
        Self(())
    }

    #[cfg(test)]
    pub(crate) const fn for_test() -> Self {
        Self(())
    }
}

/// Where to send the result of a job.
#[derive(Debug)]
pub(crate) struct ReplyTo {
    /// The worker that owns the connection.
    pub(crate) completions: Completions,
    /// The connection that waits for the result.
    pub(crate) connection: ConnectionId,
    /// The device of that connection.
    pub(crate) device: Device,
}

impl ReplyTo {
    pub(super) fn send(self, done: Done) {
        let Self { completions, connection, device } = self;
        if !completions.send(Completion { connection, device, done }) {
            warn!("a job ended after its worker");
        }
    }
}

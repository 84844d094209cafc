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

/// The answer that a job owes. Dropped unanswered, it answers that the job panicked: whatever way a
/// job is lost, its connection does not wait for ever.
#[derive(Debug)]
pub(super) struct Reply {
    to: Option<ReplyTo>,
    /// Number of buffers that are lost with the job.
    buffers: usize,
}

impl Reply {
    /// The answer of a job that holds so many buffers.
    pub(super) const fn new(to: ReplyTo, buffers: usize) -> Self {
        Self { to: Some(to), buffers }
    }

    /// Whether it goes to this connection of this worker.
    pub(super) fn is_to(&self, completions: &Completions, connection: ConnectionId) -> bool {
        self.to
            .as_ref()
            .is_some_and(|to| to.connection == connection && to.completions.is_same(completions))
    }

    pub(super) fn send(mut self, done: Done) {
        self.answer(done);
    }

    /// Sends nothing: the connection has ended.
    pub(super) fn forget(mut self) {
        self.to = None;
    }

    fn answer(&mut self, done: Done) {
        let Some(ReplyTo { completions, connection, device }) = self.to.take() else { return };
        if !completions.send(Completion { connection, device, done }) {
            warn!("a job ended after its worker");
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.answer(Done::Panicked { buffers: self.buffers });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::ReceivedCompletions;

    /// A job that is dropped unanswered, as in a panic, is answered with the buffers that it held.
    /// One whose connection has ended is not.
    #[test]
    fn reply_is_sent_when_job_is_dropped() {
        let (completions, received) = ReceivedCompletions::channel();
        let reply = |buffers| {
            let (completions, connection) = (completions.clone(), ConnectionId::for_test());
            Reply::new(ReplyTo { completions, connection, device: Device::Local }, buffers)
        };
        reply(1).forget();
        drop(reply(2));
        reply(3).send(Done::Finished);
        assert!(matches!(received.done(), Done::Panicked { buffers: 2 }));
        assert!(matches!(received.done(), Done::Finished));
        assert!(received.is_empty(), "it is answered twice");
    }
}

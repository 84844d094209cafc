//! A job on its way through a pool, with the address for its result.
//!
//! A job is submitted with the id of the connection that needs it, and its result is sent to that
//! connection's worker. Every connection has at most one job under way. The queues have room for
//! one job of each connection, so they are never full for them. The same holds for the completions.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tracing::warn;

use super::{
    completions::{Completion, Completions},
    device::Device,
    job::{Done, Job},
    pool::Work,
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
    fn send(self, done: Done) {
        let Self { completions, connection, device } = self;
        if !completions.send(Completion { connection, device, done }) {
            warn!("a job ended after its worker");
        }
    }
}

/// A job, with the address for its result; without one, nothing waits for it.
#[derive(Debug)]
pub(crate) struct Task {
    pub(super) job: Job,
    pub(super) reply: Option<ReplyTo>,
}

impl Work for Task {
    /// What nothing waits for is done whenever there is time. The answer to which a load belongs
    /// has begun and can only be cut off.
    fn is_refusable(&self) -> bool {
        self.reply.is_some() && !matches!(self.job, Job::Load(_))
    }

    fn run(self) {
        let Self { job, reply } = self;
        let buffers = job.buffers();
        // A job that panics must still send a result: its connection waits for nothing else. The
        // store's invariants live on disk, and what the job held in memory is dropped.
        let done =
            catch_unwind(AssertUnwindSafe(|| job.run())).unwrap_or(Done::Panicked { buffers });
        if let Some(reply) = reply {
            reply.send(done);
        }
    }

    fn refuse(self) -> Option<Self> {
        let Self { job, reply } = self;
        let Some(reply) = reply else { return Some(Self { job, reply }) };
        let (done, rest) = job.refuse();
        reply.send(done);
        rest.map(|job| Self { job, reply: None })
    }
}

//! The queue of jobs for a pool of threads that wait for the disk, so that the workers never do.
//!
//! A job is submitted with the id of the connection that needs it, and its result is sent to that
//! connection's worker. Every connection has at most one job under way. The queue has room for one
//! job of each connection, so it is never full for them. The same holds for the completions.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use tracing::warn;

use super::{
    completions::Completions,
    job::{Done, Job},
    pool::{Pool, PoolThreads, Size},
    slab::ConnectionId,
};
use crate::metrics::PoolMetrics;

/// Proof that a job of this connection is under way and that its result will wake the connection.
#[derive(Debug)]
pub(crate) struct Ticket(());

impl Ticket {
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
}

/// A job, with the address for its result.
#[derive(Debug)]
pub(crate) struct Task {
    job: Job,
    reply: Option<ReplyTo>,
}

/// Submits jobs to a pool.
#[derive(Clone, Debug)]
pub(crate) struct JobQueue(Pool<Task>);

impl JobQueue {
    /// Starts a pool; see [`Pool::start`].
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub(crate) fn start(
        size: Size,
        metrics: Arc<PoolMetrics>,
    ) -> io::Result<(Self, PoolThreads<Task>)> {
        let (pool, threads) = Pool::start(size, metrics, run)?;
        Ok((Self(pool), threads))
    }

    /// Submits a job.
    ///
    /// # Errors
    /// Returns the job when the queue is full.
    pub(crate) fn submit(&self, job: Job, reply: ReplyTo) -> Result<Ticket, Box<Job>> {
        match self.0.submit(Task { job, reply: Some(reply) }) {
            Ok(()) => Ok(Ticket(())),
            Err(task) => Err(Box::new(task.job)),
        }
    }

    /// Submits a job whose result nothing waits for: releasing what a closed connection held. With
    /// a full queue it runs on the calling thread, which is rare, and better than not releasing.
    pub(crate) fn discard(&self, job: Job) {
        if let Err(task) = self.0.submit(Task { job, reply: None }) {
            run(task);
        }
    }
}

fn run(Task { job, reply }: Task) {
    let buffers = job.buffers();
    // A job that panics must still send a result: its connection waits for nothing else. The
    // store's invariants live on disk, and what the job held in memory is dropped.
    let done = catch_unwind(AssertUnwindSafe(|| job.run())).unwrap_or(Done::Panicked { buffers });
    if let Some(ReplyTo { completions, connection }) = reply
        && !completions.send(connection, done)
    {
        warn!("a job ended after its worker");
    }
}

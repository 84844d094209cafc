//! A pool of threads that wait for the disk, so that the workers never do.
//!
//! A job is submitted with the id of the connection that needs it, and its result is sent to that
//! connection's worker. Every connection has at most one job under way. The queue has room for one
//! job of each connection, so it is never full for them. The same holds for the workers' inboxes.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use tracing::warn;

use super::{
    ConnectionId, Done, Job,
    pool::{self, Size, TaskSender, Threads},
};
use crate::{metrics::PoolMetrics, worker::Inbox};

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
    pub(crate) inbox: Inbox,
    /// The connection.
    pub(crate) slot: ConnectionId,
}

struct Task {
    job: Job,
    reply: Option<ReplyTo>,
}

/// Submits jobs to the pool.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    tasks: TaskSender<Task>,
}

/// The pool's threads. They end when the last [`Pool`] is dropped and the queue is empty.
#[derive(Debug)]
pub(crate) struct PoolThreads(Threads<Task>);

impl Pool {
    /// Starts the minimum number of threads. The pool reports its size to `metrics`.
    ///
    /// # Errors
    /// When the threads cannot be started.
    pub(crate) fn start(size: Size, metrics: Arc<PoolMetrics>) -> io::Result<(Self, PoolThreads)> {
        let (tasks, threads) = pool::start(size, metrics, run)?;
        Ok((Self { tasks }, PoolThreads(threads)))
    }

    /// Submits a job.
    ///
    /// # Errors
    /// Returns the job when the queue is full.
    pub(crate) fn submit(&self, job: Job, reply: ReplyTo) -> Result<Ticket, Box<Job>> {
        match self.tasks.submit(Task { job, reply: Some(reply) }) {
            Ok(()) => Ok(Ticket(())),
            Err(task) => Err(Box::new(task.job)),
        }
    }

    /// Submits a job whose result nothing waits for: releasing what a closed connection held. With a
    /// full queue it runs on the calling thread, which is rare, and better than not releasing.
    pub(crate) fn discard(&self, job: Job) {
        if let Err(task) = self.tasks.submit(Task { job, reply: None }) {
            run(task);
        }
    }
}

impl PoolThreads {
    /// Joins all threads.
    pub(crate) fn join(self) {
        self.0.join();
    }
}

fn run(Task { job, reply }: Task) {
    let buffers = job.buffers();
    // A job that panics must still send a result: its connection waits for nothing else. The store's
    // invariants live on disk, and what the job held in memory is dropped.
    let done = catch_unwind(AssertUnwindSafe(|| job.run())).unwrap_or(Done::Panicked { buffers });
    if let Some(ReplyTo { inbox, slot }) = reply
        && !inbox.done(slot, done)
    {
        warn!("a job ended after its worker");
    }
}

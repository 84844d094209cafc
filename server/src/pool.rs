//! The threads that wait for the disk, so that workers never do.
//!
//! A job goes in with the address of the connection that asked; what came of it goes to that
//! connection's worker. Every connection has at most one job under way, so the queue, which has room
//! for one of each, is never full for them; and the same holds of the workers' inboxes.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use tracing::warn;

mod threads;

pub(crate) use self::threads::Size;
use self::threads::{Entrance, Threads};
use crate::{
    catalog::{Done, Job},
    metrics::PoolMetrics,
    worker::{Inbox, SlotId},
};

/// Proof that a job of this connection is under way and that its end will wake the connection.
#[derive(Debug)]
pub(crate) struct Ticket(());

impl Ticket {
    #[cfg(test)]
    pub(crate) const fn for_test() -> Self {
        Self(())
    }
}

/// Where to send what came of a job.
#[derive(Debug)]
pub(crate) struct ReplyTo {
    /// The worker that owns the connection.
    pub(crate) inbox: Inbox,
    /// The connection.
    pub(crate) slot: SlotId,
}

struct Order {
    job: Job,
    reply: Option<ReplyTo>,
}

/// The way into the pool.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    orders: Entrance<Order>,
}

/// The pool's threads; they end when the last [`Pool`] is gone and its queue is empty.
#[derive(Debug)]
pub(crate) struct PoolThreads(Threads<Order>);

impl Pool {
    /// Starts the least of its threads. It tells `metrics` how it grows and shrinks.
    ///
    /// # Errors
    /// When they cannot be had.
    pub(crate) fn start(size: Size, metrics: Arc<PoolMetrics>) -> io::Result<(Self, PoolThreads)> {
        let (orders, threads) = threads::start(size, metrics, run)?;
        Ok((Self { orders }, PoolThreads(threads)))
    }

    /// Hands a job over.
    ///
    /// # Errors
    /// Gives the job back when the queue is full.
    pub(crate) fn submit(&self, job: Job, reply: ReplyTo) -> Result<Ticket, Box<Job>> {
        match self.orders.submit(Order { job, reply: Some(reply) }) {
            Ok(()) => Ok(Ticket(())),
            Err(order) => Err(Box::new(order.job)),
        }
    }

    /// Hands over a job whose end interests nobody: giving back what a connection left behind.
    /// Where the queue is full it is done here and now: rare, and better than leaving it.
    pub(crate) fn discard(&self, job: Job) {
        if let Err(order) = self.orders.submit(Order { job, reply: None }) {
            run(order);
        }
    }
}

impl PoolThreads {
    /// Waits until all have ended.
    pub(crate) fn join(self) {
        self.0.join();
    }
}

fn run(Order { job, reply }: Order) {
    let buffers = job.buffers();
    // A job that panics must still be answered: its connection waits for it and nothing else.
    // The store's invariants live on disk, and what a job holds in memory dies with it.
    let done = catch_unwind(AssertUnwindSafe(|| job.run())).unwrap_or(Done::Panicked { buffers });
    if let Some(ReplyTo { inbox, slot }) = reply
        && !inbox.done(slot, done)
    {
        warn!("a job ended after its worker");
    }
}

//! The threads that wait for the disk, so that workers never do.
//!
//! A job goes in with the address of the connection that asked; what came of it goes to that
//! connection's worker. Every connection has at most one job under way, so the queue, which has room
//! for one of each, is never full for them; and the same holds of the workers' inboxes.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    thread::{self, JoinHandle},
};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use tracing::{error, warn};

use crate::{
    catalog::{Done, Job},
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
    orders: Sender<Order>,
}

/// The pool's threads; they end when the last [`Pool`] is gone and its queue is empty.
#[derive(Debug)]
pub(crate) struct PoolThreads(Vec<JoinHandle<()>>);

impl Pool {
    /// Starts `threads` threads called `name`, with room for `queue` jobs that wait.
    pub(crate) fn start(
        name: &str,
        threads: usize,
        queue: usize,
    ) -> io::Result<(Self, PoolThreads)> {
        let (orders, incoming) = bounded(queue);
        let mut started = Vec::with_capacity(threads);
        for n in 0..threads {
            let incoming = incoming.clone();
            let name = format!("{name}-{n}");
            started.push(thread::Builder::new().name(name).spawn(move || run(&incoming))?);
        }
        Ok((Self { orders }, PoolThreads(started)))
    }

    /// Hands a job over.
    ///
    /// # Errors
    /// Gives the job back when the queue is full or the pool has ended.
    pub(crate) fn submit(&self, job: Job, reply: ReplyTo) -> Result<Ticket, Box<Job>> {
        match self.orders.try_send(Order { job, reply: Some(reply) }) {
            Ok(()) => Ok(Ticket(())),
            Err(TrySendError::Full(order) | TrySendError::Disconnected(order)) => {
                Err(Box::new(order.job))
            }
        }
    }

    /// Hands over a job whose end interests nobody: giving back what a connection left behind.
    /// Where the queue is full it is done here and now: rare, and better than leaving it.
    pub(crate) fn discard(&self, job: Job) {
        if let Err(TrySendError::Full(order) | TrySendError::Disconnected(order)) =
            self.orders.try_send(Order { job, reply: None })
        {
            drop(order);
        }
    }
}

impl PoolThreads {
    /// Waits until all have ended.
    pub(crate) fn join(self) {
        for thread in self.0 {
            if thread.join().is_err() {
                error!("a pool thread panicked outside of a job");
            }
        }
    }
}

fn run(incoming: &Receiver<Order>) {
    for Order { job, reply } in incoming {
        let buffers = job.buffers();
        // A job that panics must still be answered: its connection waits for it and nothing else.
        // The store's invariants live on disk, and what a job holds in memory dies with it.
        let done =
            catch_unwind(AssertUnwindSafe(|| job.run())).unwrap_or(Done::Panicked { buffers });
        if let Some(ReplyTo { inbox, slot }) = reply
            && !inbox.done(slot, done)
        {
            warn!("a job ended after its worker");
        }
    }
}

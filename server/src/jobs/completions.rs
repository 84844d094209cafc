//! Completions: the results of jobs, on their way back to the worker whose connections wait for
//! them.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};
use mio::Waker;
use tracing::error;

use super::{device::Device, job::Done, slab::ConnectionId};

/// The result of a job.
pub(crate) struct Completion {
    /// The connection that submitted the job.
    pub(crate) connection: ConnectionId,
    /// The device of that connection, which may have ended.
    pub(crate) device: Device,
    /// The result of its job.
    pub(crate) done: Done,
}

/// Sends completions to one worker. The channel has room for one completion of each connection, so
/// a send never waits.
#[derive(Clone, Debug)]
pub(crate) struct Completions {
    sender: Sender<Completion>,
    waker: Arc<Waker>,
}

impl Completions {
    /// A channel for a worker that `waker` wakes, with room for `capacity` completions.
    pub(crate) fn channel(waker: Arc<Waker>, capacity: usize) -> (Self, Receiver<Completion>) {
        let (sender, receiver) = bounded(capacity);
        (Self { sender, waker }, receiver)
    }

    /// Whether both lead to the same worker.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.sender.same_channel(&other.sender)
    }

    /// Sends a completion. Returns whether the worker is still running.
    pub(crate) fn send(&self, completion: Completion) -> bool {
        if self.sender.send(completion).is_err() {
            return false;
        }
        // Without a wake the worker would see it only at the next event, possibly never.
        if let Err(failure) = self.waker.wake() {
            error!(error = %failure, "cannot wake a worker");
        }
        true
    }
}

/// The receiving end, for a test in the place of a worker.
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct ReceivedCompletions(Receiver<Completion>);

#[cfg(test)]
impl ReceivedCompletions {
    /// Completions that the test receives.
    pub(crate) fn channel() -> (Completions, Self) {
        let poll = mio::Poll::new().unwrap();
        let waker = Waker::new(poll.registry(), mio::Token(0)).unwrap();
        let (completions, receiver) = Completions::channel(Arc::new(waker), 8);
        (completions, Self(receiver))
    }

    /// Whether no result has come that was not taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The result of the next job.
    pub(crate) fn done(&self) -> Done {
        match self.0.recv_timeout(std::time::Duration::from_secs(20)) {
            Ok(completion) => completion.done,
            Err(_) => panic!("no job has ended"),
        }
    }
}

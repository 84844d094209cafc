//! What others tell a worker: connections that have arrived, jobs that are done.

use std::{sync::Arc, time::Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use mio::Waker;
use tracing::error;

use super::{
    Doorway, SlotId,
    seat::{LEAVING_MAX, Seat},
};
use crate::{catalog::Done, mounts::Mounts, wire::Socket};

/// A connection that has arrived.
pub(crate) struct Arrival {
    /// Its socket.
    pub(crate) socket: Socket,
    /// By which door it came.
    pub(crate) door: Doorway,
    /// Who it is, for the log.
    pub(crate) peer: String,
    /// Its share of the connection limit.
    pub(crate) seat: Seat,
}

/// A message to a worker.
pub(super) enum Message {
    Arrived(Arrival),
    Done(SlotId, Done),
    /// The connection that has this seat makes room, if nobody knows yet whose it is.
    MakeRoom(u64),
    /// Serve these from now on.
    Mounts(Mounts),
    /// End what is under way, until this time.
    Drain(Instant),
    /// Meet a defect.
    #[cfg(test)]
    Panic,
}

/// The way into a worker. Its channel has room for one arrival and one job for each seat, so a
/// sender never waits.
#[derive(Clone, Debug)]
pub(crate) struct Inbox {
    messages: Sender<Message>,
    waker: Arc<Waker>,
}

/// Messages besides those that belong to a seat: those to connections that make room, the drain, a second one that hurries, and
/// other mounts; whoever sends those waits when they come faster than a worker turns.
const EXTRA_MESSAGES: usize = LEAVING_MAX + 8;

impl Inbox {
    /// An inbox for a server with so many `seats`.
    pub(super) fn new(waker: Waker, seats: usize) -> (Self, Receiver<Message>) {
        let (messages, incoming) = bounded(2 * seats + EXTRA_MESSAGES);
        (Self { messages, waker: Arc::new(waker) }, incoming)
    }

    fn tell(&self, message: Message) -> bool {
        if self.messages.send(message).is_err() {
            return false;
        }
        // Without the wake the message would wait for the next event, maybe for ever.
        self.wake();
        true
    }

    /// Lets the worker turn once.
    pub(crate) fn wake(&self) {
        if let Err(failure) = self.waker.wake() {
            error!(%failure, "cannot wake a worker");
        }
    }

    /// Hands a connection over. Returns whether the worker is still there.
    pub(crate) fn arrived(&self, arrival: Arrival) -> bool {
        self.tell(Message::Arrived(arrival))
    }

    /// Hands over what came of a job. Returns whether the worker is still there.
    pub(crate) fn done(&self, slot: SlotId, done: Done) -> bool {
        self.tell(Message::Done(slot, done))
    }

    /// Tells the connection that has this seat to make room. Returns whether the worker is still there.
    pub(crate) fn make_room(&self, seat: u64) -> bool {
        self.tell(Message::MakeRoom(seat))
    }

    /// Hands over what is to be served. Returns whether the worker is still there.
    pub(crate) fn mounts(&self, mounts: Mounts) -> bool {
        self.tell(Message::Mounts(mounts))
    }

    /// Makes the worker panic.
    #[cfg(test)]
    pub(crate) fn panic(&self) -> bool {
        self.tell(Message::Panic)
    }

    /// Asks the worker to stop by `until`. Returns whether it is still there.
    pub(crate) fn drain(&self, until: Instant) -> bool {
        self.tell(Message::Drain(until))
    }
}

/// The worker's end of an inbox, in the hands of a test.
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct Overheard(Receiver<Message>);

#[cfg(test)]
impl Overheard {
    /// An inbox that a test listens to instead of a worker.
    pub(crate) fn inbox() -> (Inbox, Self) {
        let poll = mio::Poll::new().unwrap();
        let waker = Waker::new(poll.registry(), mio::Token(0)).unwrap();
        let (inbox, incoming) = Inbox::new(waker, 8);
        (inbox, Self(incoming))
    }

    /// What came of the next job.
    pub(crate) fn done(&self) -> Done {
        match self.0.recv_timeout(std::time::Duration::from_secs(20)) {
            Ok(Message::Done(_, done)) => done,
            Ok(_) => panic!("another message"),
            Err(_) => panic!("no job has ended"),
        }
    }
}

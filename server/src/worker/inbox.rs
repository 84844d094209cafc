//! Messages from other threads to a worker: new connections, evictions, new mounts, the end.

use std::{sync::Arc, time::Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use mio::Waker;
use tracing::error;

use super::connection::Endpoint;
use crate::{
    jobs::Device,
    limits::{ConnectionPermit, EVICTING_MAX},
    mounts::Mounts,
    transfer::socket::Socket,
};

/// A connection that was accepted for a worker.
pub(crate) struct NewConnection {
    /// Its socket.
    pub(crate) socket: Socket,
    /// Its protocol, with the settings.
    pub(crate) endpoint: Endpoint,
    /// The peer's address, for the log.
    pub(crate) peer: String,
    /// The device that the peer is without a key.
    pub(crate) without_key: Device,
    /// Its permit.
    pub(crate) permit: ConnectionPermit,
}

/// A message to a worker.
pub(super) enum Message {
    NewConnection(NewConnection),
    /// Close the connection that has this permit, if it is still evictable.
    Evict(u64),
    /// Serve these mounts from now on.
    Mounts(Mounts),
    /// Finish requests under way until this time, then stop.
    Drain(Instant),
    /// Panic.
    #[cfg(test)]
    Panic,
}

/// Sends messages to a worker. The channel has room for one new connection for each permit, so
/// these sends never wait.
#[derive(Clone, Debug)]
pub(crate) struct Inbox {
    messages: Sender<Message>,
    waker: Arc<Waker>,
}

/// Room for the other messages: evictions, a drain, a second drain with an earlier end, new mounts.
/// Sends of mounts wait when they come faster than the worker's rounds.
const EXTRA_MESSAGES: usize = EVICTING_MAX + 8;

impl Inbox {
    /// An inbox for a server with at most `max_connections`.
    pub(super) fn new(waker: Arc<Waker>, max_connections: usize) -> (Self, Receiver<Message>) {
        let (messages, incoming) = bounded(max_connections + EXTRA_MESSAGES);
        (Self { messages, waker }, incoming)
    }

    fn tell(&self, message: Message) -> bool {
        if self.messages.send(message).is_err() {
            return false;
        }
        // Without a wake the worker would see the message only at the next event, possibly never.
        self.wake();
        true
    }

    /// Makes the worker run one round.
    pub(crate) fn wake(&self) {
        if let Err(failure) = self.waker.wake() {
            error!(error = %failure, "cannot wake a worker");
        }
    }

    /// Hands a connection over. Returns whether the worker is still running.
    pub(crate) fn connected(&self, new: NewConnection) -> bool {
        self.tell(Message::NewConnection(new))
    }

    /// Evicts the connection that has this permit. Returns whether the worker is still running.
    pub(crate) fn evict(&self, permit: u64) -> bool {
        self.tell(Message::Evict(permit))
    }

    /// Replaces the mounts. Returns whether the worker is still running.
    pub(crate) fn mounts(&self, mounts: Mounts) -> bool {
        self.tell(Message::Mounts(mounts))
    }

    /// Makes the worker panic.
    #[cfg(test)]
    pub(crate) fn panic(&self) -> bool {
        self.tell(Message::Panic)
    }

    /// Asks the worker to stop by `until`. Returns whether it is still running.
    pub(crate) fn drain(&self, until: Instant) -> bool {
        self.tell(Message::Drain(until))
    }
}

//! The connections of a worker, and which of them has something to do.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{connection::Connection, timers::Timers};
use crate::{
    jobs::{ConnectionId, Slab},
    limits::ConnectionPermit,
    metrics::Connected,
};

/// The connections, and the queues that they are in.
pub(super) struct Connections {
    slab: Slab<Entry>,
    /// Connections that have something to do; each is in it at most once.
    queue: VecDeque<ConnectionId>,
    /// Connections that wait for a buffer, in the order of arrival.
    waiting_for_buffer: VecDeque<ConnectionId>,
    timers: Timers<ConnectionId>,
}

/// A connection, and its state in the queues.
pub(super) struct Entry {
    pub(super) connection: Connection,
    /// Its permit, which is given back when the connection is dropped.
    pub(super) permit: ConnectionPermit,
    /// Whether it is in the run queue.
    queued: bool,
    /// Whether it is in the queue of connections that wait for a buffer.
    waiting_for_buffer: bool,
    /// When its timer fires, if one is set.
    armed: Option<Instant>,
    _connected: Connected,
}

impl Connections {
    /// None.
    pub(super) fn new() -> Self {
        Self {
            slab: Slab::new(),
            queue: VecDeque::new(),
            waiting_for_buffer: VecDeque::new(),
            timers: Timers::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(super) fn ids(&self) -> Vec<ConnectionId> {
        self.slab.ids()
    }

    pub(super) fn at(&mut self, index: usize) -> Option<(ConnectionId, &mut Entry)> {
        self.slab.at(index)
    }

    pub(super) fn get(&mut self, id: ConnectionId) -> Option<&mut Entry> {
        self.slab.get(id)
    }

    /// The first connection for which `is_it`.
    pub(super) fn find(&mut self, is_it: impl Fn(&Entry) -> bool) -> Option<ConnectionId> {
        self.slab.ids().into_iter().find(|id| self.slab.get(*id).is_some_and(|entry| is_it(entry)))
    }

    /// Adds a connection, which is in no queue yet.
    pub(super) fn insert(
        &mut self,
        connection: Connection,
        permit: ConnectionPermit,
        connected: Connected,
    ) -> ConnectionId {
        self.slab.insert(Entry {
            connection,
            permit,
            queued: false,
            waiting_for_buffer: false,
            armed: None,
            _connected: connected,
        })
    }

    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<Entry> {
        self.slab.remove(id)
    }

    /// Puts a connection into the run queue.
    pub(super) fn enqueue(&mut self, id: ConnectionId) {
        if let Some(entry) = self.slab.get(id)
            && !entry.queued
        {
            entry.queued = true;
            self.queue.push_back(id);
        }
    }

    /// Whether no connection is in the run queue.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    /// Number of connections in the run queue. Some of them may have ended.
    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Takes the next connection from the run queue.
    pub(super) fn pop(&mut self) -> Option<ConnectionId> {
        let id = self.queue.pop_front()?;
        if let Some(entry) = self.slab.get(id) {
            entry.queued = false;
        }
        Some(id)
    }

    /// Lets a connection wait for a buffer.
    pub(super) fn await_buffer(&mut self, id: ConnectionId) {
        if let Some(entry) = self.slab.get(id)
            && !entry.waiting_for_buffer
        {
            entry.waiting_for_buffer = true;
            self.waiting_for_buffer.push_back(id);
        }
    }

    /// Puts every connection that waits for a buffer into the run queue.
    pub(super) fn wake_buffer_waiters(&mut self) {
        while let Some(id) = self.waiting_for_buffer.pop_front() {
            if let Some(entry) = self.slab.get(id) {
                entry.waiting_for_buffer = false;
            }
            self.enqueue(id);
        }
    }

    /// Makes sure that a timer fires no later than the connection's deadline.
    pub(super) fn arm(&mut self, id: ConnectionId) {
        let Some(entry) = self.slab.get(id) else { return };
        let Some(deadline) = entry.connection.deadline() else { return };
        if entry.armed.is_none_or(|armed| deadline < armed) {
            entry.armed = Some(deadline);
            self.timers.set(deadline, id);
        }
    }

    /// The next connection whose timer has fired.
    pub(super) fn expired(&mut self, now: Instant) -> Option<ConnectionId> {
        while let Some((when, id)) = self.timers.fired(now) {
            if let Some(entry) = self.slab.get(id).filter(|entry| entry.armed == Some(when)) {
                entry.armed = None;
                return Some(id);
            }
        }
        None
    }

    /// Time until the next timer fires.
    pub(super) fn wait(&self, now: Instant) -> Option<Duration> {
        self.timers.wait(now)
    }
}

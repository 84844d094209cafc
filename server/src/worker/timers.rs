//! Timers of connections.
//!
//! The deadline of an idle connection moves with every byte, and always to a later time. So a timer
//! is not moved: it fires, and a connection that is not due yet gets a new timer. Only a deadline
//! that moves to an earlier time costs an additional entry, and those are few (the deadlines of a
//! handshake, a drain, a close).

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    time::{Duration, Instant},
};

/// Timers, each for the owner `K`.
#[derive(Debug)]
pub(crate) struct Timers<K> {
    heap: BinaryHeap<Reverse<(Instant, K)>>,
}

impl<K: Ord> Timers<K> {
    /// Without timers.
    pub(crate) const fn new() -> Self {
        Self { heap: BinaryHeap::new() }
    }

    /// Sets a timer for `owner` that fires at `when`.
    pub(crate) fn set(&mut self, when: Instant, owner: K) {
        self.heap.push(Reverse((when, owner)));
    }

    /// Removes and returns the next timer that has fired, with the time it was set for.
    pub(crate) fn fired(&mut self, now: Instant) -> Option<(Instant, K)> {
        if self.heap.peek()?.0.0 > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }

    /// Time until the next timer fires.
    pub(crate) fn wait(&self, now: Instant) -> Option<Duration> {
        self.heap.peek().map(|Reverse((when, _))| when.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Timers fire in the order of their deadlines and not before them.
    #[test]
    fn timers_fire_in_order_and_not_early() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let mut timers = Timers::new();
        timers.set(at(5), 'b');
        timers.set(at(2), 'a');
        assert_eq!(timers.wait(start), Some(Duration::from_secs(2)));
        assert_eq!(timers.fired(at(1)), None);
        assert_eq!(timers.fired(at(9)), Some((at(2), 'a')));
        assert_eq!(timers.fired(at(9)), Some((at(5), 'b')));
        assert_eq!(timers.fired(at(9)), None);
        assert_eq!(timers.wait(start), None);
    }
}

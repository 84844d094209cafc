//! When to look at a connection again though nothing happened to it.
//!
//! Deadlines of idle connections move with every byte, and always later. So a timer is not moved: it
//! fires, and whoever is not due yet gets a new one. Only a deadline that moves earlier costs
//! an entry more, and those are few (a handshake's, a drain's, a farewell's).

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
    /// None.
    pub(crate) const fn new() -> Self {
        Self { heap: BinaryHeap::new() }
    }

    /// Fires for `owner` at `when`.
    pub(crate) fn set(&mut self, when: Instant, owner: K) {
        self.heap.push(Reverse((when, owner)));
    }

    /// The next timer that has fired, with the time it was set for.
    pub(crate) fn fired(&mut self, now: Instant) -> Option<(Instant, K)> {
        if self.heap.peek()?.0.0 > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }

    /// How long until the next one fires.
    pub(crate) fn wait(&self, now: Instant) -> Option<Duration> {
        self.heap.peek().map(|Reverse((when, _))| when.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_fire_in_order_and_not_before() {
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

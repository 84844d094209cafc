//! The minimum rate: who makes the server wait has to move something meanwhile.
//!
//! Counted are the bytes that moved while the peer had to act: to take what is sent to it, or to send what it announced. What
//! fits into the socket's buffer has moved, so a slow reader is found out once that is full.

use std::time::{Duration, Instant};

/// How long a peer is watched before it is judged: retransmissions and a sleeping laptop's reconnection fit in.
pub(crate) const WATCH: Duration = Duration::from_secs(60);

/// A peer's pace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Bytes in [`WATCH`] that are fast enough; 0: everybody is.
    enough: u64,
    /// Since when it is watched, if it has to act.
    since: Option<Instant>,
    moved: u64,
}

impl Pace {
    /// At least `rate` bytes a second; 0 for no minimum.
    pub(crate) const fn at_least(rate: u64) -> Self {
        Self { enough: rate.saturating_mul(WATCH.as_secs()), since: None, moved: 0 }
    }

    /// So many bytes moved.
    pub(crate) const fn moved(&mut self, bytes: u64) {
        self.moved = self.moved.saturating_add(bytes);
    }

    /// Whether it is the peer's turn to act, as of now.
    pub(crate) fn peer_acts(&mut self, acts: bool, now: Instant) {
        if !acts {
            self.since = None;
        } else if self.since.is_none() {
            self.since = Some(now);
            self.moved = 0;
        }
    }

    /// When to judge.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.since.filter(|_| self.enough > 0).map(|since| since + WATCH)
    }

    /// Judges, if it is time; who was fast enough is watched anew.
    pub(crate) fn is_too_slow(&mut self, now: Instant) -> bool {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return false;
        }
        let too_slow = self.moved < self.enough;
        self.since = Some(now);
        self.moved = 0;
        too_slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_moves_too_little_while_it_has_to_act_is_too_slow() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut pace = Pace::at_least(100);
        pace.peer_acts(true, start);
        assert_eq!(pace.deadline(), Some(at(60)));
        pace.moved(5_999);
        assert!(!pace.is_too_slow(at(59)));
        assert!(pace.is_too_slow(at(60)));
        pace.moved(6_000);
        assert!(!pace.is_too_slow(at(120)), "what is enough is enough");
        assert!(pace.is_too_slow(at(180)), "and counts once");
    }

    #[test]
    fn the_servers_own_time_does_not_count() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut pace = Pace::at_least(1);
        pace.peer_acts(true, start);
        pace.peer_acts(false, at(59));
        assert_eq!(pace.deadline(), None);
        pace.peer_acts(true, at(1000));
        assert_eq!(pace.deadline(), Some(at(1060)));
        let mut none = Pace::at_least(0);
        none.peer_acts(true, start);
        assert_eq!(none.deadline(), None);
        assert!(!none.is_too_slow(at(1_000_000)));
    }
}

//! The minimum rate: a peer that lets the server wait must move some bytes in that time.
//!
//! The monitor counts bytes that moved while it was the peer's turn: to read what is sent to it, or
//! to send what it announced. Bytes in our send buffer count as moved although the peer has not
//! read them, and a peer may have read that much before the socket reports room. Every peer gets
//! that much slack.

use std::time::{Duration, Instant};

/// Length of an observation: longer than retransmissions and the reconnection of a laptop that
/// slept.
const WATCH: Duration = Duration::from_secs(60);

/// Watches the rate of one peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RateMonitor {
    /// The minimum rate in bytes a second; 0 for none.
    rate: u64,
    /// Begin and end of the observation, while it is the peer's turn.
    watched: Option<(Instant, Instant)>,
    moved: u64,
}

impl RateMonitor {
    /// A monitor for at least `rate` bytes a second; 0 for no minimum.
    pub(crate) const fn at_least(rate: u64) -> Self {
        Self { rate, watched: None, moved: 0 }
    }

    /// Counts `bytes` that moved.
    pub(crate) const fn moved(&mut self, bytes: u64) {
        self.moved = self.moved.saturating_add(bytes);
    }

    /// Notes whether it is the peer's turn as of `now`.
    pub(crate) fn peer_acts(&mut self, acts: bool, now: Instant) {
        if !acts || self.rate == 0 {
            self.watched = None;
        } else if self.watched.is_none() {
            self.watch(now);
        }
    }

    fn watch(&mut self, now: Instant) {
        self.watched = Some((now, now + WATCH));
        self.moved = 0;
    }

    /// When the observation ends.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.watched.map(|(_, judged)| judged)
    }

    /// Judges the peer at the end of an observation. A peer that was fast enough is observed anew.
    /// One that is short of no more than `unnoticed` bytes, which it may have taken without the
    /// server's knowledge, is observed further.
    pub(crate) fn is_too_slow(&mut self, now: Instant, unnoticed: u64) -> bool {
        let Some((since, judged)) = self.watched else { return false };
        if now < judged {
            return false;
        }
        let due = self.rate.saturating_mul(now.saturating_duration_since(since).as_secs());
        if self.moved >= due {
            self.watch(now);
            return false;
        }
        self.watched = Some((since, now + WATCH));
        self.moved.saturating_add(unnoticed) < due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNNOTICED: u64 = 131_072;

    /// Judges a peer that moves `bytes` a minute, once a minute for `minutes`. Returns the minute
    /// in which it is found too slow.
    fn found_out(rate: u64, bytes: u64, minutes: u64) -> Option<u64> {
        let start = Instant::now();
        let mut rate = RateMonitor::at_least(rate);
        rate.peer_acts(true, start);
        (1..=minutes).find(|minute| {
            let now = start + Duration::from_secs(60 * minute);
            assert_eq!(rate.deadline(), Some(now));
            assert!(!rate.is_too_slow(now - Duration::from_nanos(1), UNNOTICED), "it is not time");
            rate.moved(bytes);
            rate.is_too_slow(now, UNNOTICED)
        })
    }

    /// 1,024 B/s are 61,440 bytes a minute; 131,072 bytes are the slack.
    #[test]
    fn min_rate_finds_peer_below_rate_too_slow() {
        assert_eq!(found_out(1024, 61_440, 1000), None);
        assert_eq!(found_out(1024, 0, 1000), Some(3));
        assert_eq!(found_out(1024, 60, 1000), Some(3));
        assert_eq!(found_out(1024, 30_720, 1000), Some(5));
        assert_eq!(found_out(100_000, 0, 1000), Some(1));
        assert_eq!(found_out(100_000, 5_868_928, 1000), Some(2));
    }

    /// A socket's buffer empties in steps.
    #[test]
    fn min_rate_accepts_peer_that_moves_enough_in_steps() {
        let start = Instant::now();
        let mut rate = RateMonitor::at_least(1024);
        rate.peer_acts(true, start);
        for minute in 1..1000 {
            if minute % 2 == 0 {
                rate.moved(131_072);
            }
            assert!(
                !rate.is_too_slow(start + Duration::from_secs(60 * minute), UNNOTICED),
                "{minute}"
            );
        }
    }

    /// Bytes moved in one observation are no credit for the next.
    #[test]
    fn min_rate_gives_no_credit_for_earlier_speed() {
        let start = Instant::now();
        let mut rate = RateMonitor::at_least(1024);
        rate.peer_acts(true, start);
        rate.moved(1 << 40);
        let slow =
            (1..100).find(|m| rate.is_too_slow(start + Duration::from_secs(60 * m), UNNOTICED));
        assert_eq!(slow, Some(4));
    }

    /// RateMonitor does not count bytes that moved before it was the peer's turn.
    #[test]
    fn min_rate_ignores_bytes_before_peer_had_to_act() {
        let start = Instant::now();
        let mut rate = RateMonitor::at_least(5_000);
        rate.moved(1 << 40);
        rate.peer_acts(true, start);
        assert!(rate.is_too_slow(start + Duration::from_secs(60), UNNOTICED));
    }

    /// RateMonitor has no deadline while the server has to act, or at a rate of 0.
    #[test]
    fn min_rate_ignores_time_of_server() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut rate = RateMonitor::at_least(1);
        rate.peer_acts(true, start);
        rate.peer_acts(false, at(59));
        assert_eq!(rate.deadline(), None);
        rate.peer_acts(true, at(1000));
        assert_eq!(rate.deadline(), Some(at(1060)));
        let mut none = RateMonitor::at_least(0);
        none.peer_acts(true, start);
        assert_eq!(none.deadline(), None);
        assert!(!none.is_too_slow(at(1_000_000), UNNOTICED));
    }
}

//! The minimum rate: who makes the server wait has to move something meanwhile.
//!
//! Counted are the bytes that moved while the peer had to act: to take what is sent to it, or to send what it announced.
//! What a socket's buffer holds has moved and was not taken yet, and the other way round: a peer may have taken as much before the
//! socket says that there is room. So much is everybody's to owe.

use std::time::{Duration, Instant};

/// How long a peer is watched before it is judged: retransmissions and a sleeping laptop's reconnection fit in.
const WATCH: Duration = Duration::from_secs(60);

/// A peer's pace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Bytes a second that are fast enough; 0: everybody is.
    rate: u64,
    /// Since when it is watched and when it is judged, if it has to act.
    watched: Option<(Instant, Instant)>,
    moved: u64,
}

impl Pace {
    /// At least `rate` bytes a second; 0 for no minimum.
    pub(crate) const fn at_least(rate: u64) -> Self {
        Self { rate, watched: None, moved: 0 }
    }

    /// So many bytes moved.
    pub(crate) const fn moved(&mut self, bytes: u64) {
        self.moved = self.moved.saturating_add(bytes);
    }

    /// Whether it is the peer's turn to act, as of now.
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

    /// When to judge.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.watched.map(|(_, judged)| judged)
    }

    /// Judges, if it is time: who was fast enough is watched anew, who owes no more than what it may have taken `unnoticed`, in
    /// bytes, is watched on.
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

    /// Judged once a minute for `minutes`, a peer that moves `bytes` in each of them. The minute it is found too slow.
    fn found_out(rate: u64, bytes: u64, minutes: u64) -> Option<u64> {
        let start = Instant::now();
        let mut pace = Pace::at_least(rate);
        pace.peer_acts(true, start);
        (1..=minutes).find(|minute| {
            let now = start + Duration::from_secs(60 * minute);
            assert_eq!(pace.deadline(), Some(now));
            assert!(!pace.is_too_slow(now - Duration::from_nanos(1), UNNOTICED), "it is not time");
            pace.moved(bytes);
            pace.is_too_slow(now, UNNOTICED)
        })
    }

    /// 1,024 B/s are 61,440 a minute; 131,072 may be owed.
    #[test]
    fn who_moves_too_little_while_it_has_to_act_is_too_slow() {
        assert_eq!(found_out(1024, 61_440, 1000), None);
        assert_eq!(found_out(1024, 0, 1000), Some(3));
        assert_eq!(found_out(1024, 60, 1000), Some(3));
        assert_eq!(found_out(1024, 30_720, 1000), Some(5));
        assert_eq!(found_out(100_000, 0, 1000), Some(1));
        assert_eq!(found_out(100_000, 5_868_928, 1000), Some(2));
    }

    /// A socket's buffer empties in steps.
    #[test]
    fn who_takes_enough_in_steps_is_fast_enough() {
        let start = Instant::now();
        let mut pace = Pace::at_least(1024);
        pace.peer_acts(true, start);
        for minute in 1..1000 {
            if minute % 2 == 0 {
                pace.moved(131_072);
            }
            assert!(
                !pace.is_too_slow(start + Duration::from_secs(60 * minute), UNNOTICED),
                "{minute}"
            );
        }
    }

    /// What was moved in time is no credit for later.
    #[test]
    fn who_was_fast_is_found_out_when_it_stops() {
        let start = Instant::now();
        let mut pace = Pace::at_least(1024);
        pace.peer_acts(true, start);
        pace.moved(1 << 40);
        let slow =
            (1..100).find(|m| pace.is_too_slow(start + Duration::from_secs(60 * m), UNNOTICED));
        assert_eq!(slow, Some(4));
    }

    #[test]
    fn what_moved_before_the_peer_had_to_act_does_not_count() {
        let start = Instant::now();
        let mut pace = Pace::at_least(5_000);
        pace.moved(1 << 40);
        pace.peer_acts(true, start);
        assert!(pace.is_too_slow(start + Duration::from_secs(60), UNNOTICED));
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
        assert!(!none.is_too_slow(at(1_000_000), UNNOTICED));
    }
}

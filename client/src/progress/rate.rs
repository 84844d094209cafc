//! How fast bytes have moved of late. Time is an argument.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// The stretch that the rate is of.
const WINDOW: Duration = Duration::from_secs(10);
/// Positions are kept no closer than this: so many fill the window.
const STEP: Duration = Duration::from_millis(250);
/// Before that a rate would be of one read that was in a buffer.
const LEAST: Duration = Duration::from_millis(200);

/// Positions of the last seconds.
#[derive(Debug)]
pub(super) struct Pace {
    /// Oldest first; at most `WINDOW / STEP` and one.
    marks: VecDeque<(Instant, u64)>,
    /// Bytes of the position that were never moved.
    held: u64,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { marks: VecDeque::from([(now, 0)]), held: 0 }
    }

    /// `bytes` of the position were there before.
    pub(super) fn held(&mut self, bytes: u64) {
        self.held = self.held.saturating_add(bytes);
    }

    /// Bytes a second until `now`, when `position` is reached.
    pub(super) fn per_second(&mut self, now: Instant, position: u64) -> u64 {
        let moved = position.saturating_sub(self.held);
        let is_due =
            self.marks.back().is_none_or(|(at, _)| now.saturating_duration_since(*at) >= STEP);
        if is_due {
            self.marks.push_back((now, moved));
        }
        while self.marks.len() > 2
            && self.marks.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= WINDOW)
        {
            self.marks.pop_front();
        }
        let Some(&(since, before)) = self.marks.front() else { return 0 };
        let elapsed = now.saturating_duration_since(since);
        if elapsed < LEAST {
            return 0;
        }
        let rate = u128::from(moved.saturating_sub(before)) * 1_000 / elapsed.as_millis().max(1);
        u64::try_from(rate).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_of_what_was_moved() {
        let begun = Instant::now();
        let after = |ms| begun + Duration::from_millis(ms);
        let mut pace = Pace::new(begun);
        pace.held(48 << 20);
        assert_eq!(pace.per_second(after(0), 48 << 20), 0);
        assert_eq!(pace.per_second(after(1_000), 56 << 20), 8 << 20);
        assert_eq!(pace.per_second(after(2_000), 64 << 20), 8 << 20);
    }

    #[test]
    fn a_rate_forgets_what_was_long_ago() {
        let begun = Instant::now();
        let mut pace = Pace::new(begun);
        let mut position = 0;
        for second in 1..=20 {
            position += 1_000;
            pace.per_second(begun + Duration::from_secs(second), position);
        }
        // Nothing moves any more.
        let mut rate = 1_000;
        for second in 21..=40 {
            let now = pace.per_second(begun + Duration::from_secs(second), position);
            assert!(now <= rate, "{second}: {now}");
            rate = now;
        }
        assert_eq!(rate, 0);
        assert!(pace.marks.len() <= 42);
    }

    #[test]
    fn a_rate_takes_no_memory_however_often_it_is_asked_for() {
        let begun = Instant::now();
        let mut pace = Pace::new(begun);
        for ms in 0..100_000 {
            pace.per_second(begun + Duration::from_millis(ms), ms);
        }
        assert!(pace.marks.len() <= 42, "{}", pace.marks.len());
    }
}

//! A moving average of the transfer rate. The caller passes the time.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// The period that is averaged.
const WINDOW: Duration = Duration::from_secs(10);
/// Least time between two samples, which bounds their number.
const STEP: Duration = Duration::from_millis(250);
/// Least time for a rate: over a shorter one it would show a single buffered read.
const MIN_ELAPSED: Duration = Duration::from_millis(200);

/// Estimates the rate from the positions of the last seconds.
#[derive(Debug)]
pub(super) struct RateEstimator {
    /// Oldest first; at most `WINDOW / STEP + 1`.
    samples: VecDeque<(Instant, u64)>,
    /// Bytes of the position that were skipped.
    held: u64,
}

impl RateEstimator {
    pub(super) fn new(now: Instant) -> Self {
        Self { samples: VecDeque::from([(now, 0)]), held: 0 }
    }

    /// Marks `bytes` of the position as skipped.
    pub(super) fn held(&mut self, bytes: u64) {
        self.held = self.held.saturating_add(bytes);
    }

    /// Bytes per second up to `now`, when `position` is reached; 0 while too little time has
    /// passed.
    pub(super) fn per_second(&mut self, now: Instant, position: u64) -> u64 {
        let moved = position.saturating_sub(self.held);
        let is_due =
            self.samples.back().is_none_or(|(at, _)| now.saturating_duration_since(*at) >= STEP);
        if is_due {
            self.samples.push_back((now, moved));
        }
        while self.samples.len() > 2
            && self
                .samples
                .get(1)
                .is_some_and(|(at, _)| now.saturating_duration_since(*at) >= WINDOW)
        {
            self.samples.pop_front();
        }
        let Some(&(since, before)) = self.samples.front() else { return 0 };
        let elapsed = now.saturating_duration_since(since);
        if elapsed < MIN_ELAPSED {
            return 0;
        }
        let rate = u128::from(moved.saturating_sub(before)) * 1_000 / elapsed.as_millis().max(1);
        u64::try_from(rate).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rate counts bytes that moved and not those that were there before.
    #[test]
    fn rate_estimator_excludes_held_bytes() {
        let started = Instant::now();
        let after = |ms| started + Duration::from_millis(ms);
        let mut estimator = RateEstimator::new(started);
        estimator.held(48 << 20);
        assert_eq!(estimator.per_second(after(0), 48 << 20), 0);
        assert_eq!(estimator.per_second(after(1_000), 56 << 20), 8 << 20);
        assert_eq!(estimator.per_second(after(2_000), 64 << 20), 8 << 20);
    }

    /// The rate falls to zero when nothing moves any more.
    #[test]
    fn rate_estimator_falls_to_zero_when_nothing_moves() {
        let started = Instant::now();
        let mut estimator = RateEstimator::new(started);
        let mut position = 0;
        for second in 1..=20 {
            position += 1_000;
            estimator.per_second(started + Duration::from_secs(second), position);
        }
        // Nothing moves any more.
        let mut rate = 1_000;
        for second in 21..=40 {
            let now = estimator.per_second(started + Duration::from_secs(second), position);
            assert!(now <= rate, "{second}: {now}");
            rate = now;
        }
        assert_eq!(rate, 0);
        assert!(estimator.samples.len() <= 42);
    }

    /// The rate estimator keeps at most 42 samples however often it is asked.
    #[test]
    fn rate_estimator_keeps_a_bounded_number_of_samples() {
        let started = Instant::now();
        let mut estimator = RateEstimator::new(started);
        for ms in 0..100_000 {
            estimator.per_second(started + Duration::from_millis(ms), ms);
        }
        assert!(estimator.samples.len() <= 42, "{}", estimator.samples.len());
    }
}

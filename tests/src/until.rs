//! Waiting for what another process does.

use std::{
    thread,
    time::{Duration, Instant},
};

/// Looks again and again until it holds.
///
/// # Panics
/// When it does not within `patience`.
#[track_caller]
pub fn until(patience: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < patience, "not in time: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

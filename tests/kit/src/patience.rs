//! How long a test waits for others.

use std::{
    thread,
    time::{Duration, Instant},
};

/// No test waits longer than this for a process, a peer or a state: it has failed then. Less than
/// the 60 s over which a server judges a peer's rate, so a connection that ends within it has ended
/// for another reason.
pub const PATIENCE: Duration = Duration::from_secs(50);

/// Time between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(5);

/// Waits until the condition `holds`.
///
/// # Panics
/// When it does not hold within [`PATIENCE`].
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "not in time: {what}");
        thread::sleep(PAUSE);
    }
}

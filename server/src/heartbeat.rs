//! Whether the workers turn.
//!
//! A worker that has nothing to do sleeps, and one that hangs looks the same from outside. So whoever
//! wants to know wakes them all, and looks the next time whether each has turned since.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use thiserror::Error;

/// For how long a worker may not have turned although it was woken: a turn takes milliseconds.
pub const STALL_LIMIT: Duration = Duration::from_secs(10);

/// The worker's end. Moved each time that it turns; costs an addition.
#[derive(Clone, Debug, Default)]
pub struct Heartbeat(Arc<AtomicU64>);

impl Heartbeat {
    /// The worker turns.
    pub fn beat(&self) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// A worker that does not turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("worker {worker} has not turned for {} s although it was woken", .since.as_secs())]
pub struct Stalled {
    /// Its number.
    pub worker: usize,
    /// For how long.
    pub since: Duration,
}

/// The other end of all workers' heartbeats.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<Mutex<Vec<Watched>>>);

struct Watched {
    heartbeat: Heartbeat,
    wake: Box<dyn Fn() + Send>,
    /// What the counter was when the worker was woken, and when that was.
    woken: Option<(u64, Instant)>,
}

impl Pulse {
    /// Watches one more worker, which `wake` wakes. Workers are numbered in the order of these calls.
    pub fn watch(&self, heartbeat: Heartbeat, wake: impl Fn() + Send + 'static) {
        let watched = Watched { heartbeat, wake: Box::new(wake), woken: None };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(watched);
    }

    /// Wakes all workers, and looks whether those that were woken before have turned since.
    ///
    /// # Errors
    /// The first worker that has not for [`STALL_LIMIT`].
    pub fn check(&self, now: Instant) -> Result<(), Stalled> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut result = Ok(());
        for (worker, watched) in all.iter_mut().enumerate() {
            let beats = watched.heartbeat.0.load(Relaxed);
            match watched.woken {
                // It owes a turn: waking it once more would not let it off.
                Some((before, when)) if before == beats => {
                    let since = now.saturating_duration_since(when);
                    if since >= STALL_LIMIT {
                        result = result.and(Err(Stalled { worker, since }));
                    }
                }
                _ => {
                    watched.woken = Some((beats, now));
                    (watched.wake)();
                }
            }
        }
        result
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("woken", &self.woken).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A worker that turns when it is woken, as long as `alive`.
    fn worker(pulse: &Pulse, alive: &Arc<AtomicU64>) -> Arc<AtomicU64> {
        let (heartbeat, wakes) = (Heartbeat::default(), Arc::new(AtomicU64::new(0)));
        let (alive, counted) = (Arc::clone(alive), Arc::clone(&wakes));
        pulse.watch(heartbeat.clone(), move || {
            counted.fetch_add(1, Relaxed);
            if alive.load(Relaxed) == 1 {
                heartbeat.beat();
            }
        });
        wakes
    }

    #[test]
    fn a_worker_that_was_woken_and_does_not_turn_is_told() {
        let (pulse, start) = (Pulse::default(), Instant::now());
        let (first, second) = (Arc::new(AtomicU64::new(1)), Arc::new(AtomicU64::new(1)));
        let _wakes = worker(&pulse, &first);
        let wakes = worker(&pulse, &second);
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(pulse.check(at(0)), Ok(()));
        // Nobody looked for an hour: it has turned when it was woken, and that is enough.
        assert_eq!(pulse.check(at(3600)), Ok(()));
        second.store(0, Relaxed);
        assert_eq!(pulse.check(at(3601)), Ok(()), "it was not known to hang yet");
        assert_eq!(pulse.check(at(3610)), Ok(()));
        let stalled = Stalled { worker: 1, since: Duration::from_secs(10) };
        assert_eq!(pulse.check(at(3611)), Err(stalled));
        assert_eq!(stalled.to_string(), "worker 1 has not turned for 10 s although it was woken");
        assert_eq!(wakes.load(Relaxed), 3, "what owes a turn is not woken again");
        // It was slow and not dead.
        let heartbeats = pulse.0.lock().unwrap();
        heartbeats[1].heartbeat.beat();
        drop(heartbeats);
        assert_eq!(pulse.check(at(3612)), Ok(()));
    }
}

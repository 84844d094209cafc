//! Liveness of the workers.
//!
//! A worker without work sleeps, and looks the same from outside as one that hangs. So a check
//! wakes all workers, and the next check tests whether each has run a turn since.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use thiserror::Error;

/// How long a worker may take to run a turn after it was woken. A turn takes milliseconds.
pub const STALL_LIMIT: Duration = Duration::from_secs(10);

/// The worker's side: a counter of its turns, which costs one addition each.
#[derive(Clone, Debug, Default)]
pub struct Heartbeat(Arc<AtomicU64>);

impl Heartbeat {
    /// Counts a turn.
    pub fn beat(&self) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// A worker that does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("worker {worker} has not run for {} s although it was woken", .since.as_secs())]
pub struct Stalled {
    /// The worker's number, from 0.
    pub worker: usize,
    /// How long ago it was woken.
    pub since: Duration,
}

/// The checking side of all workers' heartbeats.
#[derive(Clone, Debug, Default)]
pub struct Liveness(Arc<Mutex<Vec<RegisteredWorker>>>);

struct RegisteredWorker {
    heartbeat: Heartbeat,
    wake: Box<dyn Fn() + Send>,
    /// The counter's value when the worker was woken, and when that was.
    woken: Option<(u64, Instant)>,
}

impl Liveness {
    /// Adds a worker; `wake` wakes it. Workers are numbered in the order of these calls.
    pub fn register(&self, heartbeat: Heartbeat, wake: impl Fn() + Send + 'static) {
        let registered = RegisteredWorker { heartbeat, wake: Box::new(wake), woken: None };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(registered);
    }

    /// Wakes all workers, and tests whether those that were woken before have run a turn since.
    ///
    /// # Errors
    /// The first worker that has not for [`STALL_LIMIT`].
    pub fn check(&self, now: Instant) -> Result<(), Stalled> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut result = Ok(());
        for (worker, registered) in all.iter_mut().enumerate() {
            let beats = registered.heartbeat.0.load(Relaxed);
            match registered.woken {
                // Still waiting for the turn we asked for; do not restart the clock.
                Some((before, when)) if before == beats => {
                    let since = now.saturating_duration_since(when);
                    if since >= STALL_LIMIT {
                        result = result.and(Err(Stalled { worker, since }));
                    }
                }
                _ => {
                    registered.woken = Some((beats, now));
                    (registered.wake)();
                }
            }
        }
        result
    }
}

impl fmt::Debug for RegisteredWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegisteredWorker").field("woken", &self.woken).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A worker that counts a turn when it is woken, as long as `alive` is 1.
    fn worker(liveness: &Liveness, alive: &Arc<AtomicU64>) -> Arc<AtomicU64> {
        let (heartbeat, wake_count) = (Heartbeat::default(), Arc::new(AtomicU64::new(0)));
        let (alive, counted) = (Arc::clone(alive), Arc::clone(&wake_count));
        liveness.register(heartbeat.clone(), move || {
            counted.fetch_add(1, Relaxed);
            if alive.load(Relaxed) == 1 {
                heartbeat.beat();
            }
        });
        wake_count
    }

    /// Liveness reports a worker that ran no turn for 10 s after it was woken.
    #[test]
    fn liveness_reports_woken_worker_without_turn_after_10_s() {
        let (liveness, start) = (Liveness::default(), Instant::now());
        let (first, second) = (Arc::new(AtomicU64::new(1)), Arc::new(AtomicU64::new(1)));
        let _wakes = worker(&liveness, &first);
        let wake_count = worker(&liveness, &second);
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(liveness.check(at(0)), Ok(()));
        // No check was made for an hour. The worker has run when it was woken, and that is enough.
        assert_eq!(liveness.check(at(3600)), Ok(()));
        second.store(0, Relaxed);
        assert_eq!(liveness.check(at(3601)), Ok(()), "it was not known to hang yet");
        assert_eq!(liveness.check(at(3610)), Ok(()));
        let stalled = Stalled { worker: 1, since: Duration::from_secs(10) };
        assert_eq!(liveness.check(at(3611)), Err(stalled));
        assert_eq!(stalled.to_string(), "worker 1 has not run for 10 s although it was woken");
        assert_eq!(wake_count.load(Relaxed), 3, "what owes a turn is not woken again");
        // It was slow and not dead.
        let heartbeats = liveness.0.lock().unwrap();
        heartbeats[1].heartbeat.beat();
        drop(heartbeats);
        assert_eq!(liveness.check(at(3612)), Ok(()));
    }
}

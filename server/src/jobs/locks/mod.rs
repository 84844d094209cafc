//! The jobs that wait for a lock of a store, or for the lease of an upload: no thread waits for
//! them (STORE, "Locks").
//!
//! A job whose lock is taken waits in the lock's queue, and its thread goes on with another job.
//! When a job of this server has done with the lock, the lock is handed to the next one: the oldest
//! of the device whose turn it is ([`Lanes`]). A lock that another process has is tried again by
//! one thread, the timer, which also asks whether a lease has come free, and ends the wait of jobs
//! whose time is over. It runs while a job waits, and [`IDLE`] longer.
//!
//! A lock is handed on without a break, so another process would never get it while jobs wait.
//! After [`USE_MAX`] of that this server leaves it for [`BREAK`], which is longer than the longest
//! pause between two tries.

mod state;

use std::{
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tracing::error;
use zput_proto::message::ErrorCode;

use super::{device::Device, error::JobError};
use crate::{
    metrics::LockMetrics,
    store::{Lock, LockName, Store, StoreError},
    sys::threads,
};
use state::{LockId, Queue, State};

/// First and longest pause between two tries of a lock that another process has. It doubles each
/// time.
const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(16);

/// How long a lock is handed on from job to job without a break.
const USE_MAX: Duration = Duration::from_millis(480);

/// How long it is left then, for another process: longer than [`PAUSE_MAX`].
const BREAK: Duration = Duration::from_millis(20);

/// How long the timer stays when no job waits.
const IDLE: Duration = Duration::from_secs(10);

/// A job that can wait. The queues call [`Self::device`] and [`Self::is_ready`] with their lock
/// held, so these two take short locks only, and call no queue. The others may, and are called
/// without it.
pub(crate) trait Waiter: Send + Sized + 'static {
    /// The device that it is done for.
    fn device(&self) -> Device;

    /// Whether the lease that it waits for has come free.
    fn is_ready(&mut self, now: Instant) -> bool;

    /// Goes on: with the lock that it waited for, or without one, when it waited for a lease.
    fn go_on(self, lock: Option<Lock>);

    /// Fails.
    fn fail(self, why: JobError);

    /// Ends, because its connection has.
    fn end(self);
}

/// The queues of all locks that jobs have or wait for.
pub(crate) struct LockQueues<T: Waiter>(Arc<Shared<T>>);

struct Shared<T> {
    state: Mutex<State<T>>,
    /// Wakes the timer.
    changed: Condvar,
    metrics: Arc<LockMetrics>,
}

impl<T: Waiter> LockQueues<T> {
    pub(crate) fn new(metrics: Arc<LockMetrics>) -> Self {
        Self(Arc::new(Shared { state: Mutex::new(State::new()), changed: Condvar::new(), metrics }))
    }

    /// Takes a lock for a job, and returns both. If the lock is taken, the job waits for it until
    /// `until`; if too many do, it fails.
    pub(crate) fn acquire(
        &self,
        job: T,
        store: &Store,
        name: LockName,
        until: Instant,
    ) -> Option<(T, Lock)> {
        let id = (store.id(), name);
        let mut state = self.state();
        if state.queues.contains_key(&id) {
            self.park(state, id, job, until);
            return None;
        }
        state.queues.insert(id, Queue::new(store.clone()));
        drop(state);
        match store.try_lock(name) {
            Ok(Some(lock)) => Some((job, self.handed_on(id, lock))),
            Ok(None) => {
                let mut state = self.state();
                state.set_elsewhere(id, PAUSE_MIN, PAUSE_MIN);
                self.park(state, id, job, until);
                None
            }
            Err(failure) => {
                // Those that came meanwhile try themselves.
                self.state().leave(id, PAUSE_MIN, PAUSE_MIN);
                self.0.changed.notify_one();
                job.fail(JobError::of(failure.into()));
                None
            }
        }
    }

    /// Lets a job wait until it is ready.
    pub(crate) fn await_lease(&self, job: T) {
        let mut state = self.state();
        if let Err(why) = self.check(&mut state) {
            drop(state);
            return job.fail(why);
        }
        state.for_leases.push(job);
        self.count(&state);
        drop(state);
        self.0.changed.notify_one();
    }

    /// Ends the waiting jobs for which this holds.
    pub(crate) fn cancel(&self, is_over: impl Fn(&T) -> bool) {
        let mut state = self.state();
        let ended = state.remove(|job| is_over(job));
        self.count(&state);
        drop(state);
        ended.into_iter().for_each(T::end);
    }

    /// Ends all waiting jobs, and lets no more wait.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.is_closed = true;
        let ended = state.remove(|_| true);
        self.count(&state);
        drop(state);
        self.0.changed.notify_all();
        ended.into_iter().for_each(|job| job.fail(ErrorCode::Busy.into()));
    }

    /// Waits until the timer has ended, after [`Self::close`].
    pub(crate) fn join(&self) {
        loop {
            let Some(timer) = self.state().timers.pop() else { return };
            if timer.join().is_err() {
                error!("the timer of the locks has panicked");
            }
        }
    }

    /// Queues a job for a lock that is taken.
    fn park(&self, mut state: MutexGuard<'_, State<T>>, id: LockId, job: T, until: Instant) {
        let parked = match (self.check(&mut state), state.queues.get_mut(&id)) {
            (Ok(()), Some(queue)) => {
                let full = || JobError {
                    reason: Some("too many requests wait for the lock"),
                    ..ErrorCode::Busy.into()
                };
                queue.jobs.push(job.device(), job, Some(until)).map_err(|job| (job, full()))
            }
            (Ok(()), None) => Err((job, ErrorCode::Busy.into())),
            (Err(why), _) => Err((job, why)),
        };
        state.forget_if_unused(id);
        self.count(&state);
        drop(state);
        self.0.changed.notify_one();
        if let Err((job, why)) = parked {
            job.fail(why);
        }
    }

    /// Whether jobs may wait: the timer runs, which ends their wait.
    fn check(&self, state: &mut State<T>) -> Result<(), JobError> {
        if state.is_closed {
            return Err(ErrorCode::Busy.into());
        }
        if state.has_timer {
            return Ok(());
        }
        state.timers.retain(|timer| !timer.is_finished());
        let queues = self.clone();
        match threads::spawn("lock-timer".to_owned(), move || queues.run_timer()) {
            Ok(timer) => {
                state.timers.push(timer);
                (state.has_timer, state.is_short) = (true, false);
                Ok(())
            }
            Err(failure) => {
                state.report_shortage(&failure);
                Err(ErrorCode::Busy.into())
            }
        }
    }

    /// The lock, which comes back to its queue when the job drops it.
    fn handed_on(&self, id: LockId, lock: Lock) -> Lock {
        let queues = self.clone();
        lock.handed_on_to(move |lock| queues.hand_on(id, lock))
    }

    /// Gives a lock to the next job, leaves it to another process for a while, or releases it.
    fn hand_on(&self, id: LockId, lock: Lock) {
        let mut state = self.state();
        let Some(queue) = state.queues.get(&id) else { return };
        if queue.jobs.len() == 0 {
            // Released before the next job can try to take it.
            drop(lock);
            state.queues.remove(&id);
            return;
        }
        let (store, used_since) = (queue.store.clone(), queue.used_since);
        drop(state);
        let pause = if used_since.elapsed() >= USE_MAX {
            Some(BREAK)
        } else if !lock.is_current(&store) {
            // The lock file was removed. Whoever makes it again has another lock.
            Some(Duration::ZERO)
        } else {
            None
        };
        match pause {
            None => self.give(id, lock),
            Some(pause) => {
                drop(lock);
                self.state().leave(id, pause, PAUSE_MIN);
                self.0.changed.notify_one();
            }
        }
    }

    /// Gives a lock to the next job.
    fn give(&self, id: LockId, lock: Lock) {
        let mut state = self.state();
        let Some(queue) = state.queues.get_mut(&id) else { return };
        let (late, next) = queue.take_next(Instant::now());
        self.count(&state);
        drop(state);
        late.into_iter().for_each(fail_late);
        match next {
            Some(job) => job.go_on(Some(self.handed_on(id, lock))),
            // All of them were late. The queue is empty, or has jobs that came meanwhile.
            None => self.hand_on(id, lock),
        }
    }

    /// The body of the timer.
    fn run_timer(self) {
        let mut state = self.state();
        let mut was_idle = false;
        loop {
            let now = Instant::now();
            let due = state.take_due(now, |job| job.is_ready(now));
            if !due.is_empty() {
                self.count(&state);
                drop(state);
                due.late.into_iter().for_each(fail_late);
                due.ready.into_iter().for_each(|job| job.go_on(None));
                due.tries
                    .into_iter()
                    .for_each(|(id, store, pause)| self.try_for(id, &store, pause));
                state = self.state();
                was_idle = false;
                continue;
            }
            let next = state.next_event();
            if next.is_none() && (state.is_closed || was_idle) {
                state.has_timer = false;
                return;
            }
            let wait = next.map_or(IDLE, |next| next.saturating_duration_since(now));
            let waited = self.0.changed.wait_timeout(state, wait);
            let (woken, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = woken;
            was_idle = next.is_none() && timeout.timed_out();
        }
    }

    /// Tries to take a lock for the jobs that wait for it.
    fn try_for(&self, id: LockId, store: &Store, pause: Duration) {
        match store.try_lock(id.1) {
            Ok(Some(lock)) => {
                if let Some(queue) = self.state().queues.get_mut(&id) {
                    queue.used_since = Instant::now();
                }
                self.give(id, lock);
            }
            Ok(None) => self.state().leave(id, pause, (2 * pause).min(PAUSE_MAX)),
            Err(failure) => {
                let mut state = self.state();
                let queue = state.queues.get_mut(&id);
                let (late, next) =
                    queue.map_or((Vec::new(), None), |queue| queue.take_next(Instant::now()));
                state.leave(id, pause, (2 * pause).min(PAUSE_MAX));
                self.count(&state);
                drop(state);
                late.into_iter().for_each(fail_late);
                if let Some(job) = next {
                    job.fail(JobError::of(failure.into()));
                }
            }
        }
    }

    fn count(&self, state: &State<T>) {
        let for_locks: usize = state.queues.values().map(|queue| queue.jobs.len()).sum();
        self.0.metrics.waiting(for_locks, state.for_leases.len());
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        // Nothing panics between two changes of the state.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// STORE, "Locks": beyond the bound the answer is `Busy`.
fn fail_late<T: Waiter>(job: T) {
    job.fail(JobError::of(StoreError::Locked.into()));
}

impl<T: Waiter> Clone for LockQueues<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Waiter> fmt::Debug for LockQueues<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockQueues").field("locks", &self.state().queues.len()).finish()
    }
}

#[cfg(test)]
mod tests;

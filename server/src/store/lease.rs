//! The lease of an upload: the right to write to its file, which one connection holds at a time.
//!
//! A client whose connection was lost reconnects while the server still waits for data on the first
//! connection. The newer connection then takes the upload over (PROTOCOL 5,
//! "Take-over"): it revokes the older connection's lease and receives what that connection had
//! received. A call that the older connection is still making, with data that arrived before the
//! connection was lost, is waited for; every later call fails before it touches the file.

use std::{
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

/// The exclusive right to use a `T`, and the `T` itself.
pub(super) struct Lease<T>(Arc<Shared<T>>);

/// A lease that does not keep its `T` alive.
pub(super) struct WeakLease<T>(Weak<Shared<T>>);

/// How long a call of [`Lease::revoke`] waits, in three steps.
#[derive(Clone, Copy, Debug)]
pub(super) struct RevokeTimeouts {
    /// The holder must have made no call for this long: then all data that had arrived is written.
    /// Zero: do not wait for that.
    pub(super) quiet: Duration,
    /// How long to wait at most for the holder to be quiet.
    pub(super) quiet_wait_max: Duration,
    /// How long to wait after that, at most, for the end of a call in progress.
    pub(super) call_wait_max: Duration,
}

/// How long a connection waits that replaces an older connection's upload by a new one: for a call
/// that writes one buffer or reads one slice. Only an overloaded disk takes longer, and then the
/// client retries.
pub(super) const REPLACE_TIMEOUTS: RevokeTimeouts = RevokeTimeouts {
    quiet: Duration::ZERO,
    quiet_wait_max: Duration::ZERO,
    call_wait_max: Duration::from_secs(1),
};

/// How long a connection waits that takes an upload over: data that had arrived before the
/// connection was lost is written first. Between two buffers of a slice that has arrived there is
/// less than half a second.
pub(super) const TAKE_OVER_TIMEOUTS: RevokeTimeouts = RevokeTimeouts {
    quiet: Duration::from_millis(500),
    quiet_wait_max: Duration::from_secs(2),
    ..REPLACE_TIMEOUTS
};

/// Why the holder of a lease has nothing to use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeaseLost {
    /// The holder has taken the value itself.
    Taken,
    /// A newer connection has revoked the lease.
    Revoked,
}

/// The result of revoking a lease.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Revocation<T> {
    /// The value. The older holder can no longer use it.
    Taken(T),
    /// No value: the holder has taken it, or another connection revoked the lease first.
    Released,
    /// No value yet: the holder's call takes longer than the timeouts allow. The value is dropped
    /// when that call ends.
    Busy,
}

struct Shared<T> {
    /// The number of the connection that holds the lease.
    holder: u64,
    state: Mutex<State<T>>,
    /// Signalled when a call of the holder ends.
    call_ended: Condvar,
}

struct State<T> {
    slot: Slot<T>,
    /// When the holder's last call ended.
    idle_since: Instant,
    is_revoked: bool,
    /// How many threads wait in [`Lease::revoke`].
    waiting: usize,
}

enum Slot<T> {
    /// The holder makes no call at the moment.
    Idle(T),
    /// A call of the holder is using the value.
    Borrowed,
    Empty,
}

impl<T> Lease<T> {
    /// A lease of `value`, held by the connection with this number.
    pub(super) fn new(value: T, holder: u64) -> Self {
        let idle_since = Instant::now();
        let state = State { slot: Slot::Idle(value), idle_since, is_revoked: false, waiting: 0 };
        Self(Arc::new(Shared { holder, state: Mutex::new(state), call_ended: Condvar::new() }))
    }

    /// The number of the connection that holds the lease.
    pub(super) fn holder(&self) -> u64 {
        self.0.holder
    }

    /// The same lease, for a connection that may revoke it while it lasts.
    pub(super) fn downgrade(&self) -> WeakLease<T> {
        WeakLease(Arc::downgrade(&self.0))
    }

    /// Calls `work` with the value. The holder makes one call at a time.
    ///
    /// # Errors
    /// When the value is gone.
    pub(super) fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> Result<R, LeaseLost> {
        let mut call = CallGuard { shared: &self.0, value: Some(self.0.borrow()?) };
        match &mut call.value {
            Some(value) => Ok(work(value)),
            None => Err(LeaseLost::Taken),
        }
    }

    /// Reads the value between two calls of the holder; `None` during a call.
    pub(super) fn peek<R>(&self, read: impl FnOnce(&T) -> R) -> Option<R> {
        match &self.0.state().slot {
            Slot::Idle(value) => Some(read(value)),
            Slot::Borrowed | Slot::Empty => None,
        }
    }

    /// Ends the lease and returns the value to its holder.
    ///
    /// # Errors
    /// When the value is gone.
    pub(super) fn take(&self) -> Result<T, LeaseLost> {
        let value = self.0.borrow()?;
        self.0.state().slot = Slot::Empty;
        self.0.call_ended.notify_all();
        Ok(value)
    }

    /// Takes the value away from the holder, once the holder is quiet. Whatever this returns, the
    /// holder cannot use the value again.
    pub(super) fn revoke(&self, timeouts: RevokeTimeouts) -> Revocation<T> {
        let mut state = self.0.state();
        state.waiting += 1;
        state = self.0.wait_until_quiet(state, timeouts);
        state.is_revoked = true;
        let is_in_call = |state: &mut State<T>| matches!(state.slot, Slot::Borrowed);
        let waited =
            self.0.call_ended.wait_timeout_while(state, timeouts.call_wait_max, is_in_call);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.waiting -= 1;
        match std::mem::replace(&mut state.slot, Slot::Empty) {
            Slot::Idle(value) => Revocation::Taken(value),
            Slot::Empty => Revocation::Released,
            Slot::Borrowed => {
                state.slot = Slot::Borrowed;
                Revocation::Busy
            }
        }
    }
}

impl<T> Shared<T> {
    /// Hands the value to the holder, whose call puts it back when it ends ([`CallGuard`]).
    fn borrow(&self) -> Result<T, LeaseLost> {
        let mut state = self.state();
        if state.is_revoked {
            return Err(LeaseLost::Revoked);
        }
        match std::mem::replace(&mut state.slot, Slot::Borrowed) {
            Slot::Idle(value) => Ok(value),
            other => {
                state.slot = other;
                Err(LeaseLost::Taken)
            }
        }
    }

    /// Waits until the holder has been quiet for long enough, or the value is gone.
    fn wait_until_quiet<'a>(
        &self,
        mut state: MutexGuard<'a, State<T>>,
        timeouts: RevokeTimeouts,
    ) -> MutexGuard<'a, State<T>> {
        let begun = Instant::now();
        loop {
            let left = timeouts.quiet_wait_max.saturating_sub(begun.elapsed());
            let to_quiet = match state.slot {
                Slot::Idle(_) => timeouts.quiet.saturating_sub(state.idle_since.elapsed()),
                Slot::Borrowed => timeouts.quiet,
                Slot::Empty => Duration::ZERO,
            };
            if to_quiet.min(left).is_zero() {
                return state;
            }
            let waited = self.call_ended.wait_timeout(state, to_quiet.min(left));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        // A panic cannot leave the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call of the holder. When it ends the value goes back, where a waiting [`Lease::revoke`] finds
/// it.
struct CallGuard<'a, T> {
    shared: &'a Shared<T>,
    value: Option<T>,
}

impl<T> Drop for CallGuard<'_, T> {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.idle_since = Instant::now();
        // A lease that was revoked while no thread was waiting has no taker for the value. A value
        // that a panicking call leaves is not used again.
        let is_wanted = !state.is_revoked || state.waiting > 0;
        state.slot = match self.value.take_if(|_| is_wanted && !std::thread::panicking()) {
            Some(value) => Slot::Idle(value),
            None => Slot::Empty,
        };
        self.shared.call_ended.notify_all();
        // A value that is left is dropped after the lock is released.
    }
}

impl<T> WeakLease<T> {
    /// A lease of nothing.
    pub(super) const fn new() -> Self {
        Self(Weak::new())
    }

    /// The lease, if it still exists.
    pub(super) fn upgrade(&self) -> Option<Lease<T>> {
        self.0.upgrade().map(Lease)
    }
}

impl<T: fmt::Debug> fmt::Debug for Lease<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.peek(|value| value.fmt(f)).unwrap_or_else(|| f.write_str("Lease(..)"))
    }
}

impl<T> fmt::Debug for WeakLease<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WeakLease")
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            atomic::{AtomicBool, AtomicU64, Ordering},
            mpsc,
        },
        thread,
        time::Instant,
    };

    use super::*;

    /// Waits only for the end of a call.
    const LONG: RevokeTimeouts = RevokeTimeouts {
        quiet: Duration::ZERO,
        quiet_wait_max: Duration::ZERO,
        call_wait_max: Duration::from_secs(60),
    };

    /// Counts how many were dropped.
    #[derive(Debug)]
    struct Counted(u64, Arc<AtomicU64>);

    impl Drop for Counted {
        fn drop(&mut self) {
            self.1.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// After a revocation the holder can neither use nor take the lease's value.
    #[test]
    fn lease_revoke_takes_value_from_holder() {
        let lease = Lease::new(7, 1);
        assert_eq!(lease.with(|value| std::mem::replace(value, 8)), Ok(7));
        assert_eq!(lease.revoke(LONG), Revocation::Taken(8));
        assert_eq!(lease.with(|_| panic!("it is worked on")), Err::<(), _>(LeaseLost::Revoked));
        assert_eq!(lease.take(), Err(LeaseLost::Revoked));
        assert_eq!(lease.revoke(LONG), Revocation::Released);
    }

    /// A lease whose holder has taken its value is released, and revoking it gets nothing.
    #[test]
    fn lease_taken_by_holder_cannot_be_revoked() {
        let lease = Lease::new(7, 1);
        let weak = lease.downgrade();
        assert_eq!(lease.take(), Ok(7));
        assert_eq!(
            (lease.with(|_| ()), lease.take()),
            (Err(LeaseLost::Taken), Err(LeaseLost::Taken))
        );
        assert_eq!(weak.upgrade().map(|lease| lease.revoke(LONG)), Some(Revocation::Released));
        drop(lease);
        assert!(weak.upgrade().is_none());
    }

    /// A connection that takes the upload over waits for the call in progress, and no other call
    /// comes between.
    #[test]
    fn lease_revoke_waits_for_call_in_progress() {
        let lease = Lease::new(0, 1);
        let other = lease.downgrade().upgrade().unwrap();
        let (began, begins) = mpsc::channel();
        let (go_on, goes_on) = mpsc::channel::<()>();
        let holder = thread::spawn(move || {
            let first = lease.with(|value| {
                began.send(()).unwrap();
                goes_on.recv().unwrap();
                *value = 9;
            });
            (first, lease.with(|value| *value = 10))
        });
        begins.recv().unwrap();
        let newer = thread::spawn(move || other.revoke(LONG));
        go_on.send(()).unwrap();
        // The call ended before the revocation, or was waited for; in both cases its change is
        // kept.
        let (first, second) = holder.join().unwrap();
        assert_eq!(first, Ok(()));
        match newer.join().unwrap() {
            Revocation::Taken(9) => assert_eq!(second, Err(LeaseLost::Revoked)),
            Revocation::Taken(10) => assert_eq!(second, Ok(())),
            other => panic!("{other:?}"),
        }
    }

    /// The wait is bounded; a value without a taker is dropped when the call ends.
    #[test]
    fn lease_revoke_is_busy_after_longest_call_wait() {
        let dropped = Arc::new(AtomicU64::new(0));
        let lease = Lease::new(Counted(0, Arc::clone(&dropped)), 1);
        let other = lease.downgrade().upgrade().unwrap();
        let worked = lease.with(|value| {
            let begun = Instant::now();
            assert!(matches!(
                other.revoke(RevokeTimeouts { call_wait_max: Duration::from_millis(20), ..LONG }),
                Revocation::Busy
            ));
            assert!(begun.elapsed() >= Duration::from_millis(20));
            value.0 = 3;
            assert_eq!(dropped.load(Ordering::SeqCst), 0);
        });
        assert_eq!((worked, dropped.load(Ordering::SeqCst)), (Ok(()), 1));
        assert_eq!(lease.with(|_| ()), Err(LeaseLost::Revoked));
        assert!(matches!(other.revoke(LONG), Revocation::Released));
    }

    /// Data that had arrived on the older connection is written by one call after another, which
    /// are allowed to finish.
    #[test]
    fn lease_revoke_waits_until_holder_is_quiet() {
        let timeouts = |quiet, quiet_wait_max| RevokeTimeouts {
            quiet: Duration::from_millis(quiet),
            quiet_wait_max: Duration::from_millis(quiet_wait_max),
            ..LONG
        };
        let lease = Lease::new(0, 1);
        thread::scope(|scope| {
            let other = lease.downgrade().upgrade().unwrap();
            assert!(lease.with(|value| *value += 1).is_ok());
            let newer = scope.spawn(move || other.revoke(timeouts(2_000, 60_000)));
            let (mut done, mut last, mut longest) = (1, Instant::now(), Duration::ZERO);
            while done < 50 && lease.with(|value| *value += 1).is_ok() {
                done += 1;
                thread::sleep(Duration::from_millis(1));
                longest = longest.max(last.elapsed());
                last = Instant::now();
            }
            assert_eq!(newer.join().unwrap(), Revocation::Taken(done));
            // On a busy machine the holder may have been quiet for that long.
            assert!(done == 50 || longest > Duration::from_secs(1), "{done} after {longest:?}");
        });
        // A holder that is never quiet is not waited for forever.
        let lease = Lease::new(0, 1);
        let other = lease.downgrade().upgrade().unwrap();
        thread::scope(|scope| {
            let newer = scope.spawn(move || other.revoke(timeouts(60_000, 50)));
            let mut done = 0;
            while lease.with(|value| *value += 1).is_ok() {
                done += 1;
            }
            assert_eq!(newer.join().unwrap(), Revocation::Taken(done));
        });
        // A holder that has been quiet for long enough, or is gone, is not waited for.
        let lease = Lease::new(7, 1);
        thread::sleep(Duration::from_millis(5));
        let begun = Instant::now();
        assert_eq!(lease.revoke(timeouts(5, 60_000)), Revocation::Taken(7));
        assert_eq!(lease.revoke(timeouts(60_000, 60_000)), Revocation::Released);
        assert!(begun.elapsed() < Duration::from_secs(60));
    }

    /// A lease whose call panicked is released and its value is not taken over.
    #[test]
    fn lease_after_panicked_call_is_released() {
        let lease = Lease::new(7, 1);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            lease.with(|_| panic!("a defect"))
        }));
        assert!(panicked.is_err());
        assert_eq!(lease.revoke(LONG), Revocation::Released);
    }

    /// In any interleaving, the holder changes nothing after the value was taken, and only one
    /// caller gets the value.
    #[test]
    fn lease_concurrent_revokes_give_value_to_one_caller() {
        for round in 0..200 {
            let lease = Lease::new(0_u64, 1);
            let others: Vec<_> = (0..3).map(|_| lease.downgrade().upgrade().unwrap()).collect();
            let is_over = AtomicBool::new(false);
            thread::scope(|scope| {
                let holder = scope.spawn(|| {
                    let mut done = 0;
                    while lease.with(|value| *value += 1).is_ok() {
                        done += 1;
                    }
                    is_over.store(true, Ordering::SeqCst);
                    done
                });
                let others: Vec<_> = others
                    .iter()
                    .map(|other| {
                        scope.spawn(|| {
                            while round % 2 == 0 && other.peek(|value| *value > 9) != Some(true) {
                                thread::yield_now();
                                if is_over.load(Ordering::SeqCst) {
                                    break;
                                }
                            }
                            other.revoke(LONG)
                        })
                    })
                    .collect();
                let got: Vec<_> = others.into_iter().map(|other| other.join().unwrap()).collect();
                let done = holder.join().unwrap();
                let taken: Vec<_> =
                    got.iter().filter(|got| **got != Revocation::Released).collect();
                assert_eq!(taken, [&Revocation::Taken(done)]);
            });
        }
    }
}

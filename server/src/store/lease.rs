//! The lease of an upload: the right to write to its file, which one connection has at a time.
//!
//! A client whose line has died in silence comes back by another connection while the server still waits for the first
//! one. The newer connection then takes the upload over (PROTOCOL 5, "Take-over"): it revokes the lease of the older one
//! and gets what that one had received. What the older one is still at work on, because it had arrived before the line
//! died, is waited for; every call after that fails before it touches the file.

use std::{
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

/// The right to work on a `T`, and the `T` itself.
pub(super) struct Lease<T>(Arc<Shared<T>>);

/// A lease that does not keep its `T` alive.
pub(super) struct WeakLease<T>(Weak<Shared<T>>);

/// How long somebody who revokes a lease waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Until the holder has made no call for so long: then all that had arrived is written. Zero waits for none.
    pub(super) rest: Duration,
    /// For that at most.
    pub(super) for_rest: Duration,
    /// Then for the end of a call that is under way at most.
    pub(super) for_call: Duration,
}

/// Why the holder of a lease has nothing to work on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The holder has taken it away itself.
    Gone,
    /// A newer connection has revoked the lease.
    Revoked,
}

/// What a newer connection gets that revokes a lease.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Revoked<T> {
    /// What the lease was of. Nobody else has it any more.
    Taken(T),
    /// Nothing: the holder has ended, or somebody else was faster.
    Gone,
    /// Nothing yet: the holder's call takes longer than anybody waits. When it ends it drops the `T`.
    AtWork,
}

struct Shared<T> {
    /// The number of the connection that has the lease.
    holder: u64,
    state: Mutex<State<T>>,
    /// A call of the holder has ended.
    rests: Condvar,
}

struct State<T> {
    place: Place<T>,
    /// When the holder's last call ended.
    rests_since: Instant,
    is_revoked: bool,
    /// How many wait to get it.
    waiting: usize,
}

enum Place<T> {
    /// Between two calls.
    Here(T),
    /// A call of the holder has it.
    AtWork,
    Gone,
}

impl<T> Lease<T> {
    /// Of `value`, for the connection with this number.
    pub(super) fn new(value: T, holder: u64) -> Self {
        let rests_since = Instant::now();
        let state = State { place: Place::Here(value), rests_since, is_revoked: false, waiting: 0 };
        Self(Arc::new(Shared { holder, state: Mutex::new(state), rests: Condvar::new() }))
    }

    /// The number of the connection that has it.
    pub(super) fn holder(&self) -> u64 {
        self.0.holder
    }

    /// The same lease, for somebody who may want to revoke it while it lasts.
    pub(super) fn downgrade(&self) -> WeakLease<T> {
        WeakLease(Arc::downgrade(&self.0))
    }

    /// Lets the holder work on it. The holder makes one call at a time.
    ///
    /// # Errors
    /// When there is nothing to work on any more.
    pub(super) fn work<R>(&self, work: impl FnOnce(&mut T) -> R) -> Result<R, Ended> {
        let mut at_work = AtWork { shared: &self.0, value: Some(self.0.lend()?) };
        match &mut at_work.value {
            Some(value) => Ok(work(value)),
            None => Err(Ended::Gone),
        }
    }

    /// Looks at it between two calls of the holder.
    pub(super) fn look<R>(&self, look: impl FnOnce(&T) -> R) -> Option<R> {
        match &self.0.state().place {
            Place::Here(value) => Some(look(value)),
            Place::AtWork | Place::Gone => None,
        }
    }

    /// Ends the lease: gives the holder what it was of.
    ///
    /// # Errors
    /// When there is nothing any more.
    pub(super) fn end(&self) -> Result<T, Ended> {
        let value = self.0.lend()?;
        self.0.state().place = Place::Gone;
        self.0.rests.notify_all();
        Ok(value)
    }

    /// Takes it away from the holder, once the holder rests. Whatever this returns, the holder works on it no more.
    pub(super) fn revoke(&self, patience: Patience) -> Revoked<T> {
        let mut state = self.0.state();
        state.waiting += 1;
        state = self.0.until_rest(state, patience);
        state.is_revoked = true;
        let is_at_work = |state: &mut State<T>| matches!(state.place, Place::AtWork);
        let waited = self.0.rests.wait_timeout_while(state, patience.for_call, is_at_work);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.waiting -= 1;
        match std::mem::replace(&mut state.place, Place::Gone) {
            Place::Here(value) => Revoked::Taken(value),
            Place::Gone => Revoked::Gone,
            Place::AtWork => {
                state.place = Place::AtWork;
                Revoked::AtWork
            }
        }
    }
}

impl<T> Shared<T> {
    /// Hands it to the holder, who gives it back by [`AtWork`] or says that it is gone.
    fn lend(&self) -> Result<T, Ended> {
        let mut state = self.state();
        if state.is_revoked {
            return Err(Ended::Revoked);
        }
        match std::mem::replace(&mut state.place, Place::AtWork) {
            Place::Here(value) => Ok(value),
            other => {
                state.place = other;
                Err(Ended::Gone)
            }
        }
    }

    /// Waits until the holder has rested for long enough, or is gone.
    fn until_rest<'a>(
        &self,
        mut state: MutexGuard<'a, State<T>>,
        patience: Patience,
    ) -> MutexGuard<'a, State<T>> {
        let begun = Instant::now();
        loop {
            let left = patience.for_rest.saturating_sub(begun.elapsed());
            let to_rest = match state.place {
                Place::Here(_) => patience.rest.saturating_sub(state.rests_since.elapsed()),
                Place::AtWork => patience.rest,
                Place::Gone => Duration::ZERO,
            };
            if to_rest.min(left).is_zero() {
                return state;
            }
            let waited = self.rests.wait_timeout(state, to_rest.min(left));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        // No change of it stops half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call of the holder. When it ends the value goes back, or to whoever waits for it.
struct AtWork<'a, T> {
    shared: &'a Shared<T>,
    value: Option<T>,
}

impl<T> Drop for AtWork<'_, T> {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.rests_since = Instant::now();
        // Nobody comes for what was revoked while nobody waited. What a call left that panicked is worth nothing.
        let is_wanted = !state.is_revoked || state.waiting > 0;
        state.place = match self.value.take_if(|_| is_wanted && !std::thread::panicking()) {
            Some(value) => Place::Here(value),
            None => Place::Gone,
        };
        self.shared.rests.notify_all();
        // A value that is left is dropped once the state is free.
    }
}

impl<T> WeakLease<T> {
    /// Of nothing.
    pub(super) const fn new() -> Self {
        Self(Weak::new())
    }

    /// The lease, if it lasts.
    pub(super) fn upgrade(&self) -> Option<Lease<T>> {
        self.0.upgrade().map(Lease)
    }
}

impl<T: fmt::Debug> fmt::Debug for Lease<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.look(|value| value.fmt(f)).unwrap_or_else(|| f.write_str("Lease(..)"))
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

    /// For the end of a call alone.
    const LONG: Patience = Patience {
        rest: Duration::ZERO,
        for_rest: Duration::ZERO,
        for_call: Duration::from_secs(60),
    };

    /// Counts how many of it were dropped.
    #[derive(Debug)]
    struct Counted(u64, Arc<AtomicU64>);

    impl Drop for Counted {
        fn drop(&mut self) {
            self.1.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn what_was_revoked_is_somebody_elses() {
        let lease = Lease::new(7, 1);
        assert_eq!(lease.work(|value| std::mem::replace(value, 8)), Ok(7));
        assert_eq!(lease.revoke(LONG), Revoked::Taken(8));
        assert_eq!(lease.work(|_| panic!("it is worked on")), Err::<(), _>(Ended::Revoked));
        assert_eq!(lease.end(), Err(Ended::Revoked));
        assert_eq!(lease.revoke(LONG), Revoked::Gone);
    }

    #[test]
    fn what_its_holder_has_ended_is_nobodys() {
        let lease = Lease::new(7, 1);
        let weak = lease.downgrade();
        assert_eq!(lease.end(), Ok(7));
        assert_eq!((lease.work(|_| ()), lease.end()), (Err(Ended::Gone), Err(Ended::Gone)));
        assert_eq!(weak.upgrade().map(|lease| lease.revoke(LONG)), Some(Revoked::Gone));
        drop(lease);
        assert!(weak.upgrade().is_none());
    }

    /// Whoever takes it over waits for the call that is under way, and no other one comes between.
    #[test]
    fn a_call_under_way_is_waited_for_and_is_the_last() {
        let lease = Lease::new(0, 1);
        let other = lease.downgrade().upgrade().unwrap();
        let (began, begins) = mpsc::channel();
        let (go_on, goes_on) = mpsc::channel::<()>();
        let holder = thread::spawn(move || {
            let first = lease.work(|value| {
                began.send(()).unwrap();
                goes_on.recv().unwrap();
                *value = 9;
            });
            (first, lease.work(|value| *value = 10))
        });
        begins.recv().unwrap();
        let newer = thread::spawn(move || other.revoke(LONG));
        go_on.send(()).unwrap();
        // It ended before the lease was revoked, or was waited for; either way what it did is there.
        let (first, second) = holder.join().unwrap();
        assert_eq!(first, Ok(()));
        match newer.join().unwrap() {
            Revoked::Taken(9) => assert_eq!(second, Err(Ended::Revoked)),
            Revoked::Taken(10) => assert_eq!(second, Ok(())),
            other => panic!("{other:?}"),
        }
    }

    /// The wait has an end; what nobody waits for any more goes when the call ends.
    #[test]
    fn a_call_that_takes_too_long_is_left_and_what_it_worked_on_goes() {
        let dropped = Arc::new(AtomicU64::new(0));
        let lease = Lease::new(Counted(0, Arc::clone(&dropped)), 1);
        let other = lease.downgrade().upgrade().unwrap();
        let worked = lease.work(|value| {
            let begun = Instant::now();
            assert!(matches!(
                other.revoke(Patience { for_call: Duration::from_millis(20), ..LONG }),
                Revoked::AtWork
            ));
            assert!(begun.elapsed() >= Duration::from_millis(20));
            value.0 = 3;
            assert_eq!(dropped.load(Ordering::SeqCst), 0);
        });
        assert_eq!((worked, dropped.load(Ordering::SeqCst)), (Ok(()), 1));
        assert_eq!(lease.work(|_| ()), Err(Ended::Revoked));
        assert!(matches!(other.revoke(LONG), Revoked::Gone));
    }

    /// What had arrived by the older connection is written by one call after the other: it is let finish.
    #[test]
    fn a_holder_that_is_at_work_is_let_come_to_rest_for_a_while() {
        let patience = |rest, for_rest| Patience {
            rest: Duration::from_millis(rest),
            for_rest: Duration::from_millis(for_rest),
            ..LONG
        };
        let lease = Lease::new(0, 1);
        thread::scope(|scope| {
            let other = lease.downgrade().upgrade().unwrap();
            assert!(lease.work(|value| *value += 1).is_ok());
            let newer = scope.spawn(move || other.revoke(patience(2_000, 60_000)));
            let (mut done, mut last, mut longest) = (1, Instant::now(), Duration::ZERO);
            while done < 50 && lease.work(|value| *value += 1).is_ok() {
                done += 1;
                thread::sleep(Duration::from_millis(1));
                longest = longest.max(last.elapsed());
                last = Instant::now();
            }
            assert_eq!(newer.join().unwrap(), Revoked::Taken(done));
            // A machine that is busy may have made it rest for so long.
            assert!(done == 50 || longest > Duration::from_secs(1), "{done} after {longest:?}");
        });
        // One that never rests is not waited for for ever.
        let lease = Lease::new(0, 1);
        let other = lease.downgrade().upgrade().unwrap();
        thread::scope(|scope| {
            let newer = scope.spawn(move || other.revoke(patience(60_000, 50)));
            let mut done = 0;
            while lease.work(|value| *value += 1).is_ok() {
                done += 1;
            }
            assert_eq!(newer.join().unwrap(), Revoked::Taken(done));
        });
        // One that has rested for long enough is not waited for at all, and one that is gone neither.
        let lease = Lease::new(7, 1);
        thread::sleep(Duration::from_millis(5));
        let begun = Instant::now();
        assert_eq!(lease.revoke(patience(5, 60_000)), Revoked::Taken(7));
        assert_eq!(lease.revoke(patience(60_000, 60_000)), Revoked::Gone);
        assert!(begun.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn what_a_call_that_panicked_left_is_not_taken_over() {
        let lease = Lease::new(7, 1);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            lease.work(|_| panic!("a defect"))
        }));
        assert!(panicked.is_err());
        assert_eq!(lease.revoke(LONG), Revoked::Gone);
    }

    /// However they meet, the holder changes nothing after another one has got it, and one alone gets it.
    #[test]
    fn of_many_who_revoke_it_one_gets_it_as_its_holder_left_it() {
        for round in 0..200 {
            let lease = Lease::new(0_u64, 1);
            let others: Vec<_> = (0..3).map(|_| lease.downgrade().upgrade().unwrap()).collect();
            let is_over = AtomicBool::new(false);
            thread::scope(|scope| {
                let holder = scope.spawn(|| {
                    let mut done = 0;
                    while lease.work(|value| *value += 1).is_ok() {
                        done += 1;
                    }
                    is_over.store(true, Ordering::SeqCst);
                    done
                });
                let others: Vec<_> = others
                    .iter()
                    .map(|other| {
                        scope.spawn(|| {
                            while round % 2 == 0 && other.look(|value| *value > 9) != Some(true) {
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
                let taken: Vec<_> = got.iter().filter(|got| **got != Revoked::Gone).collect();
                assert_eq!(taken, [&Revoked::Taken(done)]);
            });
        }
    }
}

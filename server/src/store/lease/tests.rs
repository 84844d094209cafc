use std::{
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
};

use super::*;

/// Waits only for the end of a call.
const LONG: RevokeTimeouts = RevokeTimeouts {
    quiet: Duration::ZERO,
    quiet_wait_max: Duration::ZERO,
    call_wait_max: Duration::from_secs(60),
};

/// Revokes a lease, and waits.
fn revoke<T>(lease: &Lease<T>, timeouts: RevokeTimeouts) -> Revocation<T> {
    let lease = lease.downgrade().upgrade().unwrap();
    lease.revoke(timeouts, Instant::now()).take_blocking()
}

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
    assert_eq!(revoke(&lease, LONG), Revocation::Taken(8));
    assert_eq!(lease.with(|_| panic!("it is worked on")), Err::<(), _>(LeaseLost::Revoked));
    assert_eq!(lease.take(), Err(LeaseLost::Revoked));
    assert_eq!(revoke(&lease, LONG), Revocation::Released);
}

/// A lease whose holder has taken its value is released, and revoking it gets nothing.
#[test]
fn lease_taken_by_holder_cannot_be_revoked() {
    let lease = Lease::new(7, 1);
    let weak = lease.downgrade();
    assert_eq!(lease.take(), Ok(7));
    assert_eq!((lease.with(|_| ()), lease.take()), (Err(LeaseLost::Taken), Err(LeaseLost::Taken)));
    assert_eq!(weak.upgrade().map(|lease| revoke(&lease, LONG)), Some(Revocation::Released));
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
    let newer = thread::spawn(move || revoke(&other, LONG));
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
            revoke(&other, RevokeTimeouts { call_wait_max: Duration::from_millis(20), ..LONG }),
            Revocation::Busy
        ));
        assert!(begun.elapsed() >= Duration::from_millis(20));
        value.0 = 3;
        assert_eq!(dropped.load(Ordering::SeqCst), 0);
    });
    assert_eq!((worked, dropped.load(Ordering::SeqCst)), (Ok(()), 1));
    assert_eq!(lease.with(|_| ()), Err(LeaseLost::Revoked));
    assert!(matches!(revoke(&other, LONG), Revocation::Released));
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
        let newer = scope.spawn(move || revoke(&other, timeouts(2_000, 60_000)));
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
        let newer = scope.spawn(move || revoke(&other, timeouts(60_000, 50)));
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
    assert_eq!(revoke(&lease, timeouts(5, 60_000)), Revocation::Taken(7));
    assert_eq!(revoke(&lease, timeouts(60_000, 60_000)), Revocation::Released);
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
    assert_eq!(revoke(&lease, LONG), Revocation::Released);
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
                        revoke(other, LONG)
                    })
                })
                .collect();
            let got: Vec<_> = others.into_iter().map(|other| other.join().unwrap()).collect();
            let done = holder.join().unwrap();
            let taken: Vec<_> = got.iter().filter(|got| **got != Revocation::Released).collect();
            assert_eq!(taken, [&Revocation::Taken(done)]);
        });
    }
}

/// A wait that is given up leaves the lease to its holder; once the lease was revoked, the value is
/// dropped.
#[test]
fn lease_of_ended_wait_is_left_to_holder_until_revoked() {
    let quiet = |quiet| RevokeTimeouts { quiet, quiet_wait_max: quiet, ..LONG };
    let dropped = Arc::new(AtomicU64::new(0));
    let lease = Lease::new(Counted(0, Arc::clone(&dropped)), 1);
    let again = || lease.downgrade().upgrade().unwrap();
    let now = Instant::now();
    let mut waiting = again().revoke(quiet(Duration::from_secs(3600)), now);
    assert!(!waiting.is_ready(now));
    drop(waiting);
    assert_eq!(lease.with(|value| value.0 = 1), Ok(()));
    // During a call: it is revoked, and the call goes on.
    let mut waiting = again().revoke(LONG, now);
    let worked = lease.with(|value| {
        assert!(!waiting.is_ready(now));
        value.0 = 2;
    });
    assert!(waiting.is_ready(now));
    assert_eq!((worked, dropped.load(Ordering::SeqCst)), (Ok(()), 0));
    drop(waiting);
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
    assert_eq!(lease.with(|_| ()), Err(LeaseLost::Revoked));
}

/// A lease that is ended drops its value at once, or when the call in progress ends.
#[test]
fn lease_end_drops_value_without_waiting() {
    let dropped = Arc::new(AtomicU64::new(0));
    let lease = Lease::new(Counted(0, Arc::clone(&dropped)), 1);
    lease.end();
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
    assert_eq!(lease.with(|_| ()), Err(LeaseLost::Revoked));
    let lease = Lease::new(Counted(0, Arc::clone(&dropped)), 1);
    let worked = lease.with(|_| {
        lease.end();
        assert_eq!(dropped.load(Ordering::SeqCst), 1);
    });
    assert_eq!((worked, dropped.load(Ordering::SeqCst)), (Ok(()), 2));
    assert_eq!(lease.take().map(drop), Err(LeaseLost::Revoked));
}

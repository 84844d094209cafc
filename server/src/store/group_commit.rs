//! One sync for all who wait for the same directory at once (STORE, "Put" 8).
//!
//! A sync covers what was done before it began. So whoever comes while one is under way waits for the next one, and of
//! those who wait one does it for all.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

/// The directories that somebody waits for, by device and inode.
#[derive(Debug, Default)]
pub(super) struct Rounds(Mutex<HashMap<(u64, u64), Arc<Directory>>>);

#[derive(Debug, Default)]
struct Directory {
    state: Mutex<State>,
    ended: Condvar,
}

/// Syncs are numbered from 1.
#[derive(Debug, Default)]
struct State {
    begun: u64,
    ended: u64,
    /// The last one that failed, and how.
    failed: Option<(u64, Option<i32>)>,
}

impl Rounds {
    /// Returns when a sync of the directory `inode` that began after this call has ended. Whoever does it calls `sync`.
    ///
    /// # Errors
    /// Those of the sync, of whoever did it.
    pub(super) fn wait(
        &self,
        inode: (u64, u64),
        sync: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let directory = Arc::clone(locked(&self.0).entry(inode).or_default());
        let waited = directory.wait(sync);
        let mut directories = locked(&self.0);
        // The map's and this one: nobody else waits for it.
        if Arc::strong_count(&directory) == 2 {
            directories.remove(&inode);
        }
        waited
    }
}

impl Directory {
    fn wait(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut state = locked(&self.state);
        let awaited = state.begun + 1;
        while state.begun > state.ended && state.ended < awaited {
            state = self.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.ended >= awaited {
            return match state.failed {
                Some((number, code)) if number >= awaited => Err(again(code)),
                _ => Ok(()),
            };
        }
        state.begun += 1;
        let number = state.begun;
        drop(state);
        let synced = sync();
        let mut state = locked(&self.state);
        state.ended = number;
        if let Err(error) = &synced {
            state.failed = Some((number, error.raw_os_error()));
        }
        drop(state);
        self.ended.notify_all();
        synced
    }
}

/// What somebody else was told.
fn again(code: Option<i32>) -> io::Error {
    code.map_or_else(|| io::ErrorKind::Other.into(), io::Error::from_raw_os_error)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in between two changes of it panics.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Barrier,
            atomic::{AtomicU64, Ordering::SeqCst},
            mpsc::channel,
        },
        thread::{self, Scope},
        time::{Duration, Instant},
    };

    use super::*;

    const HERE: (u64, u64) = (1, 2);

    /// Begins the first sync of [`HERE`], which counts in `syncs`, and holds it up until what this gives is called; it succeeds then.
    fn held_up<'scope>(
        scope: &'scope Scope<'scope, '_>,
        rounds: &'scope Rounds,
        syncs: &'scope AtomicU64,
    ) -> impl FnOnce() {
        let (go, may_go) = channel::<()>();
        let first = scope.spawn(move || {
            rounds.wait(HERE, || {
                syncs.fetch_add(1, SeqCst);
                may_go.recv().map_err(io::Error::other)
            })
        });
        while syncs.load(SeqCst) == 0 {
            thread::yield_now();
        }
        move || {
            go.send(()).unwrap();
            first.join().unwrap().unwrap();
        }
    }

    /// Waits until `waiting` others wait for a sync of `inode`.
    fn until_waiting(rounds: &Rounds, inode: (u64, u64), waiting: usize) {
        let begun = Instant::now();
        // The map has one of them, and so has whoever syncs.
        while locked(&rounds.0).get(&inode).map_or(0, Arc::strong_count) < waiting + 2 {
            assert!(begun.elapsed() < Duration::from_secs(60), "nobody waits");
            thread::yield_now();
        }
        // They have counted themselves, but may not have looked yet.
        thread::sleep(Duration::from_millis(50));
    }

    #[test]
    fn who_comes_while_one_is_under_way_shares_the_next() {
        let rounds = Rounds::default();
        let (syncs, done) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            let (rounds, syncs, done) = (&rounds, &syncs, &done);
            let release = held_up(scope, rounds, syncs);
            for _ in 0..7 {
                scope.spawn(move || {
                    let count = || {
                        syncs.fetch_add(1, SeqCst);
                        Ok(())
                    };
                    rounds.wait(HERE, count).unwrap();
                    done.fetch_add(1, SeqCst);
                });
            }
            until_waiting(rounds, HERE, 7);
            // The one under way began before they came, so it says nothing about what they did.
            assert_eq!((syncs.load(SeqCst), done.load(SeqCst)), (1, 0));
            // Another directory does not wait.
            rounds.wait((1, 3), || Ok(())).unwrap();
            release();
        });
        assert_eq!((syncs.load(SeqCst), done.load(SeqCst)), (2, 7));
        assert!(locked(&rounds.0).is_empty());
    }

    #[test]
    fn all_who_share_a_sync_are_told_that_it_failed() {
        let rounds = Rounds::default();
        let syncs = AtomicU64::new(0);
        thread::scope(|scope| {
            let (rounds, syncs) = (&rounds, &syncs);
            let release = held_up(scope, rounds, syncs);
            let fail = || {
                syncs.fetch_add(1, SeqCst);
                Err(io::Error::from_raw_os_error(5))
            };
            let others: Vec<_> =
                (0..3).map(|_| scope.spawn(move || rounds.wait(HERE, fail))).collect();
            until_waiting(rounds, HERE, 3);
            release();
            for other in others {
                assert_eq!(other.join().unwrap().unwrap_err().raw_os_error(), Some(5));
            }
        });
        assert_eq!(syncs.load(SeqCst), 2);
        // It is nobody's who comes later.
        rounds.wait(HERE, || Ok(())).unwrap();
    }

    #[test]
    fn each_wait_is_covered_by_a_sync_that_began_after_it() {
        let rounds = Rounds::default();
        let (clock, begun) = (AtomicU64::new(0), AtomicU64::new(0));
        let start = Barrier::new(8);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    start.wait();
                    for _ in 0..2_000 {
                        let came = clock.fetch_add(1, SeqCst);
                        let sync = || {
                            begun.fetch_max(clock.fetch_add(1, SeqCst), SeqCst);
                            thread::yield_now();
                            Ok(())
                        };
                        rounds.wait(HERE, sync).unwrap();
                        assert!(begun.load(SeqCst) > came);
                    }
                });
            }
        });
    }
}

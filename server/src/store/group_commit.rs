//! Group commit of directory fsyncs (STORE, "Put" 8).
//!
//! An fsync covers what was done before it began. So callers that arrive during an fsync wait for
//! the next one, which one of them does for all.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

/// The directories that callers wait for, by device and inode numbers.
#[derive(Debug, Default)]
pub(super) struct GroupCommit(Mutex<HashMap<(u64, u64), Arc<DirState>>>);

#[derive(Debug, Default)]
struct DirState {
    state: Mutex<Progress>,
    ended: Condvar,
}

/// Fsyncs of the directory are numbered from 1.
#[derive(Debug, Default)]
struct Progress {
    begun: u64,
    ended: u64,
    /// The number of the last fsync that failed, and its error number if it had one.
    failed: Option<(u64, Option<i32>)>,
}

impl GroupCommit {
    /// Returns after an fsync of the directory `inode` that began after this call. If no other
    /// caller does it, this one does, by calling `sync`.
    ///
    /// # Errors
    /// The error of that fsync, whichever caller did it.
    pub(super) fn wait(
        &self,
        inode: (u64, u64),
        sync: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let directory = Arc::clone(locked(&self.0).entry(inode).or_default());
        let waited = directory.wait(sync);
        let mut directories = locked(&self.0);
        // One reference is the map's and one is this caller's: no other caller waits.
        if Arc::strong_count(&directory) == 2 {
            directories.remove(&inode);
        }
        waited
    }
}

impl DirState {
    fn wait(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut state = locked(&self.state);
        let awaited = state.begun + 1;
        while state.begun > state.ended && state.ended < awaited {
            state = self.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.ended >= awaited {
            return match state.failed {
                Some((number, code)) if number >= awaited => Err(repeat_error(code)),
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

/// The error of an fsync that another caller did.
fn repeat_error(code: Option<i32>) -> io::Error {
    code.map_or_else(|| io::ErrorKind::Other.into(), io::Error::from_raw_os_error)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code panics between two changes of the value.
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

    const DIR: (u64, u64) = (1, 2);

    /// Starts the first fsync of [`DIR`], which counts itself in `fsync` and blocks until the
    /// returned function is called; then it succeeds.
    fn block_first_fsync<'scope>(
        scope: &'scope Scope<'scope, '_>,
        group_commit: &'scope GroupCommit,
        fsync: &'scope AtomicU64,
    ) -> impl FnOnce() {
        let (go, may_go) = channel::<()>();
        let first = scope.spawn(move || {
            group_commit.wait(DIR, || {
                fsync.fetch_add(1, SeqCst);
                may_go.recv().map_err(io::Error::other)
            })
        });
        while fsync.load(SeqCst) == 0 {
            thread::yield_now();
        }
        move || {
            go.send(()).unwrap();
            first.join().unwrap().unwrap();
        }
    }

    /// Waits until `waiting` other callers wait for an fsync of `inode`.
    fn wait_until_waiting(group_commit: &GroupCommit, inode: (u64, u64), waiting: usize) {
        let begun = Instant::now();
        // One reference is the map's, and one is the caller's that is in the fsync.
        while locked(&group_commit.0).get(&inode).map_or(0, Arc::strong_count) < waiting + 2 {
            assert!(begun.elapsed() < Duration::from_secs(60), "no thread waits");
            thread::yield_now();
        }
        // The callers have their references, but may not wait on the condition variable yet.
        thread::sleep(Duration::from_millis(50));
    }

    /// Callers that arrive during an fsync share the next one, and other directories do not wait.
    #[test]
    fn group_commit_shares_next_fsync() {
        let group_commit = GroupCommit::default();
        let (fsync, done) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            let (group_commit, fsync, done) = (&group_commit, &fsync, &done);
            let release = block_first_fsync(scope, group_commit, fsync);
            for _ in 0..7 {
                scope.spawn(move || {
                    let count = || {
                        fsync.fetch_add(1, SeqCst);
                        Ok(())
                    };
                    group_commit.wait(DIR, count).unwrap();
                    done.fetch_add(1, SeqCst);
                });
            }
            wait_until_waiting(group_commit, DIR, 7);
            // The fsync in progress began before these callers arrived, so it does not cover their
            // changes.
            assert_eq!((fsync.load(SeqCst), done.load(SeqCst)), (1, 0));
            // Another directory does not wait.
            group_commit.wait((1, 3), || Ok(())).unwrap();
            release();
        });
        assert_eq!((fsync.load(SeqCst), done.load(SeqCst)), (2, 7));
        assert!(locked(&group_commit.0).is_empty());
    }

    /// Every caller that shares a failed fsync gets its error, and a later caller does not.
    #[test]
    fn group_commit_returns_fsync_failure_to_all_waiters() {
        let group_commit = GroupCommit::default();
        let fsync = AtomicU64::new(0);
        thread::scope(|scope| {
            let (group_commit, fsync) = (&group_commit, &fsync);
            let release = block_first_fsync(scope, group_commit, fsync);
            let fail = || {
                fsync.fetch_add(1, SeqCst);
                Err(io::Error::from_raw_os_error(5))
            };
            let others: Vec<_> =
                (0..3).map(|_| scope.spawn(move || group_commit.wait(DIR, fail))).collect();
            wait_until_waiting(group_commit, DIR, 3);
            release();
            for other in others {
                assert_eq!(other.join().unwrap().unwrap_err().raw_os_error(), Some(5));
            }
        });
        assert_eq!(fsync.load(SeqCst), 2);
        // A later caller does not get the error.
        group_commit.wait(DIR, || Ok(())).unwrap();
    }

    /// Each caller is covered by an fsync that began after the caller arrived.
    #[test]
    fn group_commit_fsync_begins_after_each_caller_arrived() {
        let group_commit = GroupCommit::default();
        let (clock, begun) = (AtomicU64::new(0), AtomicU64::new(0));
        let start = Barrier::new(8);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    start.wait();
                    for _ in 0..2_000 {
                        let arrived = clock.fetch_add(1, SeqCst);
                        let sync = || {
                            begun.fetch_max(clock.fetch_add(1, SeqCst), SeqCst);
                            thread::yield_now();
                            Ok(())
                        };
                        group_commit.wait(DIR, sync).unwrap();
                        assert!(begun.load(SeqCst) > arrived);
                    }
                });
            }
        });
    }
}

//! A thread pool that grows with its queue, between a minimum and a maximum.
//!
//! A job that waits for the disk costs little while it waits, and the disk decides how many wait at
//! once. So the pool adds a thread when a job is queued and no thread is idle, and a thread ends
//! when it had no job for [`IDLE`].
//!
//! After every change of the queue or of the idle count, the thread that made the change checks
//! under one lock whether a thread must be added: the submitter after it queued a job, a pool
//! thread after it took one and is no longer idle. So no job waits behind a thread that was idle
//! when the job arrived and took another one.

use std::{
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use tracing::{error, warn};

use crate::{metrics::PoolMetrics, sys::threads};

/// Time without a job after which a thread ends. The channel serves waiting threads in turn, so
/// threads end only when fewer jobs than threads come in this time.
const IDLE: Duration = Duration::from_secs(10);

/// Minimum threads of a pool, so that a single job does not wait for a thread to start.
const THREADS_MIN: usize = 2;

/// Bounds of a pool.
#[derive(Clone, Debug)]
pub(crate) struct Size {
    /// Prefix of the threads' names; a number follows.
    pub(crate) name: &'static str,
    /// Threads that are started at once and do not end when idle; at least one.
    pub(crate) min_threads: usize,
    /// Threads that may exist at once.
    pub(crate) max_threads: usize,
    /// Jobs that may wait for a thread; a further one is returned to the caller.
    pub(crate) max_queued: usize,
    /// Time without a job after which a thread beyond the minimum ends.
    pub(crate) idle: Duration,
}

impl Size {
    /// A pool of up to `max_threads` threads and `max_queued` jobs that wait for one.
    pub(crate) fn up_to(max_threads: usize, name: &'static str, max_queued: usize) -> Self {
        Self {
            name,
            min_threads: THREADS_MIN.min(max_threads),
            max_threads,
            max_queued,
            idle: IDLE,
        }
    }
}

/// Submits tasks. The threads end when the last sender is dropped and the queue is empty.
pub(crate) struct Pool<T> {
    tasks: Sender<T>,
    shared: Arc<Shared<T>>,
}

/// The threads, to be joined.
pub(crate) struct PoolThreads<T>(Arc<Shared<T>>);

struct Shared<T> {
    size: Size,
    incoming: Receiver<T>,
    run: Box<dyn Fn(T) + Send + Sync>,
    state: Mutex<PoolState>,
    metrics: Arc<PoolMetrics>,
}

#[derive(Default)]
struct PoolState {
    /// Threads that take tasks.
    threads: usize,
    /// Of `threads`, those that wait for a task. A new thread counts as idle from its start; a
    /// thread that has taken a task, until it reports that.
    idle: usize,
    /// Number of threads started since the pool was made: the suffix of the next name.
    started: usize,
    /// Whether the last attempt to start a thread failed, which is logged once.
    short: bool,
    handles: Vec<JoinHandle<()>>,
}

impl<T: Send + 'static> Pool<T> {
    /// Starts the minimum number of threads. Each calls `run` for one task after the other. The
    /// pool reports its size to `metrics`.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub(crate) fn start(
        size: Size,
        metrics: Arc<PoolMetrics>,
        run: impl Fn(T) + Send + Sync + 'static,
    ) -> io::Result<(Self, PoolThreads<T>)> {
        let (tasks, incoming) = bounded(size.max_queued);
        let state = Mutex::default();
        let shared = Arc::new(Shared { size, incoming, run: Box::new(run), state, metrics });
        for _ in 0..shared.size.min_threads.max(1) {
            shared.add(&mut shared.state())?;
        }
        Ok((Self { tasks, shared: Arc::clone(&shared) }, PoolThreads(shared)))
    }

    /// Queues a task. Returns it when the queue is full.
    pub(crate) fn submit(&self, task: T) -> Result<(), T> {
        match self.tasks.try_send(task) {
            Ok(()) => {
                self.shared.add_if_needed(&mut self.shared.state());
                Ok(())
            }
            Err(TrySendError::Full(task) | TrySendError::Disconnected(task)) => Err(task),
        }
    }
}

impl<T: Send + 'static> Shared<T> {
    fn state(&self) -> MutexGuard<'_, PoolState> {
        // Nothing panics between two changes of the state, so it is consistent even after a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a thread if there is a task that no idle thread will take.
    fn add_if_needed(self: &Arc<Self>, state: &mut PoolState) {
        let queued = self.incoming.len();
        self.metrics.queued(queued);
        if queued <= state.idle || state.threads >= self.size.max_threads {
            return;
        }
        match self.add(state) {
            Ok(()) => state.short = false,
            // The existing threads will take the task. Logged once, not for each task.
            Err(failure) if !state.short => {
                state.short = true;
                warn!(error = %failure, threads = state.threads, "cannot start a further disk thread");
            }
            Err(_) => {}
        }
    }

    fn add(self: &Arc<Self>, state: &mut PoolState) -> io::Result<()> {
        state.handles.retain(|thread| !thread.is_finished());
        let name = format!("{}-{}", self.size.name, state.started);
        let shared = Arc::clone(self);
        state.handles.push(threads::spawn(name, move || shared.run_thread())?);
        state.started += 1;
        state.threads += 1;
        state.idle += 1;
        self.metrics.threads(state.threads);
        Ok(())
    }

    /// The body of a thread.
    fn run_thread(self: Arc<Self>) {
        loop {
            match self.incoming.recv_timeout(self.size.idle) {
                Ok(task) => {
                    let mut state = self.state();
                    state.idle -= 1;
                    self.add_if_needed(&mut state);
                    drop(state);
                    self.run(task);
                }
                Err(end) => {
                    let mut state = self.state();
                    let spare = state.threads > self.size.min_threads && self.incoming.is_empty();
                    if end == RecvTimeoutError::Disconnected || spare {
                        state.idle -= 1;
                        state.threads -= 1;
                        self.metrics.threads(state.threads);
                        return;
                    }
                    continue;
                }
            }
            while let Ok(task) = self.incoming.try_recv() {
                self.metrics.queued(self.incoming.len());
                self.run(task);
            }
            self.state().idle += 1;
        }
    }

    fn run(&self, task: T) {
        // The thread is counted, so it must survive a panic.
        if catch_unwind(AssertUnwindSafe(|| (self.run)(task))).is_err() {
            error!("a disk thread panicked outside of a job");
        }
    }
}

impl<T: Send + 'static> PoolThreads<T> {
    /// Waits until all jobs are done and all threads have ended.
    pub(crate) fn join(self) {
        // A thread that is being joined may start others before it ends.
        loop {
            let Some(thread) = self.0.state().handles.pop() else { return };
            if thread.join().is_err() {
                error!("a disk thread has panicked");
            }
        }
    }
}

impl<T> Clone for Pool<T> {
    fn clone(&self) -> Self {
        Self { tasks: self.tasks.clone(), shared: Arc::clone(&self.shared) }
    }
}

impl<T> fmt::Debug for Pool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("queued", &self.tasks.len()).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for PoolThreads<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolThreads").field("size", &self.0.size).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

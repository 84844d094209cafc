//! A pool of threads that work off the queues of devices ([`Lanes`]), between a minimum and a
//! maximum.
//!
//! A job that waits for the disk costs little while it waits, and the disk decides how many wait at
//! once. So the pool starts no thread before its first job, adds one when a job is queued and no
//! thread is idle, and ends one that had no job for [`IDLE`].
//!
//! After every change of the queue or of the idle count, the thread that made the change checks
//! under one lock whether a thread must be added: the submitter after it queued a job, a pool
//! thread after it took one and is no longer idle. So no job waits behind a thread that was idle
//! when the job arrived and took another one.
//!
//! While all threads are at work a further one, the timer, refuses the jobs that have waited for
//! too long. It ends when no job waits.

use std::{
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tracing::{debug, error, warn};

use super::{
    device::Device,
    lanes::{LaneBounds, Lanes, Taken, WAIT_MAX},
};
use crate::{
    metrics::PoolMetrics,
    sys::{io_priority, threads},
};

/// Time without a job after which a thread ends.
const IDLE: Duration = Duration::from_secs(10);

/// Minimum threads of a pool, so that a single job does not wait for a thread to start.
const THREADS_MIN: usize = 2;

/// Work for a thread of a pool.
pub(crate) trait Work: Send + Sized + 'static {
    /// Whether it is refused when it has waited for too long.
    fn is_refusable(&self) -> bool;

    /// Does it. Blocks.
    fn run(self);

    /// Reports that it is not done. Returns what has to be done all the same.
    fn refuse(self) -> Option<Self>;
}

/// Bounds of a pool.
#[derive(Clone, Debug)]
pub(crate) struct Size {
    /// Prefix of the threads' names; a number follows.
    pub(crate) name: &'static str,
    /// Threads that are started with the first job and do not end when idle; at least one.
    pub(crate) min_threads: usize,
    /// Threads that may exist at once, besides the timer.
    pub(crate) max_threads: usize,
    /// Jobs that may wait for a thread; a further one is returned to the caller.
    pub(crate) max_queued: usize,
    /// Of these, jobs of one device.
    pub(crate) max_queued_of_device: usize,
    /// How long a job may wait for a thread; `None` for any time.
    pub(crate) max_wait: Option<Duration>,
    /// Time without a job after which a thread beyond the minimum ends.
    pub(crate) idle: Duration,
    /// Whether the disk serves its threads only when nothing else wants it (ioprio_set(2)).
    pub(crate) is_background: bool,
}

impl Size {
    /// A pool of up to `max_threads` threads, for `max_queued` jobs that wait for one, half of them
    /// of one device.
    pub(crate) fn up_to(max_threads: usize, name: &'static str, max_queued: usize) -> Self {
        Self {
            name,
            min_threads: THREADS_MIN.min(max_threads),
            max_threads,
            max_queued,
            max_queued_of_device: max_queued.div_ceil(2),
            max_wait: Some(WAIT_MAX),
            idle: IDLE,
            is_background: false,
        }
    }
}

/// Submits tasks. The threads end when the last clone is dropped and no task waits.
pub(crate) struct Pool<T: Work>(Arc<OpenPool<T>>);

/// Closes the pool when dropped.
struct OpenPool<T: Work>(Arc<Shared<T>>);

/// The threads, to be joined.
pub(crate) struct PoolThreads<T>(Arc<Shared<T>>);

struct Shared<T> {
    size: Size,
    state: Mutex<PoolState<T>>,
    /// Wakes a thread that has no task.
    work: Condvar,
    /// Wakes the timer when the pool is closed.
    closing: Condvar,
    metrics: Arc<PoolMetrics>,
}

struct PoolState<T> {
    tasks: Lanes<T>,
    /// Whether no more tasks come.
    closed: bool,
    /// Threads that take tasks.
    threads: usize,
    /// Of `threads`, those without a task: a new thread from its start on.
    idle: usize,
    /// Of `idle`, those that sleep until there is a task.
    asleep: usize,
    /// Whether the timer runs.
    timed: bool,
    /// Number of threads started since the pool was made: the suffix of the next name.
    started: usize,
    /// Whether the last attempt to start a thread failed, which is logged once.
    short: bool,
    handles: Vec<JoinHandle<()>>,
}

impl<T: Work> Pool<T> {
    /// A pool without threads. It reports its size to `metrics`.
    pub(crate) fn new(size: Size, metrics: Arc<PoolMetrics>) -> (Self, PoolThreads<T>) {
        let tasks = Lanes::new(LaneBounds {
            threads: size.max_threads,
            queued: size.max_queued,
            queued_of_device: size.max_queued_of_device,
        });
        let state = Mutex::new(PoolState {
            tasks,
            closed: false,
            threads: 0,
            idle: 0,
            asleep: 0,
            timed: false,
            started: 0,
            short: false,
            handles: Vec::new(),
        });
        let (work, closing) = (Condvar::new(), Condvar::new());
        let shared = Arc::new(Shared { size, state, work, closing, metrics });
        (Self(Arc::new(OpenPool(Arc::clone(&shared)))), PoolThreads(shared))
    }

    /// Starts the minimum number of threads now, not with the first task.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub(crate) fn start(&self) -> io::Result<()> {
        let shared = &self.0.0;
        shared.add_minimum(&mut shared.state())
    }

    /// Queues a task of a device. Returns it when too many wait, or when no thread can be started.
    pub(crate) fn submit(&self, device: Device, task: T, now: Instant) -> Result<(), T> {
        let shared = &self.0.0;
        let deadline = shared.size.max_wait.filter(|_| task.is_refusable()).map(|most| now + most);
        let mut state = shared.state();
        if state.threads == 0
            && let Err(failure) = shared.add_minimum(&mut state)
        {
            state.report_shortage(&failure);
            if state.threads == 0 {
                return Err(task);
            }
        }
        shared.queue(state, device, task, deadline)
    }
}

#[cfg(test)]
impl<T: Work> Pool<T> {
    /// The prefix of its threads' names, and how many there are and may be.
    pub(crate) fn facts(&self) -> (&'static str, usize, usize) {
        let Size { name, max_threads, .. } = self.0.0.size;
        (name, self.0.0.state().threads, max_threads)
    }
}

impl<T> PoolState<T> {
    /// Logs that no thread could be started: once, not for each task.
    fn report_shortage(&mut self, failure: &io::Error) {
        if !std::mem::replace(&mut self.short, true) {
            warn!(error = %failure, threads = self.threads, "cannot start a further disk thread");
        }
    }
}

impl<T> Shared<T> {
    fn state(&self) -> MutexGuard<'_, PoolState<T>> {
        // Nothing panics between two changes of the state, so it is consistent even after a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Work> Shared<T> {
    fn add_minimum(self: &Arc<Self>, state: &mut PoolState<T>) -> io::Result<()> {
        while state.threads < self.size.min_threads.max(1) {
            self.add(state)?;
        }
        Ok(())
    }

    fn queue(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, PoolState<T>>,
        device: Device,
        task: T,
        deadline: Option<Instant>,
    ) -> Result<(), T> {
        state.tasks.push(device, task, deadline)?;
        self.add_if_needed(&mut state);
        let is_to_wake = state.asleep > 0;
        drop(state);
        if is_to_wake {
            self.work.notify_one();
        }
        Ok(())
    }

    /// Adds a thread if there is a task that no idle thread will take; or the timer, if such a task
    /// may have to be refused.
    fn add_if_needed(self: &Arc<Self>, state: &mut PoolState<T>) {
        let queued = state.tasks.len();
        self.metrics.queued(queued);
        if queued <= state.idle {
            return;
        }
        let added = if state.threads < self.size.max_threads {
            self.add(state)
        } else if state.tasks.has_deadlines() && !state.timed {
            self.add_timer(state)
        } else {
            return;
        };
        match added {
            Ok(()) => state.short = false,
            // The existing threads will take the task.
            Err(failure) => state.report_shortage(&failure),
        }
    }

    fn add(self: &Arc<Self>, state: &mut PoolState<T>) -> io::Result<()> {
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

    fn add_timer(self: &Arc<Self>, state: &mut PoolState<T>) -> io::Result<()> {
        state.handles.retain(|thread| !thread.is_finished());
        let shared = Arc::clone(self);
        let timer = threads::spawn(format!("{}-timer", self.size.name), move || shared.run_timer());
        state.handles.push(timer?);
        state.timed = true;
        Ok(())
    }

    /// The body of a thread.
    fn run_thread(self: Arc<Self>) {
        if self.size.is_background
            && let Err(failure) = io_priority::set_idle()
        {
            debug!(error = %failure, "a background thread has the usual I/O priority");
        }
        let mut state = self.state();
        let mut was_idle = false;
        loop {
            if let Some(Taken { job, lane, is_late }) = state.tasks.take(Instant::now()) {
                state.idle -= 1;
                self.add_if_needed(&mut state);
                drop(state);
                if is_late {
                    self.refuse(job)
                } else {
                    self.run(|| job.run())
                }
                state = self.state();
                state.tasks.finish(lane);
                state.idle += 1;
                was_idle = false;
            } else if state.closed || (was_idle && state.threads > self.size.min_threads) {
                state.idle -= 1;
                state.threads -= 1;
                self.metrics.threads(state.threads);
                return;
            } else {
                state.asleep += 1;
                let woken = self.work.wait_timeout(state, self.size.idle);
                let (woken, timeout) = woken.unwrap_or_else(PoisonError::into_inner);
                state = woken;
                state.asleep -= 1;
                was_idle = timeout.timed_out();
            }
        }
    }

    /// The body of the timer: refuses the tasks that have waited for too long.
    fn run_timer(self: Arc<Self>) {
        let mut state = self.state();
        while !state.closed {
            let now = Instant::now();
            let late = state.tasks.remove_late(now);
            if !late.is_empty() {
                self.metrics.queued(state.tasks.len());
                drop(state);
                late.into_iter().for_each(|(device, task)| self.refuse_or_requeue(device, task));
                state = self.state();
            } else if let Some(deadline) = state.tasks.next_deadline() {
                let wait = deadline.saturating_duration_since(now);
                let woken = self.closing.wait_timeout(state, wait);
                state = woken.unwrap_or_else(PoisonError::into_inner).0;
            } else {
                break;
            }
        }
        state.timed = false;
    }

    /// Refuses a task on a thread of the pool, and does what has to be done all the same.
    fn refuse(&self, task: T) {
        self.run(|| {
            if let Some(rest) = task.refuse() {
                rest.run();
            }
        });
    }

    /// Refuses a task, and queues what has to be done all the same: the timer waits for no disk.
    fn refuse_or_requeue(self: &Arc<Self>, device: Device, task: T) {
        let mut rest = None;
        self.run(|| rest = task.refuse());
        let Some(rest) = rest else { return };
        // It takes a place that the refused task has left. When another one has taken that place
        // meanwhile and the queue is full, which is rare, the timer does wait for the disk.
        if let Err(rest) = self.queue(self.state(), device, rest, None) {
            self.run(|| rest.run());
        }
    }

    fn run(&self, work: impl FnOnce()) {
        // The thread is counted, so it must survive a panic.
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            error!("a disk thread panicked outside of a job");
        }
    }
}

impl<T: Work> Drop for OpenPool<T> {
    fn drop(&mut self) {
        self.0.state().closed = true;
        self.0.work.notify_all();
        self.0.closing.notify_all();
    }
}

impl<T> PoolThreads<T> {
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

impl<T: Work> Clone for Pool<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Work> fmt::Debug for Pool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let queued = self.0.0.state().tasks.len();
        f.debug_struct("Pool").field("queued", &queued).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for PoolThreads<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolThreads").field("size", &self.0.size).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

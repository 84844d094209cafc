//! As many threads as there is work for, between a least and a most.
//!
//! Jobs that wait for a disk are cheap while they wait, and how many wait at once is the disk's
//! affair. So a thread is added when a job is queued and no thread is idle, and one that nobody has
//! needed for [`IDLE`] ends.
//!
//! Whoever changes what this depends on looks at it again, under one lock: the submitter behind the
//! job it has queued, and the thread that is idle no longer because it took one. So no job waits
//! behind a thread that was idle when the job came and is not any more.

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

/// How long a thread waits for a job before it ends. The queue serves its waiters in turn, so all of
/// them end only when there is less than a job for each in this time.
const IDLE: Duration = Duration::from_secs(10);

/// Threads that a pool starts with and keeps: a lone job waits for no thread to be made.
const LEAST: usize = 2;

/// How large a pool may be.
#[derive(Clone, Debug)]
pub(crate) struct Size {
    /// What its threads are called, with a number behind it.
    pub(crate) name: &'static str,
    /// Threads that are there always; one at least.
    pub(crate) least: usize,
    /// Most threads.
    pub(crate) most: usize,
    /// Jobs that may wait.
    pub(crate) queue: usize,
    /// After how long without a job a thread beyond `least` ends.
    pub(crate) idle: Duration,
}

impl Size {
    /// A pool that grows with its work.
    pub(crate) fn up_to(most: usize, name: &'static str, queue: usize) -> Self {
        Self { name, least: LEAST.min(most), most, queue, idle: IDLE }
    }
}

/// The way in. The threads end when the last of these is gone and the queue is empty.
pub(super) struct Entrance<T> {
    orders: Sender<T>,
    shared: Arc<Shared<T>>,
}

/// The threads, to be waited for.
pub(super) struct Threads<T>(Arc<Shared<T>>);

struct Shared<T> {
    size: Size,
    incoming: Receiver<T>,
    run: Box<dyn Fn(T) + Send + Sync>,
    staff: Mutex<Staff>,
    metrics: Arc<PoolMetrics>,
}

#[derive(Default)]
struct Staff {
    /// Threads that take jobs.
    threads: usize,
    /// Those of them that wait for one. A new thread counts from its start, a thread that has taken
    /// a job until it says so.
    idle: usize,
    /// Threads there ever were.
    started: usize,
    /// The last thread could not be had; it has been said.
    short: bool,
    handles: Vec<JoinHandle<()>>,
}

/// Starts the least number of threads; each calls `run` for one job after the other.
///
/// # Errors
/// When there are no threads to be had.
pub(super) fn start<T: Send + 'static>(
    size: Size,
    metrics: Arc<PoolMetrics>,
    run: impl Fn(T) + Send + Sync + 'static,
) -> io::Result<(Entrance<T>, Threads<T>)> {
    let (orders, incoming) = bounded(size.queue);
    let staff = Mutex::default();
    let shared = Arc::new(Shared { size, incoming, run: Box::new(run), staff, metrics });
    for _ in 0..shared.size.least.max(1) {
        shared.add(&mut shared.staff())?;
    }
    Ok((Entrance { orders, shared: Arc::clone(&shared) }, Threads(shared)))
}

impl<T: Send + 'static> Entrance<T> {
    /// Queues a job. Gives it back when the queue is full.
    pub(super) fn submit(&self, order: T) -> Result<(), T> {
        match self.orders.try_send(order) {
            Ok(()) => {
                self.shared.look(&mut self.shared.staff());
                Ok(())
            }
            Err(TrySendError::Full(order) | TrySendError::Disconnected(order)) => Err(order),
        }
    }
}

impl<T: Send + 'static> Shared<T> {
    fn staff(&self) -> MutexGuard<'_, Staff> {
        // Nothing in between two changes of it panics.
        self.staff.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a thread if there is a job that no idle one will take.
    fn look(self: &Arc<Self>, staff: &mut Staff) {
        let queued = self.incoming.len();
        self.metrics.queued(queued);
        if queued <= staff.idle || staff.threads >= self.size.most {
            return;
        }
        match self.add(staff) {
            Ok(()) => staff.short = false,
            // The threads there are will come to the job; said once, not for each job.
            Err(failure) if !staff.short => {
                staff.short = true;
                warn!(%failure, threads = staff.threads, "no further thread for the disk");
            }
            Err(_) => {}
        }
    }

    fn add(self: &Arc<Self>, staff: &mut Staff) -> io::Result<()> {
        staff.handles.retain(|thread| !thread.is_finished());
        let name = format!("{}-{}", self.size.name, staff.started);
        let shared = Arc::clone(self);
        staff.handles.push(threads::begin(name, move || shared.work())?);
        staff.started += 1;
        staff.threads += 1;
        staff.idle += 1;
        self.metrics.threads(staff.threads);
        Ok(())
    }

    /// A thread.
    fn work(self: Arc<Self>) {
        loop {
            match self.incoming.recv_timeout(self.size.idle) {
                Ok(order) => {
                    let mut staff = self.staff();
                    staff.idle -= 1;
                    self.look(&mut staff);
                    drop(staff);
                    self.run(order);
                }
                Err(end) => {
                    let mut staff = self.staff();
                    let spare = staff.threads > self.size.least && self.incoming.is_empty();
                    if end == RecvTimeoutError::Disconnected || spare {
                        staff.idle -= 1;
                        staff.threads -= 1;
                        self.metrics.threads(staff.threads);
                        return;
                    }
                    continue;
                }
            }
            while let Ok(order) = self.incoming.try_recv() {
                self.metrics.queued(self.incoming.len());
                self.run(order);
            }
            self.staff().idle += 1;
        }
    }

    fn run(&self, order: T) {
        // The thread is counted: it must not be lost.
        if catch_unwind(AssertUnwindSafe(|| (self.run)(order))).is_err() {
            error!("a thread for the disk panicked outside of a job");
        }
    }
}

impl<T: Send + 'static> Threads<T> {
    /// Waits until all have ended.
    pub(super) fn join(self) {
        // A thread that is waited for may still add others, before it ends.
        loop {
            let Some(thread) = self.0.staff().handles.pop() else { return };
            if thread.join().is_err() {
                error!("a thread for the disk has panicked");
            }
        }
    }
}

impl<T> Clone for Entrance<T> {
    fn clone(&self) -> Self {
        Self { orders: self.orders.clone(), shared: Arc::clone(&self.shared) }
    }
}

impl<T> fmt::Debug for Entrance<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entrance").field("queued", &self.orders.len()).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Threads<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Threads").field("size", &self.0.size).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

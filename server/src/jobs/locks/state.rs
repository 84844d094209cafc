//! Which locks are held, and which jobs wait for them.

use std::{
    collections::HashMap,
    io,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tracing::warn;

use crate::{
    jobs::lanes::{LaneBounds, Lanes},
    store::{LockName, Store},
};

/// Jobs that may wait for one lock.
const WAITING_MAX: usize = 64;

/// Of these, jobs of one device.
const WAITING_OF_DEVICE_MAX: usize = 16;

/// Pause between two looks at a lease.
const LEASE_PAUSE: Duration = Duration::from_millis(16);

pub(super) struct State<T> {
    pub(super) queues: HashMap<LockId, Queue<T>>,
    /// The jobs that wait for a lease, at most one for each take-over that a store allows.
    pub(super) for_leases: Vec<T>,
    /// Whether no job may wait any more.
    pub(super) is_closed: bool,
    pub(super) has_timer: bool,
    /// Whether the last attempt to start the timer failed, which is logged once.
    pub(super) is_short: bool,
    pub(super) timers: Vec<JoinHandle<()>>,
}

/// A store and its lock.
pub(super) type LockId = (usize, LockName);

/// A lock that a job has or that jobs wait for.
pub(super) struct Queue<T> {
    pub(super) store: Store,
    pub(super) jobs: Lanes<T>,
    pub(super) holder: Holder,
    /// Since when this server has it without a break.
    pub(super) used_since: Instant,
}

#[derive(Clone, Copy)]
pub(super) enum Holder {
    /// A job has the lock, or a thread is trying to take it for one.
    Here,
    /// Perhaps another process.
    Elsewhere { try_at: Instant, pause: Duration },
}

/// What is to be done once the state is no longer locked.
pub(super) struct Due<T> {
    pub(super) late: Vec<T>,
    pub(super) ready: Vec<T>,
    pub(super) tries: Vec<(LockId, Store, Duration)>,
}

impl<T> State<T> {
    pub(super) fn new() -> Self {
        Self {
            queues: HashMap::new(),
            for_leases: Vec::new(),
            is_closed: false,
            has_timer: false,
            is_short: false,
            timers: Vec::new(),
        }
    }

    /// Notes that a lock is not held here, and is to be tried after a while if a job waits for it.
    pub(super) fn leave(&mut self, id: LockId, after: Duration, pause: Duration) {
        self.set_elsewhere(id, after, pause);
        self.forget_if_unused(id);
    }

    pub(super) fn set_elsewhere(&mut self, id: LockId, after: Duration, pause: Duration) {
        if let Some(queue) = self.queues.get_mut(&id) {
            queue.holder = Holder::Elsewhere { try_at: Instant::now() + after, pause };
        }
    }

    /// Removes the queue of a lock that no job has or waits for.
    pub(super) fn forget_if_unused(&mut self, id: LockId) {
        let is_unused = |queue: &Queue<T>| {
            queue.jobs.len() == 0 && matches!(queue.holder, Holder::Elsewhere { .. })
        };
        if self.queues.get(&id).is_some_and(is_unused) {
            self.queues.remove(&id);
        }
    }

    /// Takes out the waiting jobs for which this holds.
    pub(super) fn remove(&mut self, is_over: impl Fn(&T) -> bool) -> Vec<T> {
        let mut removed: Vec<T> = self.for_leases.extract_if(.., |job| is_over(job)).collect();
        for queue in self.queues.values_mut() {
            removed
                .extend(queue.jobs.remove(|job, _| is_over(job)).into_iter().map(|(_, job)| job));
        }
        self.queues.retain(|_, queue| queue.jobs.len() > 0 || matches!(queue.holder, Holder::Here));
        removed
    }

    /// What the timer has to do now.
    pub(super) fn take_due(&mut self, now: Instant, is_ready: impl Fn(&mut T) -> bool) -> Due<T> {
        let ready = self.for_leases.extract_if(.., |job| is_ready(job)).collect();
        let (mut late, mut tries) = (Vec::new(), Vec::new());
        self.queues.retain(|id, queue| {
            late.extend(queue.jobs.remove_late(now).into_iter().map(|(_, job)| job));
            let Holder::Elsewhere { try_at, pause } = queue.holder else { return true };
            if queue.jobs.len() > 0 && try_at <= now {
                queue.holder = Holder::Here;
                tries.push((*id, queue.store.clone(), pause));
            }
            queue.jobs.len() > 0
        });
        Due { late, ready, tries }
    }

    /// When the timer has to look again; `None` when no job waits.
    pub(super) fn next_event(&self) -> Option<Instant> {
        let of_queue = |queue: &Queue<T>| {
            let try_at = match queue.holder {
                Holder::Elsewhere { try_at, .. } => Some(try_at),
                Holder::Here => None,
            };
            queue.jobs.next_deadline().into_iter().chain(try_at).min()
        };
        let lease = (!self.for_leases.is_empty()).then(|| Instant::now() + LEASE_PAUSE);
        self.queues.values().filter_map(of_queue).chain(lease).min()
    }

    pub(super) fn report_shortage(&mut self, failure: &io::Error) {
        if !std::mem::replace(&mut self.is_short, true) {
            warn!(error = %failure, "cannot start the timer of the locks: requests cannot wait");
        }
    }
}

impl<T> Queue<T> {
    pub(super) fn new(store: Store) -> Self {
        let bounds = LaneBounds {
            // One job at a time has the lock.
            threads: 1,
            queued: WAITING_MAX,
            queued_of_device: WAITING_OF_DEVICE_MAX,
        };
        let jobs = Lanes::new(bounds);
        Self { store, jobs, holder: Holder::Here, used_since: Instant::now() }
    }

    /// The job whose turn it is, and those before it that have waited for too long.
    pub(super) fn take_next(&mut self, now: Instant) -> (Vec<T>, Option<T>) {
        let mut late = Vec::new();
        while let Some(taken) = self.jobs.take(now) {
            self.jobs.finish(taken.lane);
            if !taken.is_late {
                return (late, Some(taken.job));
            }
            late.push(taken.job);
        }
        (late, None)
    }
}

impl<T> Due<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.late.is_empty() && self.ready.is_empty() && self.tries.is_empty()
    }
}

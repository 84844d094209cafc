//! The pools of a server: one for each kind of request, so that no kind waits behind another.

use std::{io, time::Instant};

use super::{
    device::Device,
    job::Job,
    pool::{Pool, PoolThreads, Size, Work as _},
    task::{ReplyTo, Task, Ticket},
};
use crate::metrics::{Metrics, PoolKind};

/// Maximum threads of `control`. An account is a small file that is in memory as a rule.
const CONTROL_THREADS: usize = 4;

/// Maximum threads of `open`. To open a file reads two or three blocks where they are not in
/// memory.
const OPEN_THREADS: usize = 16;

/// Maximum threads of `list`. Each may read a directory of any length, which is work for a core.
const LIST_THREADS: usize = 4;

/// Maximum threads of `upkeep`.
const UPKEEP_THREADS: usize = 2;

/// Minimum threads of `upkeep`, and of each pool of an embedded server.
const SINGLE_THREAD: usize = 1;

/// Jobs that may wait in a pool, for each connection: its own, and that of a closed connection
/// which had its place before. Half of them may be jobs of one device.
const JOBS_PER_CONNECTION: usize = 2;

/// How many threads the pools have, and for which connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PoolSizes {
    /// Maximum threads of each pool whose work is to read or write payload; at least 1.
    pub(crate) threads: usize,
    /// Maximum connections of the server.
    pub(crate) connections: usize,
    /// Whether one program is the server's only client, and has it in its own process. Then the
    /// pools are few, no pool has more than `threads`, their first threads are started at once, so
    /// that a limit of threads is an error of the start, and a job waits for any time: there is no
    /// other client whom its refusal would help.
    pub(crate) is_embedded: bool,
}

/// Hands jobs to the pools.
#[derive(Clone, Debug)]
pub(crate) struct Pools {
    /// Accounts and invites.
    control: Pool<Task>,
    /// Opens and descriptions of current versions.
    open: Pool<Task>,
    /// Reads of file contents into memory.
    load: Pool<Task>,
    /// Uploads, deletes and restores.
    write: Pool<Task>,
    /// What may read a directory: listings, and versions that are not current.
    list: Pool<Task>,
    /// What no peer waits for.
    upkeep: Pool<Task>,
}

/// The threads of the pools, to be joined.
#[derive(Debug)]
pub(crate) struct PoolsThreads(Vec<PoolThreads<Task>>);

impl PoolsThreads {
    /// Waits until all jobs are done and all threads have ended.
    pub(crate) fn join(self) {
        self.0.into_iter().for_each(PoolThreads::join);
    }
}

impl Pools {
    /// The pools of a server. A pool starts its threads with its first job.
    ///
    /// # Errors
    /// When a first thread of an embedded server cannot be started.
    pub(crate) fn start(sizes: PoolSizes, metrics: &Metrics) -> io::Result<(Self, PoolsThreads)> {
        let PoolSizes { threads, connections, is_embedded } = sizes;
        let mut running = Vec::new();
        let mut pool = |kind: PoolKind, max_threads: usize| {
            let size =
                Size::up_to(max_threads.max(1), kind.into(), JOBS_PER_CONNECTION * connections);
            let size = match (is_embedded, kind) {
                (true, _) => Size { min_threads: SINGLE_THREAD, max_wait: None, ..size },
                (false, PoolKind::Upkeep) => Size { min_threads: SINGLE_THREAD, ..size },
                (false, _) => size,
            };
            let size = Size { is_background: kind == PoolKind::Upkeep, ..size };
            let (pool, threads) = Pool::new(size, metrics.pool(kind));
            running.push(threads);
            pool
        };
        let load = pool(PoolKind::Load, threads);
        let write = pool(PoolKind::Write, threads);
        let pools = if is_embedded {
            let open = pool(PoolKind::Open, threads);
            [&open, &load, &write].into_iter().try_for_each(Pool::start)?;
            Self {
                control: open.clone(),
                open,
                load,
                list: write.clone(),
                write,
                upkeep: pool(PoolKind::Upkeep, SINGLE_THREAD),
            }
        } else {
            Self {
                control: pool(PoolKind::Control, CONTROL_THREADS),
                open: pool(PoolKind::Open, OPEN_THREADS),
                load,
                write,
                list: pool(PoolKind::List, LIST_THREADS),
                upkeep: pool(PoolKind::Upkeep, UPKEEP_THREADS),
            }
        };
        Ok((pools, PoolsThreads(running)))
    }

    /// The pool for a job.
    fn of(&self, job: &Job) -> &Pool<Task> {
        match job {
            Job::Account(..) | Job::Join { .. } => &self.control,
            Job::Open { version: None, .. } | Job::Stat { version: None, .. } => &self.open,
            Job::Load(_) => &self.load,
            Job::Begin { .. }
            | Job::Resume { .. }
            | Job::Claim(..)
            | Job::Append(_)
            | Job::Commit(_)
            | Job::Abort(_)
            | Job::Release(_)
            | Job::Delete { .. }
            | Job::Restore { .. } => &self.write,
            Job::List { .. }
            | Job::Versions { .. }
            | Job::Open { version: Some(_), .. }
            | Job::Stat { version: Some(_), .. } => &self.list,
            Job::Expire(_) => &self.upkeep,
        }
    }

    /// Has a job done. One that cannot be queued is refused, and its connection hears of it as of
    /// any result.
    pub(crate) fn submit(&self, job: Job, reply: ReplyTo, now: Instant) -> Ticket {
        let (pool, device) = (self.of(&job), reply.device);
        if let Err(task) = pool.submit(device, Task { job, reply: Some(reply) }, now)
            && let Some(Task { job, .. }) = task.refuse()
        {
            self.discard(job, device, now);
        }
        Ticket::new()
    }

    /// Has a job done whose result nothing waits for, such as to release what a closed connection
    /// held. With a full queue it runs on the calling thread, which is rare, and better than not
    /// releasing.
    pub(crate) fn discard(&self, job: Job, device: Device, now: Instant) {
        if let Err(task) = self.of(&job).submit(device, Task { job, reply: None }, now) {
            task.run();
        }
    }
}

#[cfg(test)]
impl Pools {
    /// Pools that start few threads, for a test in the place of a server.
    pub(crate) fn for_test() -> Self {
        let sizes = PoolSizes { threads: 1, connections: 4, is_embedded: true };
        let (pools, _threads) =
            Self::start(sizes, &Metrics::new(1, "test")).expect("a thread is to be had");
        pools
    }
}

#[cfg(test)]
mod tests;

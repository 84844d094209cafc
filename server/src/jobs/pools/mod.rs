//! The pools of a server: one for each kind of request, so that no kind waits behind another.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Instant,
};

use zput_proto::message::ErrorCode;

use super::{
    completions::Completions,
    device::Device,
    error::JobError,
    job::{Done, Job, Step},
    locks::{LockQueues, Waiter},
    pool::{Pool, PoolThreads, Size, Work},
    reply::{Reply, ReplyTo, Ticket},
    slab::ConnectionId,
};
use crate::{
    metrics::{Metrics, PoolKind},
    store::Lock,
};

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
pub(crate) struct Pools(Arc<AllPools>);

#[derive(Debug)]
struct AllPools {
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
    /// The jobs that wait for a lock or a lease.
    locks: LockQueues<Task>,
}

/// The threads of the pools, to be joined.
#[derive(Debug)]
pub(crate) struct PoolsThreads {
    pools: Vec<PoolThreads<Task>>,
    locks: LockQueues<Task>,
}

impl PoolsThreads {
    /// Ends the jobs that wait for locks. Waits until all others are done and all threads have
    /// ended.
    pub(crate) fn join(self) {
        self.locks.close();
        self.pools.into_iter().for_each(PoolThreads::join);
        self.locks.join();
    }
}

/// A job on its way through a pool, with the address for its result; without one, nothing waits for
/// it.
#[derive(Debug)]
struct Task {
    job: Job,
    reply: Option<Reply>,
    device: Device,
    /// The lock that the job has waited for.
    lock: Option<Lock>,
    /// Where the job goes on when it has waited.
    pools: Pools,
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
        let locks = LockQueues::new(metrics.locks());
        let pools = if is_embedded {
            let open = pool(PoolKind::Open, threads);
            [&open, &load, &write].into_iter().try_for_each(Pool::start)?;
            AllPools {
                control: open.clone(),
                open,
                load,
                list: write.clone(),
                write,
                upkeep: pool(PoolKind::Upkeep, SINGLE_THREAD),
                locks: locks.clone(),
            }
        } else {
            AllPools {
                control: pool(PoolKind::Control, CONTROL_THREADS),
                open: pool(PoolKind::Open, OPEN_THREADS),
                load,
                write,
                list: pool(PoolKind::List, LIST_THREADS),
                upkeep: pool(PoolKind::Upkeep, UPKEEP_THREADS),
                locks: locks.clone(),
            }
        };
        Ok((Self(Arc::new(pools)), PoolsThreads { pools: running, locks }))
    }

    /// The pool for a job.
    fn of(&self, job: &Job) -> &Pool<Task> {
        let pools = &*self.0;
        match job {
            Job::Account(..) | Job::Join { .. } => &pools.control,
            Job::Open { version: None, .. } | Job::Stat { version: None, .. } => &pools.open,
            Job::Load(_) => &pools.load,
            Job::Begin { .. }
            | Job::Resume { .. }
            | Job::TakeOver(..)
            | Job::FindCommitted(..)
            | Job::Claim(..)
            | Job::Append(_)
            | Job::Commit(_)
            | Job::FinishCommit(_)
            | Job::Abort(_)
            | Job::Release(_)
            | Job::Delete { .. }
            | Job::Restore { .. } => &pools.write,
            Job::List { .. }
            | Job::Versions { .. }
            | Job::Open { version: Some(_), .. }
            | Job::Stat { version: Some(_), .. } => &pools.list,
            Job::Expire(_) => &pools.upkeep,
        }
    }

    /// Has a job done. One that cannot be queued is refused, and its connection hears of it as of
    /// any result.
    pub(crate) fn submit(&self, job: Job, reply: ReplyTo, now: Instant) -> Ticket {
        let (device, pools) = (reply.device, self.clone());
        let reply = Some(Reply::new(reply, job.buffers()));
        self.queue(Task { job, reply, device, lock: None, pools }, now);
        Ticket::new()
    }

    fn queue(&self, task: Task, now: Instant) {
        if let Err(task) = self.of(&task.job).submit(task.device, task, now)
            && let Some(Task { job, device, .. }) = task.refuse()
        {
            self.discard(job, device, now);
        }
    }

    /// Has a job done whose result nothing waits for, such as to release what a closed connection
    /// held. With a full queue it runs on the calling thread, which is rare, and better than not
    /// releasing.
    pub(crate) fn discard(&self, job: Job, device: Device, now: Instant) {
        let task = Task { job, reply: None, device, lock: None, pools: self.clone() };
        if let Err(task) = self.of(&task.job).submit(device, task, now) {
            task.run();
        }
    }

    /// Ends the job of a connection that has ended, if it waits for a lock or a lease.
    pub(crate) fn cancel(&self, completions: &Completions, connection: ConnectionId) {
        self.0.locks.cancel(|task| {
            task.reply.as_ref().is_some_and(|reply| reply.is_to(completions, connection))
        });
    }
}

impl Work for Task {
    /// What nothing waits for is done whenever there is time. The answer to which a load belongs
    /// has begun and can only be cut off.
    fn is_refusable(&self) -> bool {
        self.reply.is_some() && !matches!(self.job, Job::Load(_))
    }

    fn run(mut self) {
        loop {
            let Self { job, reply, device, lock, pools } = self;
            let buffers = job.buffers();
            // A job that panics must still send a result: its connection waits for nothing else.
            // The store's invariants live on disk, and what the job held in memory is dropped.
            let step = catch_unwind(AssertUnwindSafe(|| job.run(lock)))
                .unwrap_or(Step::Done(Done::Panicked { buffers }));
            match step {
                Step::Done(done) => {
                    if let Some(reply) = reply {
                        reply.send(done);
                    }
                    return;
                }
                Step::AwaitLock(store, name, until, job) => {
                    let locks = pools.0.locks.clone();
                    let task = Self { job, reply, device, lock: None, pools };
                    let Some((task, lock)) = locks.acquire(task, &store, name, until) else {
                        return;
                    };
                    self = Self { lock: Some(lock), ..task };
                }
                Step::AwaitLease(job) => {
                    let locks = pools.0.locks.clone();
                    return locks.await_lease(Self { job, reply, device, lock: None, pools });
                }
            }
        }
    }

    fn refuse(self) -> Option<Self> {
        self.refuse_with(ErrorCode::Busy.into())
    }
}

impl Task {
    /// Reports that it is not done. Returns what has to be done all the same.
    fn refuse_with(self, why: JobError) -> Option<Self> {
        let Self { job, reply, device, lock, pools } = self;
        let Some(reply) = reply else { return Some(Self { job, reply, device, lock, pools }) };
        let (done, rest) = job.refuse(why);
        reply.send(done);
        rest.map(|job| Self { job, reply: None, device, lock: None, pools })
    }
}

impl Waiter for Task {
    fn device(&self) -> Device {
        self.device
    }

    fn is_ready(&mut self, now: Instant) -> bool {
        self.job.is_ready(now)
    }

    fn go_on(self, lock: Option<Lock>) {
        let pools = self.pools.clone();
        pools.queue(Self { lock, ..self }, Instant::now());
    }

    fn fail(self, why: JobError) {
        let pools = self.pools.clone();
        if let Some(Self { job, device, .. }) = self.refuse_with(why) {
            pools.discard(job, device, Instant::now());
        }
    }

    /// Its worker hears nothing of it: the connection is gone.
    fn end(self) {
        let Self { job, reply, device, pools, lock: _ } = self;
        if let Some(reply) = reply {
            reply.forget();
        }
        if let (_, Some(rest)) = job.refuse(ErrorCode::Busy.into()) {
            pools.discard(rest, device, Instant::now());
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

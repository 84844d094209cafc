//! What a worker lends a connection for one turn, and what the connection returns at the end of it.

use std::sync::Arc;

use super::close::CloseReason;

use crate::{
    http::Now,
    jobs::{Buffers, Completions, ConnectionId, Device, Job, Pools, ReplyTo, Ticket},
    limits::Semaphore,
    metrics::WorkerMetrics,
    mounts::{MountPoint, Mounts, OpenFileCache, OpenObject},
    transfer::{
        engines::{Engine, EngineResources},
        socket::Blocked,
    },
};

/// Bytes after which a connection's turn ends. The window under way is still sent whole, because
/// sending the rest of a window costs as many calls as sending all of it. At 5 GB/s a turn takes
/// 0.1 to 0.2 ms, so among a hundred busy connections a small request waits about 10 ms.
pub(crate) const TURN_BYTES: usize = 512 * 1024;

/// Cost of each step besides its bytes, so that a flood of tiny requests ends a turn as well.
const STEP_COST_BYTES: usize = 4096;

/// What a worker lends to one connection after the other.
#[derive(Debug)]
pub(crate) struct TurnResources {
    /// The mounts being served.
    pub(crate) mounts: Mounts,
    /// Threads for jobs on the disk.
    pub(crate) pools: Pools,
    /// Where the pools send the results of jobs.
    pub(crate) completions: Completions,
    /// The worker's buffers for uploads.
    pub(crate) buffers: Buffers,
    /// The worker's open objects.
    pub(crate) files: OpenFileCache,
    /// Bounds the objects that are open over all workers.
    pub(crate) open_files: Semaphore,
    /// Bounds the connections of peers without a key over all workers.
    pub(crate) keyless: Semaphore,
    /// How payload gets from a file into a socket.
    pub(crate) engine: Engine,
    /// Pipes and memory that the send engines share.
    pub(crate) engine_resources: EngineResources,
    /// Memory for control bytes that are read, and for bytes that are discarded.
    pub(crate) scratch: Box<[u8]>,
    /// The worker's counters.
    pub(crate) metrics: Arc<WorkerMetrics>,
    /// The time by the monotonic clock and by the wall clock, as of this round.
    pub(crate) now: Now,
}

impl TurnResources {
    /// The context for a turn of `connection`.
    pub(crate) fn cx(&mut self, connection: ConnectionId, draining: bool) -> TurnContext<'_> {
        TurnContext {
            mounts: &self.mounts,
            pools: &self.pools,
            completions: &self.completions,
            connection,
            buffers: &mut self.buffers,
            files: &mut self.files,
            open_files: &self.open_files,
            keyless: &self.keyless,
            engine: self.engine,
            resources: &mut self.engine_resources,
            scratch: &mut self.scratch,
            metrics: &self.metrics,
            now: &self.now,
            draining,
        }
    }
}

/// The worker's state as one connection may use it during its turn.
#[derive(Debug)]
pub(crate) struct TurnContext<'a> {
    /// The mounts being served.
    pub(crate) mounts: &'a Mounts,
    /// Threads for jobs on the disk.
    pub(crate) pools: &'a Pools,
    /// Where the pools send the results of jobs.
    pub(crate) completions: &'a Completions,
    /// The connection whose turn it is.
    pub(crate) connection: ConnectionId,
    /// The worker's buffers for uploads.
    pub(crate) buffers: &'a mut Buffers,
    /// The worker's open objects.
    pub(crate) files: &'a mut OpenFileCache,
    /// Bounds the objects that are open over all workers.
    pub(crate) open_files: &'a Semaphore,
    /// Bounds the connections of peers without a key over all workers.
    pub(crate) keyless: &'a Semaphore,
    /// How payload gets from a file into a socket.
    pub(crate) engine: Engine,
    /// Pipes and memory that the send engines share.
    pub(crate) resources: &'a mut EngineResources,
    /// Memory for control bytes that are read, and for bytes that are discarded.
    pub(crate) scratch: &'a mut [u8],
    /// The worker's counters.
    pub(crate) metrics: &'a WorkerMetrics,
    /// The time by the monotonic clock and by the wall clock, as of this round.
    pub(crate) now: &'a Now,
    /// Whether the server is stopping: requests under way finish, no new one begins.
    pub(crate) draining: bool,
}

impl TurnContext<'_> {
    /// The open object that `key` stands for in `mount`, if the cache has it.
    pub(crate) fn open_already(
        &mut self,
        mount: &MountPoint,
        key: &[u8],
    ) -> Option<Arc<OpenObject>> {
        let object = self.files.get(mount, key, self.now.instant);
        match object {
            Some(_) => self.metrics.file_hit(),
            None => self.metrics.file_miss(),
        }
        object
    }

    /// Hands a job of a device to its pool.
    pub(crate) fn submit(&self, job: Job, device: Device) -> Ticket {
        let (completions, connection) = (self.completions.clone(), self.connection);
        let reply = ReplyTo { completions, connection, device };
        self.pools.submit(job, reply, self.now.instant)
    }

    /// Hands a job of a device to its pool whose result nothing waits for.
    pub(crate) fn discard(&self, job: Job, device: Device) {
        self.pools.discard(job, device, self.now.instant);
    }
}

/// How a connection's turn ended.
#[derive(Debug)]
pub(crate) enum TurnOutcome {
    /// Nothing to do until the socket or a job wakes the connection.
    Park(Blocked),
    /// More to do, but other connections are waiting for their turn.
    Yield(BudgetExhausted),
    /// Nothing to do until the worker has a free buffer.
    AwaitBuffer(NoBuffer),
    /// The connection has ended.
    Close(CloseReason),
}

/// Bytes that a connection may still move in this turn.
#[derive(Debug)]
pub(crate) struct Budget(usize);

/// Proof that a turn ended because its budget was spent.
#[derive(Debug)]
pub(crate) struct BudgetExhausted(());

/// Proof that a turn ended because no buffer was free.
#[derive(Debug)]
pub(crate) struct NoBuffer(());

impl Budget {
    /// The budget of a whole turn: [`TURN_BYTES`].
    pub(crate) const fn new() -> Self {
        Self(TURN_BYTES)
    }

    /// Bytes that may still move.
    pub(crate) const fn left(&self) -> usize {
        self.0
    }

    /// Counts `bytes` that moved.
    pub(crate) const fn spend(&mut self, bytes: usize) {
        self.0 = self.0.saturating_sub(bytes);
    }

    /// Counts one step, however many bytes moved in it.
    pub(crate) const fn step(&mut self) {
        self.spend(STEP_COST_BYTES);
    }

    /// The proof that the budget is spent, if it is.
    pub(crate) const fn spent(&self) -> Option<BudgetExhausted> {
        if self.0 == 0 { Some(BudgetExhausted(())) } else { None }
    }
}

impl NoBuffer {
    /// The proof that `buffers` has no free buffer, if so.
    pub(crate) fn witnessed(buffers: &Buffers) -> Option<Self> {
        (!buffers.available()).then_some(Self(()))
    }
}

//! What a worker lends a connection for one turn, and what the connection returns at the end of it.

use std::{io, sync::Arc};

use thiserror::Error;
use zput_common::proto::SessionError;

use crate::{
    http::Now,
    jobs::{Buffers, ConnectionId, Job, Pool, ReplyTo, Ticket},
    limits::Semaphore,
    metrics::WorkerMetrics,
    mounts::{MountPoint, Mounts, OpenFileCache, OpenObject},
    transfer::{
        TransferError,
        engines::{Engine, EngineResources},
        socket::Blocked,
    },
    worker::Inbox,
};

/// Bytes after which a connection's turn ends. The window under way is still sent whole, because
/// sending the rest of a window costs as many calls as sending all of it. At 5 GB/s a turn takes 0.1
/// to 0.2 ms, so among a hundred busy connections a small request waits about 10 ms.
pub(crate) const TURN_BYTES: usize = 512 * 1024;

/// Cost of each step besides its bytes, so that a flood of tiny requests ends a turn as well.
const STEP_COST_BYTES: usize = 4096;

/// The worker's state as one connection may use it during its turn.
#[derive(Debug)]
pub(crate) struct TurnContext<'a> {
    /// The mounts being served.
    pub(crate) mounts: &'a Mounts,
    /// Threads for jobs on the disk, except loads.
    pub(crate) pool: &'a Pool,
    /// Threads that load file contents into memory: separate, so that a commit that waits for fsync
    /// delays no get.
    pub(crate) loaders: &'a Pool,
    /// Where the pools send the results of jobs.
    pub(crate) inbox: &'a Inbox,
    /// The connection whose turn it is.
    pub(crate) slot: ConnectionId,
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

    /// Hands a job to its pool.
    ///
    /// # Errors
    /// [`CloseReason::PoolFull`] when the pool's queue is full.
    pub(crate) fn submit(&mut self, job: Job) -> Result<Ticket, CloseReason> {
        let reply = ReplyTo { inbox: self.inbox.clone(), slot: self.slot };
        let pool = if matches!(job, Job::Load(_)) { self.loaders } else { self.pool };
        pool.submit(job, reply).map_err(|job| {
            self.buffers.lost(job.buffers());
            CloseReason::PoolFull
        })
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

/// Why a connection ended.
#[derive(Debug, Error)]
pub(crate) enum CloseReason {
    /// Both sides have finished.
    #[error("done")]
    Done,
    /// The peer did not close its side within the time for closing.
    #[error("the peer did not take its leave in time")]
    CloseTimeout,
    /// A device without an account did not join in time, or a peer without a key sent no request.
    #[error("a peer without an account did not join or ask for something in time")]
    NotRegistered,
    /// The connection limit was reached and a newer connection took the place of this one, whose peer
    /// had not authenticated or whose upload stood still.
    #[error("it had not said who it is, or its upload stood still, and its seat was needed")]
    Evicted,
    /// No byte moved for the idle time while it was the peer's turn.
    #[error("the peer was idle for too long")]
    Idle,
    /// Fewer bytes moved than the minimum rate asks for while it was the peer's turn.
    #[error("the peer was slower than the minimum rate")]
    Slow,
    /// The socket failed.
    #[error(transparent)]
    Socket(#[from] io::Error),
    /// The peer stopped in the middle of a message or a slice.
    #[error("truncated: {0}")]
    Truncated(SessionError),
    /// A response could not be encoded.
    #[error("cannot answer: {0}")]
    Encoding(SessionError),
    /// An announced payload could not be sent.
    #[error("cannot go on sending: {0}")]
    Transfer(#[from] TransferError),
    /// An announced payload could not be loaded into memory.
    #[error("cannot load what is to be sent: {0}")]
    Load(#[source] io::Error),
    /// The pool's queue is full.
    #[error("the pool takes no jobs")]
    PoolFull,
    /// A defect: the connection has nothing to do and nothing to wait for.
    #[error("defect: neither working nor waiting, in {0}")]
    Stuck(&'static str),
}

impl CloseReason {
    /// Whether the peer or the network ended the connection, and nothing is wrong with the server.
    /// Such ends are logged at debug level only: readers disconnect all the time.
    pub(crate) fn is_the_peers(&self) -> bool {
        match self {
            Self::Done
            | Self::CloseTimeout
            | Self::NotRegistered
            | Self::Evicted
            | Self::Idle
            | Self::Slow
            | Self::Socket(_)
            | Self::Truncated(_) => true,
            Self::Transfer(TransferError::Io(failure)) => matches!(
                failure.kind(),
                io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::NotConnected
                    | io::ErrorKind::TimedOut
                    | io::ErrorKind::HostUnreachable
                    | io::ErrorKind::NetworkUnreachable
                    | io::ErrorKind::NetworkDown
            ),
            Self::Transfer(TransferError::FileEnded { .. } | TransferError::Exhausted)
            | Self::Encoding(_)
            | Self::Load(_)
            | Self::PoolFull
            | Self::Stuck(_) => false,
        }
    }
}

//! What a worker and its connections have to say to each other: what it lends them for a turn, and what they
//! say when it ends.

#[cfg(test)]
#[path = "context/testing.rs"]
mod lent;

use std::{io, sync::Arc};

use thiserror::Error;
use zput_common::proto::SessionError;

use crate::{
    catalog::Job,
    engines::{Engine, Tools},
    http::Now,
    metrics::WorkerMetrics,
    mounts::{MountPoint, Mounts},
    opened::Opened,
    permits::Permits,
    pool::{Pool, ReplyTo, Ticket},
    transfer::TransferError,
    wire::Blocked,
    worker::{Buffers, Files, Inbox, SlotId},
};

#[cfg(test)]
pub(crate) use lent::Lent;

/// Bytes after which a connection's turn ends; the window under way then is still sent whole, for what is left of one
/// costs as many calls as all of it. At 5 GB/s that takes 0.1 to 0.2 ms, so among a hundred busy connections a small
/// request waits some 10 ms.
pub(crate) const TURN_BYTES: usize = 512 * 1024;

/// What each step costs besides its bytes, so that a flood of tiny requests ends a turn as well.
const STEP_COST_BYTES: usize = 4096;

/// What a worker lends a connection for a turn.
#[derive(Debug)]
pub(crate) struct Desk<'a> {
    /// What is served.
    pub(crate) mounts: &'a Mounts,
    /// Where disk work goes.
    pub(crate) pool: &'a Pool,
    /// Where bytes are loaded into memory. Threads of their own: commits that wait for the disk stall no get.
    pub(crate) loaders: &'a Pool,
    /// Where results come back to.
    pub(crate) inbox: &'a Inbox,
    /// Which connection this is.
    pub(crate) slot: SlotId,
    /// The worker's buffers for uploads.
    pub(crate) buffers: &'a mut Buffers,
    /// The worker's open objects.
    pub(crate) files: &'a mut Files,
    /// How many may be open over all workers.
    pub(crate) open_files: &'a Permits,
    /// Shares of peers without a key, over all workers.
    pub(crate) keyless: &'a Permits,
    /// What moves payload.
    pub(crate) engine: Engine,
    /// What engines share.
    pub(crate) tools: &'a mut Tools,
    /// Room to read control bytes into, and bytes that nobody wants.
    pub(crate) scratch: &'a mut [u8],
    /// What the worker counts.
    pub(crate) metrics: &'a WorkerMetrics,
    /// By both clocks.
    pub(crate) now: &'a Now,
    /// Whether the server is stopping: what is under way ends, nothing begins.
    pub(crate) draining: bool,
}

impl Desk<'_> {
    /// The object that `key` of `mount` stands for, if it is open.
    pub(crate) fn open_already(&mut self, mount: &MountPoint, key: &[u8]) -> Option<Arc<Opened>> {
        let object = self.files.get(mount, key, self.now.instant);
        match object {
            Some(_) => self.metrics.file_hit(),
            None => self.metrics.file_miss(),
        }
        object
    }

    /// Hands a job to the threads that it is for.
    ///
    /// # Errors
    /// When they take none.
    pub(crate) fn submit(&mut self, job: Job) -> Result<Ticket, End> {
        let reply = ReplyTo { inbox: self.inbox.clone(), slot: self.slot };
        let pool = if matches!(job, Job::Load(_)) { self.loaders } else { self.pool };
        pool.submit(job, reply).map_err(|job| {
            self.buffers.lost(job.buffers());
            End::NoPool
        })
    }
}

/// What becomes of a connection after its turn.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Put aside until the socket or the pool wakes it.
    Park(Blocked),
    /// There is more to do, but others are waiting too.
    Again(BudgetSpent),
    /// Put aside until the worker has a buffer.
    Starved(NoBuffer),
    /// It is over.
    Close(End),
}

/// What is left of a turn.
#[derive(Debug)]
pub(crate) struct Budget(usize);

/// Proof that a turn ended because its budget was spent.
#[derive(Debug)]
pub(crate) struct BudgetSpent(());

/// Proof that a turn ended for want of a buffer.
#[derive(Debug)]
pub(crate) struct NoBuffer(());

impl Budget {
    /// A whole turn's.
    pub(crate) const fn new() -> Self {
        Self(TURN_BYTES)
    }

    /// Bytes that may still move.
    pub(crate) const fn left(&self) -> usize {
        self.0
    }

    /// So many bytes moved.
    pub(crate) const fn spend(&mut self, bytes: usize) {
        self.0 = self.0.saturating_sub(bytes);
    }

    /// A step was made, whatever moved.
    pub(crate) const fn step(&mut self) {
        self.spend(STEP_COST_BYTES);
    }

    /// The witness that nothing is left, if so.
    pub(crate) const fn spent(&self) -> Option<BudgetSpent> {
        if self.0 == 0 { Some(BudgetSpent(())) } else { None }
    }
}

impl NoBuffer {
    /// When `buffers` has none left.
    pub(crate) fn witnessed(buffers: &Buffers) -> Option<Self> {
        (!buffers.available()).then_some(Self(()))
    }
}

/// Why a connection ended.
#[derive(Debug, Error)]
pub(crate) enum End {
    /// All was said.
    #[error("done")]
    Done,
    /// The farewell took too long.
    #[error("the peer did not take its leave in time")]
    FarewellTimeout,
    /// A device without an account did not join in time, or one without a key asked for nothing.
    #[error("a peer without an account did not join or ask for something in time")]
    Stranger,
    /// Somebody else needed the seat, and nobody knew yet who it is, or its upload stood still.
    #[error("it had not said who it is, or its upload stood still, and its seat was needed")]
    Crowded,
    /// Nothing moved for too long while the peer had to act.
    #[error("the peer was idle for too long")]
    Idle,
    /// Too little moved while the peer had to act.
    #[error("the peer was slower than the minimum rate")]
    Slow,
    /// The socket failed.
    #[error(transparent)]
    Socket(#[from] io::Error),
    /// The peer stopped in the middle of something.
    #[error("truncated: {0}")]
    Truncated(SessionError),
    /// An answer could not be said.
    #[error("cannot answer: {0}")]
    Unsayable(SessionError),
    /// An announced payload could not be sent.
    #[error("cannot go on sending: {0}")]
    Transfer(#[from] TransferError),
    /// An announced payload could not be loaded.
    #[error("cannot load what is to be sent: {0}")]
    Load(#[source] io::Error),
    /// The pool takes no jobs.
    #[error("the pool takes no jobs")]
    NoPool,
    /// A defect: there was nothing to do and nothing to wait for.
    #[error("defect: neither working nor waiting, in {0}")]
    Stuck(&'static str),
}

impl End {
    /// Whether it is the peer or its line that ended the connection, and nothing is wrong here: readers
    /// that go away do so every day.
    pub(crate) fn is_the_peers(&self) -> bool {
        match self {
            Self::Done
            | Self::FarewellTimeout
            | Self::Stranger
            | Self::Crowded
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
            | Self::Unsayable(_)
            | Self::Load(_)
            | Self::NoPool
            | Self::Stuck(_) => false,
        }
    }
}

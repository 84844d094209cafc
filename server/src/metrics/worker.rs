//! What one worker counts.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::{
    histogram::Histogram,
    labels::{Labelled, Outcome, Protocol, RequestKind},
};

/// The handles of one worker. Nobody else writes to them, so that an addition is one to a line of
/// the worker's own cache; Prometheus sums the workers up.
// A line of its own behind the last one of another worker; x86-64 fetches lines in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WorkerMetrics {
    pub(super) turns: Histogram,
    pub(super) steps: Histogram,
    pub(super) loads: Histogram,
    pub(super) write_waits: Histogram,
    pub(super) connections: [AtomicU64; Protocol::ALL.len()],
    pub(super) sent_bytes: AtomicU64,
    pub(super) received_bytes: AtomicU64,
    pub(super) requests: [[AtomicU64; Outcome::ALL.len()]; RequestKind::ALL.len()],
    pub(super) file_hits: AtomicU64,
    pub(super) file_misses: AtomicU64,
    pub(super) open_files: AtomicU64,
    pub(super) upload_buffers: AtomicU64,
}

impl WorkerMetrics {
    /// A connection had a turn, which took so long.
    pub fn turn(&self, took: Duration) {
        self.turns.observe(took);
    }

    /// The engine made one step of a transfer, which took so long.
    pub fn step(&self, took: Duration) {
        self.steps.observe(took);
    }

    /// Makes one step of a transfer and observes how long it takes.
    pub fn timed_step<R>(&self, step: impl FnOnce() -> R) -> R {
        let began = Instant::now();
        let result = step();
        self.step(began.elapsed());
        result
    }

    /// A stretch of a file was not in memory and had to be loaded; so long it was waited for.
    pub fn load(&self, took: Duration) {
        self.loads.observe(took);
    }

    /// A connection with bytes to send waited so long for its socket to take some.
    pub fn write_wait(&self, took: Duration) {
        self.write_waits.observe(took);
    }

    /// So many bytes went into a socket.
    pub fn sent(&self, bytes: u64) {
        self.sent_bytes.fetch_add(bytes, Relaxed);
    }

    /// So many bytes came out of a socket.
    pub fn received(&self, bytes: u64) {
        self.received_bytes.fetch_add(bytes, Relaxed);
    }

    /// A request was answered.
    pub fn answered(&self, kind: RequestKind, outcome: Outcome) {
        let counter = self.requests.get(kind.place()).and_then(|row| row.get(outcome.place()));
        if let Some(counter) = counter {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// A file to be served was open already.
    pub fn file_hit(&self) {
        self.file_hits.fetch_add(1, Relaxed);
    }

    /// A file to be served had to be opened.
    pub fn file_miss(&self) {
        self.file_misses.fetch_add(1, Relaxed);
    }

    /// So many served files are open.
    pub fn open_files(&self, count: usize) {
        self.open_files.store(count as u64, Relaxed);
    }

    /// So many buffers for uploads are in use.
    pub fn upload_buffers(&self, count: usize) {
        self.upload_buffers.store(count as u64, Relaxed);
    }

    /// A connection of `protocol` is there, as long as what is returned.
    #[must_use]
    pub fn connected(self: &Arc<Self>, protocol: Protocol) -> Connected {
        if let Some(there) = self.connections.get(protocol.place()) {
            there.fetch_add(1, Relaxed);
        }
        Connected { metrics: Arc::clone(self), protocol }
    }
}

/// A connection that is there; dropped when it is gone.
#[derive(Debug)]
pub struct Connected {
    metrics: Arc<WorkerMetrics>,
    protocol: Protocol,
}

impl Drop for Connected {
    fn drop(&mut self) {
        if let Some(there) = self.metrics.connections.get(self.protocol.place()) {
            there.fetch_sub(1, Relaxed);
        }
    }
}

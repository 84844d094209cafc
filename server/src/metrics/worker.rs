//! The metrics of one worker.

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

/// The metrics of one worker. No other thread writes to them, so the cache lines stay with the
/// worker's core; Prometheus adds the workers up.
// Aligned so that no cache line is shared with another worker; x86-64 fetches lines in pairs.
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
    /// Observes how long one turn of a connection took.
    pub fn turn(&self, took: Duration) {
        self.turns.observe(took);
    }

    /// Observes how long one step of the send engine took.
    pub fn step(&self, took: Duration) {
        self.steps.observe(took);
    }

    /// Runs one step of the send engine and observes how long it takes.
    pub fn timed_step<R>(&self, step: impl FnOnce() -> R) -> R {
        let began = Instant::now();
        let result = step();
        self.step(began.elapsed());
        result
    }

    /// Observes how long a transfer waited for a window of a file to be loaded into memory.
    pub fn load(&self, took: Duration) {
        self.loads.observe(took);
    }

    /// Observes how long a connection with bytes to send waited for room in its socket.
    pub fn write_wait(&self, took: Duration) {
        self.write_waits.observe(took);
    }

    /// Counts bytes that a socket accepted.
    pub fn sent(&self, bytes: u64) {
        self.sent_bytes.fetch_add(bytes, Relaxed);
    }

    /// Counts bytes that were read from a socket.
    pub fn received(&self, bytes: u64) {
        self.received_bytes.fetch_add(bytes, Relaxed);
    }

    /// Counts a request that was answered.
    pub fn answered(&self, kind: RequestKind, outcome: Outcome) {
        let counter = self.requests.get(kind.index()).and_then(|row| row.get(outcome.index()));
        if let Some(counter) = counter {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// Counts a get that found its object open.
    pub fn file_hit(&self) {
        self.file_hits.fetch_add(1, Relaxed);
    }

    /// Counts a get that had to open its object.
    pub fn file_miss(&self) {
        self.file_misses.fetch_add(1, Relaxed);
    }

    /// Sets the number of open objects.
    pub fn open_files(&self, count: usize) {
        self.open_files.store(count as u64, Relaxed);
    }

    /// Sets the number of upload buffers in use.
    pub fn upload_buffers(&self, count: usize) {
        self.upload_buffers.store(count as u64, Relaxed);
    }

    /// Counts an open connection of `protocol` until the returned value is dropped.
    #[must_use]
    pub fn connected(self: &Arc<Self>, protocol: Protocol) -> Connected {
        if let Some(there) = self.connections.get(protocol.index()) {
            there.fetch_add(1, Relaxed);
        }
        Connected { metrics: Arc::clone(self), protocol }
    }
}

/// Counts one open connection as long as this value lives.
#[derive(Debug)]
pub struct Connected {
    metrics: Arc<WorkerMetrics>,
    protocol: Protocol,
}

impl Drop for Connected {
    fn drop(&mut self) {
        if let Some(there) = self.metrics.connections.get(self.protocol.index()) {
            there.fetch_sub(1, Relaxed);
        }
    }
}

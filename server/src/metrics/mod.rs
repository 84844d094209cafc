//! The metrics of a server, for Prometheus.
//!
//! Each worker has its own [`WorkerMetrics`], the thread that accepts has the [`EndpointMetrics`],
//! and each pool has its own [`PoolMetrics`]. An observation is one or two additions to atomics
//! that no other thread writes to; it takes no lock and allocates nothing. [`Metrics::encode`]
//! reads them all when the metrics are scraped. docs/OPERATIONS.md lists them.

mod histogram;
mod labels;
pub(crate) mod program;
mod worker;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use labels::Labelled;
pub use labels::{Outcome, PoolKind, Protocol, Refusal, RequestKind};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet, text},
    metrics::MetricType,
    registry::{Registry, Unit},
};
pub use worker::{Connected, WorkerMetrics};

use histogram::Histogram;

/// The media type of the text that [`Metrics::encode`] returns.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The counters of the thread that accepts connections.
#[derive(Debug, Default)]
pub struct EndpointMetrics {
    accepted: [AtomicU64; Protocol::ALL.len()],
    refused: [[AtomicU64; Refusal::ALL.len()]; Protocol::ALL.len()],
}

impl EndpointMetrics {
    /// Counts a connection that was handed to a worker.
    pub fn accepted(&self, protocol: Protocol) {
        if let Some(counter) = self.accepted.get(protocol.index()) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// Counts a connection that was refused.
    pub fn refused(&self, protocol: Protocol, why: Refusal) {
        let counter = self.refused.get(protocol.index()).and_then(|row| row.get(why.index()));
        if let Some(counter) = counter {
            counter.fetch_add(1, Relaxed);
        }
    }
}

/// The gauges of a pool of threads.
#[derive(Debug, Default)]
pub struct PoolMetrics {
    threads: AtomicU64,
    queued: AtomicU64,
}

impl PoolMetrics {
    /// Sets the number of the pool's threads.
    pub fn threads(&self, count: usize) {
        self.threads.store(count as u64, Relaxed);
    }

    /// Sets the number of jobs that wait for a thread.
    pub fn queued(&self, count: usize) {
        self.queued.store(count as u64, Relaxed);
    }
}

/// The gauges of the jobs that wait for what other jobs or processes have.
#[derive(Debug, Default)]
pub struct LockMetrics {
    for_locks: AtomicU64,
    for_leases: AtomicU64,
}

impl LockMetrics {
    /// Sets the numbers of jobs that wait for a lock of a store, and for the lease of an upload.
    pub fn waiting(&self, for_locks: usize, for_leases: usize) {
        self.for_locks.store(for_locks as u64, Relaxed);
        self.for_leases.store(for_leases as u64, Relaxed);
    }
}

/// The metrics of a server: the handles of its threads, and their text.
#[derive(Debug)]
pub struct Metrics {
    counted: Arc<ThreadMetrics>,
    registry: Registry,
}

/// The handles that were given to the threads.
#[derive(Debug)]
struct ThreadMetrics {
    /// The label `engine` of the steps of transfers.
    engine: &'static str,
    workers: Vec<Arc<WorkerMetrics>>,
    endpoints: Arc<EndpointMetrics>,
    pools: [Arc<PoolMetrics>; PoolKind::ALL.len()],
    locks: Arc<LockMetrics>,
}

impl Metrics {
    /// Metrics of a server with this number of `workers`. `engine` is the label of the engine that
    /// moves payload.
    #[must_use]
    pub fn new(workers: usize, engine: &'static str) -> Self {
        let counted = Arc::new(ThreadMetrics {
            engine,
            workers: (0..workers).map(|_| Arc::default()).collect(),
            endpoints: Arc::default(),
            pools: Default::default(),
            locks: Arc::default(),
        });
        let mut registry = Registry::with_prefix("zserve");
        registry.register_collector(Box::new(Arc::clone(&counted)));
        Self { counted, registry }
    }

    /// Includes the metrics of `collector`.
    #[must_use]
    pub(crate) fn with_collector(mut self, collector: impl Collector + 'static) -> Self {
        self.registry.register_collector(Box::new(collector));
        self
    }

    /// The handle of worker `number`, counted from 0; `None` if there is no such worker.
    #[must_use]
    pub fn worker(&self, number: usize) -> Option<Arc<WorkerMetrics>> {
        self.counted.workers.get(number).map(Arc::clone)
    }

    /// The handle of the thread that accepts.
    #[must_use]
    pub fn endpoints(&self) -> Arc<EndpointMetrics> {
        Arc::clone(&self.counted.endpoints)
    }

    /// The handle of a pool.
    #[must_use]
    pub fn pool(&self, kind: PoolKind) -> Arc<PoolMetrics> {
        let [control, open, load, write, list, upkeep] = &self.counted.pools;
        Arc::clone(match kind {
            PoolKind::Control => control,
            PoolKind::Open => open,
            PoolKind::Load => load,
            PoolKind::Write => write,
            PoolKind::List => list,
            PoolKind::Upkeep => upkeep,
        })
    }

    /// The handle of the queues for locks.
    #[must_use]
    pub fn locks(&self) -> Arc<LockMetrics> {
        Arc::clone(&self.counted.locks)
    }

    /// The text of all metrics, in the format of [`CONTENT_TYPE`].
    ///
    /// # Errors
    /// Never: writing to a string cannot fail.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl Collector for ThreadMetrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        page.build()?;
        self.encode_workers(&mut page)?;
        self.encode_requests(&mut page)?;
        self.encode_endpoints(&mut page)?;
        self.encode_pools(&mut page)?;
        self.encode_locks(&mut page)?;
        page.log()?;
        page.sandbox()
    }
}

impl ThreadMetrics {
    fn encode_workers(&self, page: &mut Page<'_>) -> fmt::Result {
        let engine = Some(self.engine);
        page.histogram(
            "connection_turn",
            "Duration of one turn of a connection",
            self,
            None,
            |w| &w.turns,
        )?;
        page.histogram(
            "engine_step",
            "Duration of one step of the send engine",
            self,
            engine,
            |w| &w.steps,
        )?;
        page.histogram(
            "page_cache_load",
            "Time that a transfer waited for contents of a file to be loaded into the page cache",
            self,
            None,
            |w| &w.loads,
        )?;
        page.histogram(
            "socket_write_wait",
            "Time that a connection waited for room in a full socket",
            self,
            None,
            |w| &w.write_waits,
        )?;
        page.counter("sent", "Bytes sent", Some(&Unit::Bytes), self, |w| &w.sent_bytes)?;
        page.counter("received", "Bytes received", Some(&Unit::Bytes), self, |w| {
            &w.received_bytes
        })?;
        page.counter("open_file_cache_hits", "Requests whose file was open", None, self, |w| {
            &w.file_hits
        })?;
        page.counter(
            "open_file_cache_misses",
            "Requests whose file had to be opened",
            None,
            self,
            |w| &w.file_misses,
        )?;
        page.gauge("open_files", "Open files of objects that are served", self, |w| &w.open_files)?;
        page.gauge("upload_buffers", "Upload buffers of 256 KiB in use", self, |w| {
            &w.upload_buffers
        })
    }

    /// A combination of kind and outcome has a line once it has occurred.
    fn encode_requests(&self, page: &mut Page<'_>) -> fmt::Result {
        let mut family = page.family("requests", "Answered requests", None, MetricType::Counter)?;
        for (number, worker) in self.workers.iter().enumerate() {
            for (kind, row) in RequestKind::ALL.iter().zip(&worker.requests) {
                for (outcome, count) in Outcome::ALL.iter().zip(row) {
                    let count = count.load(Relaxed);
                    if count > 0 {
                        let number = number.to_string();
                        let labels = [
                            ("worker", number.as_str()),
                            ("kind", kind.label()),
                            ("outcome", outcome.label()),
                        ];
                        counter(&mut family, &labels, count)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn encode_endpoints(&self, page: &mut Page<'_>) -> fmt::Result {
        let about = "Open connections";
        let mut family = page.family("connections", about, None, MetricType::Gauge)?;
        for (number, worker) in self.workers.iter().enumerate() {
            for (protocol, there) in Protocol::ALL.iter().zip(&worker.connections) {
                let number = number.to_string();
                let labels = [("worker", number.as_str()), ("protocol", protocol.label())];
                family.encode_family(&labels)?.encode_gauge(&there.load(Relaxed))?;
            }
        }
        let about = "Accepted connections";
        let mut family = page.family("connections_accepted", about, None, MetricType::Counter)?;
        for (protocol, count) in Protocol::ALL.iter().zip(&self.endpoints.accepted) {
            counter(&mut family, &[("protocol", protocol.label())], count.load(Relaxed))?;
        }
        let about = "Refused connections";
        let mut family = page.family("connections_refused", about, None, MetricType::Counter)?;
        for (protocol, row) in Protocol::ALL.iter().zip(&self.endpoints.refused) {
            for (why, count) in Refusal::ALL.iter().zip(row) {
                let labels = [("protocol", protocol.label()), ("reason", why.label())];
                counter(&mut family, &labels, count.load(Relaxed))?;
            }
        }
        Ok(())
    }

    fn encode_pools(&self, page: &mut Page<'_>) -> fmt::Result {
        let mut gauge = |name, about, of: fn(&PoolMetrics) -> &AtomicU64| {
            let mut family = page.family(name, about, None, MetricType::Gauge)?;
            for (kind, pool) in PoolKind::ALL.iter().zip(&self.pools) {
                let labels = [("pool", kind.label())];
                family.encode_family(&labels)?.encode_gauge(&of(pool).load(Relaxed))?;
            }
            Ok(())
        };
        gauge("pool_threads", "Threads of a pool", |pool| &pool.threads)?;
        gauge("pool_queued", "Jobs that wait for a thread of the pool", |pool| &pool.queued)
    }

    fn encode_locks(&self, page: &mut Page<'_>) -> fmt::Result {
        let about = "Jobs that wait for a lock of a store, or for the lease of an upload";
        let mut family = page.family("lock_queued", about, None, MetricType::Gauge)?;
        for (what, count) in [("lock", &self.locks.for_locks), ("lease", &self.locks.for_leases)] {
            family.encode_family(&[("for", what)])?.encode_gauge(&count.load(Relaxed))?;
        }
        Ok(())
    }
}

/// The text that is being written.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn family<'s>(
        &'s mut self,
        name: &'s str,
        about: &str,
        unit: Option<&'s Unit>,
        kind: MetricType,
    ) -> Result<MetricEncoder<'s>, fmt::Error> {
        self.0.encode_descriptor(name, about, unit, kind)
    }

    fn build(&mut self) -> fmt::Result {
        let mut family = self.family("build", "This program", None, MetricType::Info)?;
        family.encode_info(&[("version", env!("CARGO_PKG_VERSION"))])
    }

    fn log(&mut self) -> fmt::Result {
        let about = "Dropped log lines";
        let (write_failed, rate_limited) = program::dropped_log_lines();
        let mut family = self.family("log_lines_dropped", about, None, MetricType::Counter)?;
        counter(&mut family, &[("reason", "write_failed")], write_failed)?;
        counter(&mut family, &[("reason", "rate_limited")], rate_limited)
    }

    fn sandbox(&mut self) -> fmt::Result {
        let about = "1 if the kernel enforces all of this part of the sandbox";
        let (files, calls) = program::sandbox_in_force();
        let mut family = self.family("sandbox", about, None, MetricType::Gauge)?;
        for (part, is) in [("landlock", files), ("seccomp", calls)] {
            family.encode_family(&[("part", part)])?.encode_gauge(&u64::from(is))?;
        }
        Ok(())
    }

    fn histogram(
        &mut self,
        name: &str,
        about: &str,
        counted: &ThreadMetrics,
        engine: Option<&str>,
        of: fn(&WorkerMetrics) -> &Histogram,
    ) -> fmt::Result {
        let mut family = self.family(name, about, Some(&Unit::Seconds), MetricType::Histogram)?;
        for (number, worker) in counted.workers.iter().enumerate() {
            let number = number.to_string();
            let mut labels = vec![("worker", number.as_str())];
            labels.extend(engine.map(|engine| ("engine", engine)));
            of(worker).encode(&mut family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn counter(
        &mut self,
        name: &str,
        about: &str,
        unit: Option<&Unit>,
        counted: &ThreadMetrics,
        of: fn(&WorkerMetrics) -> &AtomicU64,
    ) -> fmt::Result {
        let mut family = self.family(name, about, unit, MetricType::Counter)?;
        for (number, worker) in counted.workers.iter().enumerate() {
            let number = number.to_string();
            counter(&mut family, &[("worker", number.as_str())], of(worker).load(Relaxed))?;
        }
        Ok(())
    }

    fn gauge(
        &mut self,
        name: &str,
        about: &str,
        counted: &ThreadMetrics,
        of: fn(&WorkerMetrics) -> &AtomicU64,
    ) -> fmt::Result {
        let mut family = self.family(name, about, None, MetricType::Gauge)?;
        for (number, worker) in counted.workers.iter().enumerate() {
            let number = number.to_string();
            let labels = [("worker", number.as_str())];
            family.encode_family(&labels)?.encode_gauge(&of(worker).load(Relaxed))?;
        }
        Ok(())
    }
}

fn counter(
    family: &mut MetricEncoder<'_>,
    labels: &impl EncodeLabelSet,
    count: u64,
) -> fmt::Result {
    family.encode_family(labels)?.encode_counter::<NoLabelSet, u64, u64>(&count, None)
}

#[cfg(test)]
mod tests;

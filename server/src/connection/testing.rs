//! A worker's state for tests of connections.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use super::context::TurnContext;
use crate::{
    http::{Date, Now},
    jobs::{Buffers, Completions, ConnectionId, JobQueue, Size},
    limits::Semaphore,
    metrics::WorkerMetrics,
    mounts::{Mounts, OpenFileCache},
    transfer::engines::{Engine, EngineResources, Pipes},
};

/// Owns what a [`TurnContext`] borrows.
pub(crate) struct TestContext {
    pub(crate) mounts: Mounts,
    pub(crate) buffers: Buffers,
    pub(crate) engine: Engine,
    pub(crate) files: OpenFileCache,
    pub(crate) open_files: Semaphore,
    pub(crate) keyless: Semaphore,
    pub(crate) metrics: WorkerMetrics,
    /// How far the test's clock is ahead.
    pub(crate) ahead: Duration,
    pool: JobQueue,
    completions: Completions,
    resources: EngineResources,
    scratch: Vec<u8>,
    now: Now,
}

impl TestContext {
    /// With one pool thread, and with an open file cache.
    pub(crate) fn new(mounts: Mounts, completions: Completions) -> Self {
        let (pool, _threads) = JobQueue::start(Size::up_to(1, "disk", 8), Arc::default())
            .expect("a thread is to be had");
        Self {
            mounts,
            buffers: Buffers::new(1),
            engine: Engine::default(),
            files: OpenFileCache::new(16),
            open_files: Semaphore::new(16),
            keyless: Semaphore::new(16),
            metrics: WorkerMetrics::default(),
            ahead: Duration::ZERO,
            pool,
            completions,
            resources: EngineResources::new(Pipes::default()),
            scratch: vec![0; 65_536],
            now: Now { instant: Instant::now(), date: Date::at(SystemTime::now()) },
        }
    }

    /// A context for one turn.
    pub(crate) fn cx(&mut self) -> TurnContext<'_> {
        self.now.instant = Instant::now() + self.ahead;
        TurnContext {
            mounts: &self.mounts,
            pool: &self.pool,
            loaders: &self.pool,
            completions: &self.completions,
            connection: ConnectionId::for_test(),
            buffers: &mut self.buffers,
            files: &mut self.files,
            open_files: &self.open_files,
            keyless: &self.keyless,
            engine: self.engine,
            resources: &mut self.resources,
            scratch: &mut self.scratch,
            metrics: &self.metrics,
            now: &self.now,
            draining: false,
        }
    }
}

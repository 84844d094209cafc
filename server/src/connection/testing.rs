//! A worker's state for tests of connections.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use super::context::{TurnContext, TurnResources};
use crate::{
    http::{Date, Now},
    jobs::{Buffers, Completions, ConnectionId, Pools},
    limits::Semaphore,
    mounts::{Mounts, OpenFileCache},
    transfer::engines::{Engine, EngineResources, Pipes},
};

/// Stands in for a worker.
pub(crate) struct TestContext {
    pub(crate) worker: TurnResources,
    /// How far the test's clock is ahead.
    pub(crate) ahead: Duration,
}

impl TestContext {
    /// With one thread in each pool, and with an open file cache.
    pub(crate) fn new(mounts: Mounts, completions: Completions) -> Self {
        let worker = TurnResources {
            mounts,
            pools: Pools::for_test(),
            completions,
            buffers: Buffers::new(1),
            files: OpenFileCache::new(16),
            open_files: Semaphore::new(16),
            keyless: Semaphore::new(16),
            engine: Engine::default(),
            engine_resources: EngineResources::new(Pipes::default()),
            scratch: vec![0; 65_536].into_boxed_slice(),
            metrics: Arc::default(),
            now: Now { instant: Instant::now(), date: Date::at(SystemTime::now()) },
        };
        Self { worker, ahead: Duration::ZERO }
    }

    /// A context for one turn.
    pub(crate) fn cx(&mut self) -> TurnContext<'_> {
        self.worker.now.instant = Instant::now() + self.ahead;
        self.worker.cx(ConnectionId::for_test(), false)
    }
}

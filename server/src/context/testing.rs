//! What a worker has, in the hands of a test.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use super::Desk;
use crate::{
    engines::{Engine, Pipes, Tools},
    http::{Date, Now},
    metrics::WorkerMetrics,
    mounts::Mounts,
    permits::Permits,
    pool::{Pool, Size},
    worker::{Buffers, Files, Inbox, SlotId},
};

/// All that connections are lent.
pub(crate) struct Lent {
    pub(crate) mounts: Mounts,
    pub(crate) buffers: Buffers,
    pub(crate) engine: Engine,
    pub(crate) files: Files,
    pub(crate) open_files: Permits,
    pub(crate) keyless: Permits,
    pub(crate) metrics: WorkerMetrics,
    /// How far its clock is ahead.
    pub(crate) ahead: Duration,
    pool: Pool,
    inbox: Inbox,
    tools: Tools,
    scratch: Vec<u8>,
    now: Now,
}

impl Lent {
    /// With one thread for the disk, and files kept open.
    pub(crate) fn new(mounts: Mounts, inbox: Inbox) -> Self {
        let (pool, _threads) =
            Pool::start(Size::up_to(1, "disk", 8), Arc::default()).expect("a thread is to be had");
        Self {
            mounts,
            buffers: Buffers::new(1),
            engine: Engine::default(),
            files: Files::new(16),
            open_files: Permits::new(16),
            keyless: Permits::new(16),
            metrics: WorkerMetrics::default(),
            ahead: Duration::ZERO,
            pool,
            inbox,
            tools: Tools::new(Pipes::default()),
            scratch: vec![0; 65_536],
            now: Now { instant: Instant::now(), date: Date::at(SystemTime::now()) },
        }
    }

    /// For a turn.
    pub(crate) fn desk(&mut self) -> Desk<'_> {
        self.now.instant = Instant::now() + self.ahead;
        Desk {
            mounts: &self.mounts,
            pool: &self.pool,
            loaders: &self.pool,
            inbox: &self.inbox,
            slot: SlotId::for_test(),
            buffers: &mut self.buffers,
            files: &mut self.files,
            open_files: &self.open_files,
            keyless: &self.keyless,
            engine: self.engine,
            tools: &mut self.tools,
            scratch: &mut self.scratch,
            metrics: &self.metrics,
            now: &self.now,
            draining: false,
        }
    }
}

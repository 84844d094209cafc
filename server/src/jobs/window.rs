//! A window of a file that a pool thread loads into memory before a worker sends it.

use std::{
    fs::File,
    io,
    ops::Range,
    os::fd::AsFd as _,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::sys::residency;

/// Bytes of a file that are not in memory.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    file: Arc<File>,
    range: Range<u64>,
    /// Bytes behind the range that should be read ahead.
    ahead: u64,
    /// When the transfer found that the bytes are not in memory.
    since: Instant,
}

impl Window {
    /// The bytes `range` of `file`, found absent at `since`. The `ahead` bytes behind them are read
    /// ahead.
    pub(crate) const fn new(
        file: Arc<File>,
        range: Range<u64>,
        ahead: u64,
        since: Instant,
    ) -> Self {
        Self { file, range, ahead, since }
    }

    /// The offset in the file at which it ends.
    pub(crate) const fn end(&self) -> u64 {
        self.range.end
    }

    /// How long the transfer has waited for it.
    pub(crate) fn waited(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    /// Reads the window into the page cache and requests the bytes behind it. Blocks.
    pub(crate) fn load(&self) -> io::Result<()> {
        let Self { file, range, ahead, .. } = self;
        residency::load(file.as_fd(), range.start, range.end - range.start, *ahead)?;
        Ok(())
    }
}

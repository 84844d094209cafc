//! Whether a mount's path still leads to what is served.
//!
//! Operators replace a tree by changing a link or by two renames, and an archive by a rename. A
//! descriptor notices none of that, so the path is checked from time to time.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crate::sys::tree::{self, FileState};

/// How often a path is checked, unless the configuration says otherwise.
pub(super) const CHECK_EVERY: Duration = Duration::from_secs(2);

/// A path, and when it was last checked.
#[derive(Debug)]
pub(super) struct PathWatch {
    path: PathBuf,
    every: Duration,
    last_check: Mutex<Option<Instant>>,
    reported: AtomicBool,
}

impl PathWatch {
    /// Watches a path that was opened just now.
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            every: CHECK_EVERY,
            last_check: Mutex::new(Some(Instant::now())),
            reported: AtomicBool::new(false),
        }
    }

    /// Sets how often the path is checked. Zero: each time.
    pub(super) fn every(&mut self, every: Duration) {
        self.every = every;
    }

    /// The path that is watched, as the operator gave it.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the path must be checked now. Of concurrent callers only one gets `true`.
    pub(super) fn is_due(&self) -> bool {
        let mut last_check = self.last_check.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let due = last_check.is_none_or(|at| now.saturating_duration_since(at) >= self.every);
        if due {
            *last_check = Some(now);
        }
        due
    }

    /// Makes the next call of [`Self::is_due`] return `true`.
    pub(super) fn force_check(&self) {
        *self.last_check.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The state of the file at the path.
    pub(super) fn stat(&self) -> io::Result<FileState> {
        tree::stat_path(&self.path)
    }

    /// As [`Self::stat`], without waiting for a disk: `WouldBlock` where the kernel has a name on
    /// the way not in memory.
    pub(super) fn stat_cached(&self) -> io::Result<FileState> {
        tree::stat_path_cached(&self.path)
    }

    /// Whether this is the first problem to report since [`Self::clear_reported`].
    pub(super) fn is_first_report(&self) -> bool {
        !self.reported.swap(true, Ordering::Relaxed)
    }

    /// The path is in order: the next problem is reported again.
    pub(super) fn clear_reported(&self) {
        self.reported.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PathWatch is due for one caller an interval, and a forced check once.
    #[test]
    fn path_watch_is_due_for_one_caller_per_interval() {
        let mut watch = PathWatch::new(Path::new("/"));
        assert!(!watch.is_due(), "it was opened just now");
        watch.force_check();
        assert!(watch.is_due());
        assert!(!watch.is_due());
        watch.every(Duration::ZERO);
        assert!(watch.is_due() && watch.is_due());
        assert!(watch.is_first_report() && !watch.is_first_report());
        watch.clear_reported();
        assert!(watch.is_first_report());
    }
}

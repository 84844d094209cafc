//! Whether a mount's path leads to what is served still.
//!
//! An operator swaps a tree by flipping a link or by two renames, and an archive by a rename. A descriptor notices
//! none of that, so the path is looked at now and then.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crate::sys::tree::{self, State};

/// How often a path is looked at, unless the configuration says something else.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A path, and when it was looked at last.
#[derive(Debug)]
pub(super) struct Watch {
    path: PathBuf,
    every: Duration,
    looked: Mutex<Option<Instant>>,
    told: AtomicBool,
}

impl Watch {
    /// Of a path that was opened just now.
    pub(super) fn of(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            every: LOOK_EVERY,
            looked: Mutex::new(Some(Instant::now())),
            told: AtomicBool::new(false),
        }
    }

    /// How often it is looked at from now on; each time for zero.
    pub(super) fn every(&mut self, every: Duration) {
        self.every = every;
    }

    /// The path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is time to look. Of those who ask at once one is told so.
    pub(super) fn is_due(&self) -> bool {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let due = looked.is_none_or(|at| now.saturating_duration_since(at) >= self.every);
        if due {
            *looked = Some(now);
        }
        due
    }

    /// Whoever asks next is told to look.
    pub(super) fn distrust(&self) {
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// What is at the path.
    pub(super) fn look(&self) -> io::Result<State> {
        tree::state_of(&self.path)
    }

    /// The same, where the kernel knows it without waiting for a disk; `WouldBlock` where it does not.
    pub(super) fn look_in_memory(&self) -> io::Result<State> {
        tree::state_in_memory(&self.path)
    }

    /// Whether it is the first time since [`Self::well`] that something is told of.
    pub(super) fn first_told(&self) -> bool {
        !self.told.swap(true, Ordering::Relaxed)
    }

    /// All is as it should be.
    pub(super) fn well(&self) {
        self.told.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_many_looks() {
        let mut watch = Watch::of(Path::new("/"));
        assert!(!watch.is_due(), "it was opened just now");
        watch.distrust();
        assert!(watch.is_due());
        assert!(!watch.is_due());
        watch.every(Duration::ZERO);
        assert!(watch.is_due() && watch.is_due());
        assert!(watch.first_told() && !watch.first_told());
        watch.well();
        assert!(watch.first_told());
    }
}

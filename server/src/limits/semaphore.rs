//! A counting semaphore without waiting: bounds what may be open at once.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// A number of permits. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Semaphore {
    given: Arc<AtomicUsize>,
    most: usize,
}

/// One permit; given back when dropped.
pub(crate) struct Permit(Arc<AtomicUsize>);

impl Semaphore {
    /// A semaphore with `most` permits; with 0 no permit is ever given.
    pub(crate) fn new(most: usize) -> Self {
        Self { given: Arc::default(), most }
    }

    /// One permit, unless all are taken.
    pub(crate) fn try_acquire(&self) -> Option<Permit> {
        let room = |given| (given < self.most).then_some(given + 1);
        self.given.fetch_update(Ordering::AcqRel, Ordering::Acquire, room).ok()?;
        Some(Permit(Arc::clone(&self.given)))
    }

    /// Number of permits taken.
    pub(crate) fn count(&self) -> usize {
        self.given.load(Ordering::Relaxed)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Permit")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Semaphore gives out no more permits than its bound, and a dropped permit is free again.
    #[test]
    fn semaphore_permits_are_bounded_and_returned() {
        let semaphore = Semaphore::new(2);
        let (first, second) = (semaphore.try_acquire().unwrap(), semaphore.try_acquire());
        assert!(second.is_some() && semaphore.try_acquire().is_none());
        assert_eq!(semaphore.count(), 2);
        drop(first);
        assert_eq!(semaphore.count(), 1);
        assert!(semaphore.clone().try_acquire().is_some());
    }
}

//! A bound on what may be open at once, and who has a share of it.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// How many there may be, and are. Clones count together.
#[derive(Clone, Debug)]
pub(crate) struct Permits {
    given: Arc<AtomicUsize>,
    most: usize,
}

/// The share of one; given back when dropped.
pub(crate) struct Permit(Arc<AtomicUsize>);

impl Permits {
    /// At most `most`.
    pub(crate) fn new(most: usize) -> Self {
        Self { given: Arc::default(), most }
    }

    /// Leave for one more.
    pub(crate) fn permit(&self) -> Option<Permit> {
        let room = |given| (given < self.most).then_some(given + 1);
        self.given.fetch_update(Ordering::AcqRel, Ordering::Acquire, room).ok()?;
        Some(Permit(Arc::clone(&self.given)))
    }

    /// How many there are.
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

    #[test]
    fn permits_are_bounded_and_come_back() {
        let permits = Permits::new(2);
        let (first, second) = (permits.permit().unwrap(), permits.permit());
        assert!(second.is_some() && permits.permit().is_none());
        assert_eq!(permits.count(), 2);
        drop(first);
        assert_eq!(permits.count(), 1);
        assert!(permits.clone().permit().is_some());
    }
}

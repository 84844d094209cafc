//! The connection limit.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// How many connections there may be, and are.
#[derive(Clone, Debug)]
pub(crate) struct Seats {
    taken: Arc<AtomicUsize>,
    most: usize,
}

/// One connection's share; given back when dropped.
#[derive(Debug)]
pub(crate) struct Seat(Arc<AtomicUsize>);

impl Seats {
    /// `most` seats, all free.
    pub(crate) fn new(most: usize) -> Self {
        Self { taken: Arc::default(), most }
    }

    /// A seat, unless all are taken.
    pub(crate) fn take(&self) -> Option<Seat> {
        let room = |taken| (taken < self.most).then_some(taken + 1);
        self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, room).ok()?;
        Some(Seat(Arc::clone(&self.taken)))
    }

    /// How many are taken.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Acquire)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_is_free_again_once_its_owner_is_gone() {
        let seats = Seats::new(2);
        let (first, _second) = (seats.take().unwrap(), seats.take().unwrap());
        assert!(seats.take().is_none());
        assert_eq!(seats.taken(), 2);
        drop(first);
        assert!(seats.take().is_some());
    }
}

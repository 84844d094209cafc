//! Progress of transfers: a small trait that the library calls.

/// Receives the progress of a transfer. Called from the thread that does the work.
pub trait Progress: Send + Sync {
    /// A transfer of `total` bytes starts, or starts over; `None` if the length is unknown.
    fn begin(&self, total: Option<u64>);
    /// `bytes` more were transferred before and are skipped.
    fn held(&self, bytes: u64) {
        self.advance(bytes);
    }
    /// `bytes` more were transferred.
    fn advance(&self, bytes: u64);
    /// `_ended` of `_all` files of a batch are done, successfully or not.
    fn files(&self, _ended: usize, _all: usize) {}
    /// The transfer has ended, successfully or not.
    fn end(&self);
}

/// Ignores all progress.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _total: Option<u64>) {}
    fn advance(&self, _bytes: u64) {}
    fn end(&self) {}
}

/// Reports sealed bytes as the plaintext in them: in proportion while they are moved, and exactly
/// at their end.
pub(crate) struct Proportion<'a> {
    progress: &'a dyn Progress,
    sealed: u64,
    plain: u64,
    moved: u64,
    reported: u64,
}

impl<'a> Proportion<'a> {
    /// A transfer of `sealed` bytes that hold `plain` bytes of plaintext.
    pub(crate) const fn new(progress: &'a dyn Progress, sealed: u64, plain: u64) -> Self {
        Self { progress, sealed, plain, moved: 0, reported: 0 }
    }

    /// `bytes` more of the sealed ones were moved.
    pub(crate) fn moved(&mut self, bytes: u64) {
        self.moved = self.moved.saturating_add(bytes).min(self.sealed);
        let due = match self.sealed {
            0 => self.plain,
            sealed => {
                let due = u128::from(self.moved) * u128::from(self.plain) / u128::from(sealed);
                u64::try_from(due).unwrap_or(self.plain)
            }
        };
        if due > self.reported {
            self.progress.advance(due - self.reported);
            self.reported = due;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[derive(Default)]
    struct Sum(AtomicU64);

    impl Progress for Sum {
        fn begin(&self, _total: Option<u64>) {}
        fn advance(&self, bytes: u64) {
            self.0.fetch_add(bytes, Ordering::Relaxed);
        }
        fn end(&self) {}
    }

    /// Sealed bytes that moved are reported in proportion and sum to the plaintext's length.
    #[test]
    fn proportion_reports_sealed_bytes_as_plaintext() {
        for (sealed, plain) in [(1_040, 1_000), (16, 0), (7, 3), (u64::MAX, u64::MAX - 16)] {
            let sum = Sum::default();
            let mut proportion = Proportion::new(&sum, sealed, plain);
            proportion.moved(sealed / 2);
            let half = sum.0.load(Ordering::Relaxed);
            assert!(half <= plain / 2 + 1 && half + 2 >= plain / 2, "{half} of {plain}");
            proportion.moved(sealed - sealed / 2);
            proportion.moved(5);
            assert_eq!(sum.0.load(Ordering::Relaxed), plain);
        }
    }
}

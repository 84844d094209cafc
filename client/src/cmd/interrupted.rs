//! What is said of a put that a signal ends, and that the same command goes on with.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::{cleanup::WordsGuard, progress::Progress, put::PART_BYTES};

/// How far a transfer is, for its last words.
#[derive(Debug, Default)]
struct Counts {
    /// Bytes; 0 where it is not known.
    total: AtomicU64,
    done: AtomicU64,
}

/// A progress that counts beside another one.
pub(super) struct Watched<'a> {
    shown: &'a dyn Progress,
    counts: Arc<Counts>,
    _guard: WordsGuard,
}

impl<'a> Watched<'a> {
    /// Until it is dropped, a signal lets the process say that the same command goes on with `thing`. It is `kept`
    /// where a journal knows of each part that was sent.
    pub(super) fn new(shown: &'a dyn Progress, thing: String, kept: bool) -> Self {
        let counts = Arc::<Counts>::default();
        let at_the_end = Arc::clone(&counts);
        let words = move || {
            let total = at_the_end.total.load(Ordering::Relaxed);
            let done = at_the_end.done.load(Ordering::Relaxed);
            let words = words(done, total, kept);
            words.map(|words| format!("{thing}: {words}"))
        };
        Self { shown, counts, _guard: WordsGuard::say(words) }
    }
}

fn words(done: u64, total: u64, kept: bool) -> Option<String> {
    // A part that is not whole is begun again.
    if !kept || done < PART_BYTES as u64 {
        return None;
    }
    let percent = u128::from(done).saturating_mul(100).checked_div(u128::from(total))?.min(100);
    Some(format!("interrupted at {percent} %; the same command goes on (kept 72 h)"))
}

impl Progress for Watched<'_> {
    fn begin(&self, total: Option<u64>) {
        self.counts.total.store(total.unwrap_or(0), Ordering::Relaxed);
        self.counts.done.store(0, Ordering::Relaxed);
        self.shown.begin(total);
    }

    fn held(&self, bytes: u64) {
        self.counts.done.fetch_add(bytes, Ordering::Relaxed);
        self.shown.held(bytes);
    }

    fn advance(&self, bytes: u64) {
        self.counts.done.fetch_add(bytes, Ordering::Relaxed);
        self.shown.advance(bytes);
    }

    fn files(&self, ended: usize, all: usize) {
        self.shown.files(ended, all);
    }

    fn end(&self) {
        self.shown.end();
    }
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn the_same_command_goes_on_once_a_part_was_sent() {
        let mib = 1024 * 1024;
        assert_eq!(
            words(32 * mib, 60 * mib, true).as_deref(),
            Some("interrupted at 53 %; the same command goes on (kept 72 h)")
        );
        // Without a whole part, or a journal, there is nothing that goes on.
        assert_eq!(words(15 * mib, 60 * mib, true), None);
        assert_eq!(words(32 * mib, 60 * mib, false), None);
        assert_eq!(words(32 * mib, 0, true), None);
    }
}

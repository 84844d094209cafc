//! The message about a put that a signal ends and that a later command can resume.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use zput::{Progress, cli::PART_BYTES};

use crate::signals::ExitMessageGuard;

/// The position of a transfer, for the message.
#[derive(Debug, Default)]
struct Position {
    /// Length in bytes; 0 if it is unknown.
    total: AtomicU64,
    done: AtomicU64,
}

/// Forwards progress to another one, and prints a message if a signal ends the process.
pub(super) struct InterruptMessage<'a> {
    shown: &'a dyn Progress,
    position: Arc<Position>,
    _guard: ExitMessageGuard,
}

impl<'a> InterruptMessage<'a> {
    /// While this value lives, a signal prints that the same command resumes `thing`. `kept` says
    /// whether a journal records each part that was sent.
    pub(super) fn new(shown: &'a dyn Progress, thing: String, kept: bool) -> Self {
        let position = Arc::<Position>::default();
        let at_exit = Arc::clone(&position);
        let message = move || {
            let total = at_exit.total.load(Ordering::Relaxed);
            let done = at_exit.done.load(Ordering::Relaxed);
            let message = message(done, total, kept);
            message.map(|message| format!("{thing}: {message}"))
        };
        Self { shown, position, _guard: ExitMessageGuard::set(message) }
    }
}

fn message(done: u64, total: u64, kept: bool) -> Option<String> {
    // An incomplete part is sent again.
    if !kept || done < PART_BYTES as u64 {
        return None;
    }
    let percent = u128::from(done).saturating_mul(100).checked_div(u128::from(total))?.min(100);
    Some(format!(
        "interrupted at {percent} %; run the same command to resume (a server keeps it for 72 h by \
         default)"
    ))
}

impl Progress for InterruptMessage<'_> {
    fn begin(&self, total: Option<u64>) {
        self.position.total.store(total.unwrap_or(0), Ordering::Relaxed);
        self.position.done.store(0, Ordering::Relaxed);
        self.shown.begin(total);
    }

    fn held(&self, bytes: u64) {
        self.position.done.fetch_add(bytes, Ordering::Relaxed);
        self.shown.held(bytes);
    }

    fn advance(&self, bytes: u64) {
        self.position.done.fetch_add(bytes, Ordering::Relaxed);
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
    use super::message;

    /// The message that a put can be resumed appears once a part was sent with a journal.
    #[test]
    fn interrupted_message_appears_once_a_part_was_sent() {
        let mib = 1024 * 1024;
        assert_eq!(
            message(32 * mib, 60 * mib, true).as_deref(),
            Some(
                "interrupted at 53 %; run the same command to resume (a server keeps it for 72 h \
                 by default)"
            )
        );
        // Without a whole part, or a journal, nothing can be resumed.
        assert_eq!(message(15 * mib, 60 * mib, true), None);
        assert_eq!(message(32 * mib, 60 * mib, false), None);
        assert_eq!(message(32 * mib, 0, true), None);
    }
}

//! Metrics of the program around a server: its log and its sandbox. All are 0 in a program that has
//! neither.

use std::sync::{
    OnceLock,
    atomic::{AtomicBool, Ordering::Relaxed},
};

static DROPPED_LOG_LINES: OnceLock<fn() -> (u64, u64)> = OnceLock::new();
static FILES_RESTRICTED: AtomicBool = AtomicBool::new(false);
static SYSCALLS_FILTERED: AtomicBool = AtomicBool::new(false);

/// Registers how to get the number of log lines that could not be written, and of those that the
/// rate limit dropped. Only the first call has an effect.
pub(crate) fn set_dropped_log_lines(read: fn() -> (u64, u64)) {
    let _first = DROPPED_LOG_LINES.set(read);
}

/// Notes whether the sandbox restricts all access to files.
pub(crate) fn set_files_restricted(is: bool) {
    FILES_RESTRICTED.store(is, Relaxed);
}

/// Notes whether the sandbox filters system calls.
pub(crate) fn set_syscalls_filtered(is: bool) {
    SYSCALLS_FILTERED.store(is, Relaxed);
}

/// Log lines that could not be written, and log lines that the rate limit dropped.
pub(super) fn dropped_log_lines() -> (u64, u64) {
    DROPPED_LOG_LINES.get().map_or((0, 0), |read| read())
}

/// Whether the sandbox restricts all access to files, and whether it filters system calls.
pub(super) fn sandbox_in_force() -> (bool, bool) {
    (FILES_RESTRICTED.load(Relaxed), SYSCALLS_FILTERED.load(Relaxed))
}

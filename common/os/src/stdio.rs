//! Which of stdin, stdout and stderr this process was given.
//!
//! Rust's start-up opens `/dev/null` on each of the three that is closed, so that no file of the
//! program gets its number. From then on such a descriptor cannot be told from one that a parent
//! opened on `/dev/null` for reading and writing, as Python (`subprocess.DEVNULL`), Node (`stdio:
//! "ignore"`) and daemon(3) do: the former loses bytes without an error, the latter was intended.
//! So the descriptors are checked earlier: functions in the section `.init_array` run before `main`
//! and Rust's start-up (ELF, "Initialization and Termination Functions").
#![expect(unsafe_code, reason = "what runs before main has no safe form")]

use std::{
    io,
    os::fd::{BorrowedFd, RawFd},
    sync::atomic::{AtomicU8, Ordering::Relaxed},
};

use rustix::io::{Errno, fcntl_getfd};

/// One bit for each of the descriptors 0, 1 and 2 that was closed.
static CLOSED: AtomicU8 = AtomicU8::new(0);

// SAFETY: the loader calls the functions in this section with the C convention, once, on the only
// thread; `note_closed` calls nothing of the standard library that its start-up has to prepare.
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = note_closed;

extern "C" fn note_closed() {
    for number in 0..3 {
        // SAFETY: the descriptor is only asked for its flags and not kept. It may be closed: that
        // is what is tested.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        if fcntl_getfd(descriptor) == Err(Errno::BADF) {
            CLOSED.fetch_or(1 << number, Relaxed);
        }
    }
}

/// Whether descriptor `number` is 0, 1 or 2 and was closed when the process started.
#[must_use]
pub fn was_closed(number: RawFd) -> bool {
    (0..3).contains(&number) && CLOSED.load(Relaxed) >> number & 1 == 1
}

/// Standard output.
///
/// # Errors
/// When it was closed at the start, so that written bytes would be lost.
pub fn stdout() -> io::Result<io::StdoutLock<'static>> {
    if was_closed(1) {
        return Err(io::Error::other("it is closed"));
    }
    Ok(io::stdout().lock())
}

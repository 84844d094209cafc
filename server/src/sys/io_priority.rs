//! The I/O priority of a thread (ioprio_set(2)).

#![expect(unsafe_code, reason = "ioprio_set(2) has no safe wrapper")]

use std::io;

/// linux/ioprio.h: `IOPRIO_WHO_PROCESS`, one thread; with the number 0 the calling one.
const WHO_THREAD: libc::c_int = 1;

/// linux/ioprio.h: `IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0)`.
const IDLE_CLASS: libc::c_int = 3 << 13;

/// Lets the disk serve the calling thread only when no other one wants it. I/O schedulers without
/// priorities (`none`, `mq-deadline` before Linux 5.14) ignore it.
///
/// # Errors
/// Where a sandbox forbids the call.
pub(crate) fn set_idle() -> io::Result<()> {
    // SAFETY: the call takes three numbers and no address, and changes nothing but the priority.
    let result =
        unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_THREAD, 0 as libc::c_int, IDLE_CLASS) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The call takes effect on the calling thread and on no other one.
    #[test]
    fn io_priority_idle_is_set_for_calling_thread_only() {
        let class = || {
            // SAFETY: the call takes two numbers and no address.
            unsafe { libc::syscall(libc::SYS_ioprio_get, WHO_THREAD, 0 as libc::c_int) >> 13 }
        };
        let before = class();
        let changed = std::thread::spawn(move || set_idle().map(|()| class())).join().unwrap();
        assert_eq!(changed.unwrap(), 3);
        assert_eq!(class(), before);
        assert_ne!(before, 3);
    }
}

//! Threads that begin, or are an error of who wanted them.
//!
//! In a thread that has not begun the standard library and glibc abort the process where they get no memory for it: for
//! the stack that signals are handled on, for what ends with the thread. So there is room for all of that before it is made.

use std::{
    io,
    thread::{self, Builder, JoinHandle, Scope, ScopedJoinHandle},
};

use rustix::io::Errno;

use super::memory;

/// Bytes of a thread's stack: what the standard library takes when nobody says otherwise.
const STACK_BYTES: usize = 2 * 1024 * 1024;

/// What threads ask for as they begin: a few pages each, and a mebibyte where malloc(3) cannot grow its heap. Several
/// may begin at once.
const BEGINNING_BYTES: usize = 4 * 1024 * 1024;

/// Begins a thread.
///
/// # Errors
/// When there is no memory for it, or there are as many as there may be.
pub fn begin<T: Send + 'static>(
    name: impl Into<String>,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    builder(name.into())?.spawn(work).map_err(refused)
}

/// Begins a thread that ends within `scope`.
///
/// # Errors
/// As of [`begin`].
pub fn begin_scoped<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: impl Into<String>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> io::Result<ScopedJoinHandle<'scope, T>> {
    builder(name.into())?.spawn_scoped(scope, work).map_err(refused)
}

fn builder(name: String) -> io::Result<Builder> {
    if !memory::has_room(STACK_BYTES + BEGINNING_BYTES) {
        return Err(memory::error());
    }
    Ok(thread::Builder::new().name(name).stack_size(STACK_BYTES))
}

/// pthread_create(3): EAGAIN where there is no memory, or where there are too many threads. Memory was there.
fn refused(error: io::Error) -> io::Error {
    if error.raw_os_error() == Some(Errno::AGAIN.raw_os_error()) {
        return io::Error::other("too many threads (raise their limit: ulimit -u, TasksMax=)");
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_of_that_name_runs() {
        let name = || thread::current().name().map(str::to_owned);
        assert_eq!(begin("here", name).unwrap().join().unwrap().as_deref(), Some("here"));
        let scoped = thread::scope(|scope| begin_scoped(scope, "there", name).unwrap().join());
        assert_eq!(scoped.unwrap().as_deref(), Some("there"));
    }

    #[test]
    fn what_to_do_about_a_refusal_is_said() {
        let text = |error: Errno| refused(error.into()).to_string();
        assert_eq!(
            text(Errno::AGAIN),
            "too many threads (raise their limit: ulimit -u, TasksMax=)"
        );
        assert_eq!(text(Errno::PERM), "Operation not permitted (os error 1)");
    }
}

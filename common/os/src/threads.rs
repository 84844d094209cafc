//! Starting threads, with an error where that is not possible.
//!
//! While a thread starts, the standard library and glibc abort the process if they get no memory:
//! for the stack on which signals are handled, for thread-local destructors. So this checks that
//! there is memory for all of that before it starts a thread.

use std::{
    io,
    thread::{self, Builder, JoinHandle, Scope, ScopedJoinHandle},
};

use rustix::io::Errno;

use super::memory;

/// Bytes of a thread's stack: the standard library's default.
const STACK_BYTES: usize = 2 * 1024 * 1024;

/// Bytes that starting threads allocate: a few pages each, and one MiB where malloc(3) cannot grow
/// its heap. Several threads may start at once.
const STARTUP_BYTES: usize = 4 * 1024 * 1024;

/// Starts a thread.
///
/// # Errors
/// When there is no memory for it, or the limit of threads is reached.
pub fn spawn<T: Send + 'static>(
    name: impl Into<String>,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    builder(name.into())?.spawn(work).map_err(explain_refusal)
}

/// Starts a thread that ends within `scope`.
///
/// # Errors
/// Those of [`spawn`].
pub fn spawn_scoped<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: impl Into<String>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> io::Result<ScopedJoinHandle<'scope, T>> {
    builder(name.into())?.spawn_scoped(scope, work).map_err(explain_refusal)
}

fn builder(name: String) -> io::Result<Builder> {
    if !memory::has_room(STACK_BYTES + STARTUP_BYTES) {
        return Err(memory::error());
    }
    Ok(thread::Builder::new().name(name).stack_size(STACK_BYTES))
}

/// pthread_create(3): EAGAIN where there is no memory, or where there are too many threads. The
/// memory was checked before, but another thread may have taken it meanwhile.
fn explain_refusal(error: io::Error) -> io::Error {
    if error.raw_os_error() == Some(Errno::AGAIN.raw_os_error()) {
        if !memory::has_room(STACK_BYTES + STARTUP_BYTES) {
            return memory::error();
        }
        return io::Error::other("too many threads (raise their limit: ulimit -u, TasksMax=)");
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both functions run a closure on a thread of the given name.
    #[test]
    fn thread_spawn_runs_closure_under_given_name() {
        let name = || thread::current().name().map(str::to_owned);
        assert_eq!(spawn("here", name).unwrap().join().unwrap().as_deref(), Some("here"));
        let scoped = thread::scope(|scope| spawn_scoped(scope, "there", name).unwrap().join());
        assert_eq!(scoped.unwrap().as_deref(), Some("there"));
    }

    /// The error of a refused thread names the limit to raise.
    #[test]
    fn thread_refusal_names_limit_to_raise() {
        let text = |error: Errno| explain_refusal(error.into()).to_string();
        assert_eq!(
            text(Errno::AGAIN),
            "too many threads (raise their limit: ulimit -u, TasksMax=)"
        );
        assert_eq!(text(Errno::PERM), "Operation not permitted (os error 1)");
    }
}

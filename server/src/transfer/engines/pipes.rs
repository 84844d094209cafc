//! The server's pipes: a bounded number, for transfers that have bytes under way.
//!
//! A transfer has a pipe only while bytes are in it. A slow peer may leave them there for long,
//! which is why there is a bound, and why a transfer that finds no free pipe works without one.

use std::{
    io,
    os::fd::BorrowedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tracing::debug;

use crate::sys::pipe::Pipe;

/// Maximum pipes of a server, free or in use: two descriptors each, and half of the 64 MiB that
/// /proc/sys/fs/pipe-user-pages-soft allows a user by default.
const PIPES_MAX: usize = 32;

/// Requests without a pipe after the kernel refused one, before it is asked again. Each refusal
/// costs some calls, and the limit is shared with the user's other programs, which end some day.
const REQUESTS_BEFORE_RETRY: u32 = 256;

/// The pipes of a server, lent to transfers. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Pipes(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    most: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Pipes that are free; they are empty.
    free: Vec<Pipe>,
    /// Number of free and lent pipes.
    open: usize,
    /// Requests left before the kernel is asked again.
    pause: u32,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A thread that panicked while it held the lock left the counts and pipes consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Pipes {
    /// The pipes of a server: at most [`PIPES_MAX`].
    fn default() -> Self {
        Self::new(PIPES_MAX)
    }
}

impl Pipes {
    /// At most `most` pipes, each made when it is needed.
    pub(crate) fn new(most: usize) -> Self {
        Self(Arc::new(Shared { most, state: Mutex::default() }))
    }

    /// An empty pipe; `None` when the limit of pipes or of descriptors is reached.
    pub(super) fn lend(&self) -> Option<LentPipe> {
        self.lend_with(Pipe::new)
    }

    /// As [`Self::lend`], with another way to make a pipe.
    pub(super) fn lend_with(&self, make: impl FnOnce() -> io::Result<Pipe>) -> Option<LentPipe> {
        let mut state = self.0.state();
        let pipe = match state.free.pop() {
            Some(pipe) => pipe,
            None if state.open >= self.0.most => return None,
            None if state.pause > 0 => {
                state.pause -= 1;
                return None;
            }
            None => match make() {
                Ok(pipe) => {
                    state.open += 1;
                    pipe
                }
                Err(failure) => {
                    debug!(error = %failure, open = state.open, "no further pipe: using sendfile instead");
                    state.pause = REQUESTS_BEFORE_RETRY;
                    return None;
                }
            },
        };
        Some(LentPipe { pipe: Some(pipe), shared: Arc::clone(&self.0) })
    }

    /// Number of free pipes, and of all.
    #[cfg(test)]
    pub(super) fn count(&self) -> (usize, usize) {
        let state = self.0.state();
        (state.free.len(), state.open)
    }
}

/// A pipe in use. When dropped it is given back if it is empty, and closed with its bytes if not.
#[derive(Debug)]
pub(super) struct LentPipe {
    /// Set until it is dropped.
    pipe: Option<Pipe>,
    shared: Arc<Shared>,
}

impl LentPipe {
    /// Bytes that were filled in and not drained yet.
    pub(super) fn held(&self) -> usize {
        self.pipe.as_ref().map_or(0, Pipe::held)
    }

    /// Fills the pipe from the file; see [`Pipe::fill`].
    pub(super) fn fill(
        &mut self,
        file: BorrowedFd<'_>,
        offset: u64,
        count: usize,
    ) -> io::Result<usize> {
        self.pipe.as_mut().map_or(Ok(0), |pipe| pipe.fill(file, offset, count))
    }

    /// Drains the pipe into the socket; see [`Pipe::drain`].
    pub(super) fn drain(&mut self, socket: BorrowedFd<'_>, count: usize) -> io::Result<usize> {
        self.pipe.as_mut().map_or(Ok(0), |pipe| pipe.drain(socket, count))
    }
}

impl Drop for LentPipe {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        match self.pipe.take() {
            Some(pipe) if pipe.held() == 0 => state.free.push(pipe),
            closed => {
                state.open -= 1;
                drop(state);
                drop(closed);
            }
        }
    }
}

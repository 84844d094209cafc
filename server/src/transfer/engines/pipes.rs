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
const ASK_AGAIN_AFTER: u32 = 256;

/// Lends pipes.
#[derive(Clone, Debug)]
pub(crate) struct Pipes(Arc<Shelf>);

#[derive(Debug)]
struct Shelf {
    most: usize,
    stock: Mutex<Stock>,
}

#[derive(Debug, Default)]
struct Stock {
    /// Pipes that are free; they are empty.
    free: Vec<Pipe>,
    /// Number of free and lent pipes.
    open: usize,
    /// Requests left before the kernel is asked again.
    pause: u32,
}

impl Shelf {
    fn stock(&self) -> MutexGuard<'_, Stock> {
        // A thread that panicked while it held the lock left the counts and pipes consistent.
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
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
        Self(Arc::new(Shelf { most, stock: Mutex::default() }))
    }

    /// An empty pipe; `None` when the limit of pipes or of descriptors is reached.
    pub(super) fn lend(&self) -> Option<LentPipe> {
        self.lend_or_make(Pipe::new)
    }

    /// As [`Self::lend`], with another way to make a pipe.
    pub(super) fn lend_or_make(&self, make: impl FnOnce() -> io::Result<Pipe>) -> Option<LentPipe> {
        let mut stock = self.0.stock();
        let pipe = match stock.free.pop() {
            Some(pipe) => pipe,
            None if stock.open >= self.0.most => return None,
            None if stock.pause > 0 => {
                stock.pause -= 1;
                return None;
            }
            None => match make() {
                Ok(pipe) => {
                    stock.open += 1;
                    pipe
                }
                Err(failure) => {
                    debug!(%failure, open = stock.open, "no further pipe: using sendfile instead");
                    stock.pause = ASK_AGAIN_AFTER;
                    return None;
                }
            },
        };
        Some(LentPipe { pipe: Some(pipe), shelf: Arc::clone(&self.0) })
    }

    /// Number of free pipes, and of all.
    #[cfg(test)]
    pub(super) fn count(&self) -> (usize, usize) {
        let stock = self.0.stock();
        (stock.free.len(), stock.open)
    }
}

/// A pipe in use. When dropped it is given back if it is empty, and closed with its bytes if not.
#[derive(Debug)]
pub(super) struct LentPipe {
    /// Set until it is dropped.
    pipe: Option<Pipe>,
    shelf: Arc<Shelf>,
}

impl LentPipe {
    /// Bytes in it.
    pub(super) fn held(&self) -> usize {
        self.pipe.as_ref().map_or(0, Pipe::held)
    }

    /// See [`Pipe::fill`].
    pub(super) fn fill(
        &mut self,
        file: BorrowedFd<'_>,
        offset: u64,
        count: usize,
    ) -> io::Result<usize> {
        self.pipe.as_mut().map_or(Ok(0), |pipe| pipe.fill(file, offset, count))
    }

    /// See [`Pipe::drain`].
    pub(super) fn drain(&mut self, socket: BorrowedFd<'_>, count: usize) -> io::Result<usize> {
        self.pipe.as_mut().map_or(Ok(0), |pipe| pipe.drain(socket, count))
    }
}

impl Drop for LentPipe {
    fn drop(&mut self) {
        let mut stock = self.shelf.stock();
        match self.pipe.take() {
            Some(pipe) if pipe.held() == 0 => stock.free.push(pipe),
            closed => {
                stock.open -= 1;
                drop(stock);
                drop(closed);
            }
        }
    }
}

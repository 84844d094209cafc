//! The server's pipes: a bounded number of them, for whichever transfer has bytes under way.
//!
//! A transfer has a pipe only as long as bytes are in it. A slow peer may leave them there for long,
//! which is why there is a bound, and why whoever finds no pipe does without.

use std::{
    io,
    os::fd::BorrowedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tracing::debug;

use crate::sys::pipe::Pipe;

/// Most pipes of a server, free or in use: two descriptors each, and half of the 64 MiB that
/// /proc/sys/fs/pipe-user-pages-soft leaves a user by default.
const PIPES_MAX: usize = 32;

/// After the kernel has refused a pipe, so many requests go by before it is asked again: each refusal
/// costs some calls, and the limit is shared with the user's other programs, which end some day.
const ASK_AGAIN_AFTER: u32 = 256;

/// The way to the pipes.
#[derive(Clone, Debug)]
pub(crate) struct Pipes(Arc<Shelf>);

#[derive(Debug)]
struct Shelf {
    most: usize,
    stock: Mutex<Stock>,
}

#[derive(Debug, Default)]
struct Stock {
    /// Empty ones.
    free: Vec<Pipe>,
    /// Those, and the ones that are lent.
    open: usize,
    /// Requests to go by before the kernel is asked again.
    pause: u32,
}

impl Shelf {
    fn stock(&self) -> MutexGuard<'_, Stock> {
        // Whoever panicked with it left whole numbers and pipes.
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Pipes {
    /// A server's: at most [`PIPES_MAX`].
    fn default() -> Self {
        Self::new(PIPES_MAX)
    }
}

impl Pipes {
    /// At most `most` pipes, made when they are wanted.
    pub(crate) fn new(most: usize) -> Self {
        Self(Arc::new(Shelf { most, stock: Mutex::default() }))
    }

    /// An empty pipe, if there is one to be had.
    pub(super) fn lend(&self) -> Option<Lent> {
        self.lend_or_make(Pipe::new)
    }

    /// [`Self::lend`], with another way to make one.
    pub(super) fn lend_or_make(&self, make: impl FnOnce() -> io::Result<Pipe>) -> Option<Lent> {
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
        Some(Lent { pipe: Some(pipe), shelf: Arc::clone(&self.0) })
    }

    /// How many are free, and how many there are.
    #[cfg(test)]
    pub(super) fn count(&self) -> (usize, usize) {
        let stock = self.0.stock();
        (stock.free.len(), stock.open)
    }
}

/// A pipe in use. It goes back when it is dropped, if it is empty; else it is closed, with the bytes.
#[derive(Debug)]
pub(super) struct Lent {
    /// There until it is dropped.
    pipe: Option<Pipe>,
    shelf: Arc<Shelf>,
}

impl Lent {
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

impl Drop for Lent {
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

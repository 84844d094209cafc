//! splice(2) from the file into a pipe and from there into the socket.
//!
//! `EAGAIN` of splice(2) means either that the pipe is full or empty, or that the socket is full. A
//! pipe is filled only when it is empty and drained only when it is not, so here it can only mean
//! the socket.

use std::{io, os::fd::BorrowedFd};

use super::pipes::{LentPipe, Pipes};
use crate::sys;

/// Bytes of a transfer that have left the file and not reached the socket.
#[derive(Debug)]
pub(super) struct SpliceState(Option<FilledPipe>);

#[derive(Debug)]
struct FilledPipe {
    /// The pipe; never empty between two steps.
    pipe: LentPipe,
    /// Offset in the file of its first byte.
    offset: u64,
}

impl SpliceState {
    pub(super) const fn new() -> Self {
        Self(None)
    }

    /// Fills a pipe if this transfer has none, and drains it; see [`super::SendEngine::step`].
    pub(super) fn step(
        &mut self,
        pipes: &Pipes,
        socket: BorrowedFd<'_>,
        file: BorrowedFd<'_>,
        offset: u64,
        count: usize,
    ) -> io::Result<usize> {
        let mut filled = match self.0.take() {
            Some(filled) if filled.offset == offset => filled,
            _ => {
                let Some(mut pipe) = pipes.lend() else {
                    return sys::net::sendfile(socket, file, offset, count);
                };
                match pipe.fill(file, offset, count) {
                    Ok(0) => return Ok(0),
                    Ok(_) => {}
                    // It cannot be the socket's: reported as such, the connection would wait for an
                    // event that never comes.
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                        return sys::net::sendfile(socket, file, offset, count);
                    }
                    Err(e) => return Err(e),
                }
                FilledPipe { pipe, offset }
            }
        };
        match filled.pipe.drain(socket, count) {
            // A 0 would mean the end of the file.
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            Ok(moved) => {
                filled.offset += moved as u64;
                if filled.pipe.held() > 0 {
                    self.0 = Some(filled);
                }
                Ok(moved)
            }
            Err(e) => {
                if e.kind() == io::ErrorKind::WouldBlock {
                    self.0 = Some(filled);
                }
                Err(e)
            }
        }
    }
}

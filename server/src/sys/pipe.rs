//! Pipes through which splice(2) moves pages without copying them.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
};

use rustix::{
    io::retry_on_intr,
    pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice},
};

/// Capacity of a pipe in bytes: the default of /proc/sys/fs/pipe-max-size, which any user may set.
pub(crate) const PIPE_BYTES: usize = 1024 * 1024;

/// A pipe, and the number of bytes in it. Only this value has its two ends.
#[derive(Debug)]
pub(crate) struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
    held: usize,
}

impl Pipe {
    /// An empty pipe of [`PIPE_BYTES`], non-blocking.
    ///
    /// # Errors
    /// `EPERM` from `F_SETPIPE_SZ` when the user has more than /proc/sys/fs/pipe-user-pages-soft
    /// allows in all pipes together and no privilege (pipe(7)); `EMFILE` and `ENFILE`.
    pub(crate) fn new() -> io::Result<Self> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        fcntl_setpipe_size(&writer, PIPE_BYTES)?;
        Ok(Self { reader, writer, held: 0 })
    }

    /// Number of bytes in the pipe.
    pub(crate) const fn held(&self) -> usize {
        self.held
    }

    /// Moves up to `count` bytes of `file` from `offset` into the pipe. Returns how many; 0 means
    /// that the file ends at or before `offset`. Waits for pages that are not in memory.
    ///
    /// # Errors
    /// `EAGAIN` when the pipe is full.
    pub(crate) fn fill(
        &mut self,
        file: BorrowedFd<'_>,
        offset: u64,
        count: usize,
    ) -> io::Result<usize> {
        let n = retry_on_intr(|| {
            let mut position = offset;
            let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
            splice(file, Some(&mut position), &self.writer, None, count, flags)
        })?;
        self.held += n;
        Ok(n)
    }

    /// Moves up to `count` bytes from the pipe into `socket`, which is non-blocking. Returns how
    /// many.
    ///
    /// # Errors
    /// `EAGAIN` when the socket accepts nothing now, if the pipe is not empty; the call returns the
    /// same for an empty pipe.
    pub(crate) fn drain(&mut self, socket: BorrowedFd<'_>, count: usize) -> io::Result<usize> {
        let n = retry_on_intr(|| {
            let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
            splice(&self.reader, None, socket, None, count, flags)
        })?;
        self.held = self.held.saturating_sub(n);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        os::{fd::AsFd as _, unix::net::UnixStream},
    };

    use super::*;

    /// A pipe passes a file's bytes on and counts the bytes that it holds.
    #[test]
    fn pipe_counts_bytes_held() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut pipe = Pipe::new().unwrap();
        assert_eq!(pipe.fill(file.as_fd(), 7, 100).unwrap(), 3);
        assert_eq!(pipe.held(), 3);
        assert_eq!(pipe.drain(ours.as_fd(), 2).unwrap(), 2);
        assert_eq!(pipe.held(), 1);
        assert_eq!(pipe.drain(ours.as_fd(), 2).unwrap(), 1);
        assert_eq!(pipe.held(), 0);
        assert_eq!(pipe.fill(file.as_fd(), 10, 100).unwrap(), 0);
        let mut got = [0; 3];
        theirs.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"789");
    }

    /// Filling a full pipe and draining an empty one return WouldBlock.
    #[test]
    fn pipe_full_or_empty_returns_would_block() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(2 * PIPE_BYTES as u64).unwrap();
        let (ours, _theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut pipe = Pipe::new().unwrap();
        let empty = pipe.drain(ours.as_fd(), 1).unwrap_err();
        assert_eq!(empty.kind(), io::ErrorKind::WouldBlock);
        let mut filled = 0;
        let full = loop {
            match pipe.fill(file.as_fd(), filled as u64, PIPE_BYTES) {
                Ok(n) => filled += n,
                Err(e) => break e,
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(filled, 1_048_576);
        assert_eq!(pipe.held(), 1_048_576);
    }
}

//! Stdin, stdout and stderr as this process inherited them: a closed one is an error, and a
//! non-blocking one is waited for.
//!
//! Rust's start-up opens `/dev/null` for a closed stream ([`zput_os::stdio`]), so reads and
//! writes would succeed and lose bytes silently.
//!
//! `O_NONBLOCK` belongs to the open file, and every process that shares the file may set it: ssh,
//! node and other event loops leave it set. [`BlockingStream`] waits by poll(2) until the
//! descriptor is ready, where the standard library fails with [`io::ErrorKind::WouldBlock`] without
//! telling how much it had written.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, AsRawFd as _, BorrowedFd},
};

use rustix::event::{PollFd, PollFlags, poll};
use zput_os::stdio;

/// A descriptor that is read and written completely, whether it blocks or not.
#[derive(Debug)]
pub struct BlockingStream(File);

/// Stdin.
///
/// # Errors
/// When it is closed.
pub fn stdin() -> io::Result<BlockingStream> {
    open(io::stdin())
}

/// Stdout, without buffering.
///
/// # Errors
/// When it is closed.
pub fn stdout() -> io::Result<BlockingStream> {
    open(io::stdout())
}

/// Stderr, without buffering.
///
/// # Errors
/// When it is closed.
pub fn stderr() -> io::Result<BlockingStream> {
    open(io::stderr())
}

fn open(stream: impl AsFd) -> io::Result<BlockingStream> {
    if stdio::was_closed(stream.as_fd().as_raw_fd()) {
        return Err(io::Error::other("it is closed"));
    }
    Ok(BlockingStream(File::from(stream.as_fd().try_clone_to_owned()?)))
}

impl BlockingStream {
    /// A stream over `file`.
    #[must_use]
    pub fn new(file: File) -> Self {
        Self(file)
    }

    /// The open file.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.0
    }

    /// Returns the open file.
    #[must_use]
    pub fn into_file(self) -> File {
        self.0
    }
}

impl AsFd for BlockingStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Read for BlockingStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        retry_until_ready(&self.0, PollFlags::IN, || (&self.0).read(buffer))
    }
}

impl Write for BlockingStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        retry_until_ready(&self.0, PollFlags::OUT, || (&self.0).write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Repeats `act` while it fails because the descriptor is not ready or a signal arrived.
pub(crate) fn retry_until_ready<T>(
    file: impl AsFd,
    ready: PollFlags,
    mut act: impl FnMut() -> io::Result<T>,
) -> io::Result<T> {
    loop {
        match act() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait(&file, ready)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// Waits without a time limit, as a blocking descriptor does. A closed peer counts as ready.
fn wait(file: impl AsFd, ready: PollFlags) -> io::Result<()> {
    match poll(&mut [PollFd::new(&file, ready)], None) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::{io::pipe, os::fd::OwnedFd, thread};

    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

    use super::*;

    /// Both ends of a pipe, non-blocking.
    fn impatient_pipe() -> (File, File) {
        let (reader, writer) = pipe().unwrap();
        let ends = [OwnedFd::from(reader), OwnedFd::from(writer)].map(File::from);
        for end in &ends {
            fcntl_setfl(end, fcntl_getfl(end).unwrap() | OFlags::NONBLOCK).unwrap();
        }
        let [reader, writer] = ends;
        (reader, writer)
    }

    /// Reading and writing non-blocking pipes waits until they are ready.
    #[test]
    fn blocking_stream_waits_on_nonblocking_descriptors() {
        let (reader, writer) = impatient_pipe();
        let most = 1_000_000;
        let written: Vec<u8> = (0..most).map(|i: u32| i.to_be_bytes()[3]).collect();
        let expected = written.clone();
        thread::scope(|scope| {
            scope.spawn(move || BlockingStream::new(writer).write_all(&written).unwrap());
            let mut read = Vec::new();
            BlockingStream::new(reader).read_to_end(&mut read).unwrap();
            assert!(read == expected, "{} of 1000000 bytes", read.len());
        });
    }

    /// Writing to a pipe whose reader is gone is an error at once.
    #[test]
    fn blocking_stream_write_fails_when_reader_is_gone() {
        let (reader, writer) = impatient_pipe();
        drop(reader);
        let error = BlockingStream::new(writer).write_all(b"x").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    /// An interrupted call is repeated, since a signal does not mean that the stream has ended.
    #[test]
    fn retry_until_ready_repeats_interrupted_calls() {
        let (reader, _writer) = impatient_pipe();
        let mut answers =
            vec![Ok(7), Err(io::ErrorKind::Interrupted), Err(io::ErrorKind::Interrupted)];
        let act = || Ok(answers.pop().unwrap()?);
        assert_eq!(retry_until_ready(&reader, PollFlags::IN, act).unwrap(), 7);
        assert!(answers.is_empty());
    }
}

//! Stdin, stdout and stderr as this process was given them: closed is an error, and a descriptor that
//! does not block is waited for.
//!
//! Nothing that is read from or written to a closed one fails, for Rust's start-up opens `/dev/null` on
//! it ([`zput_server::standard`]): bytes would be lost without a word.
//!
//! The mode `O_NONBLOCK` belongs to the open file, and whoever shares the file may set it: ssh, node
//! and other event loops leave it on behind them. [`Stream`] then waits by poll(2) until the
//! descriptor is ready, where the standard library would end with [`io::ErrorKind::WouldBlock`] and not
//! say how much of a line it had written.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, AsRawFd as _, BorrowedFd},
};

use rustix::event::{PollFd, PollFlags, poll};
use zput_server::standard;

/// A descriptor that is read and written to the last byte, whether it blocks or not.
#[derive(Debug)]
pub struct Stream(File);

/// Stdin.
///
/// # Errors
/// When it is closed.
pub fn stdin() -> io::Result<Stream> {
    open(io::stdin())
}

/// Stdout. What is written goes to the descriptor at once.
///
/// # Errors
/// When it is closed.
pub fn stdout() -> io::Result<Stream> {
    open(io::stdout())
}

/// Stderr.
///
/// # Errors
/// When it is closed.
pub fn stderr() -> io::Result<Stream> {
    open(io::stderr())
}

fn open(stream: impl AsFd) -> io::Result<Stream> {
    if standard::was_closed(stream.as_fd().as_raw_fd()) {
        return Err(io::Error::other("it is closed"));
    }
    Ok(Stream(File::from(stream.as_fd().try_clone_to_owned()?)))
}

impl Stream {
    /// `file` as such a stream.
    #[must_use]
    pub fn over(file: File) -> Self {
        Self(file)
    }

    /// The open file.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.0
    }

    /// The open file itself.
    #[must_use]
    pub fn into_file(self) -> File {
        self.0
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        patiently(&self.0, PollFlags::IN, || (&self.0).read(buffer))
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        patiently(&self.0, PollFlags::OUT, || (&self.0).write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Does `act` until it does not end because the descriptor is not ready, or by a signal.
pub(crate) fn patiently<T>(
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

/// Waits without limit, as a descriptor that blocks does. The end of the other side counts as ready.
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

    /// Both ends of a pipe, of which neither blocks.
    fn impatient_pipe() -> (File, File) {
        let (reader, writer) = pipe().unwrap();
        let ends = [OwnedFd::from(reader), OwnedFd::from(writer)].map(File::from);
        for end in &ends {
            fcntl_setfl(end, fcntl_getfl(end).unwrap() | OFlags::NONBLOCK).unwrap();
        }
        let [reader, writer] = ends;
        (reader, writer)
    }

    #[test]
    fn what_is_not_ready_is_waited_for_in_both_directions() {
        let (reader, writer) = impatient_pipe();
        let most = 1_000_000;
        let written: Vec<u8> = (0..most).map(|i: u32| i.to_be_bytes()[3]).collect();
        let expected = written.clone();
        thread::scope(|scope| {
            scope.spawn(move || Stream::over(writer).write_all(&written).unwrap());
            let mut read = Vec::new();
            Stream::over(reader).read_to_end(&mut read).unwrap();
            assert!(read == expected, "{} of 1000000 bytes", read.len());
        });
    }

    #[test]
    fn a_reader_that_is_gone_is_an_error_and_no_wait() {
        let (reader, writer) = impatient_pipe();
        drop(reader);
        let error = Stream::over(writer).write_all(b"x").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    /// A signal that came is no end, and says nothing of the bytes.
    #[test]
    fn what_a_signal_ends_is_done_again() {
        let (reader, _writer) = impatient_pipe();
        let mut answers =
            vec![Ok(7), Err(io::ErrorKind::Interrupted), Err(io::ErrorKind::Interrupted)];
        let act = || Ok(answers.pop().unwrap()?);
        assert_eq!(patiently(&reader, PollFlags::IN, act).unwrap(), 7);
        assert!(answers.is_empty());
    }
}

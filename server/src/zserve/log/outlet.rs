//! A buffer of lines for a descriptor that may refuse them, or block for ever.
//!
//! A thread that logs appends its line to a buffer in memory and continues. One thread writes the
//! buffer out. Lines that the descriptor refuses (`EPIPE`, `ENOSPC`, `EIO`) are dropped, counted,
//! and so are lines that come while the buffer is full because the reader of a pipe has stopped
//! reading or a terminal was stopped. A log that cannot be written affects nothing else.

use std::{
    io,
    os::fd::AsFd,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{Errno, write},
};
use tracing::warn;

use crate::sys::threads;

/// Maximum bytes that wait to be written: more than a thousand lines.
pub(super) const PENDING_MAX_BYTES: usize = 256 * 1024;

/// Bytes of one write(2): a pipe that polls as writable accepts this many without blocking
/// (pipe(7), `PIPE_BUF`).
const WRITE_BYTES: usize = 4096;

/// Pause before the next write to a descriptor that polled as writable and then returned `EAGAIN`.
const EAGAIN_PAUSE: Duration = Duration::from_millis(20);

/// The buffer, and the thread that writes it out. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Outlet(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    pending: Vec<u8>,
    /// Whether the thread is writing bytes that it took from `pending`.
    writing: bool,
    started: bool,
}

impl Outlet {
    /// Appends one line, which ends with a newline. Waits only for other callers.
    pub(super) fn push(&self, line: &[u8]) {
        let mut state = self.0.lock();
        if state.pending.len() + line.len() > PENDING_MAX_BYTES {
            self.0.dropped.fetch_add(1, Relaxed);
            return;
        }
        state.pending.extend_from_slice(line);
        drop(state);
        self.0.changed.notify_all();
    }

    /// Starts the thread that writes to `to`, unless it is running.
    pub(super) fn start(&self, to: impl AsFd + Send + 'static) -> io::Result<()> {
        let mut state = self.0.lock();
        if !state.started {
            let shared = Arc::clone(&self.0);
            let _thread = threads::spawn("log", move || shared.run(&to))?;
            state.started = true;
        }
        Ok(())
    }

    /// Waits until every line pushed before is written or dropped, for at most `patience`.
    pub(super) fn flush(&self, patience: Duration) {
        let until = Instant::now() + patience;
        let mut state = self.0.lock();
        while state.writing || !state.pending.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.0.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Writes the buffer to `to` on the calling thread, for at most `patience`: used when the
    /// writing thread cannot be started.
    pub(super) fn write_out(&self, to: &impl AsFd, patience: Duration) {
        let until = Instant::now() + patience;
        let pending = std::mem::take(&mut self.0.lock().pending);
        let mut rest = pending.as_slice();
        while !rest.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).unwrap_or_default();
            match poll(&mut [PollFd::new(to, PollFlags::OUT)], Some(&left)) {
                Ok(0) => return,
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return,
            }
            let piece = rest.get(..WRITE_BYTES).unwrap_or(rest);
            match write(to, piece) {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(_) => return,
            }
        }
    }

    /// Number of lines dropped since the process started.
    pub(super) fn dropped(&self) -> u64 {
        self.0.dropped.load(Relaxed)
    }
}

impl io::Write for &Outlet {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    /// The buffer is consistent at all times, also after a panic.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, to: &impl AsFd) {
        // Dropped lines that were reported, and whether the last line was cut.
        let (mut reported, mut torn) = (0, false);
        loop {
            let mut bytes = self.take_pending();
            if torn {
                bytes.insert(0, b'\n');
            }
            let written = write_all(to, &bytes);
            let rest = bytes.get(written..).unwrap_or_default();
            if !rest.is_empty() {
                let lines = rest.iter().filter(|byte| **byte == b'\n').count();
                self.dropped.fetch_add(lines as u64, Relaxed);
            }
            torn = match (written, rest.is_empty()) {
                (_, true) => false,
                (0, false) => torn,
                (_, false) => bytes.get(written - 1) != Some(&b'\n'),
            };
            let dropped = self.dropped.load(Relaxed);
            if rest.is_empty() && dropped > reported {
                warn!(
                    lines = dropped - reported,
                    "log lines dropped: standard error did not accept them"
                );
                reported = dropped;
            }
            self.lock().writing = false;
            self.changed.notify_all();
        }
    }

    /// Waits until lines are pending, and takes all of them.
    fn take_pending(&self) -> Vec<u8> {
        let mut state = self.lock();
        while state.pending.is_empty() {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.writing = true;
        std::mem::take(&mut state.pending)
    }
}

/// Writes until the end or until `to` returns an error. Returns the number of bytes written. Polls
/// a descriptor in non-blocking mode, which another process may have set.
fn write_all(to: &impl AsFd, bytes: &[u8]) -> usize {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match write(to, rest) {
            Ok(0) => break,
            Ok(count) => written += count,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                if poll(&mut [PollFd::new(to, PollFlags::OUT)], None).is_err() {
                    break;
                }
                thread::sleep(EAGAIN_PAUSE);
            }
            Err(_) => break,
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::{BufRead as _, BufReader, Read as _},
    };

    use zput_testkit::PATIENCE;

    use super::*;

    /// Outlet writes lines in order, those pushed before its thread started first.
    #[test]
    fn log_outlet_writes_lines_in_order_from_before_start() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let outlet = Outlet::default();
        outlet.push(b"first\n");
        outlet.start(writer).unwrap();
        outlet.push(b"second\n");
        outlet.flush(PATIENCE);
        let mut got = [0; 13];
        reader.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"first\nsecond\n");
        assert_eq!(outlet.dropped(), 0);
    }

    /// Outlet::write_out writes the buffered lines without a thread, and gives up in time.
    #[test]
    fn log_outlet_write_out_works_without_thread() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let outlet = Outlet::default();
        outlet.push(b"why it ends\n");
        outlet.write_out(&writer, PATIENCE);
        drop(writer);
        let mut got = String::new();
        reader.read_to_string(&mut got).unwrap();
        assert_eq!(got, "why it ends\n");

        // Without a reader it gives up when the pipe is full.
        let (_reader, writer) = std::io::pipe().unwrap();
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        for _ in 0..255 {
            outlet.push(&line);
        }
        outlet.write_out(&writer, Duration::from_millis(1));
    }

    /// Outlet drops and counts lines that the descriptor refuses.
    #[test]
    fn log_outlet_counts_lines_refused_by_descriptor() {
        let outlet = Outlet::default();
        outlet.start(File::options().write(true).open("/dev/full").unwrap()).unwrap();
        outlet.push(b"one\n");
        outlet.flush(PATIENCE);
        outlet.push(b"two\nthree\n");
        outlet.flush(PATIENCE);
        assert_eq!(outlet.dropped(), 3);

        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let outlet = Outlet::default();
        outlet.start(writer).unwrap();
        outlet.push(b"without a reader\n");
        outlet.flush(PATIENCE);
        assert_eq!(outlet.dropped(), 1);
    }

    /// Outlet never blocks on a pipe whose reader has stopped: memory is bounded, and when the
    /// reader continues, it gets every line that was not dropped.
    #[test]
    fn log_outlet_never_blocks_on_stopped_reader() {
        for nonblocking in [false, true] {
            let (reader, writer) = std::io::pipe().unwrap();
            if nonblocking {
                rustix::io::ioctl_fionbio(&writer, true).unwrap();
            }
            let outlet = Outlet::default();
            outlet.start(writer).unwrap();
            let line = [b'x'; 1023];
            let line = [&line[..], b"\n"].concat();
            for _ in 0..2048 {
                outlet.push(&line);
            }
            outlet.flush(Duration::from_millis(1));
            // 64 KiB in the pipe, up to 256 KiB in the thread's hands, as much in the buffer.
            let dropped = outlet.dropped();
            assert!((2048 - 64 - 512..2048).contains(&dropped), "{dropped}");
            let mut lines = BufReader::new(reader).lines();
            for _ in 0..2048 - dropped {
                assert_eq!(lines.next().unwrap().unwrap().len(), 1023);
            }
            outlet.flush(PATIENCE);
            assert_eq!(outlet.dropped(), dropped);
        }
    }
}

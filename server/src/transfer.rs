//! What an answered request still has to send: stretches of one open object, moved by an engine, window by window.
//!
//! The payload does not enter this process, but for small ones that leave together with what announces them. No window is
//! sent before its bytes are in memory: a worker that waits for the disk would keep all its connections waiting. The file
//! behind an object is never modified or truncated while it is served (stores replace files, they do not change them), so
//! a file that ends early was damaged from outside: the connection is closed, for the peer counts on every announced byte.

use std::{
    collections::VecDeque,
    fs::File,
    io,
    ops::Range,
    os::fd::AsFd as _,
    sync::Arc,
    time::{Duration, Instant},
};

use thiserror::Error;

use crate::{
    engines::{Engine, Mover, Tools},
    metrics::WorkerMetrics,
    opened::Opened,
    sys::residency,
    wire::{Sent, Wire},
};

/// PROTOCOL 5: "their sum must fit 2^63".
const PAYLOAD_MAX_BYTES: u64 = (1 << 63) - 1;

/// Bytes that are looked at, and loaded, at once; their places in a file are multiples of it. Loading it takes a disk of
/// 2 GB/s as long as sending it takes a link of 16 Gbit/s, and so many in flight for a thousand readers are half a gigabyte.
const WINDOW_BYTES: u64 = 512 * 1024;

/// Most bytes behind a window that are asked for with it. From one disk a gigabyte took 1.8 s with one window ahead,
/// 1.1 s with seven and with fifteen.
const AHEAD_MAX_BYTES: u64 = 7 * WINDOW_BYTES;

/// How long bytes that were found in memory are taken to be there still: memory may be short, and a slow reader may take
/// its time for a window.
const TRUSTED: Duration = Duration::from_secs(1);

/// Longest payload that is copied behind its announcement, to leave with it in one call.
const SMALL_BYTES: usize = 32 * 1024;

/// Sections whose sum is over [`PAYLOAD_MAX_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the sections are too long together")]
pub(crate) struct TooLong;

/// Stretches of an object on their way to a peer.
#[derive(Debug)]
pub(crate) struct Transfer {
    object: Arc<Opened>,
    /// What is left of the stretch under way, in the object's file.
    now: Range<u64>,
    /// Those behind it.
    then: VecDeque<Range<u64>>,
    /// Bytes left of all.
    left: u64,
    /// Up to where in the file the bytes under way were found in memory.
    loaded: u64,
    /// When that was.
    found: Instant,
    /// Bytes to be asked for behind the next window that is absent.
    ahead: u64,
    mover: Mover,
}

/// What came of one step of a transfer.
#[derive(Debug)]
pub(crate) enum Stepped {
    /// So many bytes left, at least one.
    Moved(u64),
    /// The socket takes nothing now.
    Blocked,
    /// These bytes have to be loaded first.
    Absent(Window),
}

/// Bytes of a file that are not in memory.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    file: Arc<File>,
    range: Range<u64>,
    /// Bytes behind it that are worth having soon.
    ahead: u64,
    since: Instant,
}

/// Why a transfer cannot go on. The announced bytes can no longer be kept, so the connection ends.
#[derive(Debug, Error)]
pub(crate) enum TransferError {
    /// The file gave nothing before the stretch's end.
    #[error("the file ends at or before byte {offset}, {left} bytes before it should")]
    FileEnded {
        /// Where it was read.
        offset: u64,
        /// What the stretch still lacked.
        left: u64,
    },
    /// The socket or the file failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The session announced more than the stretches hold.
    #[error("nothing is left to send")]
    Exhausted,
}

impl Transfer {
    /// These ranges of `object`, in this order.
    ///
    /// # Errors
    /// When they are too long together.
    pub(crate) fn new(
        object: Arc<Opened>,
        engine: Engine,
        ranges: impl IntoIterator<Item = Range<u64>>,
    ) -> Result<Self, TooLong> {
        let mut ranges = ranges.into_iter().filter(|range| !range.is_empty());
        let first = ranges.next().unwrap_or(0..0);
        // One stretch needs no memory.
        let then: VecDeque<_> = ranges.collect();
        let left = [&first]
            .into_iter()
            .chain(&then)
            .try_fold(0u64, |sum, range| sum.checked_add(range.end - range.start));
        let left = left.filter(|left| *left <= PAYLOAD_MAX_BYTES).ok_or(TooLong)?;
        let (found, mover) = (Instant::now(), Mover::new(engine));
        let ahead = WINDOW_BYTES;
        let mut transfer = Self { object, now: 0..0, then, left, loaded: 0, found, ahead, mover };
        transfer.begin(&first);
        Ok(transfer)
    }

    fn begin(&mut self, range: &Range<u64>) {
        self.now = self.object.in_file(range);
        self.loaded = self.now.start;
    }

    /// Bytes still to be sent.
    pub(crate) const fn left(&self) -> u64 {
        self.left
    }

    /// Moves what is left of a window, or as much of it as the socket takes.
    pub(crate) fn step(
        &mut self,
        wire: &mut Wire,
        tools: &mut Tools,
        metrics: &WorkerMetrics,
    ) -> Result<Stepped, TransferError> {
        if let Some(window) = self.absent()? {
            return Ok(Stepped::Absent(window));
        }
        let ready = usize::try_from(self.loaded - self.now.start).unwrap_or(usize::MAX);
        let file = self.object.file().as_fd();
        let began = Instant::now();
        let moved = wire.move_from(&mut self.mover, tools, file, self.now.start, ready)?;
        metrics.step(began.elapsed());
        match moved {
            Sent::Blocked => Ok(Stepped::Blocked),
            Sent::FileEnded => Err(self.file_ended()),
            Sent::Bytes(n) => {
                self.sent(n as u64);
                Ok(Stepped::Moved(n as u64))
            }
        }
    }

    /// The next window, if it is not in memory.
    fn absent(&mut self) -> Result<Option<Window>, TransferError> {
        if self.left == 0 {
            return Err(TransferError::Exhausted);
        }
        if self.loaded > self.now.start && self.found.elapsed() < TRUSTED {
            return Ok(None);
        }
        let start = self.now.start;
        let border = start / WINDOW_BYTES * WINDOW_BYTES + WINDOW_BYTES;
        let range = start..border.min(self.now.end);
        let file = self.object.file();
        if self.object.residency().is_resident(file.as_fd(), start, range.end - start)? {
            self.found_up_to(range.end);
            return Ok(None);
        }
        Ok(Some(Window {
            file: Arc::clone(file),
            ahead: self.ahead.min(self.now.end - range.end),
            range,
            since: Instant::now(),
        }))
    }

    /// A window that was absent is in memory now. Who takes windows fast gets more of them ahead; a slow reader's would be
    /// evicted before they are wanted, and others' with them.
    pub(crate) fn loaded(&mut self, window: &Window) {
        let fast = self.found.elapsed() < TRUSTED;
        self.ahead = if fast { (2 * self.ahead).min(AHEAD_MAX_BYTES) } else { WINDOW_BYTES };
        self.found_up_to(window.range.end.min(self.now.end));
    }

    fn found_up_to(&mut self, end: u64) {
        self.loaded = end;
        self.found = Instant::now();
    }

    /// `head` with all that is left behind it, in `room`: if that is one short stretch, has room, and waits for no disk. Nothing
    /// counts as sent yet.
    pub(crate) fn behind<'a>(
        &self,
        head: &[u8],
        room: &'a mut [u8],
    ) -> Result<Option<&'a [u8]>, TransferError> {
        let length = match usize::try_from(self.left) {
            Ok(length) if length <= SMALL_BYTES && self.then.is_empty() => length,
            Ok(_) | Err(_) => return Ok(None),
        };
        let Some((in_front, payload)) =
            room.get_mut(..head.len() + length).map(|room| room.split_at_mut(head.len()))
        else {
            return Ok(None);
        };
        let file = self.object.file().as_fd();
        match self.object.residency().read(file, self.now.start, payload)? {
            Some(0) => return Err(self.file_ended()),
            Some(n) if n == length => in_front.copy_from_slice(head),
            // Part of it, or nothing, is in memory: what is missing is found when it is sent the long way.
            Some(_) | None => return Ok(None),
        }
        Ok(room.get(..head.len() + length))
    }

    /// So many bytes of what [`Self::behind`] gave have left.
    pub(crate) fn sent(&mut self, bytes: u64) {
        self.now.start += bytes;
        self.left -= bytes;
        if self.now.is_empty()
            && let Some(next) = self.then.pop_front()
        {
            self.begin(&next);
        }
    }

    fn file_ended(&self) -> TransferError {
        TransferError::FileEnded { offset: self.now.start, left: self.left }
    }
}

impl Window {
    /// These bytes of an object's file.
    #[cfg(test)]
    pub(crate) fn for_test(object: &Opened, range: Range<u64>) -> Self {
        Self { file: Arc::clone(object.file()), range, ahead: 0, since: Instant::now() }
    }

    /// How long it was waited for.
    pub(crate) fn waited(&self) -> Duration {
        self.since.elapsed()
    }

    /// Loads it. Blocks.
    pub(crate) fn load(&self) -> io::Result<()> {
        let Self { file, range, ahead, .. } = self;
        residency::load(file.as_fd(), range.start, range.end - range.start, *ahead)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;

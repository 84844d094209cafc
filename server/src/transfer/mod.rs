//! The payload of a response: ranges of one open object, sent window by window by a send engine.
//!
//! With the engines splice and sendfile a payload passes through the page cache alone, except a
//! small one, which is copied behind its response. No window is sent before its bytes are in
//! memory, because a worker that waits for the disk would delay all its connections. The file of an
//! object is never changed or truncated while it is served (stores replace files), so a file that
//! ends early was damaged from outside. The connection is then closed, because the peer relies on
//! every announced byte.

pub(crate) mod engines;
pub(crate) mod socket;

use std::{
    collections::VecDeque,
    io,
    ops::Range,
    os::fd::AsFd as _,
    sync::Arc,
    time::{Duration, Instant},
};

use thiserror::Error;

use crate::{
    jobs::Window,
    metrics::WorkerMetrics,
    mounts::OpenObject,
    transfer::{
        engines::{Engine, EngineResources, SendEngine},
        socket::{ReadySocket, Sent},
    },
};

/// PROTOCOL 5: "their sum must fit 2^63".
const PAYLOAD_MAX_BYTES: u64 = (1 << 63) - 1;

/// Bytes of a window; windows begin at multiples of it in the file. A disk of 2 GB/s loads one in
/// the time in which a link of 16 Gbit/s sends it, and windows in flight for a thousand readers
/// take half a gigabyte.
const WINDOW_BYTES: u64 = 512 * 1024;

/// Maximum bytes behind a window that are requested together with it. A gigabyte from one disk took
/// 1.8 s with one window ahead, 1.1 s with seven and with fifteen.
const AHEAD_MAX_BYTES: u64 = 7 * WINDOW_BYTES;

/// How long bytes that were found in memory are assumed to stay there. The kernel may evict them,
/// and a slow reader may take long for a window.
const RESIDENCY_TRUSTED: Duration = Duration::from_secs(1);

/// Maximum payload that is copied behind its response, to leave with it in one call.
const SMALL_BYTES: usize = 32 * 1024;

/// The sum of the sections exceeds [`PAYLOAD_MAX_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the sections are too long together")]
pub(crate) struct TooLong;

/// Ranges of an object that are being sent to a peer.
#[derive(Debug)]
pub(crate) struct Transfer {
    object: Arc<OpenObject>,
    /// The rest of the current range, as offsets in the file.
    current: Range<u64>,
    /// The ranges after it.
    later: VecDeque<Range<u64>>,
    /// Bytes left of all ranges.
    left: u64,
    /// The offset up to which the current range was found in memory.
    loaded: u64,
    /// When it was found there.
    found: Instant,
    /// Bytes to request behind the next window that is not in memory.
    ahead: u64,
    engine_state: SendEngine,
}

/// The result of one step of a transfer.
#[derive(Debug)]
pub(crate) enum Stepped {
    /// Number of bytes sent, at least one.
    Moved(u64),
    /// The socket has no room now.
    Blocked,
    /// This window must be loaded first.
    Absent(Window),
}

/// Why a transfer cannot go on. The announced bytes cannot be sent, so the connection ends.
#[derive(Debug, Error)]
pub(crate) enum TransferError {
    /// The file ended before the range did.
    #[error("the file ends at or before byte {offset}, {left} bytes before it should")]
    FileEnded {
        /// Offset of the read that returned nothing.
        offset: u64,
        /// Bytes of the range that are missing.
        left: u64,
    },
    /// The socket or the file failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The session announced more bytes than the ranges have.
    #[error("nothing is left to send")]
    Exhausted,
}

impl Transfer {
    /// A transfer of these ranges of `object`, in this order.
    ///
    /// # Errors
    /// When their sum exceeds [`PAYLOAD_MAX_BYTES`].
    pub(crate) fn new(
        object: Arc<OpenObject>,
        engine: Engine,
        ranges: impl IntoIterator<Item = Range<u64>>,
        now: Instant,
    ) -> Result<Self, TooLong> {
        let mut ranges = ranges.into_iter().filter(|range| !range.is_empty());
        let first = ranges.next().unwrap_or(0..0);
        // A single range needs no allocation.
        let later: VecDeque<_> = ranges.collect();
        let left = [&first]
            .into_iter()
            .chain(&later)
            .try_fold(0u64, |sum, range| sum.checked_add(range.end - range.start));
        let left = left.filter(|left| *left <= PAYLOAD_MAX_BYTES).ok_or(TooLong)?;
        let mut transfer = Self {
            object,
            current: 0..0,
            later,
            left,
            loaded: 0,
            found: now,
            ahead: WINDOW_BYTES,
            engine_state: SendEngine::new(engine),
        };
        transfer.begin(&first);
        Ok(transfer)
    }

    fn begin(&mut self, range: &Range<u64>) {
        self.current = self.object.in_file(range);
        self.loaded = self.current.start;
    }

    /// Bytes still to be sent.
    pub(crate) const fn left(&self) -> u64 {
        self.left
    }

    /// Sends the rest of a window, or as much of it as the socket accepts.
    pub(crate) fn step(
        &mut self,
        socket: &mut ReadySocket,
        resources: &mut EngineResources,
        metrics: &WorkerMetrics,
        now: Instant,
    ) -> Result<Stepped, TransferError> {
        if let Some(window) = self.next_absent(now)? {
            return Ok(Stepped::Absent(window));
        }
        let ready = usize::try_from(self.loaded - self.current.start).unwrap_or(usize::MAX);
        let file = self.object.file().as_fd();
        let (state, offset) = (&mut self.engine_state, self.current.start);
        let moved =
            metrics.timed_step(|| socket.move_from(state, resources, file, offset, ready))?;
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
    fn next_absent(&mut self, now: Instant) -> Result<Option<Window>, TransferError> {
        if self.left == 0 {
            return Err(TransferError::Exhausted);
        }
        if self.loaded > self.current.start && self.is_trusted(now) {
            return Ok(None);
        }
        let start = self.current.start;
        let border = start / WINDOW_BYTES * WINDOW_BYTES + WINDOW_BYTES;
        let range = start..border.min(self.current.end);
        let file = self.object.file();
        if self.object.residency().is_resident(file.as_fd(), start, range.end - start)? {
            self.mark_resident(range.end, now);
            return Ok(None);
        }
        let ahead = self.ahead.min(self.current.end - range.end);
        Ok(Some(Window::new(Arc::clone(file), range, ahead, now)))
    }

    /// Notes that a window was loaded. A fast reader gets more windows read ahead. For a slow
    /// reader they would be evicted before it reads them, and bytes of other readers with them.
    pub(crate) fn loaded(&mut self, window: &Window, now: Instant) {
        self.ahead =
            if self.is_trusted(now) { (2 * self.ahead).min(AHEAD_MAX_BYTES) } else { WINDOW_BYTES };
        self.mark_resident(window.end().min(self.current.end), now);
    }

    /// Whether the bytes that were found in memory last are assumed to be there still.
    fn is_trusted(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.found) < RESIDENCY_TRUSTED
    }

    fn mark_resident(&mut self, end: u64, now: Instant) {
        self.loaded = end;
        self.found = now;
    }

    /// `head` followed by the rest of the payload, in `room`: only if that is one short range,
    /// fits, and is in memory. The bytes do not count as sent yet.
    pub(crate) fn behind<'a>(
        &self,
        head: &[u8],
        room: &'a mut [u8],
    ) -> Result<Option<&'a [u8]>, TransferError> {
        let length = match usize::try_from(self.left) {
            Ok(length) if length <= SMALL_BYTES && self.later.is_empty() => length,
            Ok(_) | Err(_) => return Ok(None),
        };
        let Some((in_front, payload)) =
            room.get_mut(..head.len() + length).map(|room| room.split_at_mut(head.len()))
        else {
            return Ok(None);
        };
        let file = self.object.file().as_fd();
        match self.object.residency().read(file, self.current.start, payload)? {
            Some(0) => return Err(self.file_ended()),
            Some(n) if n == length => in_front.copy_from_slice(head),
            // Some of it is not in memory. It is sent in the ordinary way, which loads it.
            Some(_) | None => return Ok(None),
        }
        Ok(room.get(..head.len() + length))
    }

    /// Counts bytes as sent which [`Self::behind`] returned.
    pub(crate) fn sent(&mut self, bytes: u64) {
        self.current.start += bytes;
        self.left -= bytes;
        if self.current.is_empty()
            && let Some(next) = self.later.pop_front()
        {
            self.begin(&next);
        }
    }

    fn file_ended(&self) -> TransferError {
        TransferError::FileEnded { offset: self.current.start, left: self.left }
    }
}

#[cfg(test)]
mod tests;

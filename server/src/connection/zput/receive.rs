//! Receives a slice; pool threads hash and write it, in order.
//!
//! While a job holds some buffers the connection fills others, so receiving and writing overlap.
//! When all are full the connection stops reading, and TCP slows the peer down.

use std::collections::VecDeque;

use zput_proto::digest::Digest;

use crate::{
    jobs::{Append, BUFFERS_PER_CONNECTION, Buffer, Buffers},
    store::Upload,
};

/// A slice that is being received.
#[derive(Debug)]
pub(crate) struct SliceReceiver {
    /// The upload; a job has it while one is running.
    upload: Option<Box<Upload>>,
    /// Length and digest of the slice, until the first job takes them.
    start: Option<(u32, Digest)>,
    /// Buffers with received bytes, not yet handed to a job. All but the last are full.
    held: VecDeque<Buffer>,
    /// Number of buffers that the running job has.
    lent: usize,
    /// Bytes of the slice that have not arrived.
    missing: u64,
}

/// Why no byte can be received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotReceiving {
    /// The slice is complete, or this connection uses as many buffers as it may.
    Enough,
    /// All buffers of the worker are in use.
    NoBuffer,
}

impl SliceReceiver {
    /// A slice of which nothing was received yet.
    pub(crate) fn new(upload: Box<Upload>, length: u32, digest: Digest) -> Self {
        Self {
            upload: Some(upload),
            start: Some((length, digest)),
            held: VecDeque::with_capacity(BUFFERS_PER_CONNECTION),
            lent: 0,
            missing: u64::from(length),
        }
    }

    /// Where the next bytes of the slice go.
    pub(crate) fn room(&mut self, buffers: &mut Buffers) -> Result<&mut [u8], NotReceiving> {
        if self.missing == 0 {
            return Err(NotReceiving::Enough);
        }
        if self.held.back().is_none_or(Buffer::is_full) {
            if self.held.len() + self.lent >= BUFFERS_PER_CONNECTION {
                return Err(NotReceiving::Enough);
            }
            self.held.push_back(buffers.take().ok_or(NotReceiving::NoBuffer)?);
        }
        match self.held.back_mut() {
            Some(buffer) => Ok(buffer.room(self.missing)),
            None => Err(NotReceiving::NoBuffer),
        }
    }

    /// Notes that `n` bytes of [`Self::room`] were received.
    pub(crate) fn received(&mut self, n: usize) {
        if let Some(buffer) = self.held.back_mut() {
            buffer.received(n);
        }
        self.missing = self.missing.saturating_sub(n as u64);
    }

    /// Whether the next bytes would be read if the peer sent them.
    pub(crate) fn wants_bytes(&self, buffers: &Buffers) -> bool {
        let last_has_room = self.held.back().is_some_and(|buffer| !buffer.is_full());
        let may_take = self.held.len() + self.lent < BUFFERS_PER_CONNECTION && buffers.available();
        self.missing > 0 && (last_has_room || may_take)
    }

    /// Whether it needs a buffer that another connection has.
    pub(crate) fn is_starved(&self) -> bool {
        self.missing > 0 && self.held.is_empty() && self.lent == 0
    }

    /// The next job, if no job has the upload and there is something to do: a full buffer, the end
    /// of the slice, or, when the peer has `paused`, whatever has arrived, so that a parked
    /// connection holds no buffer.
    pub(crate) fn next_job(&mut self, paused: bool) -> Option<Append> {
        let end = self.missing == 0;
        let full = self.held.front().is_some_and(Buffer::is_full);
        let some = self.held.front().is_some_and(|buffer| !buffer.is_empty());
        if !(end || full || (paused && some)) {
            return None;
        }
        let upload = self.upload.take()?;
        let whole = end || paused;
        let count =
            self.held.iter().take_while(|b| b.is_full() || (whole && !b.is_empty())).count();
        let buffers: Vec<Buffer> = self.held.drain(..count).collect();
        self.lent = buffers.len();
        Some(Append { upload, start: self.start.take(), buffers, end })
    }

    /// Takes the upload back from a job, when the slice goes on.
    pub(crate) fn returned(&mut self, upload: Box<Upload>) {
        self.upload = Some(upload);
        self.lent = 0;
    }

    /// Gives up: returns the upload, unless a job has it, and the buffers.
    pub(crate) fn into_parts(self) -> (Option<Box<Upload>>, VecDeque<Buffer>) {
        (self.upload, self.held)
    }

    /// Gives back an empty buffer that was taken but not needed.
    pub(crate) fn give_back_empty(&mut self, buffers: &mut Buffers) {
        if let Some(buffer) = self.held.pop_back_if(|buffer| buffer.is_empty()) {
            buffers.give(buffer);
        }
    }
}

//! A slice on its way in: received here, hashed and written by the pool, in order.
//!
//! While a job has some buffers the connection fills the others, so receiving and writing overlap;
//! when all are full it stops reading, and TCP slows the peer down.

use std::collections::VecDeque;

use zput_common::digest::Digest;

use crate::{
    catalog::Append,
    store::Upload,
    worker::{BUFFERS_PER_CONNECTION, Buffer, Buffers},
};

/// A slice that is being received.
#[derive(Debug)]
pub(crate) struct Intake {
    /// Where the bytes go; with the pool while a job is under way.
    upload: Option<Box<Upload>>,
    /// Length and digest, until the first job takes them along.
    start: Option<(u32, Digest)>,
    /// Received and not yet handed over. All but the last are full.
    held: VecDeque<Buffer>,
    /// With the pool.
    lent: usize,
    /// Bytes of the slice that were not received yet.
    missing: u64,
}

/// Why no byte can be taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoRoom {
    /// The slice is complete, or this connection has its share of buffers in use.
    Enough,
    /// All buffers of the worker are in use.
    NoBuffer,
}

impl Intake {
    /// Nothing received yet.
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
    pub(crate) fn room(&mut self, buffers: &mut Buffers) -> Result<&mut [u8], NoRoom> {
        if self.missing == 0 {
            return Err(NoRoom::Enough);
        }
        if self.held.back().is_none_or(Buffer::is_full) {
            if self.held.len() + self.lent >= BUFFERS_PER_CONNECTION {
                return Err(NoRoom::Enough);
            }
            self.held.push_back(buffers.take().ok_or(NoRoom::NoBuffer)?);
        }
        match self.held.back_mut() {
            Some(buffer) => Ok(buffer.room(self.missing)),
            None => Err(NoRoom::NoBuffer),
        }
    }

    /// `n` bytes of [`Self::room`] were received.
    pub(crate) fn received(&mut self, n: usize) {
        if let Some(buffer) = self.held.back_mut() {
            buffer.received(n);
        }
        self.missing = self.missing.saturating_sub(n as u64);
    }

    /// Whether reading would go on if the peer sent something.
    pub(crate) fn wants_bytes(&self, buffers: &Buffers) -> bool {
        let last_has_room = self.held.back().is_some_and(|buffer| !buffer.is_full());
        let may_take = self.held.len() + self.lent < BUFFERS_PER_CONNECTION && buffers.available();
        self.missing > 0 && (last_has_room || may_take)
    }

    /// Whether nothing can go on without a buffer from somebody else.
    pub(crate) fn is_starved(&self) -> bool {
        self.missing > 0 && self.held.is_empty() && self.lent == 0
    }

    /// The next job, if the upload is here and there is something to do: a full buffer, the slice's
    /// end, or, when the peer has `paused`, whatever came (so that a connection never sleeps on
    /// a buffer).
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

    /// A job has ended and the slice goes on.
    pub(crate) fn returned(&mut self, upload: Box<Upload>) {
        self.upload = Some(upload);
        self.lent = 0;
    }

    /// Gives up: the upload, if it is here, and the buffers held.
    pub(crate) fn into_parts(self) -> (Option<Box<Upload>>, VecDeque<Buffer>) {
        (self.upload, self.held)
    }

    /// Gives back an empty buffer that was taken in vain.
    pub(crate) fn give_back_empty(&mut self, buffers: &mut Buffers) {
        if let Some(buffer) = self.held.pop_back_if(|buffer| buffer.is_empty()) {
            buffers.give(buffer);
        }
    }
}

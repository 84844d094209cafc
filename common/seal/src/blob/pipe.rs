//! Opens a blob from a pipe, where the footer comes last (FORMAT 9).
//!
//! The reader holds back one sealed part and the longest footer that could follow it, so it knows
//! the last part without a flag. Earlier parts are released when their chunks authenticate,
//! *before* the footer has been seen. Nothing vouches for the released plaintext until
//! [`PipeOpener::finish`] has returned; if that fails, the caller must discard it.

use std::fmt;

use zput_proto::digest::Digest;
use zput_proto::envelope::{self, TooManyParts, longest_footer};
use zput_proto::limits::PARTS_MAX;

use super::footer::FooterError;
use super::open::{Named, OpenError, Seen, Trusted, Vouching};
use super::part::PartError;
use crate::chunked::sealed_len;

/// A blob that is being read from a pipe, after its header.
///
/// It holds at most one sealed part, the longest footer that may follow it, one part of plaintext,
/// and 32 bytes for each part that has been released.
pub struct PipeOpener {
    named: Named,
    /// Bytes that are not opened yet. They begin with part `digests.len()`.
    held: Vec<u8>,
    plaintext: Vec<u8>,
    /// The digests of the parts that have been released.
    digests: Vec<Digest>,
    failed: Option<OpenError>,
}

/// The end of a blob that came from a pipe, once the whole blob is vouched for.
#[derive(Debug)]
#[must_use = "the rest of the plaintext is here"]
#[non_exhaustive]
pub struct PipeEnd {
    /// The plaintext after that which [`PipeOpener::push`] returned.
    pub rest: Vec<u8>,
    /// The blob, trusted.
    pub trusted: Trusted,
}

impl Named {
    /// Reads the parts from a pipe. The plaintext comes first, the proof last.
    #[must_use]
    pub fn from_pipe(self) -> PipeOpener {
        let sealed_part = self.header().part_size().sealed_bytes();
        // This reserves address space; memory is used as bytes come.
        let room = sealed_part + longest_footer(1) + FOOTER_GROWTH_BYTES;
        PipeOpener {
            named: self,
            held: Vec::with_capacity(room as usize),
            plaintext: Vec::new(),
            digests: Vec::new(),
            failed: None,
        }
    }
}

impl PipeOpener {
    /// Takes bytes from the front of `bytes`: all of them, or as many as complete the next part,
    /// whose plaintext it returns. Call again until it returns `None`; then all bytes have been
    /// taken.
    ///
    /// # Errors
    /// When a part does not authenticate. Later calls fail with the same error.
    pub fn push(&mut self, bytes: &mut &[u8]) -> Result<Option<&[u8]>, OpenError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        match self.push_unless_failed(bytes) {
            Ok(true) => Ok(Some(&self.plaintext)),
            Ok(false) => Ok(None),
            Err(error) => {
                self.failed = Some(error.clone());
                Err(error)
            }
        }
    }

    /// Whether a part has been opened.
    fn push_unless_failed(&mut self, bytes: &mut &[u8]) -> Result<bool, OpenError> {
        let part = self.digests.len() as u64;
        let part_size = self.named.header().part_size();
        let sealed_part = part_size.sealed_bytes() as usize;
        // "Before part i is opened as a full part, more than S(part_size) - 1 + F(i+1) bytes must
        // have arrived behind its start": were it the last, there would be fewer.
        let enough = sealed_part + longest_footer(part + 1) as usize;
        if self.held.capacity() < enough {
            self.held.reserve_exact(enough - self.held.len() + FOOTER_GROWTH_BYTES as usize);
        }
        let (taken, rest) = bytes.split_at(bytes.len().min(enough - self.held.len()));
        self.held.extend_from_slice(taken);
        *bytes = rest;
        if self.held.len() < enough {
            return Ok(false);
        }
        if part + 1 >= PARTS_MAX {
            let length = (part + 1) * part_size.bytes();
            return Err(FooterError::TooManyParts(TooManyParts(length)).into());
        }
        let buffer = std::mem::take(&mut self.plaintext);
        let mut reader = self.named.part_reader(part, part_size.bytes(), buffer);
        reader.push(self.held.get(..sealed_part).unwrap_or_default())?;
        let (plaintext, digest) = reader.finish()?;
        self.plaintext = plaintext;
        self.digests.push(digest);
        self.held.drain(..sealed_part);
        Ok(true)
    }

    /// Bytes of memory that it has asked for, used or not.
    #[cfg(test)]
    pub(super) fn memory_bytes(&self) -> usize {
        self.held.capacity() + self.plaintext.capacity() + self.digests.capacity() * Digest::BYTES
    }

    /// Ends the blob: checks the footer as [`Named::vouched_by`] and
    /// [`Vouched::not_older_than`](super::open::Vouched::not_older_than) do, compares the digests
    /// of the released parts with the footer's, and opens the rest.
    ///
    /// # Errors
    /// When any of this fails. The caller must then discard the plaintext that was released.
    pub fn finish(
        self,
        vouching: &Vouching<'_>,
        seen: Option<&Seen>,
    ) -> Result<PipeEnd, OpenError> {
        let Self { named, held, plaintext: mut buffer, digests, failed } = self;
        if let Some(error) = failed {
            return Err(error);
        }
        let footer_length = envelope::footer_length(&held).map_err(FooterError::Envelope)?;
        let footer_start = held.len().checked_sub(footer_length as usize);
        let stated = FooterError::Length { stated: footer_length, found: held.len() };
        let (mut sealed, footer) = held.split_at(footer_start.ok_or(stated)?);
        let trusted = named.vouched_by(footer, vouching)?.not_older_than(seen)?;
        let released = digests.len() as u64;
        for (part, digest) in (0..).zip(&digests) {
            if trusted.digest(part)? != *digest {
                return Err(PartError::DigestMismatch { part }.into());
            }
        }
        let layout = *trusted.layout();
        let mut rest = Vec::new();
        for part in released..layout.parts() {
            let length = layout.plain_part_len(part).map_or(0, sealed_len) as usize;
            let (bytes, behind) =
                sealed.split_at_checked(length).ok_or(PartError::Truncated { part })?;
            let mut opening = trusted.open_part(part, buffer)?;
            opening.push(bytes)?;
            let opened = opening.finish()?;
            rest.extend_from_slice(&opened);
            buffer = opened.into_buffer();
            sealed = behind;
        }
        if released >= layout.parts() {
            // A full part was released, so another had to follow.
            return Err(PartError::NoSuchPart { part: released, parts: layout.parts() }.into());
        }
        if !sealed.is_empty() {
            return Err(PartError::TooLong { part: layout.parts() - 1 }.into());
        }
        Ok(PipeEnd { rest, trusted })
    }
}

impl fmt::Debug for PipeOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PipeOpener")
            .field("released", &self.digests.len())
            .field("held", &self.held.len())
            .finish_non_exhaustive()
    }
}

/// Bytes that are reserved at once for a growing footer, which needs 32 bytes a part.
const FOOTER_GROWTH_BYTES: u64 = 65_536;

#[cfg(test)]
impl PipeOpener {
    /// As if `parts` had been released.
    pub(super) fn pretend_released(&mut self, parts: usize) {
        self.digests = vec![Digest::of(b""); parts];
    }
}

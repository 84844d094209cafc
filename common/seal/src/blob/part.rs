//! Opens one part of a blob (FORMAT 6) as it arrives, and releases the plaintext once the digest
//! matches the footer's.
//!
//! The ciphertext is hashed in pieces that are long enough for BLAKE3 to use the widest vector
//! instructions, and short enough to be in the cache when they are decrypted. Decryption goes from
//! the input straight into the output buffer.

use std::fmt;
use std::ops::Deref;

use thiserror::Error;
use zput_proto::digest::{Digest, Hasher};

use crate::aead::{Engine, Suite};
use crate::chunked::{ChunkError, InputKey, Opening, sealed_len};

/// Bytes that are hashed before they are decrypted, or encrypted before they are hashed. BLAKE3
/// hashes whole subtrees, so pieces begin at multiples of a power of two. Twice 256 KiB, sealed and
/// plain, fit an L2 cache of 1 MiB.
pub(super) const PIECE_BYTES: usize = 262_144;

/// What is wrong with a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PartError {
    /// The blob has fewer parts.
    #[error("there is no part {part}: the blob has {parts}")]
    NoSuchPart {
        /// Index that was asked for, from 0.
        part: u64,
        /// Number of parts.
        parts: u64,
    },
    /// There are fewer bytes than the part has.
    #[error("part {part} is truncated")]
    Truncated {
        /// Index of the part, from 0.
        part: u64,
    },
    /// There are more bytes than the part has.
    #[error("part {part} has bytes behind its end")]
    TooLong {
        /// Index of the part, from 0.
        part: u64,
    },
    /// The part's digest is not the one in the footer.
    #[error("part {part} is not the one that the footer vouches for")]
    DigestMismatch {
        /// Index of the part, from 0.
        part: u64,
    },
    /// A chunk of the part does not authenticate.
    #[error("part {part} does not open")]
    Chunk {
        /// Index of the part, from 0.
        part: u64,
        /// What is wrong with the chunk.
        source: ChunkError,
    },
}

/// `"part" || u64(i)`: the context of part `i`.
pub(super) fn context(part: u64) -> [u8; 12] {
    let mut context = *b"part\0\0\0\0\0\0\0\0";
    if let Some(number) = context.last_chunk_mut() {
        *number = part.to_be_bytes();
    }
    context
}

/// A part that is being received, made by [`Trusted::open_part`](super::open::Trusted::open_part).
///
/// Its plaintext cannot be had before [`finish`](Self::finish) has compared the digest:
///
/// ```compile_fail,E0599
/// fn release_early(part: zput_seal::blob::part::PartOpening) -> Vec<u8> {
///     part.into_buffer()
/// }
/// ```
#[derive(Debug)]
pub struct PartOpening {
    reader: PartReader,
    expected: Digest,
}

impl PartOpening {
    pub(super) const fn new(reader: PartReader, expected: Digest) -> Self {
        Self { reader, expected }
    }

    /// Takes the next bytes of the part, any number of them.
    ///
    /// # Errors
    /// When the bytes do not authenticate, or are more than the part has. Later calls fail with the
    /// same error.
    pub fn push(&mut self, ciphertext: &[u8]) -> Result<(), PartError> {
        self.reader.push(ciphertext)
    }

    /// Ends the part: compares its digest with the footer's.
    ///
    /// # Errors
    /// When bytes are missing, or the footer vouches for another part.
    pub fn finish(self) -> Result<OpenedPart, PartError> {
        let part = self.reader.part;
        let (plaintext, digest) = self.reader.finish()?;
        if digest == self.expected {
            Ok(OpenedPart { plaintext })
        } else {
            Err(PartError::DigestMismatch { part })
        }
    }
}

/// The plaintext of a part that the footer vouches for.
pub struct OpenedPart {
    plaintext: Vec<u8>,
}

impl OpenedPart {
    /// The plaintext. Pass the buffer to the next part as it is: an emptied buffer would have to be
    /// zeroed again.
    #[must_use]
    pub fn into_buffer(self) -> Vec<u8> {
        self.plaintext
    }
}

impl Deref for OpenedPart {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.plaintext
    }
}

impl fmt::Debug for OpenedPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenedPart({} bytes)", self.plaintext.len())
    }
}

/// Opens a part and computes its digest, which the caller compares.
pub(super) struct PartReader {
    part: u64,
    sealed_length: u64,
    received: u64,
    hasher: Hasher,
    opening: Opening,
    /// The output, as long as the part's plaintext.
    plaintext: Vec<u8>,
    written: usize,
    failed: Option<PartError>,
}

impl PartReader {
    /// A reader of part `part`, which has `plain_length` bytes of plaintext.
    pub(super) fn new(
        suite: Suite,
        engine: Engine,
        key: &InputKey,
        part: u64,
        plain_length: u64,
        buffer: Vec<u8>,
    ) -> Self {
        Self {
            part,
            sealed_length: sealed_len(plain_length),
            received: 0,
            hasher: Hasher::new(),
            opening: Opening::new(suite, engine, key, &context(part)),
            // A part has at most 16 MiB.
            plaintext: of_length(buffer, plain_length as usize),
            written: 0,
            failed: None,
        }
    }

    pub(super) fn push(&mut self, ciphertext: &[u8]) -> Result<(), PartError> {
        if self.failed.is_none() {
            self.failed = self.push_unless_failed(ciphertext).err();
        }
        self.failed.map_or(Ok(()), Err)
    }

    fn push_unless_failed(&mut self, ciphertext: &[u8]) -> Result<(), PartError> {
        let missing = self.sealed_length - self.received;
        if ciphertext.len() as u64 > missing {
            return Err(PartError::TooLong { part: self.part });
        }
        // Hashed up to the next multiple of PIECE_BYTES, decrypted up to the last full chunk before
        // it.
        let mut opened = ciphertext;
        let mut unhashed = ciphertext;
        while !unhashed.is_empty() {
            let to_boundary = PIECE_BYTES - (self.received % PIECE_BYTES as u64) as usize;
            let (piece, behind) = unhashed.split_at(to_boundary.min(unhashed.len()));
            self.hasher.update(piece);
            self.received += piece.len() as u64;
            unhashed = behind;
            let hashed = opened.len() - unhashed.len();
            let (chunks, behind) = opened.split_at(self.opening.reach(hashed));
            self.decrypt(chunks)?;
            opened = behind;
        }
        self.decrypt(opened)
    }

    fn decrypt(&mut self, ciphertext: &[u8]) -> Result<(), PartError> {
        let room = self.plaintext.get_mut(self.written..).unwrap_or_default();
        let written = self.opening.push(ciphertext, room);
        self.written += written.map_err(|source| PartError::Chunk { part: self.part, source })?;
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<(Vec<u8>, Digest), PartError> {
        let part = self.part;
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.received != self.sealed_length {
            return Err(PartError::Truncated { part });
        }
        let room = self.plaintext.get_mut(self.written..).unwrap_or_default();
        self.opening.finish(room).map_err(|source| PartError::Chunk { part, source })?;
        Ok((self.plaintext, self.hasher.finish()))
    }
}

impl fmt::Debug for PartReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartReader")
            .field("part", &self.part)
            .field("received", &self.received)
            .finish_non_exhaustive()
    }
}

/// Makes a buffer of `length` bytes from `buffer`. Only bytes after its end are zeroed.
pub(super) fn of_length(mut buffer: Vec<u8>, length: usize) -> Vec<u8> {
    if buffer.capacity() < length {
        return vec![0; length];
    }
    buffer.resize(length, 0);
    buffer
}

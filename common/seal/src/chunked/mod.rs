//! Messages of the C2SP chunked encryption scheme (<https://c2sp.org/chunked-encryption>).
//!
//! ```text
//! message = salt[24] || commitment[32] || chunk 0 || tag 0 || chunk 1 || tag 1 || …
//! key[32] || base nonce[12] || commitment[32] = HKDF-Expand-SHA-512(input key,
//!     "c2sp.org/chunked-encryption@v1+" || aead || 0x00 || salt || context)
//! ```
//!
//! Every chunk holds 16 KiB of plaintext except the last, which is always shorter and may be empty.
//! So a full chunk is never the last one, and a reader knows the last without a flag or the length.
//!
//! [`seal`] and [`open`] take whole messages. [`Sealing`] and [`Opening`] take them piece by piece,
//! and copy no byte that they can encrypt or decrypt straight into the output.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use rand::CryptoRng;
use sha2::Sha512;
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::Zeroizing;
use zput_proto::secret::Secret;

pub use zput_proto::envelope::chunks::{
    CHUNK_BYTES, COMMITMENT_BYTES, PREFIX_BYTES, SALT_BYTES, SEALED_CHUNK_BYTES, plain_len,
    sealed_len,
};

use crate::aead::{ChunkCipher, Engine, EngineFailure, KEY_BYTES, NONCE_BYTES, Suite, TAG_BYTES};

#[cfg(test)]
mod tests;

/// "The message MUST NOT exceed 2³⁸ chunks."
pub const CHUNKS_MAX: u64 = 1 << 38;

/// An input key: 32 uniformly random bytes.
#[derive(Clone, Debug)]
pub struct InputKey(Secret<KEY_BYTES>);

impl InputKey {
    /// Takes `bytes` as a key. They must come from a random generator or a key derivation.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self(Secret::from_bytes(bytes))
    }
}

/// Why a message cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ChunkError {
    /// The message ends inside its prefix, inside a tag, or without the short last chunk.
    #[error("the message is truncated")]
    Truncated,
    /// The key, the context, the salt or the commitment is not the one it was sealed with.
    #[error("the key does not belong to this message")]
    CommitmentMismatch,
    /// A chunk does not authenticate at its position. A truncated chunk gives the same error.
    #[error("chunk {chunk} is corrupt")]
    ChunkCorrupt {
        /// Index of the chunk, from 0.
        chunk: u64,
    },
    /// The message is longer than the caller's buffer, or than 2³⁸ chunks.
    #[error("the message is too long")]
    TooLong,
    /// The cipher engine failed.
    #[error(transparent)]
    Engine(#[from] EngineFailure),
}

/// Why a message could not be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SealMessageError {
    /// The message would have more than 2³⁸ chunks.
    #[error("the message is too long")]
    TooLong,
    /// The cipher engine failed.
    #[error(transparent)]
    Engine(#[from] EngineFailure),
}

/// Seals `plaintext` and appends the message to `out`.
///
/// # Errors
/// When the engine fails. The caller must then discard the bytes that were appended.
pub fn seal(
    suite: Suite,
    engine: Engine,
    key: &InputKey,
    context: &[u8],
    plaintext: &[u8],
    rng: &mut dyn CryptoRng,
    out: &mut Vec<u8>,
) -> Result<(), SealMessageError> {
    let start = out.len();
    let (mut sealing, prefix) = Sealing::begin(suite, engine, key, context, rng)?;
    out.extend_from_slice(&prefix);
    out.resize(start + PREFIX_BYTES + body_len(plaintext.len()), 0);
    let mut rest = out.get_mut(start + PREFIX_BYTES..).unwrap_or_default();
    let mut chunks = plaintext.chunks_exact(CHUNK_BYTES);
    for chunk in &mut chunks {
        let (sealed, behind) = rest.split_at_mut(SEALED_CHUNK_BYTES);
        sealing.seal_chunk(chunk, sealed)?;
        rest = behind;
    }
    sealing.seal_chunk(chunks.remainder(), rest)
}

/// Opens a whole message.
///
/// # Errors
/// When the message was not sealed with this suite, key and context, or was changed since.
pub fn open(
    suite: Suite,
    engine: Engine,
    key: &InputKey,
    context: &[u8],
    message: &[u8],
) -> Result<Zeroizing<Vec<u8>>, ChunkError> {
    let room = plain_len(message.len() as u64).ok_or(ChunkError::Truncated);
    // The commitment is checked even if the length is not valid, since the first error counts.
    let room = room.map_or(message.len(), |plain| plain as usize);
    let mut plaintext = Zeroizing::new(vec![0; room]);
    let mut opening = Opening::new(suite, engine, key, context);
    let written = opening.push(message, &mut plaintext)?;
    let last = opening.finish(plaintext.get_mut(written..).unwrap_or_default())?;
    plaintext.truncate(written + last);
    Ok(plaintext)
}

/// The keys that are derived from a message's salt and context.
struct Derived {
    cipher: Box<dyn ChunkCipher>,
    base_nonce: [u8; NONCE_BYTES],
    commitment: [u8; COMMITMENT_BYTES],
}

impl Derived {
    fn new(
        suite: Suite,
        engine: Engine,
        key: &InputKey,
        salt: &[u8; SALT_BYTES],
        context: &[u8],
    ) -> Result<Self, EngineFailure> {
        let info = [LABEL, suite.name().as_bytes(), &[0], salt, context];
        let mut okm = Zeroizing::new([0; KEY_BYTES + NONCE_BYTES + COMMITMENT_BYTES]);
        expand(key.0.as_bytes(), &info, okm.as_mut())?;
        let (cipher_key, rest) = okm.split_first_chunk().ok_or(EngineFailure)?;
        let (base_nonce, rest) = rest.split_first_chunk().ok_or(EngineFailure)?;
        let commitment = rest.first_chunk().ok_or(EngineFailure)?;
        let cipher = engine.cipher(suite, cipher_key)?;
        Ok(Self { cipher, base_nonce: *base_nonce, commitment: *commitment })
    }

    /// "The XOR of the base nonce and the chunk number as a big-endian integer as wide as the base
    /// nonce"; `None` from 2³⁸ on.
    fn nonce(&self, chunk: u64) -> Option<[u8; NONCE_BYTES]> {
        if chunk >= CHUNKS_MAX {
            return None;
        }
        let mut nonce = self.base_nonce;
        for (byte, counter) in nonce.iter_mut().rev().zip(chunk.to_be_bytes().iter().rev()) {
            *byte ^= counter;
        }
        Some(nonce)
    }
}

/// HKDF-Expand with SHA-512 (RFC 5869, 2.3) over the concatenation of `info`. The `hkdf` crate's
/// refuses a key shorter than the hash; the scheme's input keys are as long as the AEAD's, which is
/// shorter.
fn expand(prk: &[u8], info: &[&[u8]], okm: &mut [u8]) -> Result<(), EngineFailure> {
    let mut previous = Zeroizing::new([0_u8; 64]);
    for (index, block) in okm.chunks_mut(64).enumerate() {
        let mut mac = Hmac::<Sha512>::new_from_slice(prk).map_err(|_| EngineFailure)?;
        if index > 0 {
            mac.update(&*previous);
        }
        for piece in info {
            mac.update(piece);
        }
        mac.update(&[u8::try_from(index + 1).map_err(|_| EngineFailure)?]);
        previous.copy_from_slice(&mac.finalize().into_bytes());
        block.copy_from_slice(previous.get(..block.len()).unwrap_or_default());
    }
    Ok(())
}

/// Plaintext and tags of a message of `plain` bytes, without the prefix.
const fn body_len(plain: usize) -> usize {
    plain + TAG_BYTES * (plain / CHUNK_BYTES + 1)
}

/// A message that is being sealed.
pub struct Sealing {
    derived: Derived,
    chunk: u64,
}

impl Sealing {
    /// Draws a salt and returns the prefix that must stand in front of the chunks.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn begin(
        suite: Suite,
        engine: Engine,
        key: &InputKey,
        context: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<(Self, [u8; PREFIX_BYTES]), EngineFailure> {
        let mut salt = [0; SALT_BYTES];
        rng.fill_bytes(&mut salt);
        let derived = Derived::new(suite, engine, key, &salt, context)?;
        let mut prefix = [0; PREFIX_BYTES];
        let (front, back) = prefix.split_at_mut(SALT_BYTES);
        front.copy_from_slice(&salt);
        back.copy_from_slice(&derived.commitment);
        Ok((Self { derived, chunk: 0 }, prefix))
    }

    /// Seals the next chunk into `sealed`, which has [`TAG_BYTES`] more. All chunks but the last
    /// have [`CHUNK_BYTES`]; the last has fewer, and the caller seals nothing after it.
    ///
    /// # Errors
    /// After the last possible chunk, when `sealed` has the wrong length, and when the engine
    /// fails.
    pub fn seal_chunk(&mut self, plain: &[u8], sealed: &mut [u8]) -> Result<(), SealMessageError> {
        let nonce = self.derived.nonce(self.chunk).ok_or(SealMessageError::TooLong)?;
        let (ciphertext, tag) = sealed.split_last_chunk_mut::<TAG_BYTES>().ok_or(EngineFailure)?;
        *tag = self.derived.cipher.seal(&nonce, &[], plain, ciphertext)?;
        self.chunk += 1;
        Ok(())
    }
}

impl fmt::Debug for Sealing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealing").field("chunk", &self.chunk).finish_non_exhaustive()
    }
}

/// A message that is being opened, in pieces of any length. After an error every call returns that
/// error again.
pub struct Opening {
    parameters: Parameters,
    /// Known once the prefix has been read and its commitment checked.
    derived: Option<Derived>,
    chunk: u64,
    /// The prefix, or a chunk, of which only a part has arrived.
    partial: Partial,
    failed: Option<ChunkError>,
}

impl Opening {
    /// An opening of which nothing has been read.
    #[must_use]
    pub fn new(suite: Suite, engine: Engine, key: &InputKey, context: &[u8]) -> Self {
        let parameters = Parameters { suite, engine, key: key.clone(), context: context.to_vec() };
        Self { parameters, derived: None, chunk: 0, partial: Partial::new(), failed: None }
    }

    /// How many of the next `available` bytes reach exactly to the end of a full chunk. Bytes that
    /// are pushed in such pieces are decrypted without an intermediate copy.
    #[must_use]
    pub fn reach(&self, available: usize) -> usize {
        let wanted = if self.derived.is_none() { PREFIX_BYTES } else { SEALED_CHUNK_BYTES };
        let missing = if self.derived.is_some() && self.partial.is_empty() {
            0
        } else {
            wanted.saturating_sub(self.partial.bytes().len())
        };
        match available.checked_sub(missing) {
            Some(behind) => available - behind % SEALED_CHUNK_BYTES,
            None => 0,
        }
    }

    /// Takes the next bytes of the message and writes the plaintext of each chunk that they
    /// complete to the front of `plaintext`; returns how many bytes those are. `plaintext` must
    /// have room for them: whole chunks of 16 KiB, at most one more than `sealed` holds.
    ///
    /// # Errors
    /// When the message does not authenticate so far, or `plaintext` is too short.
    pub fn push(&mut self, sealed: &[u8], plaintext: &mut [u8]) -> Result<usize, ChunkError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let pushed = self.push_unless_failed(sealed, plaintext);
        self.failed = pushed.err();
        pushed
    }

    fn push_unless_failed(
        &mut self,
        mut sealed: &[u8],
        plaintext: &mut [u8],
    ) -> Result<usize, ChunkError> {
        if self.derived.is_none() {
            let Some(prefix) = self.partial.fill(&mut sealed, PREFIX_BYTES) else { return Ok(0) };
            self.derived = Some(self.parameters.check_prefix(prefix)?);
            self.partial.clear();
        }
        let Some(derived) = &self.derived else { return Ok(0) };
        let mut chunks = plaintext.chunks_exact_mut(CHUNK_BYTES);
        let mut written = 0;
        while !sealed.is_empty() {
            // A chunk that is whole in the input is decrypted from there.
            let chunk = if self.partial.is_empty() && sealed.len() >= SEALED_CHUNK_BYTES {
                let (chunk, rest) = sealed.split_at(SEALED_CHUNK_BYTES);
                sealed = rest;
                chunk
            } else {
                match self.partial.fill(&mut sealed, SEALED_CHUNK_BYTES) {
                    Some(chunk) => chunk,
                    None => break,
                }
            };
            let room = chunks.next().ok_or(ChunkError::TooLong)?;
            open_chunk(derived, self.chunk, chunk, room)?;
            self.partial.clear();
            self.chunk += 1;
            written += CHUNK_BYTES;
        }
        Ok(written)
    }

    /// Ends the message: opens its last chunk to the front of `plaintext` and returns its length.
    ///
    /// # Errors
    /// When there is no short last chunk, when it does not authenticate, or when an earlier call
    /// failed.
    pub fn finish(self, plaintext: &mut [u8]) -> Result<usize, ChunkError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let derived = self.derived.as_ref().ok_or(ChunkError::Truncated)?;
        // "The implementation MUST check that the final chunk is shorter than 16 KiB": a full one
        // has been opened by `push` already, so what is left is short or missing.
        let last = self.partial.bytes();
        let length = last.len().checked_sub(TAG_BYTES).ok_or(ChunkError::Truncated)?;
        let room = plaintext.get_mut(..length).ok_or(ChunkError::TooLong)?;
        open_chunk(derived, self.chunk, last, room)?;
        Ok(length)
    }
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening").field("chunk", &self.chunk).finish_non_exhaustive()
    }
}

/// The parameters of an [`Opening`], kept until the salt arrives.
struct Parameters {
    suite: Suite,
    engine: Engine,
    key: InputKey,
    context: Vec<u8>,
}

impl Parameters {
    fn check_prefix(&self, prefix: &[u8]) -> Result<Derived, ChunkError> {
        let (salt, commitment) =
            prefix.split_first_chunk::<SALT_BYTES>().ok_or(ChunkError::Truncated)?;
        let derived = Derived::new(self.suite, self.engine, &self.key, salt, &self.context)?;
        // "Implementations MUST check the commitment matches the derived value before continuing."
        if bool::from(derived.commitment.ct_eq(commitment)) {
            Ok(derived)
        } else {
            Err(ChunkError::CommitmentMismatch)
        }
    }
}

fn open_chunk(
    derived: &Derived,
    chunk: u64,
    sealed: &[u8],
    plaintext: &mut [u8],
) -> Result<(), ChunkError> {
    let nonce = derived.nonce(chunk).ok_or(ChunkError::TooLong)?;
    let (ciphertext, tag) = sealed.split_last_chunk().ok_or(ChunkError::Truncated)?;
    let opened = derived.cipher.open(&nonce, &[], ciphertext, tag, plaintext);
    opened.map_err(|_| ChunkError::ChunkCorrupt { chunk })
}

/// Bytes that wait for the rest of their prefix or chunk.
struct Partial {
    bytes: Vec<u8>,
}

impl Partial {
    fn new() -> Self {
        Self { bytes: Vec::with_capacity(SEALED_CHUNK_BYTES) }
    }

    /// Moves bytes from the front of `input` until `wanted` are held; returns them once they are.
    fn fill(&mut self, input: &mut &[u8], wanted: usize) -> Option<&[u8]> {
        let missing = wanted.saturating_sub(self.bytes.len()).min(input.len());
        let (taken, rest) = input.split_at(missing);
        self.bytes.extend_from_slice(taken);
        *input = rest;
        (self.bytes.len() == wanted).then_some(&self.bytes)
    }

    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn clear(&mut self) {
        self.bytes.clear();
    }
}

const LABEL: &[u8] = b"c2sp.org/chunked-encryption@v1+";

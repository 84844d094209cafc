//! The lengths of messages of the C2SP chunked encryption scheme
//! (<https://c2sp.org/chunked-encryption>), which need no key.
//!
//! ```text
//! message = salt[24] || commitment[32] || chunk 0 || tag 0 || chunk 1 || tag 1 || …
//! ```

/// Bytes of plaintext in a full chunk. The last chunk has fewer, and may have none.
pub const CHUNK_BYTES: usize = 16_384;
/// Bytes of the tag after each chunk.
pub const TAG_BYTES: usize = 16;
/// Bytes of a full chunk and its tag.
pub const SEALED_CHUNK_BYTES: usize = CHUNK_BYTES + TAG_BYTES;
/// Bytes of the salt that a message begins with.
pub const SALT_BYTES: usize = 24;
/// Bytes of the commitment after the salt.
pub const COMMITMENT_BYTES: usize = 32;
/// Bytes of salt and commitment.
pub const PREFIX_BYTES: usize = SALT_BYTES + COMMITMENT_BYTES;

/// Bytes of the message that seals `plain` bytes of plaintext, which must be below 2⁶³.
#[must_use]
pub const fn sealed_len(plain: u64) -> u64 {
    PREFIX_BYTES as u64 + plain + TAG_BYTES as u64 * (plain / CHUNK_BYTES as u64 + 1)
}

/// Bytes of plaintext in a message of `sealed` bytes; `None` when no message has that length.
#[must_use]
pub const fn plain_len(sealed: u64) -> Option<u64> {
    let Some(body) = sealed.checked_sub(PREFIX_BYTES as u64) else { return None };
    let (full, last) = (body / SEALED_CHUNK_BYTES as u64, body % SEALED_CHUNK_BYTES as u64);
    match last.checked_sub(TAG_BYTES as u64) {
        Some(last) => Some(full * CHUNK_BYTES as u64 + last),
        None => None,
    }
}

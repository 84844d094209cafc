//! Options and result of a get.

use std::ops::Range;

use zput_proto::{keys::WriterPublicKey, message::Version};
use zput_seal::blob::metadata::Metadata;

use crate::error::Error;

/// A range of the plaintext: from `start` to before `end`, or to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    /// Offset of the first byte.
    pub start: u64,
    /// Offset after the last byte; `None` for the end of the blob.
    pub end: Option<u64>,
}

/// Options of a get.
#[derive(Clone, Copy, Debug, Default)]
pub struct GetOptions {
    /// The version to get; `None` for the current one. A version that was asked for by its number
    /// may be an old one, so the rollback guard is neither consulted nor advanced for it.
    pub version: Option<Version>,
    /// Get only these bytes; `None` for all.
    pub range: Option<ByteRange>,
    /// Accept a blob that is older than one seen before, and record it as the newest.
    pub allow_rollback: bool,
}

/// The result of a get.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GetReceipt {
    /// The version that was got.
    pub version: Version,
    /// The blob's generation.
    pub generation: u64,
    /// Bytes that were written to the sink.
    pub length: u64,
    /// Name, time and mode as the writer stated them. The name may differ from the one asked for.
    pub metadata: Metadata,
    /// The key that signed the blob; `None` if it is not signed.
    pub writer: Option<WriterPublicKey>,
    /// SHA-256 of the whole plaintext as the writer stated it; `None` if it did not.
    pub sha256: Option<[u8; 32]>,
}

/// The part of `range` that lies within `total` bytes.
///
/// # Errors
/// [`Error::Range`] when it begins after the end.
pub(super) fn clamp_range(range: Option<ByteRange>, total: u64) -> Result<Range<u64>, Error> {
    let Some(ByteRange { start, end }) = range else { return Ok(0..total) };
    if start > total {
        return Err(Error::Range { offset: start, length: total });
    }
    // RFC 9110, 14.1.2, has the same rule for HTTP ranges: one that ends after the end is cut
    // there.
    Ok(start..end.map_or(total, |end| end.min(total)).max(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A byte range is cut at the end of the blob, and a start beyond the end is an error.
    #[test]
    fn clamp_range_ends_at_the_blob_end() {
        let range = |start, end| clamp_range(Some(ByteRange { start, end }), 10).ok();
        assert_eq!(range(0, Some(10)), Some(0..10));
        assert_eq!(range(3, None), Some(3..10));
        assert_eq!(range(10, None), Some(10..10));
        assert_eq!(range(0, Some(11)), Some(0..10));
        assert_eq!(range(9, Some(u64::MAX)), Some(9..10));
        assert_eq!(range(10, Some(11)), Some(10..10));
        assert_eq!(range(11, None), None);
        assert_eq!(range(11, Some(12)), None);
        assert_eq!(range(u64::MAX, Some(u64::MAX)), None);
        assert_eq!(clamp_range(None, 10).ok(), Some(0..10));
    }
}

//! The slices of an uploaded body, by length and digest, against what the front says (FORMAT 14).

use thiserror::Error;

use super::front::Front;
use crate::digest::Digest;
use crate::envelope::Layout;

/// How the slices of a body differ from what header, front and tail state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SlicesError {
    /// There are fewer slices than parts.
    #[error("part {part} is missing: each part is one slice")]
    Missing {
        /// Index of the part, from 0.
        part: u64,
    },
    /// A part's length is not that of its slice.
    #[error(
        "part {part} has {sealed} bytes and came as a slice of {length}: each part is one slice"
    )]
    PartLength {
        /// Index of the part, from 0.
        part: u64,
        /// Bytes of the part, by header and tail.
        sealed: u64,
        /// Bytes of the slice.
        length: u32,
    },
    /// The front's digest of a part is not that of its slice.
    #[error("the footer has another digest for part {part} than its slice")]
    PartDigest {
        /// Index of the part, from 0.
        part: u64,
    },
    /// The slices after the parts are not as long as the front.
    #[error("the slices after the parts do not end where the front of {front} bytes ends")]
    FrontLength {
        /// Bytes of the front.
        front: usize,
    },
    /// A slice after the parts is not this stretch of the front.
    #[error("the slice after byte {offset} of the front has another digest")]
    FrontDigest {
        /// Where in the front the slice begins.
        offset: usize,
    },
}

/// Compares the slices of an upload with the blob's layout and front: each part is one slice, and
/// the rest are the front, in one piece or more.
///
/// # Errors
/// Says which slice differs.
pub(super) fn check_slices(
    layout: Layout,
    front: &Front<'_>,
    slices: impl IntoIterator<Item = (u32, Digest)>,
) -> Result<(), SlicesError> {
    let mut slices = slices.into_iter();
    for (part, expected) in (0..).zip(front.digests()) {
        let (length, digest) = slices.next().ok_or(SlicesError::Missing { part })?;
        // There are as many digests as the layout has parts.
        let sealed = layout.sealed_part_len(part).unwrap_or_default();
        if sealed != u64::from(length) {
            return Err(SlicesError::PartLength { part, sealed, length });
        }
        if digest != expected {
            return Err(SlicesError::PartDigest { part });
        }
    }
    let wrong_length = SlicesError::FrontLength { front: front.as_bytes().len() };
    let mut offset = 0;
    let mut rest = front.as_bytes();
    for (length, digest) in slices {
        let (slice, behind) = rest.split_at_checked(length as usize).ok_or(wrong_length)?;
        if Digest::of(slice) != digest {
            return Err(SlicesError::FrontDigest { offset });
        }
        offset += slice.len();
        rest = behind;
    }
    if rest.is_empty() { Ok(()) } else { Err(wrong_length) }
}

//! Bounds that several modules share.

use zput_proto::envelope::PartSize;

/// Bytes of plaintext in a full part: 16 MiB.
pub const PART_BYTES: usize = PartSize::MAX.bytes() as usize;
/// Slice size in bytes of what has no parts: a footer or an unsealed object.
pub(crate) const SLICE_BYTES: usize = 16 * 1024 * 1024;
/// Most objects, or versions, in a listing, so that it fits into memory.
pub(crate) const LISTED_MAX: usize = 1 << 22;

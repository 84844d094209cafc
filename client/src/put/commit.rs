//! Commits: one that the server has confirmed, and one whose answer was lost.

use zput_proto::message::{ClaimedSlice, HeaderSlice, Version};
use zput_seal::blob::open::Seen;

/// A version that the server has made durable.
pub(super) struct Committed {
    pub(super) version: Version,
    pub(super) seen: Seen,
    /// Length of the plaintext in bytes.
    pub(super) length: u64,
}

/// An upload whose Commit was sent and not answered.
pub(super) struct InDoubtCommit {
    pub(super) header: HeaderSlice,
    /// All slices after the header, the footer's included.
    pub(super) slices: Vec<ClaimedSlice>,
    pub(super) seen: Seen,
    /// Length of the plaintext in bytes.
    pub(super) length: u64,
}

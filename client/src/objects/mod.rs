//! What is done with the blobs of a vault beside putting and getting their contents.

pub(crate) mod list;
pub(crate) mod migrate;
pub(crate) mod stat;

mod remove;
mod restore;
mod transfer;
mod verify;
mod versions;

//! The AEADs of the two suites behind one seam.
//!
//! A [`Suite`] says which AEAD a blob uses; an [`Engine`] says whose code computes it. Both engines give
//! the same bytes: the tests hold them against each other and against published vectors.

#[cfg(feature = "aws-lc")]
mod awslc;
mod cipher;
mod engine;
mod rustcrypto;
#[cfg(test)]
mod tests;

pub use zput_proto::envelope::Suite;

pub use cipher::{ChunkCipher, EngineFailure, KEY_BYTES, NONCE_BYTES, TAG_BYTES, TagMismatch};
pub use engine::Engine;

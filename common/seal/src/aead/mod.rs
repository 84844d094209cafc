//! The AEADs of the two suites, and their implementations.
//!
//! A [`Suite`] names the AEAD of a blob; an [`Engine`] names the implementation that computes it.
//! Both engines give the same bytes: the tests compare them with each other and with published
//! vectors.

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

//! Keys of messages: what charters and kits seal under one key (FORMAT 1).

use rand::CryptoRng;
use zeroize::Zeroizing;
use zput_proto::secret::Secret;

use crate::aead::{Engine, Suite};
use crate::chunked::{self, ChunkError, InputKey, SealMessageError};

/// FORMAT 1: "in charters, key files and kits it is that of suite 2".
const SUITE: Suite = Suite::ChaCha20Poly1305;
/// Charters and kits are small: the engine that is always compiled in seals them.
const ENGINE: Engine = Engine::RustCrypto;

/// Defines the type of a key that seals messages. A type for each use, so that one key cannot be
/// taken for another.
macro_rules! message_key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// It is zeroized on drop, never shown by `Debug`, and compared in constant time.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name(pub(super) zput_proto::secret::Secret<32>);

        impl $name {
            /// Seals `plaintext` as a message of suite 2, with a fresh salt.
            ///
            /// # Errors
            /// When the engine fails.
            pub fn seal(
                &self,
                context: &[u8],
                plaintext: &[u8],
                rng: &mut dyn rand::CryptoRng,
            ) -> Result<Vec<u8>, $crate::chunked::SealMessageError> {
                super::message_key::seal(&self.0, context, plaintext, rng)
            }

            /// Opens a message that was sealed under this key with this `context`.
            ///
            /// # Errors
            /// When it was sealed under another key or with another context, or was changed since.
            pub fn open(
                &self,
                context: &[u8],
                message: &[u8],
            ) -> Result<zeroize::Zeroizing<Vec<u8>>, $crate::chunked::ChunkError> {
                super::message_key::open(&self.0, context, message)
            }
        }
    };
}
pub(super) use message_key;

pub(super) fn seal(
    key: &Secret<32>,
    context: &[u8],
    plaintext: &[u8],
    rng: &mut dyn CryptoRng,
) -> Result<Vec<u8>, SealMessageError> {
    let key = InputKey::from_bytes(*key.as_bytes());
    let mut message = Vec::new();
    chunked::seal(SUITE, ENGINE, &key, context, plaintext, rng, &mut message)?;
    Ok(message)
}

pub(super) fn open(
    key: &Secret<32>,
    context: &[u8],
    message: &[u8],
) -> Result<Zeroizing<Vec<u8>>, ChunkError> {
    chunked::open(SUITE, ENGINE, &InputKey::from_bytes(*key.as_bytes()), context, message)
}

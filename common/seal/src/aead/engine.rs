//! The implementations of the AEADs.

use zput_proto::envelope::Suite;

#[cfg(feature = "aws-lc")]
use super::awslc;
use super::cipher::{ChunkCipher, EngineFailure, KEY_BYTES};
use super::rustcrypto;

/// An implementation of the AEADs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Engine {
    /// RustCrypto, pure Rust and always compiled in: the reference.
    RustCrypto,
    /// aws-lc, several times faster on bulk data.
    #[cfg(feature = "aws-lc")]
    AwsLc,
}

impl Engine {
    /// The engines that are compiled in.
    #[cfg(feature = "aws-lc")]
    pub const ALL: &'static [Self] = &[Self::RustCrypto, Self::AwsLc];
    /// The engines that are compiled in.
    #[cfg(not(feature = "aws-lc"))]
    pub const ALL: &'static [Self] = &[Self::RustCrypto];

    /// A cipher of `suite` under `key`.
    ///
    /// # Errors
    /// When the engine refuses the key. No key of 32 bytes gives it a reason to.
    pub fn cipher(
        self,
        suite: Suite,
        key: &[u8; KEY_BYTES],
    ) -> Result<Box<dyn ChunkCipher>, EngineFailure> {
        Ok(match self {
            Self::RustCrypto => rustcrypto::cipher(suite, key),
            #[cfg(feature = "aws-lc")]
            Self::AwsLc => Box::new(awslc::Cipher::new(suite, key)?),
        })
    }
}

impl Default for Engine {
    /// The fastest engine that is compiled in.
    fn default() -> Self {
        #[cfg(feature = "aws-lc")]
        return Self::AwsLc;
        #[cfg(not(feature = "aws-lc"))]
        return Self::RustCrypto;
    }
}

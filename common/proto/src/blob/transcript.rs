//! The transcript of a blob: what file MAC, vault MAC and signature are over (FORMAT 7).

use std::fmt;

use sha2::{Digest, Sha512};

use super::header::Header;
use super::tail::TailFields;
use crate::keys::{AlgorithmError, Signature, SignatureLabel, SigningPublicKey};

/// 64 bytes that stand for header and tail, but for the recipients of the header.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Transcript([u8; Transcript::BYTES]);

impl Transcript {
    /// Length of a transcript.
    pub const BYTES: usize = 64;

    /// The transcript of a blob with this header and tail.
    ///
    /// ```text
    /// transcript[64] = SHA-512("zput/v2/transcript" 00
    ///     || magic || version || core                                             (of the header)
    ///     || total_length || body_digest || certificate_length || certificate)    (of the tail)
    /// ```
    #[must_use]
    pub fn of(header: &Header, tail: &TailFields) -> Self {
        let certificate = tail.certificate_bytes();
        // A certificate has at most 8,192 bytes.
        let length = u16::try_from(certificate.len()).unwrap_or(u16::MAX);
        let mut hash = Sha512::new();
        hash.update(b"zput/v2/transcript\0");
        hash.update(header.magic_and_version());
        hash.update(header.core());
        hash.update(tail.total_length.to_be_bytes());
        hash.update(tail.body_digest.as_bytes());
        hash.update(length.to_be_bytes());
        hash.update(certificate);
        Self(hash.finalize().into())
    }

    /// The 64 bytes of the transcript.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// The bytes that the writer signs.
    #[must_use]
    pub fn to_sign(&self) -> Vec<u8> {
        SignatureLabel::Writer.input(&[&self.0])
    }

    /// Verifies the signature of the blob's writer.
    ///
    /// # Errors
    /// When it does not hold.
    pub fn verify(
        &self,
        writer: &SigningPublicKey,
        signature: &Signature,
    ) -> Result<(), AlgorithmError> {
        writer.verify(SignatureLabel::Writer, &[&self.0], signature)
    }
}

impl fmt::Debug for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Transcript({})", hex::encode(self.0))
    }
}

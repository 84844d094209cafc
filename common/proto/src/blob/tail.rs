//! The tail of a footer, which is read from its own end (FORMAT 7).

use thiserror::Error;

use super::body_digest::BodyDigest;
use super::front::FRONT_MIN_BYTES;
use crate::cursor::Cursor;
use crate::envelope::{FOOTER_MAGIC, Layout, PartSize, TooManyParts};
use crate::keys::{AlgorithmError, Signature};
use crate::limits::{CERTIFICATE_MAX_BYTES, FRONT_MAX_BYTES, SIGNATURE_MAX_BYTES};
use crate::vault::{Certificate, CertificateError};

/// Why bytes are not a tail, or do not end with one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TailError {
    /// There are too few bytes to tell.
    #[error("the footer is cut off")]
    Truncated,
    /// The bytes do not end as a footer does: it is truncated, or something follows it.
    #[error("the object does not end with a footer")]
    NoFooter,
    /// No tail has this length.
    #[error("the tail cannot be {0} bytes long")]
    TailLength(u16),
    /// No footer with this tail has this length.
    #[error("the footer cannot be {0} bytes long")]
    FooterLength(u32),
    /// The number of bytes is not the length that the tail states.
    #[error("the tail says that it has {stated} bytes, and {found} are here")]
    Length {
        /// The tail's `tail_length`.
        stated: u16,
        /// Number of bytes that were given.
        found: usize,
    },
    /// The fields do not end where the tail ends.
    #[error("the tail's fields do not fill it exactly")]
    Fields,
    /// The total length is more than a blob can hold, whatever its part size.
    #[error(transparent)]
    TooManyParts(#[from] TooManyParts),
    /// The length of the certificate has bit 15 set, which stands for something else.
    #[error("a certificate of length {0:#06x}, which is not known here: a newer program made it")]
    ReservedCertificate(u16),
    /// The certificate is refused.
    #[error("the certificate in the tail is refused")]
    Certificate(#[source] CertificateError),
    /// The certificate is of a device that may not write.
    #[error("the certificate in the tail has no writer's key")]
    NoWriter,
    /// The signature is refused.
    #[error("the signature in the tail is refused")]
    Signature(#[source] AlgorithmError),
    /// A certificate without vault MAC and signature, or these without a certificate.
    #[error("a tail has a certificate exactly if it has a vault's MAC and a signature")]
    Unsealed,
}

/// The lengths that a tail ends with, which fit each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TailEnd {
    tail_length: u16,
    front_length: u32,
}

impl TailEnd {
    /// Bytes of an object's end that [`parse`](Self::parse) needs.
    pub const BYTES: usize = 2 + 4 + FOOTER_MAGIC.len();

    /// The lengths at the end of `bytes`, which have at least [`BYTES`](Self::BYTES).
    ///
    /// # Errors
    /// When this is not the end of a blob.
    pub fn parse(bytes: &[u8]) -> Result<Self, TailError> {
        let (before, magic) = bytes.split_last_chunk().ok_or(TailError::Truncated)?;
        if *magic != FOOTER_MAGIC {
            return Err(TailError::NoFooter);
        }
        let (before, footer_length) = before.split_last_chunk().ok_or(TailError::Truncated)?;
        let tail_length = before.last_chunk().ok_or(TailError::Truncated)?;
        let tail_length = u16::from_be_bytes(*tail_length);
        let footer_length = u32::from_be_bytes(*footer_length);
        if !(TAIL_BARE_BYTES..=TAIL_LONGEST_BYTES).contains(&tail_length.into()) {
            return Err(TailError::TailLength(tail_length));
        }
        match footer_length.checked_sub(tail_length.into()) {
            Some(front) if (FRONT_MIN_BYTES..=FRONT_MAX_BYTES).contains(&(front as usize)) => {
                Ok(Self { tail_length, front_length: front })
            }
            _ => Err(TailError::FooterLength(footer_length)),
        }
    }

    /// Bytes of the whole tail.
    #[must_use]
    pub const fn tail_length(&self) -> u16 {
        self.tail_length
    }

    /// Bytes of the footer before the tail.
    #[must_use]
    pub const fn front_length(&self) -> u32 {
        self.front_length
    }
}

/// What a tail says of the body and its writer: its part of the transcript.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TailFields {
    /// Bytes of plaintext in all parts.
    pub total_length: u64,
    /// What the front says of the parts.
    pub body_digest: BodyDigest,
    /// The writer's certificate; `None` in a bare blob.
    pub certificate: Option<Certificate>,
}

/// What a vault's blob has and a bare one lacks. Exhaustive: the fields of FORMAT 7.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultSeal {
    /// HMAC-SHA-256 of the transcript under the vault's MAC key.
    pub mac: [u8; 32],
    /// The writer's signature of the transcript.
    pub signature: Signature,
}

impl TailFields {
    /// The tail with these MACs and this signature, behind a front of `front_length` bytes.
    ///
    /// # Errors
    /// Says which rule of FORMAT 7 it breaks: what is put together is a tail that parses.
    pub fn sealed(
        &self,
        file_mac: &[u8; 32],
        vault: Option<&VaultSeal>,
        front_length: u32,
    ) -> Result<Tail, TailError> {
        if self.certificate.is_some() != vault.is_some() {
            return Err(TailError::Unsealed);
        }
        let certificate = self.certificate_bytes();
        // A certificate has at most 8,192 bytes, a signature of a known algorithm fewer.
        let length = |bytes: usize| u16::try_from(bytes).unwrap_or(u16::MAX);
        let mut bytes = self.total_length.to_be_bytes().to_vec();
        bytes.extend(self.body_digest.as_bytes());
        bytes.extend(length(certificate.len()).to_be_bytes());
        bytes.extend(certificate);
        bytes.extend(file_mac);
        if let Some(vault) = vault {
            bytes.extend(vault.mac);
            bytes.extend(vault.signature.as_bytes());
        }
        let tail_length = length(bytes.len() + TailEnd::BYTES);
        bytes.extend(tail_length.to_be_bytes());
        bytes.extend(front_length.saturating_add(tail_length.into()).to_be_bytes());
        bytes.extend(FOOTER_MAGIC);
        Tail::parse(&bytes)
    }

    /// The whole certificate; empty in a bare blob.
    #[must_use]
    pub fn certificate_bytes(&self) -> &[u8] {
        self.certificate.as_ref().map_or(&[], Certificate::as_bytes)
    }
}

/// A well-formed tail: the only encoding of what it says. Nothing in it is authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tail {
    bytes: Vec<u8>,
    fields: TailFields,
    file_mac: [u8; 32],
    vault: Option<VaultSeal>,
    end: TailEnd,
}

impl Tail {
    /// Parses `bytes`, a whole tail and nothing else.
    ///
    /// # Errors
    /// Says which rule of FORMAT 7 they break.
    pub fn parse(bytes: &[u8]) -> Result<Self, TailError> {
        let end = TailEnd::parse(bytes)?;
        if usize::from(end.tail_length) != bytes.len() {
            return Err(TailError::Length { stated: end.tail_length, found: bytes.len() });
        }
        let mut cursor = Cursor::new(bytes);
        let total_length = cursor.u64().ok_or(TailError::Fields)?;
        // The part size is the header's; no blob has more than the largest one can hold.
        Layout::new(0, PartSize::MAX, total_length)?;
        let body_digest = BodyDigest::from_bytes(cursor.array().ok_or(TailError::Fields)?);
        let certificate = read_certificate(&mut cursor)?;
        let file_mac = cursor.array().ok_or(TailError::Fields)?;
        let vault = match &certificate {
            Some(certificate) => Some(read_seal(&mut cursor, certificate)?),
            None => None,
        };
        // `TailEnd` has read these already.
        cursor.take(TailEnd::BYTES).ok_or(TailError::Fields)?;
        if !cursor.is_at_end() {
            return Err(TailError::Fields);
        }
        let fields = TailFields { total_length, body_digest, certificate };
        Ok(Self { bytes: bytes.to_vec(), fields, file_mac, vault, end })
    }

    /// Parses the tail that `bytes` end with: those of an object, a footer or a tail.
    ///
    /// # Errors
    /// Says which rule of FORMAT 7 they break.
    pub fn parse_end(bytes: &[u8]) -> Result<Self, TailError> {
        let end = TailEnd::parse(bytes)?;
        let start = bytes.len().checked_sub(end.tail_length.into());
        Self::parse(start.and_then(|start| bytes.get(start..)).ok_or(TailError::Truncated)?)
    }

    /// The whole tail.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What it says of the body and its writer.
    #[must_use]
    pub const fn fields(&self) -> &TailFields {
        &self.fields
    }

    /// The MAC of the transcript under a key derived from the file key.
    #[must_use]
    pub const fn file_mac(&self) -> &[u8; 32] {
        &self.file_mac
    }

    /// What the vault added; `None` in a bare blob.
    #[must_use]
    pub const fn vault(&self) -> Option<&VaultSeal> {
        self.vault.as_ref()
    }

    /// The lengths of tail and footer.
    #[must_use]
    pub const fn end(&self) -> TailEnd {
        self.end
    }
}

fn read_certificate(cursor: &mut Cursor<'_>) -> Result<Option<Certificate>, TailError> {
    let length = cursor.u16().ok_or(TailError::Fields)?;
    if length & RESERVED != 0 {
        return Err(TailError::ReservedCertificate(length));
    }
    if length == 0 {
        return Ok(None);
    }
    let bytes = cursor.take(length.into()).ok_or(TailError::Fields)?;
    Certificate::parse(bytes).map(Some).map_err(TailError::Certificate)
}

fn read_seal(cursor: &mut Cursor<'_>, certificate: &Certificate) -> Result<VaultSeal, TailError> {
    let writer = certificate.fields().writer.as_ref().ok_or(TailError::NoWriter)?;
    let mac = cursor.array().ok_or(TailError::Fields)?;
    let signature = cursor.take(writer.algorithm().signature_bytes()).ok_or(TailError::Fields)?;
    let signature =
        Signature::parse(writer.algorithm(), signature).map_err(TailError::Signature)?;
    Ok(VaultSeal { mac, signature })
}

/// The bit of a certificate's length that says that something else follows.
const RESERVED: u16 = 0x8000;
/// Bytes of the tail of a bare blob.
const TAIL_BARE_BYTES: usize = 8 + 32 + 2 + 32 + TailEnd::BYTES;
/// Bytes of the longest tail: with the longest certificate and the longest signature.
const TAIL_LONGEST_BYTES: usize =
    TAIL_BARE_BYTES + CERTIFICATE_MAX_BYTES + 32 + SIGNATURE_MAX_BYTES;

//! The fields of a footer (FORMAT 7), and the comparison of an object's slices with them, all
//! without a key.

use thiserror::Error;

use super::chunks::sealed_len;
use super::framing::{EnvelopeError, TAIL_BYTES, footer_length};
use super::header::HeaderFields;
use super::layout::{Layout, TooManyParts};
use crate::cursor::Cursor;
use crate::digest::Digest;
use crate::keys::WriterPublicKey;
use crate::limits::FACTS_MAX_BYTES;

/// Why bytes are not the footer of a blob with this header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FooterError {
    /// The framing is wrong.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The number of bytes is not the length that the footer states.
    #[error("the footer says that it has {stated} bytes, and {found} are here")]
    Length {
        /// The footer's `footer_length`.
        stated: u32,
        /// Number of bytes that were given.
        found: usize,
    },
    /// The fields do not end where the footer ends.
    #[error("the footer's fields do not fill it exactly")]
    Fields,
    /// The total length is more than a blob can hold.
    #[error(transparent)]
    TooManyParts(#[from] TooManyParts),
    /// No list of sealed facts has this length.
    #[error("the footer's facts cannot be {0} bytes long")]
    Facts(u16),
    /// The provenance is neither 1 nor 2.
    #[error("a provenance of {0} is not known here")]
    UnknownProvenance(u8),
}

/// The fields of a well-formed footer. Nothing in it is authenticated.
#[derive(Clone, Copy, Debug)]
pub struct FooterFields<'a> {
    layout: Layout,
    digests: &'a [[u8; Digest::BYTES]],
    facts: &'a [u8],
    vouched: &'a [u8],
    file_mac: [u8; 32],
    vault: Option<VaultSeal>,
}

/// The fields that a vault's blob has and a bare one lacks. Exhaustive: the fields of FORMAT 7.
#[derive(Clone, Copy, Debug)]
pub struct VaultSeal {
    /// HMAC-SHA-256 under the vault's key.
    pub mac: [u8; 32],
    /// The key that signed.
    pub writer: WriterPublicKey,
    /// Ed25519 signature of the writer.
    pub signature: [u8; 64],
}

impl<'a> FooterFields<'a> {
    /// Parses `bytes`, the whole footer of a blob with this header and nothing else.
    ///
    /// # Errors
    /// Says which rule of FORMAT 7 the bytes break.
    pub fn parse(bytes: &'a [u8], header: &HeaderFields) -> Result<Self, FooterError> {
        let stated = footer_length(bytes)?;
        if stated as usize != bytes.len() {
            return Err(FooterError::Length { stated, found: bytes.len() });
        }
        let mut cursor = Cursor::new(bytes);
        let total_length = cursor.u64().ok_or(FooterError::Fields)?;
        // At most 262,144 parts, so at most 8 MiB of digests; missing digests are not read.
        let layout = Layout::new(header.length(), header.part_size(), total_length)?;
        let digests = cursor.take(layout.parts() as usize * Digest::BYTES);
        let digests = digests.ok_or(FooterError::Fields)?.as_chunks().0;
        let facts_length = cursor.u16().ok_or(FooterError::Fields)?;
        let bounds = FACTS_MIN_BYTES..=FACTS_MAX_BYTES as u64;
        if facts_length != 0 && !bounds.contains(&facts_length.into()) {
            return Err(FooterError::Facts(facts_length));
        }
        let facts = cursor.take(facts_length.into()).ok_or(FooterError::Fields)?;
        let provenance = cursor.u8().ok_or(FooterError::Fields)?;
        let vouched = bytes.get(..cursor.position()).unwrap_or_default();
        let file_mac = cursor.array().ok_or(FooterError::Fields)?;
        let vault = match provenance {
            VAULT => Some(vault_seal(&mut cursor).ok_or(FooterError::Fields)?),
            BARE => None,
            other => return Err(FooterError::UnknownProvenance(other)),
        };
        // `footer_length` has checked the tail already.
        cursor.take(TAIL_BYTES).ok_or(FooterError::Fields)?;
        if !cursor.is_at_end() {
            return Err(FooterError::Fields);
        }
        Ok(Self { layout, digests, facts, vouched, file_mac, vault })
    }

    /// Where the blob's parts are.
    #[must_use]
    pub const fn layout(&self) -> Layout {
        self.layout
    }

    /// The digest of each sealed part, in order.
    pub fn digests(&self) -> impl Iterator<Item = Digest> + use<'a> {
        self.digests.iter().copied().map(Digest::from_bytes)
    }

    /// The sealed facts; empty when there are none.
    #[must_use]
    pub const fn facts(&self) -> &'a [u8] {
        self.facts
    }

    /// The bytes that the transcript covers: total length to provenance.
    #[must_use]
    pub const fn vouched(&self) -> &'a [u8] {
        self.vouched
    }

    /// The MAC under a key derived from the file key.
    #[must_use]
    pub const fn file_mac(&self) -> &[u8; 32] {
        &self.file_mac
    }

    /// What the vault added; `None` in a bare blob.
    #[must_use]
    pub const fn vault(&self) -> Option<&VaultSeal> {
        self.vault.as_ref()
    }

    /// Compares the slices of an object, given by length and digest, with its header and footer.
    /// The first slice is the header, each part is one slice, and the rest are the footer.
    ///
    /// # Errors
    /// Says which slice differs.
    pub fn check_slices(
        &self,
        slices: impl IntoIterator<Item = (u32, Digest)>,
    ) -> Result<(), SlicesError> {
        let mut slices = slices.into_iter();
        let header = slices.next().map(|(length, _)| u64::from(length));
        if header != self.layout.part_offset(0) {
            return Err(SlicesError::Header);
        }
        for (part, expected) in (0..).zip(self.digests) {
            let (length, digest) = slices.next().ok_or(SlicesError::Missing { part })?;
            let sealed = self.layout.sealed_part_len(part);
            if sealed != Some(length.into()) {
                let sealed = sealed.unwrap_or_default();
                return Err(SlicesError::PartLength { part, sealed, length });
            }
            if digest.as_bytes() != expected {
                return Err(SlicesError::PartDigest { part });
            }
        }
        let behind = slices.map(|(length, _)| u64::from(length)).sum::<u64>();
        let footer = self.length();
        if behind == footer { Ok(()) } else { Err(SlicesError::Footer { footer, behind }) }
    }

    /// Bytes of the whole footer.
    fn length(&self) -> u64 {
        let vault = if self.vault.is_some() { VAULT_BYTES } else { 0 };
        (self.vouched.len() + self.file_mac.len() + vault + TAIL_BYTES) as u64
    }
}

fn vault_seal(cursor: &mut Cursor<'_>) -> Option<VaultSeal> {
    let mac = cursor.array()?;
    let writer = WriterPublicKey::from_bytes(cursor.array()?);
    Some(VaultSeal { mac, writer, signature: cursor.array()? })
}

/// How the slices of an object differ from what its header and footer state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SlicesError {
    /// The first slice is not the header.
    #[error("the first slice is not the header")]
    Header,
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
        /// Bytes of the part, by header and footer.
        sealed: u64,
        /// Bytes of the slice.
        length: u32,
    },
    /// The footer's digest of a part is not that of its slice.
    #[error("the footer has another digest for part {part} than its slice")]
    PartDigest {
        /// Index of the part, from 0.
        part: u64,
    },
    /// The slices after the parts are not as long as the footer.
    #[error("{behind} bytes follow the parts, and the footer has {footer}")]
    Footer {
        /// Bytes of the footer.
        footer: u64,
        /// Bytes of the slices after the parts.
        behind: u64,
    },
}

/// The provenance of a blob that a vault vouches for.
pub const VAULT: u8 = 1;
/// The provenance of a bare blob, which no vault vouches for.
pub const BARE: u8 = 2;
/// Bytes of vault MAC, writer and signature.
const VAULT_BYTES: usize = 32 + 32 + 64;
/// Bytes of the shortest sealed list of facts: one fact with an empty value. A blob without facts
/// has no bytes there.
const FACTS_MIN_BYTES: u64 = sealed_len(2);

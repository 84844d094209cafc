//! The footer (FORMAT 7): framing and bounds. Nothing in it is proven until
//! [`Named::vouched_by`](super::open::Named::vouched_by).

use thiserror::Error;

use super::envelope::{self, EnvelopeError, FOOTER_MAGIC, TAIL_BYTES};
use super::header::Header;
use super::layout::{Layout, TooManyParts};
use super::transcript::Transcript;
use crate::cursor::Cursor;
use crate::digest::Digest;
use crate::keys::{VaultMacKey, WriterKey, WriterPublicKey};
use crate::limits::FACTS_MAX_BYTES;

/// Why bytes are not the footer of a blob with this header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FooterError {
    /// Already its framing is wrong.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// There are more or fewer bytes than the footer says it has.
    #[error("the footer says that it has {stated} bytes, and {found} are here")]
    Length {
        /// Its `footer_length`.
        stated: u32,
        /// What was given.
        found: usize,
    },
    /// Its fields end behind or before the end of the footer.
    #[error("the footer's fields do not fill it exactly")]
    Fields,
    /// Its total length is more than a blob can hold.
    #[error(transparent)]
    TooManyParts(#[from] TooManyParts),
    /// Its sealed facts are longer than [`FACTS_MAX_BYTES`].
    #[error("the footer's facts cannot be {0} bytes long")]
    Facts(u16),
    /// Neither 1 nor 2.
    #[error("a provenance of {0} is not known here")]
    UnknownProvenance(u8),
}

/// A footer that is well-formed, and no more than that.
pub(super) struct Footer {
    pub(super) layout: Layout,
    pub(super) digests: Vec<Digest>,
    /// Sealed; empty when there are none.
    pub(super) facts: Vec<u8>,
    pub(super) transcript: Transcript,
    pub(super) file_mac: [u8; 32],
    /// `None` in a bare blob.
    pub(super) vault: Option<VaultSeal>,
}

/// What a vault's blob has and a bare one lacks.
pub(super) struct VaultSeal {
    pub(super) mac: [u8; 32],
    pub(super) writer: WriterPublicKey,
    pub(super) signature: [u8; 64],
}

impl Footer {
    pub(super) fn parse(bytes: &[u8], header: &Header) -> Result<Self, FooterError> {
        let stated = envelope::footer_length(bytes)?;
        if stated as usize != bytes.len() {
            return Err(FooterError::Length { stated, found: bytes.len() });
        }
        let mut cursor = Cursor::new(bytes);
        let total_length = cursor.u64().ok_or(FooterError::Fields)?;
        // At most 262,144 parts, so their digests are at most 8 MiB; those that are not here are not read.
        let layout = Layout::new(header.length(), header.part_size(), total_length)?;
        let digests = cursor.take(layout.parts() as usize * Digest::BYTES);
        let digests = digests.ok_or(FooterError::Fields)?.as_chunks().0;
        let facts_length = cursor.u16().ok_or(FooterError::Fields)?;
        if usize::from(facts_length) > FACTS_MAX_BYTES {
            return Err(FooterError::Facts(facts_length));
        }
        let facts = cursor.take(facts_length.into()).ok_or(FooterError::Fields)?;
        let provenance = cursor.u8().ok_or(FooterError::Fields)?;
        let vouched = bytes.get(..cursor.position()).unwrap_or_default();
        let file_mac = cursor.array().ok_or(FooterError::Fields)?;
        let vault = match provenance {
            VAULT => Some(VaultSeal::read(&mut cursor).ok_or(FooterError::Fields)?),
            BARE => None,
            other => return Err(FooterError::UnknownProvenance(other)),
        };
        // The tail has been looked at already.
        cursor.take(TAIL_BYTES).ok_or(FooterError::Fields)?;
        if !cursor.is_at_end() {
            return Err(FooterError::Fields);
        }
        Ok(Self {
            layout,
            digests: digests.iter().copied().map(Digest::from_bytes).collect(),
            facts: facts.to_vec(),
            transcript: Transcript::of(header.vouched(), vouched),
            file_mac,
            vault,
        })
    }
}

impl VaultSeal {
    fn read(cursor: &mut Cursor<'_>) -> Option<Self> {
        let (mac, writer) = (cursor.array()?, cursor.array()?);
        let signature = cursor.array()?;
        Some(Self { mac, writer: WriterPublicKey::from_bytes(writer), signature })
    }
}

/// Who vouches for a blob.
#[derive(Clone, Copy, Debug)]
pub enum Provenance<'a> {
    /// A vault, and one of its writers.
    Vault {
        /// The vault's MAC key.
        mac_key: &'a VaultMacKey,
        /// Who signs.
        writer: &'a WriterKey,
    },
    /// Nobody: whoever knows the recipient can have made it.
    Bare,
}

impl Provenance<'_> {
    pub(super) const fn number(&self) -> u8 {
        match self {
            Self::Vault { .. } => VAULT,
            Self::Bare => BARE,
        }
    }

    /// Appends the vault's MAC, the writer and the signature, where there are any.
    pub(super) fn seal(&self, transcript: &Transcript, out: &mut Vec<u8>) {
        if let Self::Vault { mac_key, writer } = self {
            out.extend_from_slice(&mac_key.mac(&[VAULT_MAC, transcript.as_bytes()]));
            out.extend_from_slice(writer.public_key().as_bytes());
            out.extend_from_slice(&writer.sign(&signed(transcript)));
        }
    }
}

/// What a writer signs.
pub(super) fn signed(transcript: &Transcript) -> Vec<u8> {
    [WRITER, transcript.as_bytes()].concat()
}

/// Appends `footer_length` and the magic to a footer that is complete but for them.
pub(super) fn append_tail(footer: &mut Vec<u8>) {
    // At most 8 MiB of digests and a little.
    let length = (footer.len() + TAIL_BYTES) as u32;
    footer.extend_from_slice(&length.to_be_bytes());
    footer.extend_from_slice(&FOOTER_MAGIC);
}

/// In front of the transcript under the file MAC.
pub(super) const FILE_MAC: &[u8] = b"zput/v1/file-mac";
/// In front of the transcript under the vault MAC.
pub(super) const VAULT_MAC: &[u8] = b"zput/v1/vault-mac";
/// In front of the transcript under the signature.
const WRITER: &[u8] = b"zput/v1/writer";

const VAULT: u8 = 1;
const BARE: u8 = 2;

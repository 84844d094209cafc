//! The footer (FORMAT 7): framing and bounds. Nothing in it is proven until
//! [`Named::vouched_by`](super::open::Named::vouched_by).

pub use zput_proto::envelope::FooterError;

use zput_proto::digest::Digest;
use zput_proto::envelope::{
    BARE, FOOTER_MAGIC, FooterFields, Layout, TAIL_BYTES, VAULT, VaultSeal,
};

use super::header::Header;
use super::transcript::Transcript;
use crate::keys::{VaultMacKey, WriterKey};

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

impl Footer {
    pub(super) fn parse(bytes: &[u8], header: &Header) -> Result<Self, FooterError> {
        let fields = FooterFields::parse(bytes, header.fields())?;
        Ok(Self {
            layout: fields.layout(),
            digests: fields.digests().collect(),
            facts: fields.facts().to_vec(),
            transcript: Transcript::of(header.vouched(), fields.vouched()),
            file_mac: *fields.file_mac(),
            vault: fields.vault().copied(),
        })
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

//! A parsed footer (FORMAT 7), and what a writer adds to one. Nothing in a footer is authenticated
//! before [`Named::vouched_by`](super::open::Named::vouched_by).

pub use zput_proto::envelope::FooterError;

use zput_proto::digest::Digest;
use zput_proto::envelope::{
    BARE, FOOTER_MAGIC, FooterFields, Layout, TAIL_BYTES, VAULT, VaultSeal,
};

use super::header::Header;
use super::transcript::Transcript;
use crate::keys::{VaultMacKey, WriterKey};

/// A well-formed footer. Nothing in it is authenticated.
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

/// What vouches for a blob. Exhaustive: FORMAT 7 has these two.
#[derive(Clone, Copy, Debug)]
pub enum Provenance<'a> {
    /// A vault and one of its writers vouch for the blob.
    Vault {
        /// The MAC key of the vault.
        mac_key: &'a VaultMacKey,
        /// The key that signs.
        writer: &'a WriterKey,
    },
    /// Nothing does: anyone who knows the recipient can have made the blob.
    Bare,
}

impl Provenance<'_> {
    pub(super) const fn number(&self) -> u8 {
        match self {
            Self::Vault { .. } => VAULT,
            Self::Bare => BARE,
        }
    }

    /// Appends the vault's MAC, the writer and the signature, unless the blob is bare.
    pub(super) fn seal(&self, transcript: &Transcript, out: &mut Vec<u8>) {
        if let Self::Vault { mac_key, writer } = self {
            out.extend_from_slice(&mac_key.mac(&[VAULT_MAC, transcript.as_bytes()]));
            out.extend_from_slice(writer.public_key().as_bytes());
            out.extend_from_slice(&writer.sign(&signed(transcript)));
        }
    }
}

/// The bytes that a writer signs.
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

/// Label of the transcript under the file MAC.
pub(super) const FILE_MAC: &[u8] = b"zput/v1/file-mac";
/// Label of the transcript under the vault MAC.
pub(super) const VAULT_MAC: &[u8] = b"zput/v1/vault-mac";
/// Label of the transcript under the signature.
const WRITER: &[u8] = b"zput/v1/writer";

//! Opens a blob in the order of trust (FORMAT 9). Only the check before a state can make that
//! state.
//!
//! ```text
//! Header ─1→ Unwrapped ─2→ Authenticated ─3→ Named ─4→ Vouched ─5→ Trusted ─6→ OpenedPart
//! 1 an identity unwraps the file key      4 footer: file MAC, vault MAC, signature, writer
//! 2 header MAC; metadata is opened        5 not older than what was seen
//! 3 the key is the one asked for          6 the part's digest is the footer's
//! ```
//!
//! A check that is left out does not compile. This would open parts of a blob whose footer was not
//! checked:
//!
//! ```compile_fail,E0599
//! use zput_seal::blob::open::Named;
//! fn skip_the_footer(named: Named) {
//!     let _ = named.open_part(0, Vec::new());
//! }
//! ```
//!
//! This would open parts of a blob that may be an old one:
//!
//! ```compile_fail,E0599
//! use zput_seal::blob::open::Vouched;
//! fn skip_the_generation(vouched: Vouched) {
//!     let _ = vouched.open_part(0, Vec::new());
//! }
//! ```
//!
//! This would read the metadata of a header that was not authenticated:
//!
//! ```compile_fail,E0599
//! use zput_seal::blob::open::Unwrapped;
//! fn skip_the_header_mac(unwrapped: Unwrapped) {
//!     let _ = unwrapped.metadata();
//! }
//! ```
//!
//! This opens a part:
//!
//! ```
//! use zput_seal::blob::open::{OpenError, Trusted};
//! fn first_part(trusted: &Trusted, sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
//!     let mut part = trusted.open_part(0, Vec::new())?;
//!     part.push(sealed)?;
//!     Ok(part.finish()?.into_buffer())
//! }
//! ```

use std::fmt;

use thiserror::Error;
use zput_proto::digest::Digest;
use zput_proto::envelope::{Layout, ShapeError, VaultSeal};
use zput_proto::keys::WriterPublicKey;
use zput_proto::name::ObjectKey;

use super::derive::DerivedKeys;
use super::facts::{Facts, FactsError};
use super::footer::{self, Footer, FooterError};
use super::header::{Header, HeaderError};
use super::metadata::{Metadata, MetadataError};
use super::part::{PartError, PartOpening, PartReader};
use super::seal;
use super::transcript::Transcript;
use crate::aead::Engine;
use crate::age::{self, Identity};
use crate::chunked::{self, ChunkError};
use crate::keys::VaultMacKey;

/// Why a blob cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The header is malformed.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// A recipient stanza is malformed.
    #[error(transparent)]
    Stanza(#[from] ShapeError),
    /// The blob was sealed for none of the identities.
    #[error("the blob was not sealed for any of these identities")]
    NoIdentityMatches,
    /// The header was changed, or made without the file key.
    #[error("the header is not the one that was sealed")]
    HeaderMac,
    /// The sealed metadata does not open.
    #[error("cannot decrypt the metadata")]
    SealedMetadata(#[source] ChunkError),
    /// The metadata is refused.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The blob was sealed for another object key than the one asked for.
    #[error(
        "the blob was sealed for another object: {}",
        found.as_ref().map_or("none".to_owned(), ToString::to_string)
    )]
    WrongObject {
        /// The object key that the blob was sealed for.
        found: Option<ObjectKey>,
    },
    /// The footer is malformed.
    #[error(transparent)]
    Footer(#[from] FooterError),
    /// The footer does not belong to this header, or was made without the file key.
    #[error("the footer is not the one that was sealed")]
    FileMac,
    /// The vault does not vouch for the blob: its maker is no member of the vault.
    #[error("the vault does not vouch for the blob")]
    VaultMac,
    /// The blob claims that a vault vouches for it, and there is no vault key to check that.
    #[error("the blob belongs to a vault, and no vault secret was given")]
    NoVaultKey,
    /// The writer's signature does not hold.
    #[error("the signature of writer {0} is not valid")]
    Signature(WriterPublicKey),
    /// The writer is not one of those that are pinned.
    #[error("writer {0} is not one of those that are pinned")]
    UnpinnedWriter(WriterPublicKey),
    /// The blob is bare: no vault vouches for it.
    #[error("no vault authenticates the blob: it was sealed without one")]
    Bare,
    /// The sealed facts do not open.
    #[error("cannot decrypt the footer's facts")]
    SealedFacts(#[source] ChunkError),
    /// The facts are malformed.
    #[error(transparent)]
    Facts(#[from] FactsError),
    /// A newer blob has been seen under this key.
    #[error("the blob has generation {found}, and generation {seen} has been seen")]
    Rollback {
        /// The newest generation that has been seen.
        seen: u64,
        /// The generation of this blob.
        found: u64,
    },
    /// Another blob of the same generation has been seen under this key.
    #[error("another blob of the same generation ({generation}) has been seen under this name")]
    Equivocation {
        /// The generation of both blobs.
        generation: u64,
    },
    /// A part is not the one that was sealed.
    #[error(transparent)]
    Part(#[from] PartError),
}

impl Header {
    /// Step 1: finds the stanza that one of `identities` opens.
    ///
    /// # Errors
    /// When none does, or a stanza is malformed.
    pub fn unwrap_file_key(self, identities: &[Identity]) -> Result<Unwrapped, OpenError> {
        let file_key = age::unwrap_file_key(self.stanzas(), identities)?;
        let file_key = file_key.ok_or(OpenError::NoIdentityMatches)?;
        let keys = DerivedKeys::new(self.suite(), &self.salt(), &file_key);
        Ok(Unwrapped { header: self, keys })
    }
}

/// The file key is known. Nothing in the header is authenticated.
#[derive(Debug)]
pub struct Unwrapped {
    header: Header,
    keys: DerivedKeys,
}

impl Unwrapped {
    /// Step 2: checks the header MAC and opens the metadata. `engine` will open the parts too.
    ///
    /// # Errors
    /// When the header is not the one that was sealed.
    pub fn authenticate(self, engine: Engine) -> Result<Authenticated, OpenError> {
        let Self { header, keys } = self;
        let (bytes, mac) = header.split_mac().ok_or(OpenError::HeaderMac)?;
        keys.header_mac.verify(&[bytes], mac).map_err(|_| OpenError::HeaderMac)?;
        let sealed = header.metadata();
        let plain = chunked::open(header.suite(), engine, &keys.metadata, seal::METADATA, sealed)
            .map_err(OpenError::SealedMetadata)?;
        let metadata = Metadata::parse(&plain)?;
        Ok(Authenticated(Contents { header, keys, engine, metadata }))
    }
}

/// The fields that the states share once the header is authenticated.
struct Contents {
    header: Header,
    keys: DerivedKeys,
    engine: Engine,
    metadata: Metadata,
}

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contents")
            .field("object_key", &self.header.object_key())
            .field("generation", &self.header.generation())
            .field("metadata", &self.metadata)
            .finish_non_exhaustive()
    }
}

/// The header was made with the file key.
#[derive(Debug)]
pub struct Authenticated(Contents);

/// The object that a reader asks for.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Asked<'a> {
    /// The object that is stored under this key.
    Key(&'a ObjectKey),
    /// Any object, as a blob that came as a file has no key to compare.
    Any,
}

impl Authenticated {
    /// The attributes of the file, as its author stated them.
    #[must_use]
    pub const fn metadata(&self) -> &Metadata {
        &self.0.metadata
    }

    /// The object key that the blob was sealed for.
    #[must_use]
    pub const fn object_key(&self) -> Option<&ObjectKey> {
        self.0.header.object_key()
    }

    /// Step 3: compares the header's key with the one asked for.
    ///
    /// # Errors
    /// When the blob was sealed for another key, or for none.
    pub fn for_key(self, asked: Asked<'_>) -> Result<Named, OpenError> {
        match asked {
            Asked::Key(key) if self.object_key() != Some(key) => {
                Err(OpenError::WrongObject { found: self.object_key().cloned() })
            }
            Asked::Key(_) | Asked::Any => Ok(Named(self.0)),
        }
    }
}

/// The blob is the object that was asked for.
#[derive(Debug)]
pub struct Named(Contents);

/// What must vouch for a blob. Exhaustive: each field decides about trust, so none has a default.
#[derive(Clone, Copy, Debug)]
pub struct Vouching<'a> {
    /// The vault that must vouch for the blob. Without its key a vault's blob counts as bare, since
    /// its MAC cannot be checked.
    pub vault: Option<&'a VaultMacKey>,
    /// The writers that may have signed the blob; empty allows any member of the vault.
    pub writers: &'a [WriterPublicKey],
    /// Whether to open a blob that no vault vouches for.
    pub bare: BarePolicy,
}

/// Whether to open a blob that no vault vouches for. Anyone who knows the recipient can have made
/// such a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BarePolicy {
    /// A bare blob is refused.
    Refuse,
    /// A bare blob is opened, unless writers are pinned, since it has no signature.
    Accept,
}

impl Vouching<'_> {
    /// The writer, if it is trusted: because the vault vouches for the blob, or because the writer
    /// is pinned.
    fn check(
        &self,
        vault: Option<&VaultSeal>,
        transcript: &Transcript,
    ) -> Result<Option<WriterPublicKey>, OpenError> {
        let Some(VaultSeal { mac, writer, signature }) = vault else {
            return match self.bare {
                BarePolicy::Accept if self.writers.is_empty() => Ok(None),
                BarePolicy::Accept | BarePolicy::Refuse => Err(OpenError::Bare),
            };
        };
        match (self.vault, self.bare) {
            (Some(key), _) => key
                .verify(&[footer::VAULT_MAC, transcript.as_bytes()], mac)
                .map_err(|_| OpenError::VaultMac)?,
            (None, BarePolicy::Accept) => {}
            (None, BarePolicy::Refuse) => return Err(OpenError::NoVaultKey),
        }
        writer
            .verify(&footer::signed(transcript), signature)
            .map_err(|_| OpenError::Signature(*writer))?;
        if !self.writers.is_empty() && !self.writers.contains(writer) {
            return Err(OpenError::UnpinnedWriter(*writer));
        }
        let is_vouched_for = self.vault.is_some() || !self.writers.is_empty();
        Ok(is_vouched_for.then_some(*writer))
    }
}

impl Named {
    /// Step 4: parses the footer against the header; checks the file MAC, the vault MAC, the
    /// signature and the writer; opens the facts.
    ///
    /// # Errors
    /// When the footer is not this blob's, or not vouched for as `vouching` demands.
    pub fn vouched_by(self, footer: &[u8], vouching: &Vouching<'_>) -> Result<Vouched, OpenError> {
        let Contents { header, keys, engine, .. } = &self.0;
        let footer = Footer::parse(footer, header)?;
        let transcript = footer.transcript;
        keys.footer_mac
            .verify(&[footer::FILE_MAC, transcript.as_bytes()], &footer.file_mac)
            .map_err(|_| OpenError::FileMac)?;
        let writer = vouching.check(footer.vault.as_ref(), &transcript)?;
        let facts = if footer.facts.is_empty() {
            Facts::default()
        } else {
            let suite = header.suite();
            let plain = chunked::open(suite, *engine, &keys.footer, seal::FACTS, &footer.facts)
                .map_err(OpenError::SealedFacts)?;
            Facts::parse(&plain)?
        };
        let Footer { layout, digests, .. } = footer;
        Ok(Vouched { contents: self.0, layout, digests, facts, transcript, writer })
    }

    /// A reader of this blob's parts as they come from a pipe, with the footer last.
    pub(super) fn part_reader(&self, part: u64, plain_length: u64, buffer: Vec<u8>) -> PartReader {
        self.0.part_reader(part, plain_length, buffer)
    }

    pub(super) const fn header(&self) -> &Header {
        &self.0.header
    }
}

impl Contents {
    fn part_reader(&self, part: u64, plain_length: u64, buffer: Vec<u8>) -> PartReader {
        let suite = self.header.suite();
        PartReader::new(suite, self.engine, &self.keys.payload, part, plain_length, buffer)
    }
}

/// The footer is authentic and vouched for. The blob may be an old one.
#[derive(Debug)]
pub struct Vouched {
    contents: Contents,
    layout: Layout,
    digests: Vec<Digest>,
    facts: Facts,
    transcript: Transcript,
    writer: Option<WriterPublicKey>,
}

/// The newest blob that has been seen under a key. Exhaustive: a rollback guard has to keep each
/// field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The generation of the blob.
    pub generation: u64,
    /// The transcript, which tells the blob from others of that generation.
    pub transcript: Transcript,
}

impl Vouched {
    /// Step 5: compares the generation with the newest one `seen` under this key; `None` when none
    /// was, or when the user wants an old one.
    ///
    /// # Errors
    /// When it is lower, or the same generation belongs to another blob.
    pub fn not_older_than(self, seen: Option<&Seen>) -> Result<Trusted, OpenError> {
        let generation = self.contents.header.generation();
        if let Some(seen) = seen {
            if generation < seen.generation {
                return Err(OpenError::Rollback { seen: seen.generation, found: generation });
            }
            if generation == seen.generation && self.transcript != seen.transcript {
                return Err(OpenError::Equivocation { generation });
            }
        }
        Ok(Trusted(self))
    }
}

/// A blob whose parts may be opened. Threads may share it and open parts in parallel.
#[derive(Debug)]
pub struct Trusted(Vouched);

impl Trusted {
    /// The attributes of the file.
    #[must_use]
    pub const fn metadata(&self) -> &Metadata {
        &self.0.contents.metadata
    }

    /// The lengths and offsets of the parts.
    #[must_use]
    pub const fn layout(&self) -> &Layout {
        &self.0.layout
    }

    /// The generation and transcript to remember, so that an older blob is noticed later.
    #[must_use]
    pub const fn seen(&self) -> Seen {
        let generation = self.0.contents.header.generation();
        Seen { generation, transcript: self.0.transcript }
    }

    /// The writer that signed the blob; `None` when no trusted writer did.
    #[must_use]
    pub const fn writer(&self) -> Option<WriterPublicKey> {
        self.0.writer
    }

    /// SHA-256 of the plaintext; `None` when the writer did not add it.
    #[must_use]
    pub const fn sha256(&self) -> Option<[u8; 32]> {
        self.0.facts.sha256
    }

    /// Step 6: opens part `index`. `buffer` is that of an earlier part, as
    /// [`into_buffer`](super::part::OpenedPart::into_buffer) gave it, or an empty one.
    ///
    /// # Errors
    /// When there is no such part.
    pub fn open_part(&self, index: u64, buffer: Vec<u8>) -> Result<PartOpening, PartError> {
        let expected = self.digest(index)?;
        let plain_length = self.layout().plain_part_len(index).ok_or_else(|| self.no(index))?;
        let reader = self.0.contents.part_reader(index, plain_length, buffer);
        Ok(PartOpening::new(reader, expected))
    }

    /// The digest of the ciphertext of part `index`, which the footer vouches for.
    ///
    /// # Errors
    /// When there is no such part.
    pub fn digest(&self, index: u64) -> Result<Digest, PartError> {
        let digest = usize::try_from(index).ok().and_then(|index| self.0.digests.get(index));
        digest.copied().ok_or_else(|| self.no(index))
    }

    pub(super) const fn header(&self) -> &Header {
        &self.0.contents.header
    }

    pub(super) const fn keys(&self) -> &DerivedKeys {
        &self.0.contents.keys
    }

    pub(super) const fn engine(&self) -> Engine {
        self.0.contents.engine
    }

    pub(super) fn digests(&self) -> &[Digest] {
        &self.0.digests
    }

    pub(super) const fn facts(&self) -> &Facts {
        &self.0.facts
    }

    fn no(&self, part: u64) -> PartError {
        PartError::NoSuchPart { part, parts: self.layout().parts() }
    }
}

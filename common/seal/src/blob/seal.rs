//! Seals a blob: its header, its parts in order, its footer.

use std::fmt;

use rand::CryptoRng;
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use zput_proto::digest::{Digest, Hasher};
use zput_proto::envelope::{PartSize, TooManyParts};
use zput_proto::limits::{FACTS_MAX_BYTES, HEADER_MAX_BYTES, PARTS_MAX, RECIPIENTS_MAX};
use zput_proto::name::ObjectKey;

use super::derive::{DerivedKeys, HeaderSalt};
use super::facts::Facts;
use super::footer::{self, Provenance};
use super::header::{Draft, Header, HeaderError};
use super::metadata::{Metadata, MetadataError};
use super::part::{self, PIECE_BYTES};
use super::transcript::Transcript;
use crate::aead::{Engine, EngineFailure, Suite};
use crate::age::{FileKey, Recipient, WrapError};
use crate::chunked::{
    self, CHUNK_BYTES, PREFIX_BYTES, SEALED_CHUNK_BYTES, SealMessageError, Sealing, sealed_len,
};

/// The properties of a blob that is to be sealed. Made by [`SealOptions::new`]; the other fields
/// can be set then.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SealOptions {
    /// The AEAD that seals the blob.
    pub suite: Suite,
    /// The implementation of the AEAD.
    pub engine: Engine,
    /// Plaintext bytes of a full part.
    pub part_size: PartSize,
    /// The key that the object will be stored under; `None` seals for no key.
    pub object_key: Option<ObjectKey>,
    /// The clock in ns since 1970, or one more than the newest generation known for this key if
    /// that is greater.
    pub generation: u64,
    /// The attributes of the file.
    pub metadata: Metadata,
    /// Whether the footer gets the SHA-256 of the plaintext.
    pub sha256: bool,
}

impl SealOptions {
    /// A blob with this generation and these attributes, for no object key, of the default suite
    /// and part size, without a SHA-256.
    #[must_use]
    pub fn new(generation: u64, metadata: Metadata) -> Self {
        Self {
            suite: Suite::default(),
            engine: Engine::default(),
            part_size: PartSize::default(),
            object_key: None,
            generation,
            metadata,
            sha256: false,
        }
    }
}

/// Why a blob could not be sealed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SealError {
    /// There are no recipients, or more than [`RECIPIENTS_MAX`].
    #[error("a blob has 1 to {RECIPIENTS_MAX} recipients, not {0}")]
    Recipients(usize),
    /// A recipient's key cannot be used.
    #[error(transparent)]
    Wrap(#[from] WrapError),
    /// The metadata cannot be written.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The header would be longer than [`HEADER_MAX_BYTES`].
    #[error("the header would have more than {HEADER_MAX_BYTES} bytes")]
    HeaderTooLong,
    /// The header that was made is malformed: a defect, found before anything was sealed.
    #[error("the header that was made is refused")]
    Header(#[from] HeaderError),
    /// A part was given more plaintext than it can hold.
    #[error("{0} bytes are more than a part holds")]
    PartTooLong(usize),
    /// A part shorter than the part size has been sealed already, and was the last.
    #[error("nothing follows the short last part")]
    AfterLast,
    /// A blob ends with a part that is shorter than the part size, possibly empty. It has not been
    /// sealed.
    #[error("the short last part has not been sealed")]
    NoLast,
    /// The blob would have more parts than [`PARTS_MAX`].
    #[error(transparent)]
    TooManyParts(#[from] TooManyParts),
    /// The header to continue was made with another file key.
    #[error("the file key is not the one that the header was made with")]
    AnotherFileKey,
    /// The plaintext is not that of the part that was sealed before.
    #[error("part {part} is not the one that was sealed before")]
    AnotherPart {
        /// Index of the part, from 0.
        part: u64,
    },
    /// The cipher engine failed.
    #[error(transparent)]
    Engine(#[from] EngineFailure),
}

impl From<SealMessageError> for SealError {
    fn from(error: SealMessageError) -> Self {
        match error {
            // A part has at most 1,025 chunks.
            SealMessageError::TooLong => Self::PartTooLong(usize::MAX),
            SealMessageError::Engine(error) => Self::Engine(error),
        }
    }
}

/// A blob that is being sealed, under a new file key.
///
/// Another process can continue a blob that was interrupted, from its header, its file key, and a
/// [`SealedPart`] for each part that need not be sealed again. The salts of parts are random, so a
/// part that *is* sealed again is another message under another key: no (salt, part) has two
/// ciphertexts.
pub struct Sealer {
    header: Header,
    file_key: FileKey,
    keys: DerivedKeys,
    engine: Engine,
    digests: Vec<Digest>,
    total_length: u64,
    has_last: bool,
    sha256: Option<Sha256>,
}

/// A part that was sealed before, as the process that sealed it noted it. Exhaustive: a journal has
/// to keep each field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedPart {
    /// The digest of its plaintext.
    pub plaintext: Digest,
    /// The digest of the sealed part, as the footer lists it.
    pub ciphertext: Digest,
}

/// The end of a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SealedFooter {
    /// The bytes of the footer.
    pub bytes: Vec<u8>,
    /// The transcript. Stored with the generation, it tells the blob from every other.
    pub transcript: Transcript,
    /// Number of bytes of plaintext in all parts.
    pub total_length: u64,
}

impl Sealer {
    /// Draws a file key, wraps it for each of `recipients` and makes the header.
    ///
    /// # Errors
    /// When there are no recipients or too many, or the header cannot be made from these options.
    pub fn new(
        options: SealOptions,
        recipients: &[Recipient],
        rng: &mut dyn CryptoRng,
    ) -> Result<Self, SealError> {
        let SealOptions { suite, engine, part_size, object_key, generation, metadata, sha256 } =
            options;
        if recipients.is_empty() || recipients.len() > RECIPIENTS_MAX {
            return Err(SealError::Recipients(recipients.len()));
        }
        let file_key = FileKey::generate(rng);
        let salt = HeaderSalt::generate(rng);
        let keys = DerivedKeys::new(suite, &salt, &file_key);
        let mut stanzas = Vec::with_capacity(recipients.len());
        for recipient in recipients {
            stanzas.push(recipient.wrap(&file_key, rng)?);
        }
        let plain = metadata.encode()?;
        let mut sealed = Vec::new();
        chunked::seal(suite, engine, &keys.metadata, METADATA, &plain, rng, &mut sealed)?;
        let draft = Draft {
            suite,
            part_size,
            salt,
            generation,
            object_key: object_key.as_ref(),
            stanzas: &stanzas,
            metadata: &sealed,
        };
        let bytes = draft.encode(&keys.header_mac).ok_or(SealError::HeaderTooLong)?;
        Ok(Self::behind(Header::parse(&bytes)?, file_key, keys, engine, sha256))
    }

    /// Continues a blob that was begun before, after its header: [`adopt_part`](Self::adopt_part)
    /// takes the parts that were sealed, [`seal_part`](Self::seal_part) seals the others.
    ///
    /// # Errors
    /// When `header` is malformed, or was not made with `file_key`.
    pub fn resume(
        header: &[u8],
        file_key: FileKey,
        engine: Engine,
        sha256: bool,
    ) -> Result<Self, SealError> {
        let header = Header::parse(header)?;
        let keys = DerivedKeys::new(header.suite(), &header.salt(), &file_key);
        let (bytes, mac) = header.split_mac().ok_or(SealError::AnotherFileKey)?;
        keys.header_mac.verify(&[bytes], mac).map_err(|_| SealError::AnotherFileKey)?;
        Ok(Self::behind(header, file_key, keys, engine, sha256))
    }

    /// A blob of which only the header exists.
    fn behind(
        header: Header,
        file_key: FileKey,
        keys: DerivedKeys,
        engine: Engine,
        sha256: bool,
    ) -> Self {
        Self {
            header,
            file_key,
            keys,
            engine,
            digests: Vec::new(),
            total_length: 0,
            has_last: false,
            sha256: sha256.then(Sha256::new),
        }
    }

    /// The header: the first bytes of the blob.
    #[must_use]
    pub fn header(&self) -> &[u8] {
        self.header.as_bytes()
    }

    /// The blob's generation.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.header.generation()
    }

    /// The file key, for [`resume`](Self::resume). It opens the blob, so the caller must keep it
    /// secret, and no longer than until the blob is complete.
    #[must_use]
    pub const fn file_key(&self) -> &FileKey {
        &self.file_key
    }

    /// Plaintext bytes of a full part.
    #[must_use]
    pub const fn part_size(&self) -> PartSize {
        self.header.part_size()
    }

    /// The number of parts that have been sealed.
    #[must_use]
    pub const fn parts(&self) -> u64 {
        self.digests.len() as u64
    }

    /// Seals the next part into `out`, whose contents are replaced, and returns the digest of
    /// `out`. A part that is shorter than the part size, if only by a byte, is the last.
    ///
    /// Pass the same `out` again as it is: an emptied buffer would have to be zeroed again.
    ///
    /// # Errors
    /// After the last part, above the part size, at the last possible part if it is a full one, and
    /// when the engine fails. The part then counts as not sealed, and may be sealed again with a
    /// new salt.
    pub fn seal_part(
        &mut self,
        plaintext: &[u8],
        rng: &mut dyn CryptoRng,
        out: &mut Vec<u8>,
    ) -> Result<Digest, SealError> {
        self.check_next(plaintext)?;
        let digest = self.seal_into(plaintext, rng, out)?;
        self.append(plaintext, digest);
        Ok(digest)
    }

    /// Takes over the next part as it was sealed before. `plaintext` is its content.
    ///
    /// # Errors
    /// [`SealError::AnotherPart`] when the part had other content; otherwise as
    /// [`seal_part`](Self::seal_part). The part then counts as not taken over.
    pub fn adopt_part(&mut self, plaintext: &[u8], sealed: &SealedPart) -> Result<(), SealError> {
        self.check_next(plaintext)?;
        if Digest::of(plaintext) != sealed.plaintext {
            return Err(SealError::AnotherPart { part: self.parts() });
        }
        self.append(plaintext, sealed.ciphertext);
        Ok(())
    }

    /// Whether `plaintext` can be the next part.
    fn check_next(&self, plaintext: &[u8]) -> Result<(), SealError> {
        let part_size = self.part_size().bytes();
        let length = plaintext.len() as u64;
        if self.has_last {
            return Err(SealError::AfterLast);
        }
        if length > part_size {
            return Err(SealError::PartTooLong(plaintext.len()));
        }
        if length == part_size && self.parts() + 1 >= PARTS_MAX {
            return Err(TooManyParts(self.total_length + length).into());
        }
        Ok(())
    }

    fn append(&mut self, plaintext: &[u8], digest: Digest) {
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(plaintext);
        }
        self.digests.push(digest);
        self.total_length += plaintext.len() as u64;
        self.has_last = (plaintext.len() as u64) < self.part_size().bytes();
    }

    /// Encrypts chunks, and hashes them while they are in the cache; see [`PIECE_BYTES`].
    fn seal_into(
        &self,
        plaintext: &[u8],
        rng: &mut dyn CryptoRng,
        out: &mut Vec<u8>,
    ) -> Result<Digest, SealError> {
        let context = part::context(self.parts());
        let suite = self.header.suite();
        let (mut sealing, prefix) =
            Sealing::begin(suite, self.engine, &self.keys.payload, &context, rng)?;
        // At most 16 MiB and a little.
        let sealed_length = sealed_len(plaintext.len() as u64) as usize;
        let mut sealed = part::of_length(std::mem::take(out), sealed_length);
        let mut hasher = Hasher::new();
        let mut hashed = 0;
        let mut written = PREFIX_BYTES;
        sealed.get_mut(..PREFIX_BYTES).ok_or(EngineFailure)?.copy_from_slice(&prefix);
        let mut chunks = plaintext.chunks_exact(CHUNK_BYTES);
        for chunk in &mut chunks {
            let end = written + SEALED_CHUNK_BYTES;
            sealing.seal_chunk(chunk, sealed.get_mut(written..end).ok_or(EngineFailure)?)?;
            written = end;
            if written - hashed >= PIECE_BYTES {
                let end = hashed + PIECE_BYTES;
                hasher.update(sealed.get(hashed..end).ok_or(EngineFailure)?);
                hashed = end;
            }
        }
        let last = sealed.get_mut(written..).ok_or(EngineFailure)?;
        sealing.seal_chunk(chunks.remainder(), last)?;
        hasher.update(sealed.get(hashed..).ok_or(EngineFailure)?);
        *out = sealed;
        Ok(hasher.finish())
    }

    /// Ends the blob and makes its footer.
    ///
    /// # Errors
    /// When the short last part has not been sealed, and when the engine fails.
    pub fn finish(
        self,
        provenance: Provenance<'_>,
        rng: &mut dyn CryptoRng,
    ) -> Result<SealedFooter, SealError> {
        if !self.has_last {
            return Err(SealError::NoLast);
        }
        let sha256 = self.sha256.map(|hash| hash.finalize().into());
        let facts = Facts { sha256 };
        let mut sealed = Vec::new();
        if !facts.is_empty() {
            let key = &self.keys.footer;
            let plain = facts.encode();
            chunked::seal(self.header.suite(), self.engine, key, FACTS, &plain, rng, &mut sealed)?;
        }
        debug_assert!(sealed.len() <= FACTS_MAX_BYTES, "one fact of 34 bytes");
        let contents = FooterContents {
            total_length: self.total_length,
            digests: &self.digests,
            facts: &sealed,
        };
        Ok(contents.vouch(&self.header, &self.keys, provenance))
    }
}

/// The fields of a footer that the transcript covers.
pub(super) struct FooterContents<'a> {
    /// Number of bytes of plaintext in all parts.
    pub(super) total_length: u64,
    /// The digest of each sealed part.
    pub(super) digests: &'a [Digest],
    /// Sealed; empty when there are none.
    pub(super) facts: &'a [u8],
}

impl FooterContents<'_> {
    /// The footer of the blob that `header` begins.
    pub(super) fn vouch(
        &self,
        header: &Header,
        keys: &DerivedKeys,
        provenance: Provenance<'_>,
    ) -> SealedFooter {
        let mut bytes = self.total_length.to_be_bytes().to_vec();
        for digest in self.digests {
            bytes.extend_from_slice(digest.as_bytes());
        }
        // At most FACTS_MAX_BYTES.
        bytes.extend_from_slice(&(self.facts.len() as u16).to_be_bytes());
        bytes.extend_from_slice(self.facts);
        bytes.push(provenance.number());
        let transcript = Transcript::of(header.vouched(), &bytes);
        let file_mac = keys.footer_mac.mac(&[footer::FILE_MAC, transcript.as_bytes()]);
        bytes.extend_from_slice(&file_mac);
        provenance.seal(&transcript, &mut bytes);
        footer::append_tail(&mut bytes);
        SealedFooter { bytes, transcript, total_length: self.total_length }
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer")
            .field("parts", &self.digests.len())
            .field("total_length", &self.total_length)
            .finish_non_exhaustive()
    }
}

/// The context of the sealed metadata (FORMAT 3).
pub(super) const METADATA: &[u8] = b"metadata";
/// The context of the sealed facts (FORMAT 7).
pub(super) const FACTS: &[u8] = b"facts";

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::age::Identity;
    use zput_proto::name::BlobName;

    /// FORMAT 6: "At most 262,144 parts". A full part in the last place would need another after
    /// it.
    #[test]
    fn sealer_requires_the_262144th_part_to_be_short() {
        let mut rng = StdRng::seed_from_u64(1);
        let name = BlobName::parse("long").unwrap();
        let options = SealOptions {
            suite: Suite::Aes256Gcm,
            engine: Engine::default(),
            part_size: PartSize::MIN,
            object_key: None,
            generation: 1,
            metadata: Metadata { name, mtime_s: 0, mtime_ns: 0, mode: 0 },
            sha256: false,
        };
        let recipients = [Identity::generate_x25519(&mut rng).to_recipient()];
        let mut sealer = Sealer::new(options, &recipients, &mut rng).unwrap();
        sealer.digests = vec![Digest::of(b""); 262_142];
        sealer.total_length = 262_142 * 65_536;
        let (part, mut sealed) = (vec![0; 65_536], Vec::new());
        assert!(sealer.seal_part(&part, &mut rng, &mut sealed).is_ok());
        let refused = sealer.seal_part(&part, &mut rng, &mut sealed);
        assert_eq!(refused, Err(SealError::TooManyParts(TooManyParts(262_144 * 65_536))));
        assert!(sealer.seal_part(&part[1..], &mut rng, &mut sealed).is_ok());
        let footer = sealer.finish(Provenance::Bare, &mut rng).unwrap();
        assert_eq!(footer.total_length, 262_144 * 65_536 - 1);
        assert_eq!(footer.bytes.len(), 87 + 32 * 262_143);
    }
}

//! The front of a footer: what depends on neither header nor tail (FORMAT 7).

use thiserror::Error;

use super::references::{Reference, References, ReferencesError};
use super::shape::Content;
use crate::cursor::Cursor;
use crate::digest::Digest;
use crate::envelope::chunks::sealed_len;
use crate::limits::{FACTS_MAX_BYTES, FRONT_MAX_BYTES, PARTS_MAX, REFERENCES_MAX_BYTES};

/// Why bytes are not the front of a footer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FrontError {
    /// There are more bytes than a front has.
    #[error("a front has at most {FRONT_MAX_BYTES} bytes, this one has {0}")]
    TooLong(usize),
    /// No blob has so many parts.
    #[error("a blob has 1 to {PARTS_MAX} parts, and not {0}")]
    Parts(u64),
    /// A field ends behind the end of the front.
    #[error("the front is cut off")]
    Cut,
    /// No list of sealed facts has this length.
    #[error("the footer's facts cannot be {0} bytes long")]
    Facts(u16),
    /// References are as long as those of this content cannot be.
    #[error("references of a blob of content {content} cannot be {length} bytes long")]
    ReferencesLength {
        /// Number of the content.
        content: u8,
        /// The front's `references_length`.
        length: u32,
    },
    /// The references are refused.
    #[error("the references are refused")]
    References(#[from] ReferencesError),
    /// Bytes follow the references.
    #[error("{0} bytes follow the front")]
    Trailing(usize),
}

/// A well-formed front. Nothing in it is authenticated.
#[derive(Clone, Copy, Debug)]
pub struct Front<'a> {
    bytes: &'a [u8],
    digests: &'a [[u8; Digest::BYTES]],
    facts: &'a [u8],
    references: Option<References<'a>>,
}

impl<'a> Front<'a> {
    /// Parses `bytes`, the whole front of a blob of so many parts and nothing else. `parts` follows
    /// from the tail's total length and the header's part size.
    ///
    /// # Errors
    /// Says which rule of FORMAT 7 they break.
    pub fn parse(bytes: &'a [u8], parts: u64, content: Content) -> Result<Self, FrontError> {
        if bytes.len() > FRONT_MAX_BYTES {
            return Err(FrontError::TooLong(bytes.len()));
        }
        if parts == 0 || parts > PARTS_MAX {
            return Err(FrontError::Parts(parts));
        }
        let mut cursor = Cursor::new(bytes);
        let digests = cursor.take(parts as usize * Digest::BYTES).ok_or(FrontError::Cut)?;
        let digests = digests.as_chunks().0;
        let facts_length = cursor.u16().ok_or(FrontError::Cut)?;
        let bounds = FACTS_MIN_BYTES..=FACTS_MAX_BYTES as u64;
        if facts_length != 0 && !bounds.contains(&facts_length.into()) {
            return Err(FrontError::Facts(facts_length));
        }
        let facts = cursor.take(facts_length.into()).ok_or(FrontError::Cut)?;
        let length = cursor.u32().ok_or(FrontError::Cut)?;
        if !may_be_references(content, length) {
            let content = content.number();
            return Err(FrontError::ReferencesLength { content, length });
        }
        let references = cursor.take(length as usize).ok_or(FrontError::Cut)?;
        let references = match content {
            Content::Folder => Some(References::parse(references)?),
            Content::File | Content::Pack => None,
        };
        match cursor.rest().len() {
            0 => Ok(Self { bytes, digests, facts, references }),
            rest => Err(FrontError::Trailing(rest)),
        }
    }

    /// The whole front.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The digest of each sealed part, in order.
    pub fn digests(&self) -> impl ExactSizeIterator<Item = Digest> + use<'a> {
        self.digests.iter().copied().map(Digest::from_bytes)
    }

    /// The sealed facts; empty when there are none.
    #[must_use]
    pub const fn facts(&self) -> &'a [u8] {
        self.facts
    }

    /// The packs that a folder needs; `None` where the content is no folder.
    #[must_use]
    pub const fn references(&self) -> Option<References<'a>> {
        self.references
    }

    /// The front of a blob whose sealed parts have these `digests`. `facts` are sealed, or empty
    /// where there are none; `packs` are those of a folder, and `None` elsewhere.
    ///
    /// # Errors
    /// Says which rule of FORMAT 7 it breaks: what is encoded is a front that parses.
    pub fn encode(
        digests: &[Digest],
        facts: &[u8],
        packs: Option<&[Reference<'_>]>,
    ) -> Result<Vec<u8>, FrontError> {
        let (content, references) = match packs {
            Some(packs) => (Content::Folder, References::encode(packs)?),
            None => (Content::File, Vec::new()),
        };
        let facts_length = u16::try_from(facts.len()).map_err(|_| FrontError::Facts(u16::MAX))?;
        // `References::encode` has seen to it that they are shorter than 2^32.
        let references_length = u32::try_from(references.len()).unwrap_or(u32::MAX);
        let mut bytes = Vec::new();
        digests.iter().for_each(|digest| bytes.extend(digest.as_bytes()));
        bytes.extend(facts_length.to_be_bytes());
        bytes.extend(facts);
        bytes.extend(references_length.to_be_bytes());
        bytes.extend(references);
        Front::parse(&bytes, digests.len() as u64, content)?;
        Ok(bytes)
    }
}

/// FORMAT 7: "`references_length` is 4 at least where content is 2, and 0 where it is not."
fn may_be_references(content: Content, length: u32) -> bool {
    match content {
        Content::Folder => (4..=REFERENCES_MAX_BYTES as u64).contains(&length.into()),
        Content::File | Content::Pack => length == 0,
    }
}

/// Bytes of the shortest front: one digest, no facts, no references.
pub(super) const FRONT_MIN_BYTES: usize = Digest::BYTES + 2 + 4;
/// Bytes of the shortest sealed list of facts: one fact with an empty value. A blob without facts
/// has no bytes there.
const FACTS_MIN_BYTES: u64 = sealed_len(2);

//! Seals a blob again under another generation: a new header and a new footer for the same parts.

use rand::CryptoRng;

use super::footer::Provenance;
use super::header::{Draft, Header};
use super::open::Trusted;
use super::seal::{FACTS, FooterContents, SealError, SealedFooter};
use crate::chunked;

/// The new header and footer of a blob. The parts between them stay.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resealed {
    /// The new header, as long as the old one.
    pub header: Vec<u8>,
    /// The new footer.
    pub footer: SealedFooter,
}

impl Trusted {
    /// Gives the same blob a new `generation`, vouched for by `provenance` (FORMAT 3, "a blob that
    /// is made current again"). File key, salt, stanzas, metadata and parts stay as they are.
    ///
    /// # Errors
    /// When no blob can have the generation, or the engine fails.
    pub fn reseal(
        &self,
        generation: u64,
        provenance: Provenance<'_>,
        rng: &mut dyn CryptoRng,
    ) -> Result<Resealed, SealError> {
        let (header, keys, facts) = (self.header(), self.keys(), self.facts());
        let draft = Draft {
            suite: header.suite(),
            part_size: header.part_size(),
            salt: header.salt(),
            generation,
            object_key: header.object_key(),
            stanzas: header.stanzas(),
            metadata: header.metadata(),
        };
        let bytes = draft.encode(&keys.header_mac).ok_or(SealError::HeaderTooLong)?;
        let header = Header::parse(&bytes)?;
        let mut sealed = Vec::new();
        if !facts.is_empty() {
            let (key, plain) = (&keys.footer, facts.encode());
            chunked::seal(header.suite(), self.engine(), key, FACTS, &plain, rng, &mut sealed)?;
        }
        let contents = FooterContents {
            total_length: self.layout().total_length(),
            digests: self.digests(),
            facts: &sealed,
        };
        Ok(Resealed { footer: contents.vouch(&header, keys, provenance), header: bytes })
    }
}

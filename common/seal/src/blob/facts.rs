//! The facts in a footer, which a writer knows only after the last byte (FORMAT 8).

use thiserror::Error;
use zput_proto::cursor::Cursor;

/// The facts of a blob.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Facts {
    /// SHA-256 of the whole plaintext, when the writer was asked for it.
    pub sha256: Option<[u8; 32]>,
}

/// Why a plaintext is not a list of facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FactsError {
    /// The list ends inside a fact.
    #[error("the footer's facts are cut short")]
    Truncated,
    /// "Tags strictly increasing."
    #[error("the footer's fact {0} stands behind one that it must precede")]
    Order(u8),
    /// A known fact does not have this length.
    #[error("the footer's fact {tag} cannot be {length} bytes long")]
    Length {
        /// Tag of the fact.
        tag: u8,
        /// Bytes of the value.
        length: u8,
    },
}

impl Facts {
    /// Whether there is no fact.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        self.sha256.map_or_else(Vec::new, |digest| [&[SHA256, 32], &digest[..]].concat())
    }

    pub(super) fn parse(plaintext: &[u8]) -> Result<Self, FactsError> {
        let mut facts = Self::default();
        let mut cursor = Cursor::new(plaintext);
        let mut newest = None;
        while !cursor.is_at_end() {
            let (tag, length, value) = fact(&mut cursor).ok_or(FactsError::Truncated)?;
            if newest.is_some_and(|newest| tag <= newest) {
                return Err(FactsError::Order(tag));
            }
            newest = Some(tag);
            if tag == SHA256 {
                let digest = value.try_into().map_err(|_| FactsError::Length { tag, length })?;
                facts.sha256 = Some(digest);
            }
        }
        Ok(facts)
    }
}

fn fact<'a>(cursor: &mut Cursor<'a>) -> Option<(u8, u8, &'a [u8])> {
    let (tag, length) = (cursor.u8()?, cursor.u8()?);
    Some((tag, length, cursor.take(length.into())?))
}

const SHA256: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    /// Facts encode to the literal bytes of FORMAT 8 and parse back.
    #[test]
    fn facts_encode_to_the_bytes_of_the_format() {
        let facts = Facts { sha256: Some([7; 32]) };
        assert_eq!(facts.encode(), [&[1, 32][..], &[7; 32]].concat());
        assert_eq!(Facts::parse(&facts.encode()), Ok(facts));
        assert_eq!(Facts::default().encode(), b"");
        assert_eq!(Facts::parse(b""), Ok(Facts::default()));
    }

    /// Parsing skips facts with an unknown tag and reads the SHA-256 among them.
    #[test]
    fn facts_parse_skips_unknown_tags() {
        let list = [&[0, 1, 9, 1, 32][..], &[7; 32], &[2, 0, 9, 3, 1, 2, 3]].concat();
        assert_eq!(Facts::parse(&list), Ok(Facts { sha256: Some([7; 32]) }));
    }

    /// Parsing refuses facts that are truncated, out of order or of a wrong length.
    #[test]
    fn facts_parse_refuses_truncated_or_unordered_facts() {
        assert_eq!(Facts::parse(&[1]), Err(FactsError::Truncated));
        assert_eq!(Facts::parse(&[9, 2, 0]), Err(FactsError::Truncated));
        assert_eq!(Facts::parse(&[9, 0, 9, 0]), Err(FactsError::Order(9)));
        assert_eq!(Facts::parse(&[9, 0, 8, 0]), Err(FactsError::Order(8)));
        assert_eq!(Facts::parse(&[1, 1, 0]), Err(FactsError::Length { tag: 1, length: 1 }));
    }
}

//! Lists of tagged fields, by which a format grows (docs/next/FORMAT 1).
//!
//! ```text
//! list = ( type[1] || length[2] || value )…          types strictly increasing
//! ```

use thiserror::Error;

use crate::cursor::Cursor;

/// Why bytes are not a list of tagged fields, or one that this program must not overlook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TaggedError {
    /// A field ends behind the end of the list.
    #[error("a tagged field is cut off")]
    Cut,
    /// A field has the type of the one before it, or a lower one.
    #[error("the tagged field of type {0:#04x} does not stand behind a field of a lower type")]
    Order(u8),
    /// A critical field has a type that is not known.
    #[error("a field of type {0:#04x} must be understood, and this program does not know it")]
    Critical(u8),
    /// A value is longer than its length can say; the number is that of its bytes.
    #[error("the value of a tagged field has at most 65535 bytes, this one has {0}")]
    Length(usize),
}

/// A well-formed list of tagged fields without an unknown critical one.
///
/// ```
/// use zput_proto::tagged::{TaggedError, TaggedFields};
///
/// // Type 1 is known and critical nowhere, type 3 is skipped.
/// let fields = TaggedFields::parse(b"\x01\x00\x02ab\x03\x00\x00", &[1])?;
/// assert_eq!(fields.get(1), Some(&b"ab"[..]));
/// // Bit 7 says that a reader that does not know the type must not go on.
/// let critical = TaggedFields::parse(b"\x84\x00\x00", &[1]);
/// assert_eq!(critical, Err(TaggedError::Critical(0x84)));
/// # Ok::<(), TaggedError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaggedFields<'a>(&'a [u8]);

impl<'a> TaggedFields<'a> {
    /// Parses `bytes`, a whole list and nothing else, for a program that knows the types `known`.
    ///
    /// # Errors
    /// Says which rule they break. An unknown critical field is one; other unknown ones are not.
    pub fn parse(bytes: &'a [u8], known: &[u8]) -> Result<Self, TaggedError> {
        let mut last = None;
        let mut cursor = Cursor::new(bytes);
        while !cursor.is_at_end() {
            let (kind, _) = next(&mut cursor).ok_or(TaggedError::Cut)?;
            if last.is_some_and(|last| kind <= last) {
                return Err(TaggedError::Order(kind));
            }
            if kind & CRITICAL != 0 && !known.contains(&kind) {
                return Err(TaggedError::Critical(kind));
            }
            last = Some(kind);
        }
        Ok(Self(bytes))
    }

    /// The fields in their order: type and value.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &'a [u8])> + use<'a> {
        let mut cursor = Cursor::new(self.0);
        std::iter::from_fn(move || next(&mut cursor))
    }

    /// The value of the field of this type.
    #[must_use]
    pub fn get(&self, kind: u8) -> Option<&'a [u8]> {
        self.iter().find(|(found, _)| *found == kind).map(|(_, value)| value)
    }

    /// The list of `fields`, which are types and values in the order of their types.
    ///
    /// # Errors
    /// When the types are not strictly increasing, or a value is longer than 65,535 bytes.
    pub fn encode(fields: &[(u8, &[u8])]) -> Result<Vec<u8>, TaggedError> {
        let mut bytes = Vec::new();
        let mut last = None;
        for (kind, value) in fields {
            if last.is_some_and(|last| *kind <= last) {
                return Err(TaggedError::Order(*kind));
            }
            let length =
                u16::try_from(value.len()).map_err(|_| TaggedError::Length(value.len()))?;
            bytes.push(*kind);
            bytes.extend(length.to_be_bytes());
            bytes.extend(*value);
            last = Some(*kind);
        }
        Ok(bytes)
    }
}

fn next<'a>(cursor: &mut Cursor<'a>) -> Option<(u8, &'a [u8])> {
    let kind = cursor.u8()?;
    let length = cursor.u16()?;
    Some((kind, cursor.take(length.into())?))
}

/// The bit of a type that says: refuse what you do not know.
const CRITICAL: u8 = 0x80;

#[cfg(test)]
mod tests {
    use super::*;

    /// An empty list is a list; values may be empty.
    #[test]
    fn tagged_fields_parse_in_increasing_order() {
        assert_eq!(TaggedFields::parse(b"", &[]).unwrap().iter().count(), 0);
        let list = b"\x00\x00\x00\x01\x00\x01a\x7f\x00\x02bc";
        let fields = TaggedFields::parse(list, &[]).unwrap();
        let read: Vec<_> = fields.iter().collect();
        assert_eq!(read, [(0, &b""[..]), (1, b"a"), (0x7f, b"bc")]);
        assert_eq!((fields.get(0x7f), fields.get(2)), (Some(&b"bc"[..]), None));
        assert_eq!(TaggedFields::encode(&read).unwrap(), list);
    }

    /// Every cut of a list is refused, but between two fields.
    #[test]
    fn tagged_fields_refuse_a_cut() {
        let list = b"\x01\x00\x01a\x02\x00\x00";
        for length in 0..=list.len() {
            let whole = [0, 4, 7].contains(&length);
            let expected = if whole { Ok(()) } else { Err(TaggedError::Cut) };
            let parsed = TaggedFields::parse(&list[..length], &[]).map(|_| ());
            assert_eq!(parsed, expected, "{length}");
        }
    }

    /// Equal and lower types are refused, by the writer too.
    #[test]
    fn tagged_fields_refuse_types_that_do_not_grow() {
        for (second, list) in [(1, b"\x01\x00\x00\x01\x00\x00"), (0, b"\x01\x00\x00\x00\x00\x00")] {
            assert_eq!(TaggedFields::parse(list, &[0, 1]), Err(TaggedError::Order(second)));
            let fields = [(1, &b""[..]), (second, b"")];
            assert_eq!(TaggedFields::encode(&fields), Err(TaggedError::Order(second)));
        }
        let long = vec![0; 65_536];
        assert_eq!(TaggedFields::encode(&[(1, &long)]), Err(TaggedError::Length(65_536)));
        assert_eq!(TaggedFields::encode(&[(1, &long[1..])]).unwrap()[..3], [1, 0xff, 0xff]);
    }

    /// A critical field is read by those that know its type, and stops all others.
    #[test]
    fn tagged_fields_refuse_unknown_critical_type() {
        for kind in 0..=255_u8 {
            let list = [kind, 0, 1, 7];
            assert_eq!(TaggedFields::parse(&list, &[kind]).unwrap().get(kind), Some(&[7][..]));
            let unknown = TaggedFields::parse(&list, &[kind ^ 1]);
            assert_eq!(unknown.is_err(), kind >= 128, "{kind}");
        }
        assert_eq!(TaggedFields::parse(&[0x80, 0, 0], &[0]), Err(TaggedError::Critical(0x80)));
    }
}

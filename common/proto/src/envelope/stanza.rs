//! The text of recipient stanzas (c2sp.org/age): parsed and encoded, not interpreted.

use std::str;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use thiserror::Error;

use crate::limits::RECIPIENTS_MAX;

/// Columns of a full body line. The last line is shorter.
const COLUMNS: usize = 64;
/// The bytes that a stanza begins with.
const MARK: &[u8] = b"-> ";

/// One recipient stanza: the file key wrapped for one recipient, of a known or an unknown type.
///
/// Its encoding is canonical: `parse_all(encode(x)) == x` and nothing else parses to `x`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stanza {
    kind: String,
    arguments: Vec<String>,
    body: Vec<u8>,
}

/// Why a text is not a list of stanzas. `stanza` counts from 0.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StanzaError {
    /// There is no stanza.
    #[error("there is no recipient stanza")]
    None,
    /// There are more stanzas than [`RECIPIENTS_MAX`].
    #[error("there are more than {RECIPIENTS_MAX} recipient stanzas")]
    TooMany,
    /// A stanza does not begin with `-> `.
    #[error("stanza {stanza} does not begin with \"-> \"")]
    Mark {
        /// Index of the stanza, from 0.
        stanza: usize,
    },
    /// The text ends before the short line that ends a stanza.
    #[error("stanza {stanza} is cut short")]
    Truncated {
        /// Index of the stanza, from 0.
        stanza: usize,
    },
    /// An argument is empty or has a character outside `!` to `~`.
    #[error("stanza {stanza} has an argument that is empty or not of visible ASCII")]
    Argument {
        /// Index of the stanza, from 0.
        stanza: usize,
    },
    /// A body line is over 64 columns.
    #[error("stanza {stanza} has a body line of more than {COLUMNS} columns")]
    LongLine {
        /// Index of the stanza, from 0.
        stanza: usize,
    },
    /// The body is padded, not canonical or not base64 at all.
    #[error("stanza {stanza} has a body that is not canonical base64")]
    Base64 {
        /// Index of the stanza, from 0.
        stanza: usize,
    },
}

impl Stanza {
    /// A stanza of type `kind`.
    ///
    /// # Errors
    /// [`StanzaError::Argument`] when `kind` or an argument could not be written in a stanza.
    pub fn new(
        kind: impl Into<String>,
        arguments: Vec<String>,
        body: Vec<u8>,
    ) -> Result<Self, StanzaError> {
        let kind = kind.into();
        if !is_argument(kind.as_bytes()) || !arguments.iter().all(|a| is_argument(a.as_bytes())) {
            return Err(StanzaError::Argument { stanza: 0 });
        }
        Ok(Self { kind, arguments, body })
    }

    /// The type of the stanza, which is its first argument.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The arguments after the type.
    #[must_use]
    pub fn arguments(&self) -> &[String] {
        &self.arguments
    }

    /// The body, decoded from base64.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Parses the whole of `text` as 1 to [`RECIPIENTS_MAX`] stanzas, one after the other.
    ///
    /// # Errors
    /// Says which stanza breaks which rule.
    pub fn parse_all(text: &[u8]) -> Result<Vec<Self>, StanzaError> {
        let mut stanzas = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            if stanzas.len() == RECIPIENTS_MAX {
                return Err(StanzaError::TooMany);
            }
            let (stanza, behind) = Self::parse_one(stanzas.len(), rest)?;
            stanzas.push(stanza);
            rest = behind;
        }
        if stanzas.is_empty() { Err(StanzaError::None) } else { Ok(stanzas) }
    }

    /// ```text
    /// stanza     = arg-line *full-line final-line
    /// arg-line   = "-> " argument *(SP argument) LF
    /// argument   = 1*VCHAR
    /// full-line  = 64base64char LF
    /// final-line = *63base64char LF
    /// ```
    fn parse_one(stanza: usize, text: &[u8]) -> Result<(Self, &[u8]), StanzaError> {
        if !text.starts_with(MARK) {
            return Err(StanzaError::Mark { stanza });
        }
        let (line, mut rest) = line(stanza, &text[MARK.len()..])?;
        let mut words = Vec::new();
        for word in line.split(|&byte| byte == b' ') {
            let word = str::from_utf8(word).map_err(|_| StanzaError::Argument { stanza })?;
            if !is_argument(word.as_bytes()) {
                return Err(StanzaError::Argument { stanza });
            }
            words.push(word.to_owned());
        }
        let kind = words.remove(0); // `split` gives at least one word

        let mut base64 = Vec::new();
        loop {
            let (line, behind) = self::line(stanza, rest)?;
            if line.len() > COLUMNS {
                return Err(StanzaError::LongLine { stanza });
            }
            base64.extend_from_slice(line);
            rest = behind;
            // "The body MUST end with a line shorter than 64 characters, which MAY be empty."
            if line.len() < COLUMNS {
                break;
            }
        }
        // "decoders MUST reject non-canonical encodings and encodings ending with `=`"
        let body = STANDARD_NO_PAD.decode(&base64).map_err(|_| StanzaError::Base64 { stanza })?;
        Ok((Self { kind, arguments: words, body }, rest))
    }

    /// Appends the stanza's text to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(MARK);
        out.extend_from_slice(self.kind.as_bytes());
        for argument in &self.arguments {
            out.push(b' ');
            out.extend_from_slice(argument.as_bytes());
        }
        out.push(b'\n');
        let base64 = STANDARD_NO_PAD.encode(&self.body);
        let mut lines = base64.as_bytes().chunks_exact(COLUMNS);
        for line in &mut lines {
            out.extend_from_slice(line);
            out.push(b'\n');
        }
        out.extend_from_slice(lines.remainder());
        out.push(b'\n');
    }
}

/// `argument = 1*VCHAR`
fn is_argument(word: &[u8]) -> bool {
    !word.is_empty() && word.iter().all(u8::is_ascii_graphic)
}

/// The first line of `text`, and the text after its LF.
fn line(stanza: usize, text: &[u8]) -> Result<(&[u8], &[u8]), StanzaError> {
    let end =
        text.iter().position(|&byte| byte == b'\n').ok_or(StanzaError::Truncated { stanza })?;
    Ok((&text[..end], &text[end + 1..]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Each breaks one rule of the grammar; the test kit has the same and more, within whole files.
    #[test]
    fn age_stanza_parse_refuses_broken_grammar() {
        let stanza = 0;
        for (text, error) in [
            ("", StanzaError::None),
            ("->  X\n\n", StanzaError::Argument { stanza }),
            ("-> \n\n", StanzaError::Argument { stanza }),
            ("-> X \n\n", StanzaError::Argument { stanza }),
            ("-> X\u{e9}\n\n", StanzaError::Argument { stanza }),
            ("-> X\ty\n\n", StanzaError::Argument { stanza }),
            ("->X\n\n", StanzaError::Mark { stanza }),
            ("-- X\n\n", StanzaError::Mark { stanza }),
            ("-> X", StanzaError::Truncated { stanza }),
            ("-> X\n", StanzaError::Truncated { stanza }),
            ("-> X\nAAAA", StanzaError::Truncated { stanza }),
            ("-> X\nAAA=\n", StanzaError::Base64 { stanza }),
            ("-> X\nAAF\n", StanzaError::Base64 { stanza }),
            ("-> X\nA\n", StanzaError::Base64 { stanza }),
            ("-> X\nAA-_\n", StanzaError::Base64 { stanza }),
            ("-> X\nAAAA\r\n", StanzaError::Base64 { stanza }),
            ("-> X\n\nAAAA\n", StanzaError::Mark { stanza: 1 }),
            ("-> X\nAAAA\n-> Y\nAAA=\n", StanzaError::Base64 { stanza: 1 }),
        ] {
            assert_eq!(Stanza::parse_all(text.as_bytes()), Err(error), "{text:?}");
        }
        let full = "A".repeat(64);
        let text = format!("-> X\n{full}\n");
        assert_eq!(Stanza::parse_all(text.as_bytes()), Err(StanzaError::Truncated { stanza }));
        let text = format!("-> X\n{full}A\n");
        assert_eq!(Stanza::parse_all(text.as_bytes()), Err(StanzaError::LongLine { stanza }));
        let text = format!("-> X\n{full}\n\n");
        assert_eq!(Stanza::parse_all(text.as_bytes()).unwrap()[0].body(), [0; 48]);
        assert_eq!(Stanza::parse_all("-> X\n\n".repeat(32).as_bytes()).unwrap().len(), 32);
        assert_eq!(Stanza::parse_all("-> X\n\n".repeat(33).as_bytes()), Err(StanzaError::TooMany));
        for kind in ["", "a b", "a\n"] {
            assert!(Stanza::new(kind, vec![], vec![]).is_err());
            assert!(Stanza::new("X", vec![kind.to_owned()], vec![]).is_err());
        }
    }

    fn stanza() -> impl Strategy<Value = Stanza> {
        let argument = "[!-~]{1,80}";
        let arguments = prop::collection::vec(argument, 0..4);
        // Around the lengths at which the last line is empty.
        let body = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            prop::collection::vec(any::<u8>(), 47..50),
            prop::collection::vec(any::<u8>(), 95..98),
        ];
        (argument, arguments, body)
            .prop_map(|(kind, args, body)| Stanza::new(kind, args, body).unwrap())
    }

    proptest! {
        /// Random stanzas encode and parse back to the same stanzas.
        #[test]
        fn age_stanzas_round_trip_through_text(stanzas in prop::collection::vec(stanza(), 1..5)) {
            let mut text = Vec::new();
            stanzas.iter().for_each(|stanza| stanza.encode(&mut text));
            prop_assert_eq!(Stanza::parse_all(&text), Ok(stanzas));
        }

        /// The stanza parser does not panic on random bytes.
        #[test]
        fn age_stanza_parser_never_panics(text in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Stanza::parse_all(&text);
        }

        /// What is parsed has one spelling only.
        #[test]
        fn age_stanza_text_is_canonical(
            stanzas in prop::collection::vec(stanza(), 1..3),
            at in any::<prop::sample::Index>(),
            byte in prop::sample::select(b"\n -=>AQZz09/+\r!".to_vec()),
            insert in any::<bool>(),
        ) {
            let mut text = Vec::new();
            stanzas.iter().for_each(|stanza| stanza.encode(&mut text));
            let at = at.index(text.len());
            if insert { text.insert(at, byte) } else { text[at] = byte }
            if let Ok(parsed) = Stanza::parse_all(&text) {
                let mut written = Vec::new();
                parsed.iter().for_each(|stanza| stanza.encode(&mut written));
                prop_assert_eq!(written, text);
            }
        }
    }
}

//! The label by which a server's operator sees a device.

use serde::{Deserialize, Deserializer, Serialize, de};
use thiserror::Error;

use crate::limits::LABEL_MAX_BYTES;

/// A text that [`is_label`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Label(String);

/// The text is longer than [`LABEL_MAX_BYTES`], or has control characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a label has at most {LABEL_MAX_BYTES} bytes and no control characters")]
pub struct LabelError;

impl Label {
    /// Accepts `text` as a label.
    ///
    /// # Errors
    /// When it cannot be one.
    pub fn parse(text: &str) -> Result<Self, LabelError> {
        if is_label(text) { Ok(Self(text.to_owned())) } else { Err(LabelError) }
    }

    /// The label as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Checks the text before it allocates, so that a peer cannot choose how much memory is used.
impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Label;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a label")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Label, E> {
                Label::parse(text).map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Visitor)
    }
}

/// Whether `text` can be a label (PROTOCOL 5): "string ≤ 64 bytes, no control characters", since it
/// ends up on an operator's terminal.
#[must_use]
pub fn is_label(text: &str) -> bool {
    text.len() <= LABEL_MAX_BYTES && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A label has at most 64 bytes and no control characters.
    #[test]
    fn label_is_short_and_free_of_control_characters() {
        for text in ["", "my laptop", "mañana", &"x".repeat(64)] {
            assert!(is_label(text), "{text:?}");
            assert_eq!(Label::parse(text).map(|label| label.as_str() == text), Ok(true));
        }
        for text in ["\u{1b}[31m", "a\nb", "\u{9b}", &"x".repeat(65), &"é".repeat(33)] {
            assert!(!is_label(text), "{text:?}");
            assert_eq!(Label::parse(text), Err(LabelError));
        }
    }
}

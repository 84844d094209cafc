//! The label by which a server's operator sees a device.

use crate::limits::LABEL_MAX_BYTES;

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
        }
        for text in ["\u{1b}[31m", "a\nb", "\u{9b}", &"x".repeat(65), &"é".repeat(33)] {
            assert!(!is_label(text), "{text:?}");
        }
    }
}

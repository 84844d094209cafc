//! Text of other parties for people to read: names, metadata, and the texts of servers.
//!
//! Everything that a terminal would act upon is escaped.

use std::borrow::Cow;

/// `text` with control characters, and characters that reorder or hide others, as `\u{…}`.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(acts_on_a_terminal) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if acts_on_a_terminal(c) {
            escaped.extend(c.escape_unicode());
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

/// Control characters (Unicode category Cc), and format characters that reorder the text around
/// them or are invisible ("Trojan Source", CVE-2021-42574).
fn acts_on_a_terminal(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ordinary text is printed unchanged.
    #[test]
    fn printable_leaves_ordinary_text_alone() {
        for text in ["", "secret.bin", "Grüße/日本.txt", "a b \\ \"c\""] {
            assert!(matches!(printable(text), Cow::Borrowed(t) if t == text), "{text}");
        }
    }

    /// Control, direction and zero-width characters are escaped.
    #[test]
    fn printable_escapes_control_and_bidi_characters() {
        assert_eq!(printable("a\x1b[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(printable("a\r\nb"), "a\\u{d}\\u{a}b");
        assert_eq!(printable("\u{9b}31m"), "\\u{9b}31m");
        assert_eq!(printable("exe.\u{202e}txt"), "exe.\\u{202e}txt");
        assert_eq!(printable("a\u{200b}b"), "a\\u{200b}b");
    }
}

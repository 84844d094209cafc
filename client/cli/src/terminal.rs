//! Output to a terminal, and questions on one.
//!
//! Names, metadata and error texts come from other parties, so everything that a terminal would act
//! upon is escaped. Prompts go only to `/dev/tty`, so a script is never asked.

use std::{
    borrow::Cow,
    env,
    fs::OpenOptions,
    io::{self, BufRead, BufReader, IsTerminal, Read, Write},
    sync::Arc,
};

use zeroize::Zeroizing;

use crate::cleanup::EchoGuard;

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

/// Whether `stream` is a terminal with a movable cursor, which a progress bar needs.
#[must_use]
pub fn has_cursor(stream: &impl IsTerminal) -> bool {
    stream.is_terminal()
        && env::var_os("TERM").is_some_and(|term| !matches!(term.to_str(), Some("dumb" | "")))
}

/// Whether there is a terminal to ask on.
#[must_use]
pub fn can_ask() -> bool {
    OpenOptions::new().read(true).write(true).open("/dev/tty").is_ok()
}

/// Longest line that is read, in bytes; a terminal's line is no longer (`termios(3)`).
const LINE_MAX_BYTES: usize = 4096;

/// Asks on `/dev/tty` for a line that is not echoed. The echo is turned off before the prompt
/// appears, so that fast typing is not shown either.
///
/// # Errors
/// When there is no terminal, or it fails.
pub fn ask_secret(prompt: &str) -> io::Result<Zeroizing<String>> {
    let terminal = Arc::new(OpenOptions::new().read(true).write(true).open("/dev/tty")?);
    let hidden = EchoGuard::hide(&terminal)?;
    (&*terminal).write_all(printable(prompt).as_bytes())?;
    // Allocated at once, so that growing leaves no copy of the secret in memory.
    let mut byte = Zeroizing::new([0; 1]);
    let mut bytes = Zeroizing::new(Vec::with_capacity(LINE_MAX_BYTES));
    while bytes.len() < LINE_MAX_BYTES {
        if (&*terminal).read(&mut *byte)? == 0 || byte[0] == b'\n' {
            break;
        }
        bytes.push(byte[0]);
    }
    drop(hidden);
    (&*terminal).write_all(b"\n")?;
    let text = str::from_utf8(&bytes).map_err(io::Error::other)?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Asks on `/dev/tty` for a line, with echo.
///
/// # Errors
/// When there is no terminal, or it fails.
pub fn ask(prompt: &str) -> io::Result<String> {
    let mut terminal = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
    terminal.write_all(printable(prompt).as_bytes())?;
    let mut line = String::new();
    BufReader::new(terminal).take(LINE_MAX_BYTES as u64).read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

/// Prints a line on `/dev/tty`.
///
/// # Errors
/// When there is no terminal, or it fails.
pub fn print_line(line: &str) -> io::Result<()> {
    let mut terminal = OpenOptions::new().write(true).open("/dev/tty")?;
    terminal.write_all(format!("{}\n", printable(line)).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_text_is_left_alone() {
        for text in ["", "secret.bin", "Grüße/日本.txt", "a b \\ \"c\""] {
            assert!(matches!(printable(text), Cow::Borrowed(t) if t == text), "{text}");
        }
    }

    #[test]
    fn what_a_terminal_would_act_upon_is_escaped() {
        assert_eq!(printable("a\x1b[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(printable("a\r\nb"), "a\\u{d}\\u{a}b");
        assert_eq!(printable("\u{9b}31m"), "\\u{9b}31m");
        assert_eq!(printable("exe.\u{202e}txt"), "exe.\\u{202e}txt");
        assert_eq!(printable("a\u{200b}b"), "a\\u{200b}b");
    }
}

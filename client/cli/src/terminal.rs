//! Questions on a terminal. Prompts go only to `/dev/tty`, so a script is never asked.

use std::{
    env,
    fs::OpenOptions,
    io::{self, BufRead, BufReader, IsTerminal, Read, Write},
    sync::Arc,
};

use zeroize::Zeroizing;
use zput::cli::printable;

use crate::signals::EchoGuard;

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

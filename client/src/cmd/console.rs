//! Where a command speaks: data on stdout, everything else on stderr.
//!
//! A name goes into a pipe as it is, so that what one command prints, another takes; no name has a
//! control character, so a line is a name. Only for a terminal is escaped what a terminal would act
//! upon.

use std::{
    borrow::Cow,
    fmt,
    io::{self, IsTerminal as _, Write},
    time::Instant,
};

use serde::Serialize;

use super::{Failure, local};
use crate::{
    ClientError,
    keystore::KeyPath,
    progress::{self, Bar, Progress, Silent},
    sink::Shortfall,
    standard_streams,
    terminal::{has_cursor, printable},
};

/// How much a command says beside its data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Voice {
    /// Errors and warnings.
    Quiet,
    /// Notes too; on a terminal also progress, and a line for what succeeded.
    #[default]
    Normal,
    /// A line for each step and each success, on whatever stderr is.
    Verbose,
}

/// Where a command speaks.
#[derive(Clone, Copy, Debug)]
pub struct Console {
    name: &'static str,
    voice: Voice,
    json: bool,
    begun: Instant,
}

impl Console {
    pub(super) fn new(name: &'static str, voice: Voice, json: bool) -> Self {
        Self { name, voice, json, begun: Instant::now() }
    }

    /// A note on stderr, for whoever did not ask for quiet.
    pub(crate) fn tell(&self, what: &dyn fmt::Display) {
        if self.voice != Voice::Quiet {
            self.warn(what);
        }
    }

    /// A line on stderr that is never left out.
    pub(crate) fn warn(&self, what: &dyn fmt::Display) {
        // There is nobody left to be told that stderr is gone.
        let _told = progress::aside(|| to_stderr(&format!("{}\n", self.line(what))));
    }

    /// A step on the way, for whoever asked by `--verbose`.
    pub(crate) fn detail(&self, what: &dyn fmt::Display) {
        if self.voice == Voice::Verbose {
            self.warn(what);
        }
    }

    /// That something succeeded: for a person in front, and for whoever asked.
    pub(crate) fn done(&self, what: &dyn fmt::Display) {
        let is_seen = match self.voice {
            Voice::Quiet => false,
            Voice::Normal => io::stderr().is_terminal() && !self.json,
            Voice::Verbose => true,
        };
        if is_seen {
            let ms = self.begun.elapsed().as_millis();
            let line = format!("{what}  {}\n", duration(ms));
            let _told = progress::aside(|| to_stderr(&line));
        }
    }

    /// The line that tells it.
    pub(crate) fn line(&self, what: &dyn fmt::Display) -> String {
        format!("{}: {what}", self.name)
    }

    /// Something failed.
    pub(super) fn fail(&self, failure: &Failure) {
        self.warn(failure);
        if self.json && !failure.is_told() {
            // Stdout that is gone is told of by what follows, or by nobody.
            let _told = self.print_json(&failure.json());
        }
    }

    /// That there is a new key file, and what to do with it.
    pub(crate) fn tell_made(&self, key_file: &KeyPath) {
        self.tell(&format_args!("made a key file: {}", key_file.path.display()));
        self.tell(&"back it up: what is sealed to a key that is lost stays sealed");
    }

    /// A line of data on stdout.
    pub(crate) fn print(&self, line: &dyn fmt::Display) -> Result<(), ClientError> {
        self.print_behind(line, "\n")
    }

    /// Data on stdout, with `end` behind it.
    pub(crate) fn print_behind(
        &self,
        data: &dyn fmt::Display,
        end: &str,
    ) -> Result<(), ClientError> {
        let text = format!("{data}{end}");
        standard_streams::stdout()
            .and_then(|mut stdout| stdout.write_all(text.as_bytes()))
            .map_err(ClientError::Stdout)
    }

    /// What could not be set on a file that is there.
    pub(crate) fn tell_shortfalls(&self, shortfalls: &[Shortfall]) {
        for shortfall in shortfalls {
            self.warn(&format_args!("warning: {}", printable(&shortfall.to_string())));
        }
    }

    /// A name as stdout takes it.
    pub(crate) fn shown<'a>(&self, name: &'a str) -> Cow<'a, str> {
        if self.is_on_terminal() { printable(name) } else { Cow::Borrowed(name) }
    }

    /// Whether a person reads stdout.
    pub(crate) fn is_on_terminal(&self) -> bool {
        io::stdout().is_terminal()
    }

    /// An object of JSON, on a line of its own.
    pub(crate) fn print_json(&self, value: &impl Serialize) -> Result<(), ClientError> {
        self.print(&Self::json_text(value)?)
    }

    /// The text of such an object.
    pub(crate) fn json_text(value: &impl Serialize) -> Result<String, ClientError> {
        serde_json::to_string(value)
            .map_err(|error| local("cannot write JSON", io::Error::other(error)))
    }

    /// Progress on the terminal, if stderr is one that a bar can be drawn on.
    pub(crate) fn progress(&self, label: &str) -> Box<dyn Progress> {
        if self.voice == Voice::Quiet || !has_cursor(&io::stderr()) {
            return Box::new(Silent);
        }
        Box::new(Bar::on_stderr(&printable(label)))
    }

    /// Does something with each of `things`; a failure of one does not keep the others from it.
    pub(crate) fn each<T>(
        &self,
        things: Vec<T>,
        mut act: impl FnMut(T) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut tally = Tally::of(things.len());
        for thing in things {
            tally.note(act(thing), self);
            if tally.is_unread() {
                break;
            }
        }
        tally.end()
    }
}

fn to_stderr(text: &str) -> io::Result<()> {
    standard_streams::stderr()?.write_all(text.as_bytes())
}

/// `12 ms`, `3.4 s`, `2 min 5 s`.
fn duration(ms: u128) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        _ => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
    }
}

/// How several things have ended.
#[derive(Debug)]
pub(crate) struct Tally {
    all: usize,
    failed: usize,
    /// Of a single thing: nobody has been told yet.
    failure: Option<Failure>,
    /// The reader of stdout is gone. What is to be done is done all the same, and quietly.
    unread: Option<Failure>,
}

impl Tally {
    pub(crate) fn of(all: usize) -> Self {
        Self { all, failed: 0, failure: None, unread: None }
    }

    /// One has ended.
    pub(crate) fn note(&mut self, ended: Result<(), Failure>, console: &Console) {
        let Err(failure) = ended else { return };
        if failure.is_unread() {
            self.unread = Some(failure);
            return;
        }
        self.failed += 1;
        if self.all == 1 {
            self.failure = Some(failure);
        } else {
            console.fail(&failure);
        }
    }

    /// Whether the reader of stdout is gone.
    fn is_unread(&self) -> bool {
        self.unread.is_some()
    }

    /// All have.
    pub(crate) fn end(self) -> Result<(), Failure> {
        let Self { all, failed, failure, unread } = self;
        match failure.or(unread.filter(|_| failed == 0)) {
            Some(failure) => Err(failure),
            None if failed == 0 => Ok(()),
            None => Err(ClientError::Several { failed, all }.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        assert_eq!(duration(0), "0 ms");
        assert_eq!(duration(999), "999 ms");
        assert_eq!(duration(1_000), "1.0 s");
        assert_eq!(duration(59_999), "59.9 s");
        assert_eq!(duration(125_000), "2 min 5 s");
    }
}

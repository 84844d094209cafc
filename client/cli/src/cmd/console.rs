//! Output of a command: data on stdout, everything else on stderr.
//!
//! A name is written to a pipe unchanged, so that other commands can read it; names have no control
//! characters, so a line is a name. Only for a terminal is everything escaped that it would act
//! upon.

use std::{
    borrow::Cow,
    fmt,
    io::{self, IsTerminal as _, Write},
    time::Instant,
};

use serde::Serialize;
use zput::{
    Progress, Silent,
    cli::{KeyPath, printable, standard_streams},
    error::AttributeWarning,
};

use super::failure::{Failure, local};
use crate::{
    advice::with_causes,
    bar::{self, Bar},
    error::CommandError,
    terminal::has_cursor,
};

/// How much a command prints beside its data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verbosity {
    /// Errors and warnings.
    Quiet,
    /// Notes too; on a terminal also progress, and a line for each success.
    #[default]
    Normal,
    /// Also each step and each success, whatever stderr is.
    Verbose,
}

/// The output of a command.
#[derive(Clone, Copy, Debug)]
pub struct Console {
    /// The program and its verb, `zblob ls`, which begin each line on stderr.
    name: &'static str,
    verbosity: Verbosity,
    json: bool,
    started: Instant,
}

impl Console {
    pub(super) fn new(name: &'static str, verbosity: Verbosity, json: bool) -> Self {
        Self { name, verbosity, json, started: Instant::now() }
    }

    /// The program and its verb: `zput`, `zblob key join`.
    pub(super) const fn name(&self) -> &'static str {
        self.name
    }

    /// Prints a note to stderr, unless `--quiet` was given.
    pub(crate) fn note(&self, what: &dyn fmt::Display) {
        if self.verbosity != Verbosity::Quiet {
            self.warn(what);
        }
    }

    /// Prints a line to stderr, always.
    pub(crate) fn warn(&self, what: &dyn fmt::Display) {
        // If stderr is gone, nothing else could report it.
        let _unwritable = bar::suspend_bar(|| to_stderr(&format!("{}\n", self.line(what))));
    }

    /// Prints a step to stderr, if `--verbose` was given.
    pub(crate) fn verbose(&self, what: &dyn fmt::Display) {
        if self.verbosity == Verbosity::Verbose {
            self.warn(what);
        }
    }

    /// Reports a success: on a terminal, or with `--verbose`.
    pub(crate) fn success(&self, what: &dyn fmt::Display) {
        let is_seen = match self.verbosity {
            Verbosity::Quiet => false,
            Verbosity::Normal => io::stderr().is_terminal() && !self.json,
            Verbosity::Verbose => true,
        };
        if is_seen {
            let ms = self.started.elapsed().as_millis();
            let line = format!("{what}  {}\n", duration(ms));
            let _unwritable = bar::suspend_bar(|| to_stderr(&line));
        }
    }

    /// The line for stderr, which begins with the program and its verb.
    pub(crate) fn line(&self, what: &dyn fmt::Display) -> String {
        format!("{}: {what}", self.name)
    }

    /// Reports a failure to stderr, and with `--json` to stdout.
    pub(super) fn report_failure(&self, failure: &Failure) {
        self.warn(failure);
        if self.json && !failure.is_reported() {
            // If stdout is gone, the next write reports it.
            let _unwritable = self.print_json(&failure.json());
        }
    }

    /// Reports a new key file, and that it has to be backed up.
    pub(crate) fn note_created_key_file(&self, key_file: &KeyPath) {
        self.note(&format_args!("created a key file: {}", key_file.as_path().display()));
        self.note(&"back it up: nothing else opens what is sealed to it");
    }

    /// Prints a line of data to stdout.
    pub(crate) fn print(&self, line: &dyn fmt::Display) -> Result<(), CommandError> {
        self.print_with_end(line, "\n")
    }

    /// Prints data and `end` to stdout.
    pub(crate) fn print_with_end(
        &self,
        data: &dyn fmt::Display,
        end: &str,
    ) -> Result<(), CommandError> {
        let text = format!("{data}{end}");
        standard_streams::stdout()
            .and_then(|mut stdout| stdout.write_all(text.as_bytes()))
            .map_err(CommandError::Stdout)
    }

    /// Warns of attributes that could not be set on a complete file.
    pub(crate) fn warn_attributes(&self, warnings: &[AttributeWarning]) {
        for warning in warnings {
            self.warn(&format_args!("warning: {}", printable(&with_causes(warning))));
        }
    }

    /// A name as it is printed on stdout: escaped on a terminal.
    pub(crate) fn escape_for_stdout<'a>(&self, name: &'a str) -> Cow<'a, str> {
        if self.is_on_terminal() { printable(name) } else { Cow::Borrowed(name) }
    }

    /// Whether stdout is a terminal.
    pub(crate) fn is_on_terminal(&self) -> bool {
        io::stdout().is_terminal()
    }

    /// Prints a JSON object on a line of its own.
    pub(crate) fn print_json(&self, value: &impl Serialize) -> Result<(), CommandError> {
        self.print(&Self::json_text(value)?)
    }

    /// The text of a JSON object.
    pub(crate) fn json_text(value: &impl Serialize) -> Result<String, CommandError> {
        serde_json::to_string(value)
            .map_err(|error| local("cannot write JSON", io::Error::other(error)))
    }

    /// A progress bar if stderr is a terminal that can show one; otherwise none.
    pub(crate) fn progress(&self, label: &str) -> Box<dyn Progress> {
        if self.verbosity == Verbosity::Quiet || !has_cursor(&io::stderr()) {
            return Box::new(Silent);
        }
        Box::new(Bar::on_stderr(&printable(label)))
    }

    /// Runs `act` for each of `things`. A failure does not stop the others.
    pub(crate) fn for_each<T>(
        &self,
        things: Vec<T>,
        mut act: impl FnMut(T) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut summary = Summary::new(things.len());
        for thing in things {
            summary.record(act(thing), self);
            if summary.is_reader_gone() {
                break;
            }
        }
        summary.finish()
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

/// Counts the results of several operations.
#[derive(Debug)]
pub(crate) struct Summary {
    all: usize,
    failed: usize,
    /// The failure of the only operation, which was not reported yet.
    failure: Option<Failure>,
    /// Set once the reader of stdout is gone. The remaining operations run without output.
    reader_gone: Option<Failure>,
}

impl Summary {
    pub(crate) fn new(all: usize) -> Self {
        Self { all, failed: 0, failure: None, reader_gone: None }
    }

    /// Records the result of an operation; reports a failure if there are several operations.
    pub(crate) fn record(&mut self, ended: Result<(), Failure>, console: &Console) {
        let Err(failure) = ended else { return };
        if failure.is_reader_gone() {
            self.reader_gone = Some(failure);
            return;
        }
        self.failed += 1;
        if self.all == 1 {
            self.failure = Some(failure);
        } else {
            console.report_failure(&failure);
        }
    }

    /// Whether the reader of stdout is gone.
    fn is_reader_gone(&self) -> bool {
        self.reader_gone.is_some()
    }

    /// The result of all operations.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        let Self { all, failed, failure, reader_gone } = self;
        match failure.or(reader_gone.filter(|_| failed == 0)) {
            Some(failure) => Err(failure),
            None if failed == 0 => Ok(()),
            None => Err(CommandError::Several { failed, all }.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Durations are written in milliseconds, seconds or minutes.
    #[test]
    fn duration_is_written_short() {
        assert_eq!(duration(0), "0 ms");
        assert_eq!(duration(999), "999 ms");
        assert_eq!(duration(1_000), "1.0 s");
        assert_eq!(duration(59_999), "59.9 s");
        assert_eq!(duration(125_000), "2 min 5 s");
    }
}

//! A command's failure: a line on stderr, a JSON object, and an exit code.

use std::{borrow::Cow, fmt, io};

use serde::Serialize;
use zput::{Error, cli::printable};

use crate::{error::CommandError, error_code::split_hint, exit_code::ExitCode};

/// Why a command failed, and on what.
#[derive(Debug)]
pub struct Failure {
    /// The name, file or version that the command failed on.
    subject: Option<String>,
    error: CommandError,
}

impl Failure {
    /// The exit code of the command.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        self.error.exit_code()
    }

    /// Whether a pattern or prefix matched nothing.
    pub(super) const fn is_no_match(&self) -> bool {
        matches!(self.error, CommandError::NoMatch(_))
    }

    /// Whether the reader of stdout or of a pipe is gone.
    pub(super) fn is_reader_gone(&self) -> bool {
        self.exit_code() == ExitCode::ReaderGone
    }

    /// Whether every part of it was reported before.
    pub(super) const fn is_reported(&self) -> bool {
        matches!(self.error, CommandError::Several { .. })
    }

    /// What it failed on. The text of a source's error names that already.
    fn name(&self) -> Option<Cow<'_, str>> {
        match (&self.subject, &self.error) {
            (Some(subject), _) => Some(Cow::Borrowed(subject)),
            (None, CommandError::Library(Error::Source(error))) => {
                Some(error.subject().to_string_lossy())
            }
            (None, _) => None,
        }
    }

    /// The object that `--json` prints.
    pub(super) fn json(&self) -> ErrorLine<'_> {
        let text = self.error.to_string();
        let (text, hint) = split_hint(&text);
        let error = ErrorObject {
            code: self.error.code(),
            exit: self.exit_code() as u8,
            message: text.to_owned(),
            hint: hint.map(str::to_owned),
            name: self.name(),
        };
        ErrorLine { error }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.subject.as_deref() {
            Some("") => f.write_str("'': ")?,
            Some(subject) => write!(f, "{}: ", printable(subject))?,
            None => {}
        }
        write!(f, "{}", printable(&self.error.to_string()))
    }
}

impl<E: Into<CommandError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { subject: None, error: error.into() }
    }
}

/// Adds to an error what the operation failed on.
pub(crate) trait Context<T> {
    fn context(self, subject: impl fmt::Display) -> Result<T, Failure>;
}

impl<T, E: Into<CommandError>> Context<T> for Result<T, E> {
    fn context(self, subject: impl fmt::Display) -> Result<T, Failure> {
        self.map_err(|error| Failure { subject: Some(subject.to_string()), error: error.into() })
    }
}

/// A failure as a JSON object (docs/JSON.md).
#[derive(Serialize)]
pub(super) struct ErrorLine<'a> {
    error: ErrorObject<'a>,
}

#[derive(Serialize)]
struct ErrorObject<'a> {
    code: &'static str,
    exit: u8,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<Cow<'a, str>>,
}

/// An operation on this machine that failed.
pub(crate) fn local(what: &str, error: io::Error) -> CommandError {
    CommandError::Local { what: what.to_owned(), error }
}

/// Arguments that contradict each other.
pub(crate) fn usage(text: impl Into<String>) -> Failure {
    CommandError::Usage(text.into()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::CommandError;

    fn json(failure: &Failure) -> String {
        serde_json::to_string(&failure.json()).unwrap()
    }

    /// The JSON of a failure has code, exit code and message, and hint and name where known.
    #[test]
    fn failure_json_has_code_exit_text_and_hint() {
        let failure: Result<(), Failure> = Err(CommandError::from(Error::NoRemote)).context("k");
        assert_eq!(
            json(&failure.unwrap_err()),
            "{\"error\":{\"code\":\"key\",\"exit\":7,\"message\":\"the key file names no server\",\
             \"hint\":\"zblob key join takes an invite; or set remote in it\",\"name\":\"k\"}}"
        );
        let failure = Failure::from(CommandError::Usage("no".to_owned()));
        assert_eq!(
            json(&failure),
            "{\"error\":{\"code\":\"usage\",\"exit\":2,\"message\":\"no\"}}"
        );
    }
}

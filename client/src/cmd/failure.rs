//! How a command says that it failed: a line on stderr, an object of JSON, an exit code.

use std::{borrow::Cow, fmt};

use serde::Serialize;

use crate::{ClientError, ExitCode, error::split_hint, terminal::printable};

/// Why a command failed, and at what.
#[derive(Debug)]
pub struct Failure {
    /// The name, file or version it failed at.
    thing: Option<String>,
    error: ClientError,
}

impl Failure {
    /// What the command's exit code says of it.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        self.error.exit_code()
    }

    /// Whether nothing was there that a pattern or a prefix could have meant.
    pub(super) const fn is_no_match(&self) -> bool {
        matches!(self.error, ClientError::NoMatch(_))
    }

    /// Whether stdout, or a pipe, has no reader any more.
    pub(super) fn is_unread(&self) -> bool {
        self.exit_code() == ExitCode::Unread
    }

    /// Whether each part of it was told of already.
    pub(super) const fn is_told(&self) -> bool {
        matches!(self.error, ClientError::Several { .. })
    }

    /// What it failed at. An error of a source names it in its text already.
    fn name(&self) -> Option<Cow<'_, str>> {
        match (&self.thing, &self.error) {
            (Some(thing), _) => Some(Cow::Borrowed(thing)),
            (None, ClientError::Source(error)) => Some(error.subject().to_string_lossy()),
            (None, _) => None,
        }
    }

    /// The object that `--json` prints of it.
    pub(super) fn json(&self) -> ErrorLine<'_> {
        let text = self.error.to_string();
        let (text, hint) = split_hint(&text);
        let error = ErrorObject {
            code: self.error.code(),
            exit: self.exit_code() as u8,
            text: text.to_owned(),
            hint: hint.map(str::to_owned),
            name: self.name(),
        };
        ErrorLine { error }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.thing.as_deref() {
            Some("") => f.write_str("'': ")?,
            Some(thing) => write!(f, "{}: ", printable(thing))?,
            None => {}
        }
        write!(f, "{}", printable(&self.error.to_string()))
    }
}

impl<E: Into<ClientError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { thing: None, error: error.into() }
    }
}

/// Names the thing that an operation failed at.
pub(crate) trait At<T> {
    fn at(self, thing: impl fmt::Display) -> Result<T, Failure>;
}

impl<T, E: Into<ClientError>> At<T> for Result<T, E> {
    fn at(self, thing: impl fmt::Display) -> Result<T, Failure> {
        self.map_err(|error| Failure { thing: Some(thing.to_string()), error: error.into() })
    }
}

/// A failure as an object of JSON (docs/JSON.md).
#[derive(Serialize)]
pub(super) struct ErrorLine<'a> {
    error: ErrorObject<'a>,
}

#[derive(Serialize)]
struct ErrorObject<'a> {
    code: &'static str,
    exit: u8,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<Cow<'a, str>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ClientError;

    fn json(failure: &Failure) -> String {
        serde_json::to_string(&failure.json()).unwrap()
    }

    #[test]
    fn a_failure_has_a_code_an_exit_code_a_text_and_a_hint() {
        let failure: Result<(), Failure> = Err(ClientError::NoRemote).at("k");
        assert_eq!(
            json(&failure.unwrap_err()),
            "{\"error\":{\"code\":\"key\",\"exit\":7,\"text\":\"the key file names no server\",\
             \"hint\":\"zkey join takes an invite; or set remote in it\",\"name\":\"k\"}}"
        );
        let failure = Failure::from(ClientError::Usage("no".to_owned()));
        assert_eq!(json(&failure), "{\"error\":{\"code\":\"usage\",\"exit\":2,\"text\":\"no\"}}");
    }
}

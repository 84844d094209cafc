//! Stable error codes and hints, for scripts that read JSON.

use std::io;

use zput::{
    Error,
    error::{ConnectionError, SourceError},
};
use zput_proto::{message::ErrorCode, session::SessionError};
use zput_seal::blob::open::OpenError;

use crate::{error::CommandError, exit_code::ExitCode};

/// All codes, as docs/JSON.md lists them.
pub const CODES: [&str; 28] = [
    "broken-pipe",
    "busy",
    "changed",
    "clock-skew",
    "conflict",
    "connection",
    "denied",
    "dns",
    "exists",
    "full",
    "in-progress",
    "in-trash",
    "integrity",
    "key",
    "name",
    "no-match",
    "no-version",
    "not-found",
    "other",
    "partial",
    "read-only",
    "rollback",
    "server",
    "source",
    "suspect",
    "temporary",
    "unreadable",
    "usage",
];

impl CommandError {
    /// A stable word for this error: the name of its exit code, or a more specific one.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Library(error) => of_library(error),
            Self::NoMatch(_) => "no-match",
            Self::Several { .. } => "partial",
            _ => of_exit(self.exit_code()),
        }
    }
}

fn of_library(error: &Error) -> &'static str {
    let of_kind = || of_exit(error.kind().into());
    match error {
        Error::Connection(error) => of_connection(error).unwrap_or_else(of_kind),
        Error::Source(SourceError::Changed(_)) => "changed",
        Error::Source(SourceError::Read { source, .. })
            if source.kind() == io::ErrorKind::NotFound =>
        {
            "not-found"
        }
        Error::Source(_) => "source",
        Error::Open(OpenError::Rollback { .. } | OpenError::Equivocation { .. }) => "rollback",
        Error::Name(_) => "name",
        Error::NoVersion { .. } | Error::NotYet { .. } => "no-version",
        Error::Removed(_) => "in-trash",
        Error::Overtaken { .. } | Error::NoLaterGeneration => "conflict",
        Error::Ahead { .. } => "clock-skew",
        Error::PutUnderWay => "in-progress",
        Error::Unreadable(_) => "unreadable",
        Error::StreamLost(error) | Error::OutcomeUnknown(error) => of_library(error),
        _ => of_kind(),
    }
}

fn of_connection(error: &ConnectionError) -> Option<&'static str> {
    match error {
        ConnectionError::Resolve { .. } => Some("dns"),
        ConnectionError::Connect { .. } | ConnectionError::Socket { .. } => Some("connection"),
        ConnectionError::Refused { error, .. } | ConnectionError::NotMounted { error, .. } => {
            match error.known() {
                Some(ErrorCode::Busy) => Some("busy"),
                Some(ErrorCode::Suspect) => Some("suspect"),
                Some(ErrorCode::Internal | ErrorCode::Unreadable) => Some("server"),
                Some(ErrorCode::ReadOnly) => Some("read-only"),
                _ => None,
            }
        }
        ConnectionError::Session { source: SessionError::Refused(error), .. }
            if error.known() == Some(ErrorCode::Busy) =>
        {
            Some("busy")
        }
        _ => None,
    }
}

fn of_exit(code: ExitCode) -> &'static str {
    match code {
        ExitCode::Ok | ExitCode::Other => "other",
        ExitCode::Usage => "usage",
        ExitCode::Some => "partial",
        ExitCode::NotFound => "not-found",
        ExitCode::Temporary => "temporary",
        ExitCode::Denied => "denied",
        ExitCode::Key => "key",
        ExitCode::Integrity => "integrity",
        ExitCode::Full => "full",
        ExitCode::Exists => "exists",
        ExitCode::ReaderGone => "broken-pipe",
    }
}

/// Splits an error text into what happened and the hint that it ends with in parentheses, if there
/// is one.
#[must_use]
pub(crate) fn split_hint(text: &str) -> (&str, Option<&str>) {
    let Some(open) = text.strip_suffix(')').and_then(opening) else { return (text, None) };
    let (before, behind) = (text.get(..open), text.get(open + 1..text.len() - 1));
    match (before.and_then(|before| before.strip_suffix(' ')), behind) {
        // "(os error 2)" is a number, not a hint.
        (Some(before), Some(hint)) if !before.is_empty() && !hint.starts_with("os error ") => {
            (before, Some(hint))
        }
        _ => (text, None),
    }
}

/// Index of the opening parenthesis that matches one after the end of `text`.
fn opening(text: &str) -> Option<usize> {
    let mut depth = 1;
    for (at, byte) in text.bytes().enumerate().rev() {
        depth = match byte {
            b')' => depth + 1,
            b'(' => depth - 1,
            _ => depth,
        };
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hint of an error is the text in its last parentheses.
    #[test]
    fn split_hint_takes_the_last_parentheses() {
        for (text, before, hint) in [
            ("a is full (make room)", "a is full", Some("make room")),
            ("a (b) is full (make (more) room)", "a (b) is full", Some("make (more) room")),
            ("cannot read a: gone (os error 2)", "cannot read a: gone (os error 2)", None),
            ("cannot read a (1)b", "cannot read a (1)b", None),
            ("(alone)", "(alone)", None),
            ("a) (", "a) (", None),
            ("a)", "a)", None),
            ("", "", None),
        ] {
            assert_eq!(split_hint(text), (before, hint), "{text}");
        }
    }

    /// The list of error codes is sorted and has no duplicates.
    #[test]
    fn error_codes_are_sorted_and_unique() {
        assert!(CODES.is_sorted());
        assert!(CODES.windows(2).all(|pair| pair[0] != pair[1]));
        for error in [Error::NoRemote, Error::Overtaken { newest: 9 }, Error::Unreadable(1)] {
            let error = CommandError::from(error);
            assert!(CODES.contains(&error.code()), "{}", error.code());
        }
    }
}

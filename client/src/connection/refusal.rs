//! Error texts for a request, a session or a mount that the server refused.

use std::fmt;

use zput_proto::{
    keys::Remote,
    message::{ErrorCode, RemoteError, Version},
    session::SessionError,
};

use crate::{calendar::version_time, escape::printable};

/// The text for a refused request: what happened, on which server. The server's own text is
/// included only where it adds something.
pub(super) struct Refusal<'a> {
    pub(super) remote: &'a Remote,
    pub(super) error: &'a RemoteError,
}

impl fmt::Display for Refusal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { remote, error } = self;
        let text = printable(&error.text);
        match ErrorCode::from_u8(error.code) {
            Some(ErrorCode::NotFound) => {
                write!(f, "not found on {remote}")
            }
            Some(ErrorCode::Denied) => write!(f, "denied by {remote}: {text}"),
            Some(ErrorCode::Exists) => write!(f, "exists already on {remote}"),
            Some(ErrorCode::Full) => write!(f, "{remote} is full (its operator can make room)"),
            Some(ErrorCode::Busy) => write!(f, "{remote} is busy: {text}"),
            Some(ErrorCode::Suspect) => write!(
                f,
                "{remote} takes no writes after a failed fsync: its operator has to verify the \
                 store; reads work"
            ),
            Some(ErrorCode::Digest) => {
                write!(f, "the bytes were damaged in transit to {remote} (try again)")
            }
            Some(ErrorCode::Kind) => write!(f, "{remote}: {text}"),
            Some(ErrorCode::Ahead) => write!(
                f,
                "{remote} rejects what was sealed too far ahead of its clock, which says {}; \
                 nothing was stored",
                version_time(Version(error.number))
            ),
            // An embedded store has no log, so its text is the error itself.
            Some(ErrorCode::Internal | ErrorCode::ReadOnly | ErrorCode::Unreadable)
                if matches!(remote, Remote::Embedded(_)) =>
            {
                write!(f, "{remote}: {text}")
            }
            Some(ErrorCode::Internal) => {
                let text = text.strip_suffix("; its log says how").unwrap_or(&text);
                match text.strip_prefix("the server failed").unwrap_or(text) {
                    "" => write!(f, "{remote} failed (its log says how)"),
                    text => write!(f, "{remote} failed: {text} (its log says how)"),
                }
            }
            Some(ErrorCode::Unreadable) => write!(f, "{remote}: {text} (its log names the file)"),
            Some(ErrorCode::ReadOnly) => {
                write!(f, "{remote} takes no writes: {text}; reads work")
            }
            Some(code) => write!(f, "{remote} refused ({code:?}): {text}"),
            None => write!(f, "{remote} refused (code {}): {text}", error.code),
        }
    }
}

/// The text for a session that ended; the cause is the error's source. A server that is full says
/// so in its hello.
pub(super) struct SessionEnded<'a> {
    pub(super) remote: &'a Remote,
    pub(super) error: &'a SessionError,
}

impl fmt::Display for SessionEnded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { remote, error } = self;
        match error {
            SessionError::Refused(error) if error.known() == Some(ErrorCode::Busy) => {
                Refusal { remote, error }.fmt(f)
            }
            _ => write!(f, "the session with {remote} ended"),
        }
    }
}

/// The text for a mount that the server does not grant.
pub(super) struct MountRefused<'a> {
    pub(super) remote: &'a Remote,
    pub(super) error: &'a RemoteError,
}

impl fmt::Display for MountRefused<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { remote, error } = self;
        match (error.known(), remote.mount()) {
            (Some(ErrorCode::NotFound), Some(mount)) => write!(
                f,
                "the server {} has no mount {}, or none for this key file (its operator knows the \
                 names; remote in the key file says which is meant)",
                remote.server(),
                printable(mount.as_str())
            ),
            _ => Refusal { remote, error }.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A refused request and a refused connection get the same text.
    #[test]
    fn a_busy_server_says_so_at_any_time() {
        let remote = &"zput://example.org:7460".parse().unwrap();
        let why = "the limit of uploads in progress is reached";
        let error = RemoteError::new(ErrorCode::Busy, why);
        let said = "zput://example.org:7460 is busy: the limit of uploads in progress is reached";
        assert_eq!(Refusal { remote, error: &error }.to_string(), said);
        let error = SessionError::Refused(error);
        assert_eq!(SessionEnded { remote, error: &error }.to_string(), said);
    }

    /// The error about a failed server mentions its log once; an embedded store has none.
    #[test]
    fn internal_error_mentions_the_server_log_once() {
        let said = |remote: &str, text: &str| {
            let remote = &remote.parse().unwrap();
            let error =
                &RemoteError { code: ErrorCode::Internal as u8, text: text.to_owned(), number: 0 };
            Refusal { remote, error }.to_string()
        };
        for text in ["the server failed; its log says how", "the server failed"] {
            assert_eq!(
                said("zput://example.org:7460", text),
                "zput://example.org:7460 failed (its log says how)"
            );
        }
        assert_eq!(
            said("file:///store", "cannot open an object: Permission denied"),
            "file:///store: cannot open an object: Permission denied"
        );
    }
}

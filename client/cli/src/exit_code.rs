//! Exit codes of the programs.

use zput::ErrorKind;

/// A program's exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ExitCode {
    /// The program succeeded.
    Ok = 0,
    /// An error without a code of its own.
    Other = 1,
    /// The command line is invalid.
    Usage = 2,
    /// Some of several operations failed.
    Some = 3,
    /// There is no such blob, version or file.
    NotFound = 4,
    /// A temporary failure: try again.
    Temporary = 5,
    /// The server does not permit this device the request.
    Denied = 6,
    /// A key is missing or is the wrong one.
    Key = 7,
    /// Data was altered, or the server serves an old version.
    Integrity = 8,
    /// The disk or a quota is full.
    Full = 9,
    /// The name or the output exists already.
    Exists = 10,
    /// The reader of a pipe is gone, which ended the output early; the same code as of a process
    /// ended by SIGPIPE (128 + 13).
    ReaderGone = 141,
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}

impl From<ErrorKind> for ExitCode {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::InvalidInput => Self::Usage,
            ErrorKind::Partial => Self::Some,
            ErrorKind::NotFound => Self::NotFound,
            ErrorKind::Temporary => Self::Temporary,
            ErrorKind::Denied => Self::Denied,
            ErrorKind::Key => Self::Key,
            ErrorKind::Integrity => Self::Integrity,
            ErrorKind::Full => Self::Full,
            ErrorKind::Exists => Self::Exists,
            ErrorKind::ReaderGone => Self::ReaderGone,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use zput::{Error, error::ConnectionError};
    use zput_proto::{
        hello::{HelloError, Mode},
        message::RemoteError,
        session::SessionError,
    };

    use super::*;

    fn exit(error: ConnectionError) -> u8 {
        ExitCode::from(Error::from(error).kind()) as u8
    }

    /// Exit codes of the README for the error codes of PROTOCOL 7, and for an unknown one.
    #[test]
    fn client_error_maps_server_codes_to_exit_codes() {
        let expected = [1, 6, 4, 10, 9, 5, 8, 1, 1, 1, 1, 1, 1, 5, 5, 1, 1, 1, 1];
        for (code, expected) in (1..).zip(expected) {
            let remote = Box::new("zput://example.org:7447".parse().unwrap());
            let error = RemoteError { code, text: "no".into(), number: 0 };
            assert_eq!(exit(ConnectionError::Refused { remote, error }), expected, "code {code}");
        }
    }

    /// Messages that no honest server sends are integrity errors; other failures are not.
    #[test]
    fn protocol_violation_of_the_server_is_an_integrity_error() {
        let exit = |source| {
            let remote = Box::new("zput://example.org:7447".parse().unwrap());
            exit(ConnectionError::Session { remote, source })
        };
        assert_eq!(exit(HelloError::ModeNotOffered(Mode::Plaintext).into()), 8);
        assert_eq!(exit(HelloError::VersionNotOffered(2).into()), 8);
        assert_eq!(exit(HelloError::FeaturesNotOffered(1).into()), 8);
        assert_eq!(exit(SessionError::EchoMismatch), 8);
        assert_eq!(exit(SessionError::UnexpectedAnswer), 8);
        assert_eq!(exit(SessionError::BehindAnnouncement), 8);
        assert_eq!(exit(SessionError::Truncated), 5);
        // A peer of another protocol is not an attack.
        assert_eq!(exit(HelloError::Magic.into()), 1);
        // Before the server is authenticated, "not found" or "exists" on the line means nothing.
        for (code, expected) in (1..).zip([1, 1, 1, 1, 1, 5, 1, 1, 1, 1, 1, 1, 1, 1, 1]) {
            let refused = RemoteError { code, text: String::new(), number: 0 };
            assert_eq!(exit(SessionError::Refused(refused)), expected, "code {code}");
        }
    }
}

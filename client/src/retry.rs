//! Trying again: what may help, how often, and after which pause.
//!
//! Only what is temporary by its nature is tried again: a connection that is refused, reset, cut or silent, a server that
//! says that it is busy, and a put that was overtaken by another one of its name. A pause is drawn between half and all of twice the one before, so that a crowd
//! does not come back as one. Whatever gets further than before starts counting anew.

use std::{io, thread, time::Duration};

use rand::RngExt as _;
use zput_common::proto::{
    SessionError,
    message::{ErrorCode, RemoteError, Request, Response},
};

use crate::{
    client::Client,
    connection::{Connection, ConnectionError},
    error::ClientError,
    notice::{Event, Notice},
    random,
};

/// How often the commands try again unless told otherwise: within 16 seconds.
pub const RETRIES: u32 = 5;

/// The first pause is at most this long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// And none is longer.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Tries of one operation that came to nothing.
#[derive(Debug, Default)]
pub(crate) struct Tries {
    made: u32,
}

impl Tries {
    /// The last one got somewhere.
    pub(crate) fn progressed(&mut self) {
        self.made = 0;
    }
}

impl Client {
    /// After `error`: waits until it makes sense to try again, or gives it back where it does not.
    pub(crate) fn pause(
        &self,
        tries: &mut Tries,
        thing: Option<&str>,
        error: ClientError,
    ) -> Result<(), ClientError> {
        if !is_temporary(&error) {
            return Err(error);
        }
        let most = self.retries();
        if tries.made >= most || self.is_hopeless() {
            // Of many things to do, not each waits as long in vain for a server that is gone.
            if matches!(error, ClientError::Connection(_)) {
                self.set_hopeless(true);
            }
            return Err(error);
        }
        let longest = longest_pause(tries.made);
        let pause = random::system().random_range(longest / 2..=longest);
        tries.made += 1;
        let event = Event::Retry { error: &error, pause, number: tries.made, most };
        self.tell(&Notice { thing, event });
        thread::sleep(pause);
        Ok(())
    }

    /// Does what may be done twice: again after a temporary failure.
    pub(crate) fn retrying<T>(
        &mut self,
        thing: Option<&str>,
        mut act: impl FnMut(&mut Self) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let mut tries = Tries::default();
        loop {
            match act(self) {
                Ok(done) => {
                    self.set_hopeless(false);
                    return Ok(done);
                }
                Err(error) => self.pause(&mut tries, thing, error)?,
            }
        }
    }

    /// Asks what changes nothing, and so may be asked twice.
    pub(crate) fn ask_again(
        &mut self,
        thing: Option<&str>,
        request: &Request,
    ) -> Result<Response, ClientError> {
        self.retrying(thing, |client| {
            let answer = client.connection().and_then(|connection| Ok(connection.ask(request)?));
            client.after(answer)
        })
    }

    /// A connection on which the server has answered. What changes something and cannot be asked twice is tried again
    /// up to here: once its request is on the way nobody knows what became of it.
    pub(crate) fn reach(&mut self, thing: Option<&str>) -> Result<&mut Connection, ClientError> {
        if self.retries() > 0 {
            self.ask_again(thing, &Request::Ping)?;
        }
        self.connection()
    }
}

fn longest_pause(made: u32) -> Duration {
    let factor = 1_u32.checked_shl(made).unwrap_or(u32::MAX);
    FIRST_PAUSE.saturating_mul(factor).min(PAUSE_MAX)
}

/// The error of a request that was on its way: where it ended with the connection, nobody knows what became of it.
pub(crate) fn unanswered(error: ConnectionError) -> ClientError {
    let is_answer =
        matches!(error, ConnectionError::Refused { .. } | ConnectionError::NotMounted { .. });
    let error = ClientError::from(error);
    if is_answer || !is_temporary(&error) {
        return error;
    }
    ClientError::Unanswered(Box::new(error))
}

/// Whether the same may succeed in a moment.
pub(crate) fn is_temporary(error: &ClientError) -> bool {
    let error = match error {
        ClientError::Connection(error) => error,
        // Sealed again it is the newest.
        ClientError::Overtaken => return true,
        _ => return false,
    };
    match error {
        ConnectionError::Connect { error, .. } | ConnectionError::Socket { error, .. } => {
            may_pass(error.kind())
        }
        ConnectionError::Refused { error, .. } | ConnectionError::NotMounted { error, .. } => {
            is_busy(error)
        }
        ConnectionError::Session { error, .. } => match error {
            SessionError::Refused(error) => is_busy(error),
            SessionError::Truncated
            | SessionError::HandshakeTimeout
            | SessionError::IdleTimeout
            | SessionError::Closed => true,
            _ => false,
        },
        // A name that leads nowhere is most often a wrong one.
        ConnectionError::Resolve { .. } | ConnectionError::Unexpected { .. } => false,
    }
}

fn is_busy(error: &RemoteError) -> bool {
    error.known() == Some(ErrorCode::Busy)
}

fn may_pass(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::TimedOut
            | io::ErrorKind::WouldBlock
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
    )
}

#[cfg(test)]
mod tests {
    use zput_common::{keys::Remote, proto::hello::HelloError};

    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound() {
        let pauses = [0, 1, 2, 5, 6, 31, 32, u32::MAX].map(|made| longest_pause(made).as_millis());
        assert_eq!(pauses, [500, 1000, 2000, 16_000, 30_000, 30_000, 30_000, 30_000]);
    }

    fn remote() -> Box<Remote> {
        Box::new("zput://example.org:7460".parse().unwrap())
    }

    fn temporary(error: ConnectionError) -> bool {
        is_temporary(&error.into())
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let connect = |kind: io::ErrorKind| {
            temporary(ConnectionError::Connect { remote: remote(), error: kind.into() })
        };
        assert!(connect(io::ErrorKind::ConnectionRefused));
        assert!(connect(io::ErrorKind::TimedOut));
        assert!(!connect(io::ErrorKind::PermissionDenied));
        assert!(!connect(io::ErrorKind::NotFound));
        let socket = |kind: io::ErrorKind| {
            temporary(ConnectionError::Socket { remote: remote(), error: kind.into() })
        };
        assert!(socket(io::ErrorKind::ConnectionReset));
        assert!(socket(io::ErrorKind::BrokenPipe));
        // PROTOCOL 7: 6 is Busy, "try again"; 14 takes an operator; 15 is Older, "seal it again".
        for code in 0..=20 {
            let error = RemoteError { code, text: String::new() };
            let refused = ConnectionError::Refused { remote: remote(), error: error.clone() };
            assert_eq!(temporary(refused), code == 6 || code == 15, "{code}");
            let hello = SessionError::Refused(error);
            let refused = ConnectionError::Session { remote: remote(), error: hello };
            assert_eq!(temporary(refused), code == 6, "{code}");
        }
        let session = |error| temporary(ConnectionError::Session { remote: remote(), error });
        assert!(session(SessionError::Truncated));
        assert!(session(SessionError::IdleTimeout));
        assert!(!session(SessionError::EchoMismatch));
        assert!(!session(SessionError::UnexpectedAnswer));
        assert!(!session(HelloError::Magic.into()));
        assert!(!temporary(ConnectionError::Unexpected { remote: remote(), what: "x" }));
        assert!(is_temporary(&ClientError::Overtaken));
        assert!(!is_temporary(&ClientError::NotStored));
    }
}

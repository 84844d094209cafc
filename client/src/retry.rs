//! Retries: which errors are retried, how often, and after which pause.
//!
//! Only errors that are temporary by nature are retried: a connection that is refused, reset, cut
//! or silent, a busy server, and a put that another one of its name has overtaken. Bytes that were
//! damaged in transit are requested or sent again on another connection, but less often, since a
//! line, disk or hostile server that damages them once may do so every time. A pause is drawn
//! between half and all of a limit that doubles each time, so that many clients do not return at
//! once. Any progress resets the count.

use std::{io, thread, time::Duration};

use rand::RngExt as _;
use rustix::io::Errno;
use zput_proto::{
    message::{ErrorCode, RemoteError, Request, Response},
    session::SessionError,
};
use zput_seal::blob::{open::OpenError, part::PartError};

use crate::{
    connection::{Connection, ConnectionError},
    error::Error,
    event::{Event, Notice},
    random,
    session::Session,
};

/// Default number of retries of the commands; they take at most 16 seconds.
pub const RETRIES: u32 = 5;

/// Retries in a row after damaged bytes.
const CONSECUTIVE_CORRUPTIONS_MAX: u32 = 2;
/// Retries after damaged bytes in one operation, whatever the progress between them.
const CORRUPTIONS_MAX: u32 = 64;

/// Upper limit of the first pause.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Upper limit of all pauses.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Failed tries of one operation.
#[derive(Debug, Default)]
pub(crate) struct RetryState {
    failures: u32,
    /// How many of them failed by damaged bytes.
    corrupted: u32,
    /// Failures by damaged bytes since the operation began.
    corrupted_total: u32,
}

impl RetryState {
    /// Resets the counts: the last try made progress.
    pub(crate) fn progressed(&mut self) {
        self.failures = 0;
        self.corrupted = 0;
    }

    /// Whether no retry is left, with at most `most` in a row for this class of error.
    fn is_exhausted(&self, is_corruption: bool, most: u32) -> bool {
        if is_corruption {
            self.corrupted >= most || self.corrupted_total >= CORRUPTIONS_MAX
        } else {
            self.failures >= most
        }
    }

    /// Counts a failed try.
    fn count(&mut self, is_corruption: bool) {
        self.failures += 1;
        self.corrupted += u32::from(is_corruption);
        self.corrupted_total += u32::from(is_corruption);
    }
}

impl Session {
    /// Waits before the next try.
    ///
    /// # Errors
    /// `error` itself if it is permanent or no retry is left, or [`Error::Damaged`] after
    /// several damaged tries.
    pub(crate) fn pause(
        &self,
        retries: &mut RetryState,
        thing: Option<&str>,
        error: Error,
    ) -> Result<(), Error> {
        let most = match classify(&error) {
            ErrorClass::Permanent => return Err(error),
            ErrorClass::Transient => self.retries(),
            ErrorClass::Corruption => self.retries().min(CONSECUTIVE_CORRUPTIONS_MAX),
        };
        let is_corruption = classify(&error) == ErrorClass::Corruption;
        let is_over = retries.is_exhausted(is_corruption, most);
        if is_corruption && is_over {
            return Err(match retries.corrupted {
                0 => error,
                again => Error::Damaged { source: Box::new(error), times: again + 1 },
            });
        }
        if !is_corruption && (is_over || self.is_circuit_open()) {
            // The circuit breaker: of many operations, only the first waits in vain for a server
            // that is gone.
            if matches!(error, Error::Connection(_)) {
                self.set_circuit_open(true);
            }
            return Err(error);
        }
        let longest = longest_pause(retries.failures);
        let pause = random::os_rng().random_range(longest / 2..=longest);
        retries.count(is_corruption);
        let number = if is_corruption { retries.corrupted } else { retries.failures };
        let event = Event::Retry { error: &error, pause, number, max_retries: most };
        self.notify(&Notice { thing, event });
        thread::sleep(pause);
        Ok(())
    }

    /// Runs an idempotent operation, retrying temporary failures.
    pub(crate) fn with_retries<T>(
        &mut self,
        thing: Option<&str>,
        mut act: impl FnMut(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut retries = RetryState::default();
        loop {
            match act(self) {
                Ok(done) => {
                    self.set_circuit_open(false);
                    return Ok(done);
                }
                Err(error) => self.pause(&mut retries, thing, error)?,
            }
        }
    }

    /// Sends a request that changes nothing, retrying temporary failures.
    pub(crate) fn call_with_retries(
        &mut self,
        thing: Option<&str>,
        request: &Request,
    ) -> Result<Response, Error> {
        self.with_retries(thing, |client| {
            let answer = client.connection().and_then(|connection| Ok(connection.call(request)?));
            client.drop_on_error(answer)
        })
    }

    /// A connection on which the server has answered a ping. A request that must not be sent twice
    /// is retried only up to this point: once it was sent, its outcome is unknown until the answer
    /// arrives.
    pub(crate) fn probed_connection(
        &mut self,
        thing: Option<&str>,
    ) -> Result<&mut Connection, Error> {
        if self.retries() > 0 {
            self.call_with_retries(thing, &Request::Ping)?;
        }
        self.connection()
    }
}

fn longest_pause(failures: u32) -> Duration {
    let factor = 1_u32.checked_shl(failures).unwrap_or(u32::MAX);
    FIRST_PAUSE.saturating_mul(factor).min(PAUSE_MAX)
}

/// The error of a request that was sent once: without an answer its outcome is unknown.
pub(crate) fn outcome_unknown(error: ConnectionError) -> Error {
    let is_answer =
        matches!(error, ConnectionError::Refused { .. } | ConnectionError::NotMounted { .. });
    let error = Error::from(error);
    if is_answer || classify(&error) == ErrorClass::Permanent {
        return error;
    }
    Error::OutcomeUnknown(Box::new(error))
}

/// What a retry can be expected to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorClass {
    /// Fail in the same way.
    Permanent,
    /// Possibly succeed after a pause.
    Transient,
    /// Possibly succeed on another connection, since bytes were damaged in transit.
    Corruption,
}

/// Whether a retry may succeed.
pub(crate) fn is_retryable(error: &Error) -> bool {
    classify(error) != ErrorClass::Permanent
}

pub(crate) fn classify(error: &Error) -> ErrorClass {
    match error {
        Error::Connection(error) if is_transient(error) => ErrorClass::Transient,
        Error::Connection(ConnectionError::Refused { error, .. })
            if error.known() == Some(ErrorCode::Digest) =>
        {
            ErrorClass::Corruption
        }
        Error::Connection(ConnectionError::Session { source, .. }) if source.is_damage() => {
            ErrorClass::Corruption
        }
        // Sealed again, with a later generation, it may be the newest.
        Error::Overtaken { .. } => ErrorClass::Transient,
        Error::Open(error) if is_corruption(error) => ErrorClass::Corruption,
        _ => ErrorClass::Permanent,
    }
}

/// Whether a bit flipped in transit can cause this error. A blob whose MACs hold and that is
/// refused was made that way.
fn is_corruption(error: &OpenError) -> bool {
    match error {
        OpenError::Header(_)
        | OpenError::HeaderMac
        | OpenError::SealedMetadata(_)
        | OpenError::Footer(_)
        | OpenError::FileMac
        | OpenError::VaultMac
        | OpenError::Signature(_)
        | OpenError::SealedFacts(_) => true,
        OpenError::Part(error) => !matches!(error, PartError::NoSuchPart { .. }),
        _ => false,
    }
}

/// Whether the connection may succeed after a pause.
fn is_transient(error: &ConnectionError) -> bool {
    match error {
        ConnectionError::Connect { source, was_connected, .. } => {
            is_transient_io(source) || (*was_connected && source.kind() == io::ErrorKind::NotFound)
        }
        ConnectionError::Socket { source, .. } => is_transient_io(source),
        ConnectionError::Refused { error, .. } | ConnectionError::NotMounted { error, .. } => {
            is_busy(error)
        }
        ConnectionError::Session { source, .. } => match source {
            SessionError::Refused(error) => is_busy(error),
            SessionError::Truncated
            | SessionError::HandshakeTimeout
            | SessionError::IdleTimeout
            | SessionError::Closed => true,
            _ => false,
        },
        // A name that does not exist is most often mistyped; one that could not be looked up may be
        // found later.
        ConnectionError::Resolve { source, .. } => source.is_temporary(),
        ConnectionError::Unexpected { .. } => false,
    }
}

fn is_busy(error: &RemoteError) -> bool {
    error.known() == Some(ErrorCode::Busy)
}

/// Errors of a network that changes: an interface, a route, an address or a neighbour comes or
/// goes.
fn is_transient_io(error: &io::Error) -> bool {
    let by_number = matches!(
        Errno::from_io_error(error),
        Some(
            Errno::HOSTDOWN
                | Errno::NOBUFS
                | Errno::PROTO
                | Errno::NETRESET
                | Errno::NONET
                | Errno::NOTCONN
                | Errno::ADDRNOTAVAIL
                | Errno::CONNABORTED
        )
    );
    by_number
        || matches!(
            error.kind(),
            io::ErrorKind::ConnectionRefused
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::NotConnected
                | io::ErrorKind::AddrNotAvailable
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
    use zput_proto::{hello::HelloError, keys::Remote};

    use super::*;

    /// The longest pause between retries doubles from 0.5 to 30 seconds.
    #[test]
    fn retry_pauses_double_up_to_thirty_seconds() {
        let pauses =
            [0, 1, 2, 5, 6, 31, 32, u32::MAX].map(|failures| longest_pause(failures).as_millis());
        assert_eq!(pauses, [500, 1000, 2000, 16_000, 30_000, 30_000, 30_000, 30_000]);
    }

    /// A connection, or a server, on which each try gets one part further before bytes are damaged.
    #[test]
    fn retry_of_corruption_ends_despite_progress() {
        let failures = |is_corruption: bool, progresses: bool| {
            let mut retries = RetryState::default();
            (0..1000)
                .take_while(|_| {
                    let goes_on = !retries.is_exhausted(is_corruption, 2);
                    retries.count(is_corruption);
                    if progresses {
                        retries.progressed();
                    }
                    goes_on
                })
                .count()
        };
        assert_eq!((failures(true, false), failures(true, true)), (2, 64));
        // Other failures are retried for as long as there is progress.
        assert_eq!((failures(false, false), failures(false, true)), (2, 1000));
    }

    fn remote() -> Box<Remote> {
        Box::new("zput://example.org:7460".parse().unwrap())
    }

    fn temporary(error: ConnectionError) -> bool {
        classify(&error.into()) == ErrorClass::Transient
    }

    fn connect(error: io::Error, was_connected: bool) -> ConnectionError {
        ConnectionError::Connect { remote: remote(), source: error, was_connected }
    }

    /// Only temporary errors of connections, sessions and servers are retried.
    #[test]
    fn retry_only_transient_errors() {
        assert!(temporary(connect(io::ErrorKind::ConnectionRefused.into(), false)));
        assert!(temporary(connect(io::ErrorKind::TimedOut.into(), false)));
        assert!(!temporary(connect(io::ErrorKind::PermissionDenied.into(), true)));
        // The socket's file is missing while its server restarts.
        assert!(!temporary(connect(io::ErrorKind::NotFound.into(), false)));
        assert!(temporary(connect(io::ErrorKind::NotFound.into(), true)));
        let socket = |kind: io::ErrorKind| {
            temporary(ConnectionError::Socket { remote: remote(), source: kind.into() })
        };
        assert!(socket(io::ErrorKind::ConnectionReset));
        assert!(socket(io::ErrorKind::BrokenPipe));
        // PROTOCOL 7: 6 is Busy, "try again"; 14 takes an operator; 15 is Older, "seal it again".
        for code in 0..=20 {
            let error = RemoteError { code, text: String::new(), number: 0 };
            let refused = ConnectionError::Refused { remote: remote(), error: error.clone() };
            assert_eq!(temporary(refused), code == 6 || code == 15, "{code}");
            let hello = SessionError::Refused(error);
            let refused = ConnectionError::Session { remote: remote(), source: hello };
            assert_eq!(temporary(refused), code == 6, "{code}");
        }
        let session =
            |error| temporary(ConnectionError::Session { remote: remote(), source: error });
        assert!(session(SessionError::Truncated));
        assert!(session(SessionError::IdleTimeout));
        assert!(!session(SessionError::EchoMismatch));
        assert!(!session(SessionError::UnexpectedAnswer));
        assert!(!session(HelloError::Magic.into()));
        assert!(!session(HelloError::Foreign("HTTP").into()));
        assert!(!temporary(ConnectionError::Unexpected { remote: remote(), what: "x" }));
        assert!(is_retryable(&Error::Overtaken { newest: 1 }));
        assert!(!is_retryable(&Error::NotStored));
    }

    /// Numbers of asm-generic/errno.h: an interface that changes, a neighbour that is away.
    #[test]
    fn retry_waits_for_a_changing_network() {
        for errno in [11, 32, 64, 71, 99, 100, 101, 102, 103, 104, 105, 107, 110, 111, 112, 113] {
            let error = || io::Error::from_raw_os_error(errno);
            assert!(temporary(connect(error(), false)), "connect: {errno}");
            let socket = ConnectionError::Socket { remote: remote(), source: error() };
            assert!(temporary(socket), "{errno}");
        }
        // This machine's own fault: no permission, no such family, no such option.
        for errno in [1, 13, 22, 97] {
            assert!(!temporary(connect(io::Error::from_raw_os_error(errno), true)), "{errno}");
        }
    }

    /// Bytes damaged in transit are told from refusals, rollbacks and wrong keys.
    #[test]
    fn retry_classifies_damage_apart_from_refusals() {
        let damage = |error: Error| classify(&error) == ErrorClass::Corruption;
        let refused = |code| {
            let error = RemoteError { code, text: String::new(), number: 0 };
            ConnectionError::Refused { remote: remote(), error }
        };
        for code in 0..=20 {
            assert_eq!(damage(refused(code).into()), code == 7, "{code}");
        }
        assert!(damage(Error::Open(PartError::DigestMismatch { part: 3 }.into())));
        assert!(damage(Error::Open(OpenError::FileMac)));
        let rollback = OpenError::Rollback { seen: 2, found: 1 };
        for said in [rollback, OpenError::NoIdentityMatches, OpenError::Bare, OpenError::NoVaultKey]
        {
            assert!(!is_retryable(&Error::Open(said)));
        }
        let session =
            |error| damage(ConnectionError::Session { remote: remote(), source: error }.into());
        assert!(session(SessionError::RecordTooLong(70_000)));
        assert!(!session(SessionError::EchoMismatch));
    }
}

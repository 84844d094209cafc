//! Trying again: what may help, how often, and after which pause.
//!
//! Only what is temporary by its nature is tried again: a connection that is refused, reset, cut or silent, a server that
//! says that it is busy, and a put that was overtaken by another one of its name. So are, on another connection, bytes that
//! came to harm on their way, but less often: a line or a disk that changes them does so again, and so does a server that
//! wants to. A pause is drawn between half and all of twice the one before, so that a crowd
//! does not come back as one. Whatever gets further than before starts counting anew.

use std::{io, thread, time::Duration};

use rand::RngExt as _;
use rustix::io::Errno;
use zput_common::{
    blob::{open::OpenError, part::PartError},
    proto::{
        SessionError,
        message::{ErrorCode, RemoteError, Request, Response},
    },
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

/// How often in a row bytes that came to harm are sent or asked for again.
const DAMAGED_IN_A_ROW_MAX: u32 = 2;
/// And how often in one operation, however far it gets between them.
const DAMAGED_MAX: u32 = 64;

/// The first pause is at most this long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// And none is longer.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Tries of one operation that came to nothing.
#[derive(Debug, Default)]
pub(crate) struct Tries {
    made: u32,
    /// Of those, how many because of damage.
    damaged: u32,
    /// All that were made because of damage, since the operation began.
    damaged_ever: u32,
}

impl Tries {
    /// The last one got somewhere.
    pub(crate) fn progressed(&mut self) {
        self.made = 0;
        self.damaged = 0;
    }

    /// Whether there are enough of them, where `most` of this kind may be made in a row.
    fn are_over(&self, is_damage: bool, most: u32) -> bool {
        if is_damage {
            self.damaged >= most || self.damaged_ever >= DAMAGED_MAX
        } else {
            self.made >= most
        }
    }

    /// One more.
    fn count(&mut self, is_damage: bool) {
        self.made += 1;
        self.damaged += u32::from(is_damage);
        self.damaged_ever += u32::from(is_damage);
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
        let most = match prospect(&error) {
            Prospect::Final => return Err(error),
            Prospect::Temporary => self.retries(),
            Prospect::Damage => self.retries().min(DAMAGED_IN_A_ROW_MAX),
        };
        let is_damage = prospect(&error) == Prospect::Damage;
        let is_over = tries.are_over(is_damage, most);
        if is_damage && is_over {
            return Err(match tries.damaged {
                0 => error,
                again => ClientError::Damaged { error: Box::new(error), times: again + 1 },
            });
        }
        if !is_damage && (is_over || self.is_hopeless()) {
            // Of many things to do, not each waits as long in vain for a server that is gone.
            if matches!(error, ClientError::Connection(_)) {
                self.set_hopeless(true);
            }
            return Err(error);
        }
        let longest = longest_pause(tries.made);
        let pause = random::system().random_range(longest / 2..=longest);
        tries.count(is_damage);
        let number = if is_damage { tries.damaged } else { tries.made };
        let event = Event::Retry { error: &error, pause, number, most };
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
    if is_answer || prospect(&error) == Prospect::Final {
        return error;
    }
    ClientError::Unanswered(Box::new(error))
}

/// What can be expected of another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prospect {
    /// The same.
    Final,
    /// It may succeed in a moment.
    Temporary,
    /// Bytes came to harm; they may come well on another connection.
    Damage,
}

/// Whether it makes sense to try again.
pub(crate) fn may_pass(error: &ClientError) -> bool {
    prospect(error) != Prospect::Final
}

pub(crate) fn prospect(error: &ClientError) -> Prospect {
    match error {
        ClientError::Connection(error) if is_temporary(error) => Prospect::Temporary,
        ClientError::Connection(ConnectionError::Refused { error, .. })
            if error.known() == Some(ErrorCode::Digest) =>
        {
            Prospect::Damage
        }
        ClientError::Connection(ConnectionError::Session { error, .. }) if error.is_damage() => {
            Prospect::Damage
        }
        // Sealed again it is the newest.
        ClientError::Overtaken { .. } => Prospect::Temporary,
        ClientError::Open(error) if is_damage(error) => Prospect::Damage,
        _ => Prospect::Final,
    }
}

/// Whether a blob may be refused because of a bit that was changed on its way. What is refused although its MACs hold
/// was made so.
fn is_damage(error: &OpenError) -> bool {
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

/// Whether a connection may succeed in a moment.
fn is_temporary(error: &ConnectionError) -> bool {
    match error {
        ConnectionError::Connect { error, was_there, .. } => {
            is_passing(error) || (*was_there && error.kind() == io::ErrorKind::NotFound)
        }
        ConnectionError::Socket { error, .. } => is_passing(error),
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
        // A name that leads nowhere is most often a wrong one; one that nobody can tell just now is not.
        ConnectionError::Resolve { error, .. } => error.is_temporary(),
        ConnectionError::Unexpected { .. } => false,
    }
}

fn is_busy(error: &RemoteError) -> bool {
    error.known() == Some(ErrorCode::Busy)
}

/// What a network says while it changes: an interface goes or comes, a route, an address, a neighbour.
fn is_passing(error: &io::Error) -> bool {
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
    use zput_common::{keys::Remote, proto::hello::HelloError};

    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound() {
        let pauses = [0, 1, 2, 5, 6, 31, 32, u32::MAX].map(|made| longest_pause(made).as_millis());
        assert_eq!(pauses, [500, 1000, 2000, 16_000, 30_000, 30_000, 30_000, 30_000]);
    }

    /// A line, or a server, that lets everything come one part further each time.
    #[test]
    fn damage_ends_however_far_each_try_gets() {
        let made = |is_damage: bool, progresses: bool| {
            let mut tries = Tries::default();
            (0..1000)
                .take_while(|_| {
                    let goes_on = !tries.are_over(is_damage, 2);
                    tries.count(is_damage);
                    if progresses {
                        tries.progressed();
                    }
                    goes_on
                })
                .count()
        };
        assert_eq!((made(true, false), made(true, true)), (2, 64));
        // Others do not end as long as they get somewhere.
        assert_eq!((made(false, false), made(false, true)), (2, 1000));
    }

    fn remote() -> Box<Remote> {
        Box::new("zput://example.org:7460".parse().unwrap())
    }

    fn temporary(error: ConnectionError) -> bool {
        prospect(&error.into()) == Prospect::Temporary
    }

    fn connect(error: io::Error, was_there: bool) -> ConnectionError {
        ConnectionError::Connect { remote: remote(), error, was_there }
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        assert!(temporary(connect(io::ErrorKind::ConnectionRefused.into(), false)));
        assert!(temporary(connect(io::ErrorKind::TimedOut.into(), false)));
        assert!(!temporary(connect(io::ErrorKind::PermissionDenied.into(), true)));
        // A socket's file that is away while its server starts again.
        assert!(!temporary(connect(io::ErrorKind::NotFound.into(), false)));
        assert!(temporary(connect(io::ErrorKind::NotFound.into(), true)));
        let socket = |kind: io::ErrorKind| {
            temporary(ConnectionError::Socket { remote: remote(), error: kind.into() })
        };
        assert!(socket(io::ErrorKind::ConnectionReset));
        assert!(socket(io::ErrorKind::BrokenPipe));
        // PROTOCOL 7: 6 is Busy, "try again"; 14 takes an operator; 15 is Older, "seal it again".
        for code in 0..=20 {
            let error = RemoteError { code, text: String::new(), number: 0 };
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
        assert!(!session(HelloError::Foreign("HTTP").into()));
        assert!(!temporary(ConnectionError::Unexpected { remote: remote(), what: "x" }));
        assert!(may_pass(&ClientError::Overtaken { there: 1 }));
        assert!(!may_pass(&ClientError::NotStored));
    }

    /// The numbers are those of asm-generic/errno.h: an interface that changes, a neighbour that is away.
    #[test]
    fn a_network_that_changes_is_waited_for() {
        for errno in [11, 32, 64, 71, 99, 100, 101, 102, 103, 104, 105, 107, 110, 111, 112, 113] {
            let error = || io::Error::from_raw_os_error(errno);
            assert!(temporary(connect(error(), false)), "connect: {errno}");
            let socket = ConnectionError::Socket { remote: remote(), error: error() };
            assert!(temporary(socket), "{errno}");
        }
        // Not this machine's own fault: no permission, no family, no such option.
        for errno in [1, 13, 22, 97] {
            assert!(!temporary(connect(io::Error::from_raw_os_error(errno), true)), "{errno}");
        }
    }

    #[test]
    fn damage_on_the_line_is_told_from_what_was_said() {
        let damage = |error: ClientError| prospect(&error) == Prospect::Damage;
        let refused = |code| {
            let error = RemoteError { code, text: String::new(), number: 0 };
            ConnectionError::Refused { remote: remote(), error }
        };
        for code in 0..=20 {
            assert_eq!(damage(refused(code).into()), code == 7, "{code}");
        }
        assert!(damage(ClientError::Open(PartError::DigestMismatch { part: 3 }.into())));
        assert!(damage(ClientError::Open(OpenError::FileMac)));
        let rollback = OpenError::Rollback { seen: 2, found: 1 };
        for said in [rollback, OpenError::NoIdentityMatches, OpenError::Bare, OpenError::NoVaultKey]
        {
            assert!(!may_pass(&ClientError::Open(said)));
        }
        let session = |error| damage(ConnectionError::Session { remote: remote(), error }.into());
        assert!(session(SessionError::RecordTooLong(70_000)));
        assert!(!session(SessionError::EchoMismatch));
    }
}

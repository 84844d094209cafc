//! One connection to a server: the socket, and the session that says what its bytes mean.
//!
//! The socket is polled for both directions while something is to be written, so an answer that comes
//! early is heard, and a server that hangs up while it is written to is asked for its last words.

use std::{
    collections::VecDeque,
    fmt, io,
    net::{TcpStream, ToSocketAddrs},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{RecvFlags, SendFlags, recv, send, sockopt},
};
use thiserror::Error;
use zput_common::{
    digest::Digest,
    keys::Remote,
    limits::IDLE_SECONDS,
    proto::{
        ClientConfig, ClientSession, Event, SessionError, Transmit, Wants,
        message::{RemoteError, Request, Response},
    },
};

use crate::error::Refusal;

/// Time for each address of a host to take the connection.
const CONNECT_SECONDS: u64 = 10;
/// Control bytes that are read at once. Payload that comes in with them is copied once.
const CONTROL_READ_BYTES: usize = 16 * 1024;
/// Output is gathered up to this size before it is written, so that a small put is one packet.
const GATHER_BYTES: usize = 64 * 1024;

/// A connection. Requests go out in order and are answered in order.
pub struct Connection {
    stream: Stream,
    session: ClientSession,
    outgoing: Vec<u8>,
    written: usize,
    incoming: Vec<u8>,
    taken: usize,
    answers: VecDeque<Response>,
    failure: Option<Failure>,
    remote: Remote,
}

/// Why a connection could not be made or does not go on.
#[derive(Debug, Error)]
pub enum ConnectionError {
    /// The host's name leads nowhere.
    #[error("cannot find {host}: {error}")]
    Resolve {
        /// Which host.
        host: String,
        /// Why not.
        error: io::Error,
    },
    /// Nobody takes the connection.
    #[error("cannot connect to {remote}: {error} (is the server running?)")]
    Connect {
        /// Where to.
        remote: Remote,
        /// Why not, of the last address tried.
        error: io::Error,
    },
    /// The socket failed.
    #[error("the connection to {remote} failed: {error} (try again)")]
    Socket {
        /// Where to.
        remote: Remote,
        /// How.
        error: io::Error,
    },
    /// The session does not go on.
    #[error("{remote}: {error}")]
    Session {
        /// Where to.
        remote: Remote,
        /// Why.
        error: SessionError,
    },
    /// The server refused a request.
    #[error("{}", Refusal { remote, error })]
    Refused {
        /// Where to.
        remote: Remote,
        /// Code and text.
        error: RemoteError,
    },
    /// An answer that does not fit what was asked.
    #[error("{remote} answered what was not asked: {what}")]
    Unexpected {
        /// Where to.
        remote: Remote,
        /// What is wrong with it.
        what: &'static str,
    },
}

#[derive(Debug)]
enum Failure {
    Socket(io::Error),
    Session(SessionError),
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Connection {
    /// Connects by TCP.
    ///
    /// # Errors
    /// When no address of the host takes the connection.
    pub fn tcp(
        remote: Remote,
        host: &str,
        port: u16,
        config: &ClientConfig,
    ) -> Result<Self, ConnectionError> {
        let addresses = (host, port)
            .to_socket_addrs()
            .map_err(|error| ConnectionError::Resolve { host: host.to_owned(), error })?;
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in addresses {
            match TcpStream::connect_timeout(&address, Duration::from_secs(CONNECT_SECONDS)) {
                Ok(stream) => {
                    if let Err(error) = tune(&stream) {
                        return Err(ConnectionError::Connect { remote, error });
                    }
                    return Self::over(Stream::Tcp(stream), remote, config);
                }
                Err(error) => last = error,
            }
        }
        Err(ConnectionError::Connect { remote, error: last })
    }

    /// Connects by a Unix socket.
    ///
    /// # Errors
    /// When nobody takes the connection.
    pub fn unix(
        remote: Remote,
        path: &str,
        config: &ClientConfig,
    ) -> Result<Self, ConnectionError> {
        match UnixStream::connect(path) {
            Ok(stream) => Self::over(Stream::Unix(stream), remote, config),
            Err(error) => Err(ConnectionError::Connect { remote, error }),
        }
    }

    /// Speaks over a stream that is connected already.
    ///
    /// # Errors
    /// When TLS cannot begin.
    pub fn on(
        stream: UnixStream,
        remote: Remote,
        config: &ClientConfig,
    ) -> Result<Self, ConnectionError> {
        Self::over(Stream::Unix(stream), remote, config)
    }

    fn over(
        stream: Stream,
        remote: Remote,
        config: &ClientConfig,
    ) -> Result<Self, ConnectionError> {
        match ClientSession::new(config, Instant::now()) {
            Ok(session) => Ok(Self {
                stream,
                session,
                outgoing: Vec::new(),
                written: 0,
                incoming: Vec::new(),
                taken: 0,
                answers: VecDeque::new(),
                failure: None,
                remote,
            }),
            Err(error) => Err(ConnectionError::Session { remote, error }),
        }
    }

    /// Where it leads.
    #[must_use]
    pub fn remote(&self) -> &Remote {
        &self.remote
    }

    /// Asks, without waiting. The request may stay here until something else is sent, or until
    /// [`receive`](Self::receive) waits for an answer.
    ///
    /// # Errors
    /// When the request breaks a bound, or the connection is over.
    pub fn send(&mut self, request: &Request) -> Result<(), ConnectionError> {
        self.check()?;
        self.session.send(request).map_err(|error| self.session_error(error))
    }

    /// Sends a slice and its bytes; returns when they are on their way or gathered with what
    /// follows.
    ///
    /// # Errors
    /// When the connection is over.
    pub fn send_slice(&mut self, bytes: &[u8], digest: Digest) -> Result<(), ConnectionError> {
        let Ok(length) = u32::try_from(bytes.len()) else {
            return Err(self.unexpected("a slice of more than 4 GiB was to be sent"));
        };
        self.send(&Request::Slice { length, digest })?;
        let mut rest = bytes;
        while !rest.is_empty() {
            self.check()?;
            match self.gather() {
                Gathered::Payload if self.outgoing.len() + rest.len() <= GATHER_BYTES => {
                    self.outgoing.extend_from_slice(rest);
                    self.session.payload_sent(Instant::now(), rest.len() as u64);
                    return Ok(());
                }
                Gathered::Payload if self.is_flushed() => {
                    let sent = self.write_some(rest)?;
                    self.session.payload_sent(Instant::now(), sent as u64);
                    rest = &rest[sent..];
                }
                Gathered::Payload | Gathered::All if !self.is_flushed() => self.write_outgoing()?,
                // The server has to say hello before more can go out.
                Gathered::Payload | Gathered::All => self.wait(PollFlags::IN)?,
            }
        }
        Ok(())
    }

    /// The next answer, an error of the server's included.
    ///
    /// # Errors
    /// When the connection ends before it comes.
    pub fn receive(&mut self) -> Result<Response, ConnectionError> {
        loop {
            self.take_control();
            if let Some(answer) = self.answers.pop_front() {
                return Ok(answer);
            }
            self.check()?;
            match self.gather() {
                _ if !self.is_flushed() => self.write_outgoing()?,
                Gathered::All => self.wait(PollFlags::IN)?,
                Gathered::Payload => {
                    return Err(self.unexpected("an answer is awaited before a slice was sent"));
                }
            }
        }
    }

    /// The next answer, if it is no error.
    ///
    /// # Errors
    /// [`ConnectionError::Refused`], and those of [`receive`](Self::receive).
    pub fn answer(&mut self) -> Result<Response, ConnectionError> {
        match self.receive()? {
            Response::Error(error) => {
                Err(ConnectionError::Refused { remote: self.remote.clone(), error })
            }
            answer => Ok(answer),
        }
    }

    /// Asks and waits.
    ///
    /// # Errors
    /// As of [`send`](Self::send) and [`answer`](Self::answer).
    pub fn ask(&mut self, request: &Request) -> Result<Response, ConnectionError> {
        self.send(request)?;
        self.answer()
    }

    /// How many requests may be sent before an answer has to be received.
    #[must_use]
    pub fn room(&self) -> usize {
        self.session.room()
    }

    /// The silence after which the server closes; none where it says no such time.
    #[must_use]
    pub fn idle_limit(&self) -> Option<Duration> {
        let seconds = self.session.limits().map_or(IDLE_SECONDS, |limits| limits.idle_seconds);
        (seconds > 0).then(|| Duration::from_secs(seconds.into()))
    }

    /// Requests that were not answered yet.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.session.unanswered() + self.answers.len()
    }

    /// Receives raw payload into `block`, at least one byte, until it is full, the payload ends, or
    /// the socket has no more for now. Returns how many; 0 only when no payload is left.
    ///
    /// # Errors
    /// When the connection ends before the payload does.
    pub fn payload(&mut self, block: &mut [u8]) -> Result<usize, ConnectionError> {
        let mut filled = 0;
        while filled < block.len() {
            let Wants::Payload { remaining } = self.session.wants() else { break };
            let room = block.len() - filled;
            let most = usize::try_from(remaining).map_or(room, |remaining| room.min(remaining));
            let target = &mut block[filled..filled + most];
            let held = &self.incoming[self.taken..];
            let received = if held.is_empty() {
                match recv(&self.stream, &mut *target, RecvFlags::DONTWAIT) {
                    Ok((_, 0)) => {
                        let ended = self.session.handle_eof();
                        let error = ended.err().unwrap_or(SessionError::Truncated);
                        return Err(self.session_error(error));
                    }
                    Ok((_, received)) => received,
                    Err(Errno::AGAIN) if filled > 0 => break,
                    Err(Errno::AGAIN) => {
                        self.wait_for(PollFlags::IN)?;
                        continue;
                    }
                    Err(Errno::INTR) => continue,
                    Err(error) => return Err(self.socket_error(error.into())),
                }
            } else {
                let now = held.len().min(most);
                target[..now].copy_from_slice(&held[..now]);
                self.taken += now;
                now
            };
            filled += received;
            self.session.payload_received(Instant::now(), received as u64);
        }
        Ok(filled)
    }

    /// Ends the connection in order. A peer that takes nothing more is not waited for.
    pub fn close(mut self) {
        self.session.close();
        while self.gather() == Gathered::All && !self.is_flushed() {
            let rest = self.outgoing.get(self.written..).unwrap_or_default();
            match send(&self.stream, rest, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(sent) => self.written += sent,
                Err(Errno::INTR) => {}
                Err(_) => return,
            }
            if self.is_flushed() {
                self.outgoing.clear();
                self.written = 0;
            }
        }
    }

    /// Takes what the session has to send, up to a payload.
    fn gather(&mut self) -> Gathered {
        loop {
            if self.outgoing.len() >= GATHER_BYTES {
                return Gathered::All;
            }
            match self.session.poll_transmit(Instant::now()) {
                Some(Transmit::Bytes(bytes)) if self.outgoing.is_empty() => self.outgoing = bytes,
                Some(Transmit::Bytes(bytes)) => self.outgoing.extend_from_slice(&bytes),
                Some(Transmit::Payload(_)) => return Gathered::Payload,
                None => return Gathered::All,
            }
        }
    }

    fn is_flushed(&self) -> bool {
        self.written == self.outgoing.len()
    }

    /// Writes some of what was gathered.
    fn write_outgoing(&mut self) -> Result<(), ConnectionError> {
        let outgoing = std::mem::take(&mut self.outgoing);
        let sent = self.write_some(&outgoing[self.written..]);
        self.outgoing = outgoing;
        self.written += sent?;
        if self.is_flushed() {
            self.outgoing.clear();
            self.written = 0;
        }
        Ok(())
    }

    /// Writes some of `bytes`, at least one; hears the server meanwhile.
    fn write_some(&mut self, bytes: &[u8]) -> Result<usize, ConnectionError> {
        loop {
            self.check()?;
            match send(&self.stream, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(sent) => return Ok(sent),
                Err(Errno::AGAIN) => self.wait(PollFlags::IN | PollFlags::OUT)?,
                Err(Errno::INTR) => {}
                Err(error) => {
                    self.hear_last_words();
                    self.check()?;
                    return Err(self.socket_error(error.into()));
                }
            }
        }
    }

    /// The server hung up: what it said before is still to be read.
    fn hear_last_words(&mut self) {
        while self.session.wants() == Wants::Control && self.read_control() == Read::Some {}
    }

    /// Waits until one of `flags` holds, and takes control bytes if they came.
    fn wait(&mut self, flags: PollFlags) -> Result<(), ConnectionError> {
        let ready = self.wait_for(flags)?;
        if ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            self.read_control();
        }
        Ok(())
    }

    fn wait_for(&mut self, flags: PollFlags) -> Result<PollFlags, ConnectionError> {
        loop {
            let now = Instant::now();
            if self.session.handle_timeout(now) {
                return Err(self.session_error(SessionError::IdleTimeout));
            }
            let timeout = self.session.deadline().map(|at| until(at, now));
            let mut fds = [PollFd::new(&self.stream, flags)];
            match poll(&mut fds, timeout.as_ref()) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(fds[0].revents()),
                Err(error) => return Err(self.socket_error(error.into())),
            }
        }
    }

    /// Reads control bytes, as many as there are.
    fn read_control(&mut self) -> Read {
        if self.taken == self.incoming.len() {
            self.incoming.resize(CONTROL_READ_BYTES, 0);
            self.taken = 0;
            let received = recv(&self.stream, &mut *self.incoming, RecvFlags::DONTWAIT);
            self.incoming.truncate(received.map_or(0, |(_, received)| received));
            match received.map(|(_, received)| received) {
                Ok(0) => {
                    let ended = self.session.handle_eof();
                    self.fail(Failure::Session(ended.err().unwrap_or(SessionError::Closed)));
                    return Read::End;
                }
                Ok(_) => {}
                Err(Errno::AGAIN | Errno::INTR) => return Read::Nothing,
                Err(error) => {
                    self.fail(Failure::Socket(error.into()));
                    return Read::End;
                }
            }
        }
        self.take_control();
        Read::Some
    }

    /// Gives control bytes to the session, and keeps the answers that come of them.
    fn take_control(&mut self) {
        while self.taken < self.incoming.len() && self.session.wants() == Wants::Control {
            match self.session.handle_input(Instant::now(), &self.incoming[self.taken..]) {
                Ok(0) => break,
                Ok(taken) => self.taken += taken,
                Err(error) => {
                    self.fail(Failure::Session(error));
                    break;
                }
            }
        }
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::Message(answer) => self.answers.push_back(answer),
                Event::Connected { .. } | Event::PayloadDone | Event::Closed => {}
            }
        }
    }

    /// The first failure is the one that is told.
    fn fail(&mut self, failure: Failure) {
        self.failure.get_or_insert(failure);
    }

    /// Whether the connection goes on.
    fn check(&mut self) -> Result<(), ConnectionError> {
        match self.failure.take() {
            None => Ok(()),
            Some(Failure::Socket(error)) => Err(self.socket_error(error)),
            Some(Failure::Session(error)) => Err(self.session_error(error)),
        }
    }

    /// The next answer, if it came already.
    pub fn heard(&mut self) -> Option<Response> {
        if self.answers.is_empty() {
            self.read_control();
        }
        self.answers.pop_front()
    }

    /// The server's own word for why the connection ended, where it left one.
    pub fn refusal(&mut self) -> Option<ConnectionError> {
        while let Some(answer) = self.answers.pop_front() {
            if let Response::Error(error) = answer {
                return Some(ConnectionError::Refused { remote: self.remote.clone(), error });
            }
        }
        None
    }

    pub(crate) fn unexpected(&self, what: &'static str) -> ConnectionError {
        ConnectionError::Unexpected { remote: self.remote.clone(), what }
    }

    fn socket_error(&self, error: io::Error) -> ConnectionError {
        ConnectionError::Socket { remote: self.remote.clone(), error }
    }

    fn session_error(&self, error: SessionError) -> ConnectionError {
        ConnectionError::Session { remote: self.remote.clone(), error }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection({})", self.remote)
    }
}

/// Where the session's output stands after gathering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gathered {
    /// All of it is in `outgoing`, or as much as is gathered at once.
    All,
    /// The caller's payload is next.
    Payload,
}

/// What came of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    Some,
    Nothing,
    End,
}

/// Requests are small and come in flights: they leave at once. On loopback a congestion control that
/// paces (BBR) costs more than half of the throughput.
fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    if stream.peer_addr()?.ip().is_loopback() {
        // A kernel without it goes on with its default.
        let _kept = sockopt::set_tcp_congestion(stream, "cubic");
    }
    Ok(())
}

fn until(at: Instant, now: Instant) -> Timespec {
    let left = at.saturating_duration_since(now);
    Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(left.subsec_nanos()),
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, sync::mpsc, thread};

    use super::*;

    /// Runs `act`, which may hang where it is wrong.
    fn ends(act: impl FnOnce() + Send + 'static) -> bool {
        let (done, is_done) = mpsc::channel();
        thread::spawn(move || {
            act();
            let _nobody_waits = done.send(());
        });
        is_done.recv_timeout(Duration::from_secs(10)).is_ok()
    }

    fn over(stream: UnixStream) -> Connection {
        Connection::on(stream, Remote::Unix("/x".into()), &ClientConfig::Plaintext).unwrap()
    }

    #[test]
    fn a_peer_that_takes_nothing_is_not_waited_for_at_the_end() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        while (&ours).write(&[0; 65_536]).is_ok() {}
        ours.set_nonblocking(false).unwrap();
        assert!(ends(move || over(ours).close()));
        drop(theirs);
    }

    #[test]
    fn a_peer_that_hangs_up_before_its_hello_ends_a_slice() {
        for said in [&b""[..], b"zput/s1\n", b"rubbish"] {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            theirs.write_all(said).unwrap();
            theirs.shutdown(std::net::Shutdown::Write).unwrap();
            let slice = move || {
                assert!(over(ours).send_slice(b"slice", Digest::of(b"slice")).is_err());
            };
            assert!(ends(slice), "{said:?}");
            drop(theirs);
        }
    }
}

//! One connection to a server: the socket, and the session that says what its bytes mean.
//!
//! The socket is polled for both directions while something is to be written, so an answer that comes
//! early is heard, and a server that hangs up while it is written to is asked for its last words.

mod error;
#[path = "read_buffer.rs"]
mod incoming;
#[path = "mount_selection.rs"]
mod mounting;
#[path = "write_buffer.rs"]
mod outgoing;
mod race;
mod resolve;
mod route;
#[path = "socket.rs"]
mod stream;

use std::{
    collections::VecDeque,
    fmt, io,
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use rustix::{event::PollFlags, io::Errno};
use zput_common::{
    digest::Digest,
    keys::Remote,
    limits::IDLE_SECONDS,
    proto::{
        ClientConfig, ClientSession, Event, Patience, SessionError, Wants,
        message::{Request, Response},
    },
};

pub use self::{
    error::ConnectionError,
    resolve::{ResolveError, Resolver},
    route::Route,
};
use self::{
    incoming::Incoming,
    mounting::{Heard, Mounting},
    outgoing::{Gathered, Outgoing},
    stream::Stream,
};

/// A connection. Requests go out in order and are answered in order.
pub struct Connection {
    stream: Stream,
    session: ClientSession,
    outgoing: Outgoing,
    incoming: Incoming,
    answers: VecDeque<Response>,
    mounting: Mounting,
    failure: Option<Failure>,
    remote: Remote,
}

/// What ended the connection; told by the next call that needs it.
#[derive(Debug)]
enum Failure {
    Socket(io::Error),
    Session(SessionError),
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
        route: &mut Route,
    ) -> Result<Self, ConnectionError> {
        let stream = Stream::tcp(&remote, host, port, route)?;
        Self::over(stream, remote, config, route.patience)
    }

    /// Connects by a Unix socket.
    ///
    /// # Errors
    /// When nobody takes the connection.
    pub fn unix(
        remote: Remote,
        path: &str,
        config: &ClientConfig,
        route: &mut Route,
    ) -> Result<Self, ConnectionError> {
        let stream = Stream::unix(&remote, path, route)?;
        Self::over(stream, remote, config, route.patience)
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
        Self::over(Stream::Unix(stream), remote, config, Patience::default())
    }

    fn over(
        stream: Stream,
        remote: Remote,
        config: &ClientConfig,
        patience: Patience,
    ) -> Result<Self, ConnectionError> {
        match ClientSession::new(config, Instant::now()) {
            Ok(session) => Ok(Self {
                stream,
                session: session.with_patience(patience),
                outgoing: Outgoing::default(),
                incoming: Incoming::default(),
                answers: VecDeque::new(),
                mounting: Mounting::of(&remote),
                failure: None,
                remote,
            }),
            Err(error) => Err(ConnectionError::Session { remote: Box::new(remote), error }),
        }
    }

    /// Where it leads.
    #[must_use]
    pub fn remote(&self) -> &Remote {
        &self.remote
    }

    /// Asks, without waiting. The request may stay here until something else is sent, or until
    /// [`receive`](Self::receive) waits for an answer. In front of the first that speaks of the remote's
    /// mount goes one that says which that is; its answer is heard here.
    ///
    /// # Errors
    /// When the request breaks a bound, or the connection is over.
    pub fn send(&mut self, request: &Request) -> Result<(), ConnectionError> {
        self.check()?;
        if let Some(mount) = self.mounting.before(request) {
            let behind = self.session.unanswered();
            self.session.send(&mount).map_err(|error| self.session_error(error))?;
            self.mounting.asked(behind);
        }
        self.session.send(request).map_err(|error| self.session_error(error))
    }

    /// Sends a slice and its bytes; returns when they are on their way or gathered with what
    /// follows.
    ///
    /// # Errors
    /// When the connection is over.
    pub fn send_slice(&mut self, bytes: &[u8], digest: Digest) -> Result<(), ConnectionError> {
        self.send_slice_telling(bytes, digest, &mut |_| {})
    }

    /// The same; `sent` hears how many bytes the socket has taken, each time that it takes some.
    ///
    /// # Errors
    /// When the connection is over.
    pub fn send_slice_telling(
        &mut self,
        bytes: &[u8],
        digest: Digest,
        sent: &mut dyn FnMut(u64),
    ) -> Result<(), ConnectionError> {
        let Ok(length) = u32::try_from(bytes.len()) else {
            return Err(self.unexpected("a slice of more than 4 GiB was to be sent"));
        };
        self.send(&Request::Slice { length, digest })?;
        let mut rest = bytes;
        while !rest.is_empty() {
            self.check()?;
            match self.outgoing.gather(&mut self.session) {
                Gathered::Payload if self.outgoing.has_room_for(rest.len()) => {
                    self.outgoing.append(rest);
                    self.session.payload_sent(Instant::now(), rest.len() as u64);
                    sent(rest.len() as u64);
                    return Ok(());
                }
                Gathered::Payload if self.outgoing.is_flushed() => {
                    let taken = self.write_some(rest)?;
                    self.session.payload_sent(Instant::now(), taken as u64);
                    sent(taken as u64);
                    rest = &rest[taken..];
                }
                Gathered::Payload | Gathered::All if !self.outgoing.is_flushed() => {
                    self.write_outgoing()?
                }
                // The server has to say hello before more can go out.
                Gathered::Payload | Gathered::All => self.wait(PollFlags::IN)?,
            }
        }
        Ok(())
    }

    /// Sends what was gathered, without waiting for an answer.
    ///
    /// # Errors
    /// When the connection is over.
    pub fn flush(&mut self) -> Result<(), ConnectionError> {
        loop {
            self.check()?;
            let _payload_is_next = self.outgoing.gather(&mut self.session);
            if self.outgoing.is_flushed() {
                return Ok(());
            }
            self.write_outgoing()?;
        }
    }

    /// The next answer, an error of the server's included.
    ///
    /// # Errors
    /// When the connection ends before it comes.
    pub fn receive(&mut self) -> Result<Response, ConnectionError> {
        // The time before was the caller's, not the server's silence.
        self.session.keep_alive(Instant::now());
        loop {
            self.take_control();
            if let Some(answer) = self.answers.pop_front() {
                return Ok(answer);
            }
            self.check()?;
            match self.outgoing.gather(&mut self.session) {
                _ if !self.outgoing.is_flushed() => self.write_outgoing()?,
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
                Err(ConnectionError::Refused { remote: self.boxed_remote(), error })
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
        self.session.room().saturating_sub(self.mounting.to_be_sent())
    }

    /// The silence after which the server closes.
    #[must_use]
    pub fn idle_limit(&self) -> Duration {
        let seconds = self.session.limits().map_or(IDLE_SECONDS, |limits| limits.idle_seconds);
        Duration::from_secs(seconds.into())
    }

    /// Whether the server has said hello.
    #[must_use]
    pub fn was_greeted(&self) -> bool {
        self.session.limits().is_some()
    }

    /// Requests that were not answered yet.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        let all = self.session.unanswered() + self.answers.len();
        all.saturating_sub(self.mounting.unanswered())
    }

    /// Receives raw payload into `block`, at least one byte, until it is full, the payload ends, or
    /// the socket has no more for now. Returns how many; 0 only when no payload is left.
    ///
    /// # Errors
    /// When the connection ends before the payload does.
    pub fn payload(&mut self, block: &mut [u8]) -> Result<usize, ConnectionError> {
        let mut filled = 0;
        // A sink may have kept the caller waiting: that was not the server's silence.
        self.session.keep_alive(Instant::now());
        while filled < block.len() {
            let Wants::Payload { remaining } = self.session.wants() else { break };
            let room = block.len() - filled;
            let most = usize::try_from(remaining).map_or(room, |remaining| room.min(remaining));
            let target = &mut block[filled..filled + most];
            let held = self.incoming.rest();
            let received = if held.is_empty() {
                match self.stream.receive(target) {
                    // What came before the end is handed on first; the next call tells of it.
                    Ok(0) if filled > 0 => break,
                    Ok(0) => {
                        let ended = self.session.handle_eof();
                        let error = ended.err().unwrap_or(SessionError::Truncated);
                        return Err(self.session_error(error));
                    }
                    Ok(received) => received,
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
                self.incoming.advance(now);
                now
            };
            filled += received;
            self.session.payload_received(Instant::now(), received as u64);
        }
        Ok(filled)
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
                return Some(ConnectionError::Refused { remote: self.boxed_remote(), error });
            }
        }
        None
    }

    /// Ends the connection in order. A peer that takes nothing more is not waited for.
    pub fn close(mut self) {
        self.session.close();
        while self.outgoing.gather(&mut self.session) == Gathered::All
            && !self.outgoing.is_flushed()
        {
            match self.stream.send(self.outgoing.rest()) {
                Ok(sent) => self.outgoing.advance(sent),
                Err(Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }

    /// Writes some of what was gathered.
    fn write_outgoing(&mut self) -> Result<(), ConnectionError> {
        let outgoing = std::mem::take(&mut self.outgoing);
        let sent = self.write_some(outgoing.rest());
        self.outgoing = outgoing;
        self.outgoing.advance(sent?);
        Ok(())
    }

    /// Writes some of `bytes`, at least one; hears the server meanwhile.
    fn write_some(&mut self, bytes: &[u8]) -> Result<usize, ConnectionError> {
        loop {
            self.check()?;
            match self.stream.send(bytes) {
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
            let timeout = self.session.deadline().map(|at| at.saturating_duration_since(now));
            let ready = self
                .stream
                .wait(flags, timeout)
                .map_err(|error| self.socket_error(error.into()))?;
            if !ready.is_empty() {
                return Ok(ready);
            }
        }
    }

    /// Reads control bytes, as many as there are.
    fn read_control(&mut self) -> Read {
        if self.incoming.is_empty() {
            match self.incoming.fill(&self.stream) {
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
        while !self.incoming.is_empty() && self.session.wants() == Wants::Control {
            match self.session.handle_input(Instant::now(), self.incoming.rest()) {
                Ok(0) => break,
                Ok(taken) => self.incoming.advance(taken),
                Err(error) => {
                    self.fail(Failure::Session(error));
                    break;
                }
            }
        }
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::Message(answer) => match self.mounting.hear(answer) {
                    Heard::Callers(answer) => self.answers.push_back(answer),
                    Heard::Ours => {}
                },
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
        if let Some(error) = self.mounting.refusal() {
            return Err(ConnectionError::NotMounted {
                remote: self.boxed_remote(),
                error: error.clone(),
            });
        }
        match self.failure.take() {
            None => Ok(()),
            Some(Failure::Socket(error)) => Err(self.socket_error(error)),
            Some(Failure::Session(error)) => Err(self.session_error(error)),
        }
    }

    fn boxed_remote(&self) -> Box<Remote> {
        Box::new(self.remote.clone())
    }

    pub(crate) fn unexpected(&self, what: &'static str) -> ConnectionError {
        ConnectionError::Unexpected { remote: self.boxed_remote(), what }
    }

    fn socket_error(&self, error: io::Error) -> ConnectionError {
        ConnectionError::Socket { remote: self.boxed_remote(), error }
    }

    fn session_error(&self, error: SessionError) -> ConnectionError {
        ConnectionError::Session { remote: self.boxed_remote(), error }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection({})", self.remote)
    }
}

/// What came of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    Some,
    Nothing,
    End,
}

#[cfg(test)]
mod tests;

//! One connection to a server: the socket, and the session that defines what its bytes mean.
//!
//! While bytes are to be written the socket is polled in both directions. So an early answer is
//! received, and if the server closes the connection, the reason that it sent is read first.

mod error;
mod mount_selection;
mod payload;
mod race;
mod read_buffer;
mod refusal;
mod resolve;
mod route;
mod socket;
mod write_buffer;

use std::{
    collections::VecDeque,
    fmt, io,
    time::{Duration, Instant},
};

use rustix::{event::PollFlags, io::Errno};
use zput_proto::{
    digest::Digest,
    keys::Remote,
    limits::IDLE_SECONDS,
    message::{Request, Response},
    session::{ClientConfig, ClientSession, Event, Patience, SessionError, Wants},
};

pub use self::{
    error::ConnectionError,
    resolve::{ResolveError, Resolver},
    route::Route,
};
use self::{
    mount_selection::{MountSelection, Routed},
    read_buffer::ReadBuffer,
    socket::Socket,
    write_buffer::{Gathered, WriteBuffer},
};

/// Most bytes of payload that one call offers to the socket. When the peer reads meanwhile, one
/// call can take a whole slice, and progress would move once.
const STEP_MAX_BYTES: usize = 1 << 20;

/// A connection. Requests are sent in order and answered in order.
pub(crate) struct Connection {
    socket: Socket,
    session: ClientSession,
    output: WriteBuffer,
    input: ReadBuffer,
    answers: VecDeque<Response>,
    mount: MountSelection,
    failure: Option<Failure>,
    remote: Remote,
}

/// What ended the connection; returned by the next call that needs it.
#[derive(Debug)]
enum Failure {
    Socket(io::Error),
    Session(SessionError),
}

impl Connection {
    /// Connects over TCP.
    ///
    /// # Errors
    /// When no address of the host accepts the connection.
    pub(crate) fn tcp(
        remote: Remote,
        host: &str,
        port: u16,
        config: &ClientConfig,
        route: &mut Route,
    ) -> Result<Self, ConnectionError> {
        let socket = Socket::tcp(&remote, host, port, route)?;
        Self::new(socket, remote, config, route.patience)
    }

    /// Connects over a Unix socket.
    ///
    /// # Errors
    /// When the server does not accept the connection.
    pub(crate) fn unix(
        remote: Remote,
        path: &str,
        config: &ClientConfig,
        route: &mut Route,
    ) -> Result<Self, ConnectionError> {
        let socket = Socket::unix(&remote, path, route)?;
        Self::new(socket, remote, config, route.patience)
    }

    /// Uses a connected stream.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    #[cfg(any(test, feature = "embedded"))]
    pub(crate) fn from_stream(
        stream: std::os::unix::net::UnixStream,
        remote: Remote,
        config: &ClientConfig,
    ) -> Result<Self, ConnectionError> {
        Self::new(Socket::Unix(stream), remote, config, Patience::default())
    }

    fn new(
        socket: Socket,
        remote: Remote,
        config: &ClientConfig,
        patience: Patience,
    ) -> Result<Self, ConnectionError> {
        match ClientSession::new(config, Instant::now()) {
            Ok(session) => Ok(Self {
                socket,
                session: session.with_patience(patience),
                output: WriteBuffer::default(),
                input: ReadBuffer::default(),
                answers: VecDeque::new(),
                mount: MountSelection::of(&remote),
                failure: None,
                remote,
            }),
            Err(error) => Err(ConnectionError::Session { remote: Box::new(remote), source: error }),
        }
    }

    /// The address that the connection leads to.
    #[must_use]
    pub(crate) fn remote(&self) -> &Remote {
        &self.remote
    }

    /// Queues a request without waiting for its answer. It may stay in the write buffer until a
    /// later call flushes it or [`receive`](Self::receive) waits for an answer. The first request
    /// about the remote's mount is preceded by one that selects the mount; the answer to that is
    /// handled here.
    ///
    /// # Errors
    /// When the request exceeds a bound, or the connection has ended.
    pub(crate) fn send(&mut self, request: &Request) -> Result<(), ConnectionError> {
        self.check()?;
        if let Some(select) = self.mount.request_before(request) {
            let behind = self.session.unanswered();
            self.session.send(&select).map_err(|error| self.session_error(error))?;
            self.mount.sent(behind);
        }
        self.session.send(request).map_err(|error| self.session_error(error))
    }

    /// Sends a slice and its bytes; returns when the socket has accepted them or they are in the
    /// write buffer.
    ///
    /// # Errors
    /// When the connection has ended.
    pub(crate) fn send_slice(
        &mut self,
        bytes: &[u8],
        digest: Digest,
    ) -> Result<(), ConnectionError> {
        self.send_slice_with_progress(bytes, digest, &mut |_| {})
    }

    /// The same; `sent` is called with the number of bytes each time that the socket accepts some.
    ///
    /// # Errors
    /// When the connection has ended.
    pub(crate) fn send_slice_with_progress(
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
            match self.output.gather(&mut self.session) {
                Gathered::Payload if self.output.has_room_for(rest.len()) => {
                    self.output.append(rest);
                    self.session.payload_sent(Instant::now(), rest.len() as u64);
                    sent(rest.len() as u64);
                    return Ok(());
                }
                Gathered::Payload if self.output.is_flushed() => {
                    let taken = self.write_some(&rest[..rest.len().min(STEP_MAX_BYTES)])?;
                    self.session.payload_sent(Instant::now(), taken as u64);
                    sent(taken as u64);
                    rest = &rest[taken..];
                }
                Gathered::Payload | Gathered::All if !self.output.is_flushed() => {
                    self.write_output()?
                }
                // The session sends no payload before the server's hello.
                Gathered::Payload | Gathered::All => self.wait(PollFlags::IN)?,
            }
        }
        Ok(())
    }

    /// Sends everything in the write buffer, without waiting for an answer.
    ///
    /// # Errors
    /// When the connection has ended.
    pub(crate) fn flush(&mut self) -> Result<(), ConnectionError> {
        loop {
            self.check()?;
            let _payload_follows = self.output.gather(&mut self.session);
            if self.output.is_flushed() {
                return Ok(());
            }
            self.write_output()?;
        }
    }

    /// Receives the next answer, which may be the server's error.
    ///
    /// # Errors
    /// When the connection ends first.
    pub(crate) fn receive(&mut self) -> Result<Response, ConnectionError> {
        // The caller was busy until now; that was not silence of the server.
        self.session.restart_idle(Instant::now());
        loop {
            self.take_control();
            if let Some(answer) = self.answers.pop_front() {
                return Ok(answer);
            }
            self.check()?;
            match self.output.gather(&mut self.session) {
                _ if !self.output.is_flushed() => self.write_output()?,
                Gathered::All => self.wait(PollFlags::IN)?,
                Gathered::Payload => {
                    return Err(self.unexpected("an answer is awaited before a slice was sent"));
                }
            }
        }
    }

    /// Receives the next answer.
    ///
    /// # Errors
    /// [`ConnectionError::Refused`] for an error of the server, and those of
    /// [`receive`](Self::receive).
    pub(crate) fn receive_ok(&mut self) -> Result<Response, ConnectionError> {
        match self.receive()? {
            Response::Error(error) => {
                Err(ConnectionError::Refused { remote: self.boxed_remote(), error })
            }
            answer => Ok(answer),
        }
    }

    /// Sends a request and receives its answer.
    ///
    /// # Errors
    /// As of [`send`](Self::send) and [`answer`](Self::receive_ok).
    pub(crate) fn call(&mut self, request: &Request) -> Result<Response, ConnectionError> {
        self.send(request)?;
        self.receive_ok()
    }

    /// Number of requests that may be sent before an answer has to be received.
    #[must_use]
    pub(crate) fn capacity(&self) -> usize {
        self.session.room().saturating_sub(self.mount.to_send())
    }

    /// The silence after which the server closes the connection.
    #[must_use]
    pub(crate) fn idle_limit(&self) -> Duration {
        let seconds = self.session.limits().map_or(IDLE_SECONDS, |limits| limits.idle_seconds);
        Duration::from_secs(seconds.into())
    }

    /// Whether the server has sent its hello.
    #[must_use]
    pub(crate) fn is_established(&self) -> bool {
        self.session.limits().is_some()
    }

    /// Number of requests without a received answer.
    #[must_use]
    pub(crate) fn in_flight(&self) -> usize {
        let all = self.session.unanswered() + self.answers.len();
        all.saturating_sub(self.mount.in_flight())
    }

    /// The next answer, if it has arrived.
    pub(crate) fn try_receive(&mut self) -> Option<Response> {
        if self.answers.is_empty() {
            self.read_control();
        }
        self.answers.pop_front()
    }

    /// The error that the server sent before the connection ended, if there is one.
    pub(crate) fn refusal(&mut self) -> Option<ConnectionError> {
        while let Some(answer) = self.answers.pop_front() {
            if let Response::Error(error) = answer {
                return Some(ConnectionError::Refused { remote: self.boxed_remote(), error });
            }
        }
        None
    }

    /// Ends the connection in order. Does not wait for a peer that reads nothing.
    pub(crate) fn close(mut self) {
        self.session.close();
        while self.output.gather(&mut self.session) == Gathered::All && !self.output.is_flushed() {
            match self.socket.send(self.output.rest()) {
                Ok(sent) => self.output.advance(sent),
                Err(Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }

    /// Writes some of the write buffer.
    fn write_output(&mut self) -> Result<(), ConnectionError> {
        let output = std::mem::take(&mut self.output);
        let sent = self.write_some(output.rest());
        self.output = output;
        self.output.advance(sent?);
        Ok(())
    }

    /// Writes some of `bytes`, at least one; receives answers meanwhile.
    fn write_some(&mut self, bytes: &[u8]) -> Result<usize, ConnectionError> {
        loop {
            self.check()?;
            match self.socket.send(bytes) {
                Ok(sent) => return Ok(sent),
                Err(Errno::AGAIN) => self.wait(PollFlags::IN | PollFlags::OUT)?,
                Err(Errno::INTR) => {}
                Err(error) => {
                    self.read_final_messages();
                    self.check()?;
                    return Err(self.socket_error(error.into()));
                }
            }
        }
    }

    /// Reads what the server sent before it closed the connection.
    fn read_final_messages(&mut self) {
        while self.session.wants() == Wants::Control && self.read_control() == ReadOutcome::Some {}
    }

    /// Waits until one of `flags` holds, and reads control bytes if they came.
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
                .socket
                .wait(flags, timeout)
                .map_err(|error| self.socket_error(error.into()))?;
            if !ready.is_empty() {
                return Ok(ready);
            }
        }
    }

    /// Reads and handles control bytes, as many as have arrived.
    fn read_control(&mut self) -> ReadOutcome {
        if self.input.is_empty() {
            match self.input.fill(&self.socket) {
                Ok(0) => {
                    let ended = self.session.handle_eof();
                    self.fail(Failure::Session(ended.err().unwrap_or(SessionError::Closed)));
                    return ReadOutcome::End;
                }
                Ok(_) => {}
                Err(Errno::AGAIN | Errno::INTR) => return ReadOutcome::Nothing,
                Err(error) => {
                    self.fail(Failure::Socket(error.into()));
                    return ReadOutcome::End;
                }
            }
        }
        self.take_control();
        ReadOutcome::Some
    }

    /// Passes control bytes to the session and queues the answers.
    fn take_control(&mut self) {
        while !self.input.is_empty() && self.session.wants() == Wants::Control {
            match self.session.handle_input(Instant::now(), self.input.rest()) {
                Ok(0) => break,
                Ok(taken) => self.input.advance(taken),
                Err(error) => {
                    self.fail(Failure::Session(error));
                    break;
                }
            }
        }
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::Message(answer) => match self.mount.on_response(answer) {
                    Routed::ToCaller(answer) => self.answers.push_back(answer),
                    Routed::Consumed => {}
                },
                Event::Connected { .. } | Event::PayloadDone | Event::Closed => {}
            }
        }
    }

    /// Records a failure; the first one is reported.
    fn fail(&mut self, failure: Failure) {
        self.failure.get_or_insert(failure);
    }

    /// Returns the error that ended the connection, if one did.
    fn check(&mut self) -> Result<(), ConnectionError> {
        if let Some(error) = self.mount.refusal() {
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

    fn socket_error(&self, source: io::Error) -> ConnectionError {
        ConnectionError::Socket { remote: self.boxed_remote(), source }
    }

    fn session_error(&self, source: SessionError) -> ConnectionError {
        ConnectionError::Session { remote: self.boxed_remote(), source }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection({})", self.remote)
    }
}

/// The result of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReadOutcome {
    Some,
    Nothing,
    End,
}

#[cfg(test)]
mod tests;

//! The server's end of a connection: it turns bytes and time into requests, and sends answers.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    channel::Channel,
    error::SessionError,
    event::{Event, Wants},
    link::Link,
    outbox::Transmit,
    tls::ServerTls,
};
use crate::{
    error_code::{ErrorCode, RemoteError},
    hello::{Carries, ClientHello, HelloReader, Mode, ServerHello, ServerLimits},
    limits::{FRAME_MAX_BYTES, PIPELINE_MAX},
    message::{Request, Response},
};

/// The settings that all connections of a listener share. Exhaustive: there is no safe default for
/// what a listener accepts, so each setting is chosen where a server is made.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The listener's key; `None` refuses `tls`.
    pub tls: Option<ServerTls>,
    /// Whether the listener accepts `plaintext` too.
    pub allow_plaintext: bool,
    /// The limits that the server's hello states. A pipeline over [`PIPELINE_MAX`] and frames over
    /// [`FRAME_MAX_BYTES`] are reduced to these.
    pub limits: ServerLimits,
}

/// The server's end of one connection.
///
/// The caller owns the socket. It hands in the bytes that it read, and writes the bytes that it
/// gets:
///
/// - While [`wants`](Self::wants) is `Control`, bytes go to [`handle_input`](Self::handle_input),
///   which takes a part of them and stops exactly before raw payload.
/// - While it is `Payload`, the caller keeps the bytes and reports how many there were.
/// - [`poll_event`](Self::poll_event) returns the requests in them. Each is answered by exactly one
///   [`send`](Self::send), in order.
/// - [`poll_transmit`](Self::poll_transmit) gives what to write, in order.
///
/// After an error that [is fatal](SessionError::is_fatal) the caller may still write what is queued
/// (a refusal, an alert), and then closes the connection.
#[derive(Debug)]
pub struct ServerSession {
    config: Arc<ServerConfig>,
    link: Link<Request>,
    phase: Phase,
    unanswered: usize,
}

#[derive(Debug)]
enum Phase {
    /// The server reads the client's hello.
    Hello(HelloReader),
    /// The TLS handshake, if there is one, and then the client's echo.
    Echo { client: Vec<u8>, server: Vec<u8>, mode: Mode },
    /// The server reads requests.
    Open,
}

impl ServerSession {
    /// Begins a session on a connection that was accepted at `now`.
    #[must_use]
    pub fn new(config: Arc<ServerConfig>, now: Instant) -> Self {
        let max_frame = usize::try_from(config.limits.max_frame).unwrap_or(usize::MAX);
        Self {
            config,
            link: Link::new(max_frame, now),
            phase: Phase::Hello(HelloReader::of_client()),
            unanswered: 0,
        }
    }

    /// How the caller is to treat the next bytes of the stream.
    #[must_use]
    pub fn wants(&self) -> Wants {
        match self.link.wants() {
            Wants::Control if !self.has_room() => Wants::Nothing,
            wants => wants,
        }
    }

    /// Takes control bytes, split anywhere, and returns how many. It takes nothing after the frame
    /// that announces a payload, and nothing while [`wants`](Self::wants) is not `Control`.
    ///
    /// # Errors
    /// When the peer broke the protocol. The session is over; events from before the error stay.
    pub fn handle_input(&mut self, now: Instant, bytes: &[u8]) -> Result<usize, SessionError> {
        self.link.alive()?;
        let mut rest = bytes;
        self.advance(&mut rest)?;
        let taken = bytes.len() - rest.len();
        if taken > 0 {
            self.link.touch(now);
        }
        Ok(taken)
    }

    /// Notes that the caller received `length` bytes of raw payload.
    pub fn payload_received(&mut self, now: Instant, length: u64) {
        self.link.payload_received(now, length);
    }

    /// Notes that the stream has ended, after all bytes before its end were handled.
    ///
    /// # Errors
    /// When the stream may not end here. The session is over.
    pub fn handle_eof(&mut self) -> Result<(), SessionError> {
        self.link.handle_eof(false)
    }

    /// The next event, in order. While more than [`OUTBOX_MAX_BYTES`] of answers wait to be
    /// written, the next request is held back: poll again after writing.
    pub fn poll_event(&mut self) -> Option<Event<Request>> {
        let full = self.link.outbox.control_bytes() >= OUTBOX_MAX_BYTES;
        self.link.next_event(|event| full && matches!(event, Event::Message(_)))
    }

    /// The next bytes to write. Control bytes are handed over; a payload is named again until
    /// [`payload_sent`](Self::payload_sent) has counted all of it.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        self.link.poll_transmit(now)
    }

    /// Whether the next bytes to write are raw payload.
    #[must_use]
    pub fn payload_is_next(&self) -> bool {
        self.link.outbox.payload_is_next()
    }

    /// Notes that the caller wrote `length` bytes of the raw payload.
    pub fn payload_sent(&mut self, now: Instant, length: u64) {
        self.link.payload_sent(now, length);
    }

    /// Whether there are bytes to write.
    #[must_use]
    pub fn has_output(&self) -> bool {
        !self.link.outbox.is_empty()
    }

    /// Answers the oldest unanswered request. The payload of an `Object` is queued after it. There
    /// may be new events afterwards.
    ///
    /// # Errors
    /// When there is nothing to answer, or the answer breaks a bound: it is not sent, and the
    /// session continues. Also when the session is over.
    pub fn send(&mut self, answer: &Response) -> Result<(), SessionError> {
        self.link.alive()?;
        if self.unanswered == 0 || matches!(answer, Response::Echo { .. }) {
            return Err(SessionError::NothingToAnswer);
        }
        if let Err(error) = self.link.send(answer, FRAME_MAX_BYTES) {
            return Err(self.link.fail(error));
        }
        self.unanswered -= 1;
        // The last record may have held more requests than the pipeline had room for.
        self.advance(&mut &[][..])
    }

    /// The number of requests that have not been answered.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// Ends the session. It takes and sends nothing more; what is queued can still be written, and
    /// in `tls` a `close_notify` after it.
    pub fn close(&mut self) {
        self.link.close();
    }

    /// Restarts the idle clock at `now`, because the server is working on an answer.
    pub fn restart_idle(&mut self, now: Instant) {
        self.link.touch(now);
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), unless something happens before.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.link.deadline(self.idle())
    }

    /// Whether the deadline has passed. The session is then over, and the caller closes the
    /// connection.
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        self.link.handle_timeout(now, self.idle())
    }

    fn idle(&self) -> Option<Duration> {
        Some(Duration::from_secs(u64::from(self.config.limits.idle_seconds)))
    }

    fn has_room(&self) -> bool {
        self.unanswered < usize::from(self.config.limits.max_pipeline).min(PIPELINE_MAX)
    }

    /// Makes as many steps as `input` and the pipeline allow.
    fn advance(&mut self, input: &mut &[u8]) -> Result<(), SessionError> {
        while self.wants() == Wants::Control {
            match self.step(input) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => return Err(self.refuse(error)),
            }
        }
        Ok(())
    }

    /// Makes one step. False when more input is needed.
    fn step(&mut self, input: &mut &[u8]) -> Result<bool, SessionError> {
        match &mut self.phase {
            Phase::Hello(reader) => match reader.read(input)? {
                Some(hello) => self.answer_hello(hello)?,
                None => return Ok(false),
            },
            Phase::Echo { .. } if !self.link.channel.is_open() => {
                if input.is_empty() {
                    return Ok(false);
                }
                self.link.shake_hands(input)?;
            }
            Phase::Echo { .. } => match self.link.receive(input, false)? {
                Some(Request::Echo { client, server }) => self.answer_echo(client, server)?,
                Some(_) => return Err(SessionError::EchoMisplaced),
                None => return Ok(false),
            },
            Phase::Open => match self.link.receive(input, false)? {
                Some(Request::Echo { .. }) => return Err(SessionError::EchoMisplaced),
                Some(Request::Slice { length, .. }) if length > self.config.limits.max_slice => {
                    return Err(SessionError::SliceTooLong(length));
                }
                Some(request) => {
                    self.unanswered += 1;
                    self.link.push_event(Event::Message(request));
                }
                None => return Ok(false),
            },
        }
        Ok(true)
    }

    fn answer_hello(&mut self, client: Vec<u8>) -> Result<(), SessionError> {
        let carries =
            Carries { tls: self.config.tls.is_some(), plaintext: self.config.allow_plaintext };
        let answer =
            ServerHello::answer(&ClientHello::parse(&client)?, carries, self.config.limits);
        let server = answer.encode();
        self.link.outbox.push(server.clone());
        let mode = match answer {
            ServerHello::Accepted { mode, .. } => mode,
            ServerHello::Refused(refusal) => return Err(SessionError::Refused(refusal)),
        };
        if let (Mode::Tls, Some(tls)) = (mode, &self.config.tls) {
            self.link.channel = Channel::of_server(tls)?;
        }
        self.phase = Phase::Echo { client, server, mode };
        Ok(())
    }

    /// PROTOCOL 3: "A side that finds another hello in it closes the connection."
    fn answer_echo(
        &mut self,
        said_client: Vec<u8>,
        said_server: Vec<u8>,
    ) -> Result<(), SessionError> {
        let Phase::Echo { client, server, mode } = &self.phase else {
            return Err(SessionError::EchoMisplaced);
        };
        if said_client != *client || said_server != *server {
            return Err(SessionError::EchoMismatch);
        }
        let mode = *mode;
        let peer = self.link.channel.device()?;
        let echo = Response::Echo { client: said_client, server: said_server };
        self.link.send(&echo, FRAME_MAX_BYTES)?;
        self.link.connect(Event::Connected { peer, mode });
        self.phase = Phase::Open;
        Ok(())
    }

    /// Ends the session. A client that waits for no other answer is sent the reason.
    fn refuse(&mut self, error: SessionError) -> SessionError {
        let malformed = matches!(
            error,
            SessionError::Frame(_)
                | SessionError::BehindAnnouncement
                | SessionError::EchoMisplaced
                | SessionError::SliceTooLong(_)
        );
        if malformed && self.link.is_connected() && self.unanswered == 0 {
            let answer =
                Response::Error(RemoteError::new(ErrorCode::Malformed, &error.to_string()));
            if let Err(unsent) = self.link.send(&answer, FRAME_MAX_BYTES) {
                self.link.fail(unsent);
            }
        }
        self.link.fail(error)
    }
}

/// Requests are held back while this many control bytes wait to be written, so that a client that
/// asks for pages and reads none cannot fill the server's memory.
pub const OUTBOX_MAX_BYTES: usize = 2 * FRAME_MAX_BYTES;

//! The client's end of a connection: it sends requests, and turns bytes and time into answers.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{
    channel::Channel,
    error::SessionError,
    event::{Event, Wants},
    link::Link,
    outbox::Transmit,
    tls::ClientTls,
};
use crate::{
    hello::{ClientHello, HelloError, HelloReader, Mode, ServerHello, ServerLimits, VERSION},
    limits::{ANSWER_SECONDS, FRAME_MAX_BYTES, PIPELINE_MAX, SILENCE_SECONDS},
    message::{Kind, Message as _, Request, Response, Section},
};

/// The mode of a connection, which is the client's policy, and the keys that it needs.
/// Exhaustive: the two modes of the wire.
#[derive(Clone, Debug)]
pub enum ClientConfig {
    /// The client offers `plaintext` and nothing else.
    Plaintext,
    /// The client offers `tls` and nothing else, with these keys.
    Tls(ClientTls),
}

impl ClientConfig {
    /// The mode that the client offers.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        match self {
            Self::Plaintext => Mode::Plaintext,
            Self::Tls(_) => Mode::Tls,
        }
    }
}

/// How long a client waits for the server while no byte moves in either direction. Made by
/// [`Patience::default`]; the fields can be set then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Patience {
    /// Time without a byte while payload is on its way, or while an answer is due that takes a
    /// server no time.
    pub silence: Duration,
    /// Time without a byte while the server may be syncing, reading claimed slices, or waiting for
    /// a lock.
    pub answer: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            silence: Duration::from_secs(SILENCE_SECONDS),
            answer: Duration::from_secs(ANSWER_SECONDS),
        }
    }
}

/// The client's end of one connection.
///
/// A caller drives it like a [`ServerSession`](super::ServerSession): its events are answers, and
/// it sends requests. Requests may be sent at once. They are written as soon as the channel is
/// open, after the echo, and cost no additional round trip.
#[derive(Debug)]
pub struct ClientSession {
    link: Link<Response>,
    phase: Phase,
    mode: Mode,
    limits: Option<ServerLimits>,
    /// The client's hello, kept until it has been echoed.
    hello: Vec<u8>,
    /// Requests that were sent before the channel was open.
    early: VecDeque<Request>,
    /// The kinds of the answers that are due, the next one first.
    expected: VecDeque<Expected>,
    patience: Patience,
}

#[derive(Debug)]
enum Phase {
    /// The client reads the server's hello. In `tls` the server reads the ClientHello meanwhile.
    Hello(HelloReader),
    /// The TLS handshake is under way.
    Handshake { server: Vec<u8> },
    /// The client reads the server's echo.
    Echo { server: Vec<u8> },
    /// The client reads answers.
    Open,
}

impl ClientSession {
    /// Begins a session on a connection that was opened at `now`. The first flight is queued: the
    /// hello and, in `tls`, the TLS ClientHello in the same flight.
    ///
    /// # Errors
    /// When TLS cannot begin.
    pub fn new(config: &ClientConfig, now: Instant) -> Result<Self, SessionError> {
        let mode = config.mode();
        let hello = ClientHello::only(mode).encode();
        let mut link = Link::new(FRAME_MAX_BYTES, now);
        link.outbox.push(hello.clone());
        if let ClientConfig::Tls(tls) = config {
            link.channel = Channel::of_client(tls, &mut link.outbox)?;
        }
        Ok(Self {
            link,
            phase: Phase::Hello(HelloReader::of_server()),
            mode,
            limits: None,
            hello,
            early: VecDeque::new(),
            expected: VecDeque::new(),
            patience: Patience::default(),
        })
    }

    /// The same session with other waiting times.
    #[must_use]
    pub fn with_patience(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }

    /// Restarts the clocks at `now`, after a time in which the caller did not read from the socket.
    pub fn restart_idle(&mut self, now: Instant) {
        self.link.touch(now);
    }

    /// The limits of the server; `None` before its hello.
    #[must_use]
    pub fn limits(&self) -> Option<ServerLimits> {
        self.limits
    }

    /// How the caller is to treat the next bytes of the stream.
    #[must_use]
    pub fn wants(&self) -> Wants {
        self.link.wants()
    }

    /// Takes control bytes, split anywhere, and returns how many. It takes nothing after the frame
    /// that announces a payload, and nothing while [`wants`](Self::wants) is not `Control`.
    ///
    /// # Errors
    /// When the peer broke the protocol. The session is over; events from before the error stay.
    pub fn handle_input(&mut self, now: Instant, bytes: &[u8]) -> Result<usize, SessionError> {
        self.link.alive()?;
        let mut rest = bytes;
        while self.wants() == Wants::Control {
            match self.step(&mut rest) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => return Err(self.link.fail(error)),
            }
        }
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
    /// When the stream may not end here, or an answer is still due. The session is over.
    pub fn handle_eof(&mut self) -> Result<(), SessionError> {
        self.link.handle_eof(!self.expected.is_empty())
    }

    /// The next event, in order; `None` when there is none yet.
    pub fn poll_event(&mut self) -> Option<Event<Response>> {
        self.link.next_event(|_| false)
    }

    /// The next bytes to write. Control bytes are handed over; a payload is named again until
    /// [`payload_sent`](Self::payload_sent) has counted all of it.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        self.link.poll_transmit(now)
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

    /// How many requests may be sent before an answer comes.
    #[must_use]
    pub fn room(&self) -> usize {
        self.pipeline().saturating_sub(self.unanswered())
    }

    /// Sends a request. The payload of a `Slice` is queued after it.
    ///
    /// # Errors
    /// When there is no room, or the request breaks a bound: it is not sent, and the session
    /// continues. Also when the session is over.
    pub fn send(&mut self, request: &Request) -> Result<(), SessionError> {
        self.link.alive()?;
        if self.room() == 0 {
            return Err(SessionError::PipelineFull);
        }
        match self.phase {
            Phase::Hello(_) | Phase::Handshake { .. } => {
                request.check().map_err(|e| SessionError::Unsendable(e.into()))?;
                self.early.push_back(request.clone());
                Ok(())
            }
            Phase::Echo { .. } | Phase::Open => self.transmit(request),
        }
    }

    /// The number of requests that have not been answered.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.expected.len() + self.early.len()
    }

    /// Ends the session. It takes and sends nothing more; what is queued can still be written, and
    /// in `tls` a `close_notify` after it.
    pub fn close(&mut self) {
        self.link.close();
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), unless something happens before.
    /// `None` while the client waits for no answer.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.link.deadline(self.patience())
    }

    /// Whether the deadline has passed. The session is then over, and the caller closes the
    /// connection.
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        self.link.handle_timeout(now, self.patience())
    }

    fn patience(&self) -> Option<Duration> {
        if matches!(self.link.wants(), Wants::Payload { .. }) {
            return Some(self.patience.silence);
        }
        self.expected.front().map(|expected| match expected.takes_work() {
            true => self.patience.answer,
            false => self.patience.silence,
        })
    }

    fn pipeline(&self) -> usize {
        let said = self.limits.map_or(PIPELINE_MAX, |limits| usize::from(limits.max_pipeline));
        said.min(PIPELINE_MAX)
    }

    /// Makes one step. False when more input is needed.
    fn step(&mut self, input: &mut &[u8]) -> Result<bool, SessionError> {
        match &mut self.phase {
            Phase::Hello(reader) => match reader.read(input)? {
                Some(server) => self.accept_hello(server)?,
                None => return Ok(false),
            },
            Phase::Handshake { server } if self.link.channel.is_open() => {
                let server = std::mem::take(server);
                let echo = Request::Echo { client: self.hello.clone(), server: server.clone() };
                self.link.send(&echo, FRAME_MAX_BYTES)?;
                self.phase = Phase::Echo { server };
                self.send_early()?;
            }
            Phase::Handshake { .. } => {
                if input.is_empty() {
                    return Ok(false);
                }
                self.link.shake_hands(input)?;
            }
            Phase::Echo { .. } => match self.link.receive(input, true)? {
                Some(Response::Echo { client, server }) => self.accept_echo(&client, &server)?,
                Some(_) => return Err(SessionError::EchoMisplaced),
                None => return Ok(false),
            },
            Phase::Open => match self.link.receive(input, !self.expected.is_empty())? {
                Some(answer) => self.accept_answer(answer)?,
                None => return Ok(false),
            },
        }
        Ok(true)
    }

    /// PROTOCOL 1: "A client that is given a mode it did not offer closes the connection." The same
    /// holds for a version and a feature.
    fn accept_hello(&mut self, server: Vec<u8>) -> Result<(), SessionError> {
        let (version, mode, features, limits) = match ServerHello::parse(&server)? {
            ServerHello::Accepted { version, mode, features, limits } => {
                (version, mode, features, limits)
            }
            ServerHello::Refused(refusal) => return Err(SessionError::Refused(refusal)),
        };
        if version != VERSION {
            return Err(HelloError::VersionNotOffered(version).into());
        }
        if mode != self.mode {
            return Err(HelloError::ModeNotOffered(mode).into());
        }
        if features != 0 {
            return Err(HelloError::FeaturesNotOffered(features).into());
        }
        self.limits = Some(limits);
        self.phase = Phase::Handshake { server };
        Ok(())
    }

    /// PROTOCOL 3: "A side that finds another hello in it closes the connection."
    fn accept_echo(&mut self, client: &[u8], said_server: &[u8]) -> Result<(), SessionError> {
        let Phase::Echo { server } = &self.phase else {
            return Err(SessionError::EchoMisplaced);
        };
        if client != self.hello || said_server != server {
            return Err(SessionError::EchoMismatch);
        }
        self.link.connect(Event::Connected { peer: None, mode: self.mode });
        self.phase = Phase::Open;
        self.hello = Vec::new();
        Ok(())
    }

    fn accept_answer(&mut self, answer: Response) -> Result<(), SessionError> {
        match self.expected.pop_front() {
            Some(expected) if expected.fits(&answer) => {}
            _ => return Err(SessionError::UnexpectedAnswer),
        }
        self.link.push_event(Event::Message(answer));
        self.send_early()
    }

    fn send_early(&mut self) -> Result<(), SessionError> {
        while self.expected.len() < self.pipeline()
            && let Some(request) = self.early.pop_front()
        {
            self.transmit(&request).map_err(|error| match error.is_fatal() {
                true => error,
                false => SessionError::EarlyUnsendable,
            })?;
        }
        Ok(())
    }

    fn transmit(&mut self, request: &Request) -> Result<(), SessionError> {
        let expected = Expected::of(request).ok_or(SessionError::EchoMisplaced)?;
        let limits = self.limits.unwrap_or_default();
        if let Request::Slice { length, .. } = request
            && *length > limits.max_slice
        {
            return Err(SessionError::SliceUnsendable(*length));
        }
        let max_frame = usize::try_from(limits.max_frame).unwrap_or(usize::MAX);
        if let Err(error) = self.link.send(request, max_frame) {
            return Err(self.link.fail(error));
        }
        self.expected.push_back(expected);
        Ok(())
    }
}

/// The kind of answer that a request has unless it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Pong,
    Joined,
    /// "Get.kind is the kind the reader asks for": an object of the other kind is no answer. The
    /// header is in the answer exactly when it was asked for.
    Object {
        kind: Kind,
        header: bool,
    },
    Stat,
    Page,
    Versions,
    Begun,
    /// Begun, or a version that was committed before.
    Resumed,
    SliceHeld,
    Committed,
    Aborted,
    Deleted,
    Mounted,
    /// At most as many slices as were claimed.
    Held {
        most: usize,
    },
}

impl Expected {
    /// The table of PROTOCOL 5. A caller does not send an echo, so it has no entry.
    fn of(request: &Request) -> Option<Self> {
        Some(match request {
            Request::Echo { .. } => return None,
            Request::Ping => Self::Pong,
            Request::Join { .. } => Self::Joined,
            Request::Get { kind, sections, .. } => {
                Self::Object { kind: *kind, header: sections.contains(&Section::Header) }
            }
            Request::Stat { .. } => Self::Stat,
            Request::List { .. } => Self::Page,
            Request::Versions { .. } => Self::Versions,
            Request::Begin { .. } => Self::Begun,
            Request::Slice { .. } => Self::SliceHeld,
            Request::Commit | Request::Restore { .. } => Self::Committed,
            Request::Abort => Self::Aborted,
            Request::Delete { .. } => Self::Deleted,
            Request::Mount { .. } => Self::Mounted,
            Request::Resume { .. } => Self::Resumed,
            Request::Claim { slices } => Self::Held { most: slices.len() },
        })
    }

    /// Whether an honest server may need minutes: it syncs, waits for a lock, or reads a gigabyte.
    const fn takes_work(self) -> bool {
        match self {
            Self::Pong
            | Self::Object { .. }
            | Self::Stat
            | Self::Page
            | Self::Versions
            | Self::SliceHeld
            | Self::Mounted => false,
            Self::Joined
            | Self::Begun
            | Self::Resumed
            | Self::Committed
            | Self::Aborted
            | Self::Deleted
            | Self::Held { .. } => true,
        }
    }

    fn fits(self, answer: &Response) -> bool {
        match answer {
            Response::Error(_) => true,
            Response::Echo { .. } => false,
            Response::Pong => self == Self::Pong,
            Response::Joined { .. } => self == Self::Joined,
            Response::Object { info, header, .. } => {
                self == Self::Object { kind: info.kind, header: header.is_some() }
            }
            Response::Stat { .. } => self == Self::Stat,
            Response::Page { .. } => self == Self::Page,
            Response::Versions { .. } => self == Self::Versions,
            Response::Begun => matches!(self, Self::Begun | Self::Resumed),
            Response::SliceHeld => self == Self::SliceHeld,
            Response::Committed { .. } => matches!(self, Self::Committed | Self::Resumed),
            Response::Aborted => self == Self::Aborted,
            Response::Deleted { .. } => self == Self::Deleted,
            Response::Mounted => self == Self::Mounted,
            Response::Held { slices } => {
                matches!(self, Self::Held { most } if *slices as usize <= most)
            }
        }
    }
}

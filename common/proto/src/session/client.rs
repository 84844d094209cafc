//! The client's end of a connection: requests out, bytes and time in, answers out of them.

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

/// The mode, which is this side's policy, and what it takes.
#[derive(Clone, Debug)]
pub enum ClientConfig {
    /// `plaintext` and nothing else.
    Plaintext,
    /// `tls` and nothing else, with these keys.
    Tls(ClientTls),
}

impl ClientConfig {
    /// The mode.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        match self {
            Self::Plaintext => Mode::Plaintext,
            Self::Tls(_) => Mode::Tls,
        }
    }
}

/// For how long a client bears that no byte moves in either direction while it waits for the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// While payload is on its way, or an answer is due that no server has to work on for long.
    pub silence: Duration,
    /// While the server may be at work: it syncs, reads what was claimed, or waits for others.
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
/// Driven like a [`ServerSession`](super::server::ServerSession), with answers for events and
/// requests to send. Requests may be sent from the start; they leave as soon as the channel is
/// there, behind the echo, and cost no round trip of waiting.
#[derive(Debug)]
pub struct ClientSession {
    link: Link<Response>,
    phase: Phase,
    mode: Mode,
    limits: Option<ServerLimits>,
    /// The client's hello, while it may have to be echoed.
    hello: Vec<u8>,
    /// Requests from before the channel was there.
    early: VecDeque<Request>,
    /// What the answers to come must fit, the next one first.
    expected: VecDeque<Expected>,
    patience: Patience,
}

#[derive(Debug)]
enum Phase {
    /// The server says hello. In `tls` it reads this side's ClientHello meanwhile.
    Hello(HelloReader),
    /// The handshake.
    Handshake { server: Vec<u8> },
    /// The server's echo.
    Echo { server: Vec<u8> },
    /// Answers.
    Open,
}

impl ClientSession {
    /// A connection that was opened at `now`. What goes out first is queued already: the hello
    /// and, in `tls`, the TLS ClientHello in the same flight.
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

    /// The same session, with another patience.
    #[must_use]
    pub fn with_patience(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }

    /// The silence up to `now` was not the server's: this side did not listen.
    pub fn keep_alive(&mut self, now: Instant) {
        self.link.touch(now);
    }

    /// What the server accepts, once it has said hello.
    #[must_use]
    pub fn limits(&self) -> Option<ServerLimits> {
        self.limits
    }

    /// How the next bytes of the stream are to be taken.
    #[must_use]
    pub fn wants(&self) -> Wants {
        self.link.wants()
    }

    /// Takes control bytes, cut anywhere; returns how many. It leaves what is behind an announced
    /// payload's beginning, and everything while [`wants`](Self::wants) is not `Control`.
    ///
    /// # Errors
    /// When the peer broke the protocol; the session is over. Events from before stay.
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

    /// So many bytes of raw payload were received.
    pub fn payload_received(&mut self, now: Instant, length: u64) {
        self.link.payload_received(now, length);
    }

    /// The stream has ended, and all before its end was taken.
    ///
    /// # Errors
    /// When it may not end here, be it that an answer is still to come; the session is over.
    pub fn handle_eof(&mut self) -> Result<(), SessionError> {
        self.link.handle_eof(!self.expected.is_empty())
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<Event<Response>> {
        self.link.next_event(|_| false)
    }

    /// What is to be written next. Bytes are handed over; a payload is named until
    /// [`payload_sent`](Self::payload_sent) has counted all of it.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        self.link.poll_transmit(now)
    }

    /// So many bytes of the raw payload were written.
    pub fn payload_sent(&mut self, now: Instant, length: u64) {
        self.link.payload_sent(now, length);
    }

    /// Whether something is to be written.
    #[must_use]
    pub fn has_output(&self) -> bool {
        !self.link.outbox.is_empty()
    }

    /// How many requests may be sent before an answer comes.
    #[must_use]
    pub fn room(&self) -> usize {
        self.pipeline().saturating_sub(self.unanswered())
    }

    /// Asks. The payload of a `Slice` is queued behind it.
    ///
    /// # Errors
    /// When there is no room or the request breaks a bound (it was not sent and the session goes
    /// on), or when the session is over.
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

    /// Requests that were not answered yet.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.expected.len() + self.early.len()
    }

    /// Nothing more is taken or sent; what is queued, and in `tls` a `close_notify` behind it,
    /// still goes out.
    pub fn close(&mut self) {
        self.link.close();
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), unless something happens before.
    /// A client that waits for no answer is in no hurry.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.link.deadline(self.patience())
    }

    /// Whether the deadline has passed: the session is over, the connection is to be closed.
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

    /// One step; false when it takes more input.
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

    /// PROTOCOL 1: "A client that is given a mode it did not offer closes the connection." So it
    /// does with a version or a feature.
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

/// Which answer a request has, unless it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Pong,
    Joined,
    /// "Get.kind is the kind the reader asks for": the other one is not taken for it. The header is
    /// there where it was asked for, and only there.
    Object {
        kind: Kind,
        header: bool,
    },
    Stat,
    Page,
    Versions,
    Begun,
    /// Begun, or committed before.
    Resumed,
    SliceHeld,
    Committed,
    Aborted,
    Deleted,
    Mounted,
    /// No more than were claimed.
    Held {
        most: usize,
    },
}

impl Expected {
    /// The table of PROTOCOL 5. An echo is the session's own and has no place in it.
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

    /// Whether an honest server may be at work on it for minutes: it syncs, waits for a lock, or reads a gigabyte.
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

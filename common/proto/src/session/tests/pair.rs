//! A client's and a server's end joined by two byte streams, in simulated time.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::hello::{Mode, ServerLimits};
use crate::keys::{DeviceTlsKey, ServerKeySeed};
use crate::message::{Request, Response};
use crate::session::{
    ClientConfig, ClientSession, ClientTls, Event, ServerConfig, ServerSession, ServerTls,
    SessionError, Transmit, Wants,
};

/// The server's key in all tests.
pub(super) fn server_key() -> ServerKeySeed {
    ServerKeySeed::from_bytes([0x51; 32])
}

/// The client's key in all tests.
pub(super) fn device_key() -> DeviceTlsKey {
    DeviceTlsKey::from_bytes([0xd0; 32])
}

pub(super) fn server_config() -> ServerConfig {
    ServerConfig {
        tls: Some(ServerTls::new(&server_key()).unwrap()),
        allow_plaintext: true,
        limits: ServerLimits::default(),
    }
}

pub(super) fn client_config(mode: Mode) -> ClientConfig {
    match mode {
        Mode::Plaintext => ClientConfig::Plaintext,
        Mode::Tls => {
            ClientConfig::Tls(ClientTls::new(&device_key(), &server_key().public_key()).unwrap())
        }
    }
}

/// What the two sessions have in common.
pub(super) trait Session {
    type In;
    fn wants(&self) -> Wants;
    fn handle_input(&mut self, now: Instant, bytes: &[u8]) -> Result<usize, SessionError>;
    fn payload_received(&mut self, now: Instant, length: u64);
    fn poll_event(&mut self) -> Option<Event<Self::In>>;
    fn poll_transmit(&mut self, now: Instant) -> Option<Transmit>;
    fn payload_sent(&mut self, now: Instant, length: u64);
}

macro_rules! session {
    ($session:ty, $message:ty) => {
        impl Session for $session {
            type In = $message;
            fn wants(&self) -> Wants {
                self.wants()
            }
            fn handle_input(&mut self, now: Instant, bytes: &[u8]) -> Result<usize, SessionError> {
                self.handle_input(now, bytes)
            }
            fn payload_received(&mut self, now: Instant, length: u64) {
                self.payload_received(now, length);
            }
            fn poll_event(&mut self) -> Option<Event<$message>> {
                self.poll_event()
            }
            fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
                self.poll_transmit(now)
            }
            fn payload_sent(&mut self, now: Instant, length: u64) {
                self.payload_sent(now, length);
            }
        }
    };
}
session!(ServerSession, Request);
session!(ClientSession, Response);

/// A session with what a caller holds for it: the socket's bytes and the payloads.
pub(super) struct End<S: Session> {
    pub(super) session: S,
    /// Bytes that were read and that the session does not want yet.
    pub(super) unread: Vec<u8>,
    /// All events, in order.
    pub(super) events: Vec<Event<S::In>>,
    /// All raw payload that came.
    pub(super) payload: Vec<u8>,
    /// Bytes that went into the session.
    pub(super) taken: usize,
    /// Raw payload to send, as the session asks for it.
    pub(super) supply: VecDeque<u8>,
}

impl<S: Session> End<S> {
    pub(super) fn new(session: S) -> Self {
        Self {
            session,
            unread: Vec::new(),
            events: Vec::new(),
            payload: Vec::new(),
            taken: 0,
            supply: VecDeque::new(),
        }
    }

    /// Takes `bytes` from the wire as far as the session wants them.
    pub(super) fn deliver(&mut self, now: Instant, bytes: &[u8]) -> Result<(), SessionError> {
        self.unread.extend_from_slice(bytes);
        loop {
            let taken = match self.session.wants() {
                Wants::Nothing => 0,
                Wants::Control => match self.session.handle_input(now, &self.unread) {
                    Ok(taken) => {
                        self.taken += taken;
                        taken
                    }
                    Err(error) => {
                        self.collect();
                        return Err(error);
                    }
                },
                Wants::Payload { remaining } => {
                    let taken = self.unread.len().min(remaining as usize);
                    self.payload.extend_from_slice(&self.unread[..taken]);
                    self.session.payload_received(now, taken as u64);
                    taken
                }
            };
            self.unread.drain(..taken);
            self.collect();
            if taken == 0 {
                return Ok(());
            }
        }
    }

    fn collect(&mut self) {
        while let Some(event) = self.session.poll_event() {
            self.events.push(event);
        }
    }

    /// What goes to the wire.
    pub(super) fn transmit(&mut self, now: Instant) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Some(transmit) = self.session.poll_transmit(now) {
            match transmit {
                Transmit::Bytes(more) => bytes.extend_from_slice(&more),
                Transmit::Payload(left) => {
                    let length = self.supply.len().min(left as usize);
                    if length == 0 {
                        break;
                    }
                    bytes.extend(self.supply.drain(..length));
                    self.session.payload_sent(now, length as u64);
                }
            }
        }
        self.collect();
        bytes
    }

    pub(super) fn messages(&self) -> Vec<&S::In> {
        self.events
            .iter()
            .filter_map(|event| match event {
                Event::Message(message) => Some(message),
                _ => None,
            })
            .collect()
    }
}

/// Both ends, and a tap on each direction.
pub(super) struct Pair {
    pub(super) now: Instant,
    pub(super) client: End<ClientSession>,
    pub(super) server: End<ServerSession>,
    /// All that the client has sent.
    pub(super) upstream: Vec<u8>,
    /// All that the server has sent.
    pub(super) downstream: Vec<u8>,
    /// A bit that the wire flips: whether on the way up, at which byte, which one.
    pub(super) flip: Option<(bool, usize, u8)>,
    /// Requests that [`Pair::run`] has answered.
    answered: usize,
    /// Sizes in which the wire delivers, over and over.
    pub(super) steps: Vec<usize>,
    step: usize,
}

impl Pair {
    pub(super) fn new(mode: Mode) -> Self {
        Self::with(client_config(mode), server_config())
    }

    pub(super) fn with(client: ClientConfig, server: ServerConfig) -> Self {
        let now = Instant::now();
        Self {
            now,
            client: End::new(ClientSession::new(&client, now).unwrap()),
            server: End::new(ServerSession::new(Arc::new(server), now)),
            upstream: Vec::new(),
            downstream: Vec::new(),
            flip: None,
            answered: 0,
            steps: vec![usize::MAX],
            step: 0,
        }
    }

    /// Moves bytes, without answering, until none move. Each flight is 1 ms on its way.
    pub(super) fn settle(&mut self) -> Result<(), SessionError> {
        loop {
            self.now += Duration::from_millis(1);
            let mut up = self.client.transmit(self.now);
            self.damage(true, self.upstream.len(), &mut up);
            self.upstream.extend_from_slice(&up);
            for piece in self.pieces(&up) {
                self.server.deliver(self.now, piece)?;
            }
            let mut down = self.server.transmit(self.now);
            self.damage(false, self.downstream.len(), &mut down);
            self.downstream.extend_from_slice(&down);
            for piece in self.pieces(&down) {
                self.client.deliver(self.now, piece)?;
            }
            if up.is_empty() && down.is_empty() {
                return Ok(());
            }
        }
    }

    /// Moves bytes and answers requests with `answer` until nothing moves.
    pub(super) fn run(
        &mut self,
        mut answer: impl FnMut(&Request) -> (Response, Vec<u8>),
    ) -> Result<(), SessionError> {
        loop {
            self.settle()?;
            let Some(request) = self.server.messages().get(self.answered).copied().cloned() else {
                return Ok(());
            };
            if matches!(self.server.session.wants(), Wants::Payload { .. }) {
                return Ok(());
            }
            let (response, payload) = answer(&request);
            self.server.session.send(&response)?;
            self.server.supply.extend(payload);
            self.answered += 1;
            // What was read before there was room.
            self.server.deliver(self.now, &[])?;
        }
    }

    fn damage(&self, up: bool, from: usize, bytes: &mut [u8]) {
        if let Some((way, at, bit)) = self.flip
            && way == up
            && let Some(byte) = at.checked_sub(from).and_then(|at| bytes.get_mut(at))
        {
            *byte ^= 1 << bit;
        }
    }

    fn pieces<'a>(&mut self, mut bytes: &'a [u8]) -> Vec<&'a [u8]> {
        let mut pieces = Vec::new();
        while !bytes.is_empty() {
            let size = self.steps[self.step % self.steps.len()].min(bytes.len());
            self.step += 1;
            let (piece, rest) = bytes.split_at(size);
            pieces.push(piece);
            bytes = rest;
        }
        pieces
    }
}

//! What both ends of a connection share: frames in the channel, raw payload between them, and
//! clocks.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{
    channel::Channel,
    error::SessionError,
    event::{Event, Wants},
    outbox::{Outbox, Transmit},
};
use crate::{
    limits::HANDSHAKE_SECONDS,
    message::{
        Message,
        frame::{self, FrameReader},
    },
};

/// One end of a connection that receives messages `M`.
#[derive(Debug)]
pub(super) struct Link<M> {
    pub(super) channel: Channel,
    pub(super) outbox: Outbox,
    frames: FrameReader,
    /// Bytes of announced payload that have not been received.
    arriving: u64,
    events: VecDeque<Event<M>>,
    opened: Instant,
    /// The time at which a byte last moved, in either direction.
    moved: Instant,
    connected: bool,
    peer_closed: bool,
    failure: Option<SessionError>,
}

impl<M: Message> Link<M> {
    /// A link over which nothing was sent yet. It receives frames of at most `max_frame` bytes.
    pub(super) fn new(max_frame: usize, now: Instant) -> Self {
        Self {
            channel: Channel::Plaintext,
            outbox: Outbox::default(),
            frames: FrameReader::new(max_frame),
            arriving: 0,
            events: VecDeque::new(),
            opened: now,
            moved: now,
            connected: false,
            peer_closed: false,
            failure: None,
        }
    }

    /// Takes at most one record of the handshake from `input`.
    pub(super) fn shake_hands(&mut self, input: &mut &[u8]) -> Result<(), SessionError> {
        if let Channel::Tls(tls) = &mut self.channel {
            tls.fill(input, &mut self.outbox)?;
            if tls.peer_closed() {
                return Err(SessionError::Truncated);
            }
        }
        Ok(())
    }

    /// The next message, if `input` completes one. Takes nothing of the payload that the message
    /// announces. `owed` says that the peer still owes an answer and may not close.
    pub(super) fn receive(
        &mut self,
        input: &mut &[u8],
        owed: bool,
    ) -> Result<Option<M>, SessionError> {
        let message = match &mut self.channel {
            Channel::Plaintext => self.frames.read(input).map_err(SessionError::Frame)?,
            Channel::Tls(tls) => loop {
                let mut plaintext = tls.plaintext();
                if !plaintext.is_empty() {
                    let before = plaintext.len();
                    let message =
                        self.frames.read::<M>(&mut plaintext).map_err(SessionError::Frame)?;
                    let left = plaintext.len();
                    tls.consume(before - left);
                    match message {
                        Some(message) if message.announces() > 0 && left > 0 => {
                            return Err(SessionError::BehindAnnouncement);
                        }
                        Some(message) => break Some(message),
                        None => continue,
                    }
                }
                if input.is_empty() || self.peer_closed {
                    break None;
                }
                tls.fill(input, &mut self.outbox)?;
                if tls.peer_closed() {
                    if !self.connected || owed || !self.frames.is_empty() {
                        return Err(SessionError::Truncated);
                    }
                    self.peer_closed = true;
                    self.events.push_back(Event::Closed);
                }
            },
        };
        self.arriving = message.as_ref().map_or(0, Message::announces);
        Ok(message)
    }

    /// Queues `message`, and after it the payload that it announces.
    pub(super) fn send<N: Message>(
        &mut self,
        message: &N,
        max_frame: usize,
    ) -> Result<(), SessionError> {
        let frame = frame::encode(message, max_frame).map_err(SessionError::Unsendable)?;
        self.channel.send(frame, &mut self.outbox)?;
        self.outbox.push_payload(message.announces());
        Ok(())
    }

    pub(super) fn push_event(&mut self, event: Event<M>) {
        self.events.push_back(event);
    }

    /// Notes that the peer's echo matches the hellos.
    pub(super) fn connect(&mut self, event: Event<M>) {
        self.connected = true;
        self.events.push_back(event);
    }

    pub(super) fn is_connected(&self) -> bool {
        self.connected
    }

    /// The next event, unless `holds` holds it back.
    pub(super) fn next_event(&mut self, holds: impl Fn(&Event<M>) -> bool) -> Option<Event<M>> {
        if self.events.front().is_some_and(holds) {
            return None;
        }
        let event = self.events.pop_front();
        if self.events.is_empty() {
            self.events = VecDeque::new();
        }
        event
    }

    /// How the caller is to treat the next bytes of the stream.
    pub(super) fn wants(&self) -> Wants {
        if self.failure.is_some() || self.peer_closed {
            Wants::Nothing
        } else if self.arriving > 0 {
            Wants::Payload { remaining: self.arriving }
        } else {
            Wants::Control
        }
    }

    pub(super) fn payload_received(&mut self, now: Instant, length: u64) {
        if length == 0 || self.arriving == 0 {
            return;
        }
        self.moved = now;
        self.arriving = self.arriving.saturating_sub(length);
        if self.arriving == 0 {
            self.events.push_back(Event::PayloadDone);
        }
    }

    pub(super) fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        let next = self.outbox.next();
        if let Some(Transmit::Bytes(_)) = next {
            self.moved = now;
        }
        next
    }

    pub(super) fn payload_sent(&mut self, now: Instant, length: u64) {
        if length > 0 {
            self.moved = now;
            self.outbox.payload_sent(length);
        }
    }

    /// The stream ended. `owed`: the peer still has something to say.
    pub(super) fn handle_eof(&mut self, owed: bool) -> Result<(), SessionError> {
        self.alive()?;
        if self.peer_closed {
            return Ok(());
        }
        let clean = self.connected
            && matches!(self.channel, Channel::Plaintext)
            && self.frames.is_empty()
            && self.arriving == 0
            && !owed;
        if !clean {
            return Err(self.fail(SessionError::Truncated));
        }
        self.peer_closed = true;
        self.events.push_back(Event::Closed);
        Ok(())
    }

    /// Restarts the idle clock: a byte moved, or this side is working on an answer.
    pub(super) fn touch(&mut self, now: Instant) {
        self.moved = now;
    }

    /// When the session ends unless a byte moves. `idle` is the longest silence of an established
    /// connection; `None` allows any.
    pub(super) fn deadline(&self, idle: Option<Duration>) -> Option<Instant> {
        if self.failure.is_some() {
            None
        } else if !self.connected {
            self.opened.checked_add(Duration::from_secs(HANDSHAKE_SECONDS))
        } else {
            self.moved.checked_add(idle?)
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, idle: Option<Duration>) -> bool {
        let expired = self.deadline(idle).is_some_and(|deadline| now >= deadline);
        if expired {
            let connected = self.connected;
            self.fail(match connected {
                true => SessionError::IdleTimeout,
                false => SessionError::HandshakeTimeout,
            });
        }
        expired
    }

    /// Ends the session. It takes and sends nothing more; what is queued can still be written.
    pub(super) fn close(&mut self) {
        if self.failure.is_none() {
            let closed = match self.channel.send_close(&mut self.outbox) {
                Ok(()) => SessionError::Closed,
                Err(error) => error,
            };
            self.failure = Some(closed);
        }
    }

    /// Ends the session with `error`, if that is fatal.
    pub(super) fn fail(&mut self, error: SessionError) -> SessionError {
        if error.is_fatal() && self.failure.is_none() {
            self.failure = Some(error.clone());
        }
        error
    }

    /// # Errors
    /// The error that the session ended with.
    pub(super) fn alive(&self) -> Result<(), SessionError> {
        match &self.failure {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }
}

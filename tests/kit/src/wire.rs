//! A session of the protocol on a blocking stream, for either side.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    time::Instant,
};

use zput_proto::{
    message::{Request, Response},
    session::{ClientSession, Event, ServerSession, SessionError, Transmit, Wants},
};

use crate::PATIENCE;

/// Longest read.
const BLOCK_BYTES: usize = 65_536;

/// What the two sessions have in common.
pub trait Session {
    /// What it receives.
    type Message;
    /// What it needs next.
    fn wants(&self) -> Wants;
    /// Takes bytes of the peer, and says how many.
    ///
    /// # Errors
    /// When they break the protocol.
    fn handle_input(&mut self, bytes: &[u8]) -> Result<usize, SessionError>;
    /// Takes the end of the peer's bytes.
    ///
    /// # Errors
    /// When more had to come.
    fn handle_eof(&mut self) -> Result<(), SessionError>;
    /// Counts bytes of payload that the caller took from the peer.
    fn payload_received(&mut self, length: u64);
    /// The next event.
    fn poll_event(&mut self) -> Option<Event<Self::Message>>;
    /// What is to be sent next.
    fn poll_transmit(&mut self) -> Option<Transmit>;
    /// Counts bytes of payload that the caller sent.
    fn payload_sent(&mut self, length: u64);
}

macro_rules! session {
    ($session:ty, $message:ty) => {
        impl Session for $session {
            type Message = $message;

            fn wants(&self) -> Wants {
                self.wants()
            }

            fn handle_input(&mut self, bytes: &[u8]) -> Result<usize, SessionError> {
                self.handle_input(Instant::now(), bytes)
            }

            fn handle_eof(&mut self) -> Result<(), SessionError> {
                self.handle_eof()
            }

            fn payload_received(&mut self, length: u64) {
                self.payload_received(Instant::now(), length);
            }

            fn poll_event(&mut self) -> Option<Event<$message>> {
                self.poll_event()
            }

            fn poll_transmit(&mut self) -> Option<Transmit> {
                self.poll_transmit(Instant::now())
            }

            fn payload_sent(&mut self, length: u64) {
                self.payload_sent(Instant::now(), length);
            }
        }
    };
}

session!(ServerSession, Request);
session!(ClientSession, Response);

/// Lets a socket send at once, and wait for its peer for [`PATIENCE`] at most.
///
/// # Errors
/// When it is closed.
pub fn set_up(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))
}

/// A session and its stream.
#[derive(Debug)]
pub struct Wire<S, T = TcpStream> {
    /// The session.
    pub session: S,
    /// The stream; what is read or written here is no part of the session.
    pub stream: T,
    /// Read, and not taken by the session.
    incoming: Vec<u8>,
}

impl<S: Session, T: Read + Write> Wire<S, T> {
    /// A new session on a stream.
    pub fn new(stream: T, session: S) -> Self {
        Self { session, stream, incoming: Vec::new() }
    }

    /// Writes what the session has to say, up to a payload of the caller's.
    ///
    /// # Errors
    /// When the connection has ended.
    pub fn flush(&mut self) -> io::Result<()> {
        while let Some(Transmit::Bytes(bytes)) = self.session.poll_transmit() {
            self.stream.write_all(&bytes)?;
        }
        Ok(())
    }

    /// Writes raw bytes: the payload that was announced, or any.
    ///
    /// # Errors
    /// When the connection has ended.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.session.payload_sent(bytes.len() as u64);
        Ok(())
    }

    /// The next event.
    ///
    /// # Errors
    /// When the connection has ended.
    pub fn event(&mut self) -> io::Result<Event<S::Message>> {
        loop {
            if let Some(event) = self.session.poll_event() {
                return Ok(event);
            }
            self.flush()?;
            let taken = match self.session.wants() {
                Wants::Control => self.session.handle_input(&self.incoming),
                Wants::Payload { .. } => return Err(io::Error::other("a payload is not taken")),
                Wants::Nothing => return Err(io::ErrorKind::ConnectionAborted.into()),
            };
            // What the session says last, such as an alert, still goes out.
            let flushed = self.flush();
            let taken = match taken {
                Ok(taken) => taken,
                // What was said before the end was said.
                Err(error) => match self.session.poll_event() {
                    Some(event) => return Ok(event),
                    None => return Err(io::Error::other(error)),
                },
            };
            self.incoming.drain(..taken);
            // A peer that has said its last word does not read any more: that word counts.
            if let Err(error) = flushed {
                return self.session.poll_event().ok_or(error);
            }
            if taken == 0 && self.session.wants() == Wants::Control {
                self.read()?;
            }
        }
    }

    /// All of the payload that the peer announced.
    ///
    /// # Errors
    /// When the connection has ended.
    pub fn payload(&mut self) -> io::Result<Vec<u8>> {
        let mut payload = Vec::new();
        self.payload_to(&mut payload)?;
        Ok(payload)
    }

    /// The same, written to `to` as far as it comes.
    ///
    /// # Errors
    /// When the connection has ended, or `to` fails.
    pub fn payload_to(&mut self, to: &mut impl Write) -> io::Result<()> {
        while matches!(self.session.wants(), Wants::Payload { .. }) {
            to.write_all(&self.some_payload()?)?;
        }
        Ok(())
    }

    /// The payload that comes with one read; nothing when none is announced.
    ///
    /// # Errors
    /// When the connection has ended.
    pub fn some_payload(&mut self) -> io::Result<Vec<u8>> {
        let Wants::Payload { remaining } = self.session.wants() else {
            return Ok(Vec::new());
        };
        if self.incoming.is_empty() {
            self.read()?;
        }
        let most = usize::try_from(remaining).unwrap_or(usize::MAX).min(self.incoming.len());
        let bytes: Vec<u8> = self.incoming.drain(..most).collect();
        self.session.payload_received(most as u64);
        Ok(bytes)
    }

    fn read(&mut self) -> io::Result<()> {
        let mut block = [0; BLOCK_BYTES];
        let received = self.stream.read(&mut block)?;
        if received == 0 {
            self.session.handle_eof().map_err(io::Error::other)?;
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.incoming.extend_from_slice(&block[..received]);
        Ok(())
    }
}

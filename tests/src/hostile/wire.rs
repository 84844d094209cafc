//! A session on a blocking socket, for either side.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use zput_proto::{
    message::{Request, Response},
    session::{ClientSession, Event, ServerSession, SessionError, Transmit, Wants},
};

/// No test waits longer than this for a peer.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// What the two sessions have in common.
pub(super) trait Session {
    /// The messages that the session receives.
    type Message;
    fn wants(&self) -> Wants;
    fn handle_input(&mut self, bytes: &[u8]) -> Result<usize, SessionError>;
    fn handle_eof(&mut self) -> Result<(), SessionError>;
    fn payload_received(&mut self, length: u64);
    fn poll_event(&mut self) -> Option<Event<Self::Message>>;
    fn poll_transmit(&mut self) -> Option<Transmit>;
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

/// A session and its socket.
#[derive(Debug)]
pub(super) struct Wire<S> {
    pub(super) session: S,
    stream: TcpStream,
    incoming: Vec<u8>,
}

impl<S: Session> Wire<S> {
    pub(super) fn new(stream: TcpStream, session: S) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { session, stream, incoming: Vec::new() })
    }

    pub(super) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Writes what the session has to say, up to a payload of the caller's.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while let Some(Transmit::Bytes(bytes)) = self.session.poll_transmit() {
            self.stream.write_all(&bytes)?;
        }
        Ok(())
    }

    /// Writes raw bytes: the payload that was announced, or whatever an attack wants.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.session.payload_sent(bytes.len() as u64);
        Ok(())
    }

    /// The next message of the peer; an error when the connection has ended.
    pub(super) fn next(&mut self) -> io::Result<Event<S::Message>> {
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
            flushed?;
            self.incoming.drain(..taken);
            if taken == 0 && self.session.wants() == Wants::Control {
                self.read()?;
            }
        }
    }

    /// All of the payload that the peer announced.
    pub(super) fn payload(&mut self) -> io::Result<Vec<u8>> {
        let mut payload = Vec::new();
        self.payload_to(&mut payload)?;
        Ok(payload)
    }

    /// The same, written to `to` as far as it comes.
    pub(super) fn payload_to(&mut self, to: &mut impl Write) -> io::Result<()> {
        while let Wants::Payload { remaining } = self.session.wants() {
            if self.incoming.is_empty() {
                self.read()?;
            }
            let most = usize::try_from(remaining).unwrap_or(usize::MAX).min(self.incoming.len());
            to.write_all(self.incoming.get(..most).unwrap_or_default())?;
            self.incoming.drain(..most);
            self.session.payload_received(most as u64);
        }
        Ok(())
    }

    fn read(&mut self) -> io::Result<()> {
        let mut block = [0; 65_536];
        let received = self.stream.read(&mut block)?;
        if received == 0 {
            self.session.handle_eof().map_err(io::Error::other)?;
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.incoming.extend_from_slice(&block[..received]);
        Ok(())
    }
}

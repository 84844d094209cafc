//! A client that says what a test makes it say.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream, ToSocketAddrs},
    time::Instant,
};

use zput_proto::{
    digest::Digest,
    message::{Request, Response},
    session::{ClientConfig, ClientSession, Event},
};

use super::wire::{PATIENCE, Wire};

/// A connection to a server. The server's end of it shows as an error of [`io`].
#[derive(Debug)]
pub struct HostileClient {
    wire: Wire<ClientSession>,
}

impl HostileClient {
    /// Connects, and waits until both sides agree.
    ///
    /// # Errors
    /// When the server does not take the connection.
    pub fn connect(address: impl ToSocketAddrs, config: &ClientConfig) -> io::Result<Self> {
        Self::over(TcpStream::connect(address)?, config)
    }

    /// Says hello on a connection that is there, and waits until both sides agree.
    ///
    /// # Errors
    /// When the server does not take the connection.
    pub fn over(stream: TcpStream, config: &ClientConfig) -> io::Result<Self> {
        let session = ClientSession::new(config, Instant::now()).map_err(io::Error::other)?;
        let mut wire = Wire::new(stream, session)?;
        match wire.next()? {
            Event::Connected { .. } => Ok(Self { wire }),
            event => Err(io::Error::other(format!("{event:?} instead of a connection"))),
        }
    }

    /// Asks, without waiting.
    ///
    /// # Errors
    /// When the connection has ended.
    pub fn send(&mut self, request: &Request) -> io::Result<()> {
        self.wire.session.send(request).map_err(io::Error::other)?;
        self.wire.flush()
    }

    /// Writes raw bytes: those that a slice announced, or any.
    ///
    /// # Errors
    /// When the connection has ended.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.wire.write(bytes)?;
        self.wire.flush()
    }

    /// The next answer. The payload of an object is to be taken before the one after it.
    ///
    /// # Errors
    /// When the server ended the connection.
    pub fn receive(&mut self) -> io::Result<Response> {
        loop {
            match self.wire.next()? {
                Event::Message(response) => return Ok(response),
                Event::Closed => return Err(io::ErrorKind::UnexpectedEof.into()),
                Event::Connected { .. } | Event::PayloadDone => {}
            }
        }
    }

    /// The payload that the last answer announced.
    ///
    /// # Errors
    /// When the server ended the connection.
    pub fn payload(&mut self) -> io::Result<Vec<u8>> {
        self.wire.payload()
    }

    /// Writes the payload that the last answer announced to `to`, as far as it comes.
    ///
    /// # Errors
    /// When the server ended the connection.
    pub fn payload_to(&mut self, to: &mut impl Write) -> io::Result<()> {
        self.wire.payload_to(to)
    }

    /// Asks and waits.
    ///
    /// # Errors
    /// When the server ended the connection.
    pub fn ask(&mut self, request: &Request) -> io::Result<Response> {
        self.send(request)?;
        self.receive()
    }

    /// Sends a slice with its honest digest, without waiting.
    ///
    /// # Errors
    /// When the connection has ended.
    ///
    /// # Panics
    /// When the slice has 4 GiB.
    pub fn slice(&mut self, bytes: &[u8]) -> io::Result<()> {
        let length = u32::try_from(bytes.len()).unwrap_or_else(|e| panic!("a slice: {e}"));
        self.send(&Request::Slice { length, digest: Digest::of(bytes) })?;
        self.write(bytes)
    }

    /// Its socket, for bytes that the session knows nothing of.
    pub fn stream(&mut self) -> &mut TcpStream {
        self.wire.stream()
    }

    /// Whether the server ends the connection within the time that a test has, whatever it says
    /// before.
    pub fn is_hung_up_on(&mut self) -> bool {
        ends(self.wire.stream())
    }

    /// Vanishes, without a word.
    pub fn vanish(mut self) {
        let _gone = self.wire.stream().shutdown(Shutdown::Both);
    }

    /// Sends `bytes` to a server instead of anything sensible, ends its own side, and gives what
    /// the server says until it hangs up.
    ///
    /// # Errors
    /// When the server does not hang up.
    pub fn babble(address: impl ToSocketAddrs, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        // The server may have hung up already.
        let _said = stream.write_all(bytes);
        let _ended = stream.shutdown(Shutdown::Write);
        let mut heard = Vec::new();
        match stream.read_to_end(&mut heard) {
            Ok(_) => Ok(heard),
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => Ok(heard),
            Err(e) => Err(e),
        }
    }
}

fn ends(stream: &mut TcpStream) -> bool {
    match io::copy(stream, &mut io::sink()) {
        Ok(_) => true,
        Err(e) => e.kind() == io::ErrorKind::ConnectionReset,
    }
}

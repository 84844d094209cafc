//! A client that says what a test makes it say.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    net::{Shutdown, TcpStream, ToSocketAddrs},
    time::Instant,
};

use zput_proto::{
    digest::Digest,
    message::{Condition, Info, Kind, Request, Response, Section, Version},
    name::ObjectKey,
    session::{ClientConfig, ClientSession, Event, Transmit},
};

use crate::{
    PATIENCE,
    wire::{self, Wire},
};

/// A connection to a server. The server's end of it shows as an error of [`io`].
#[derive(Debug)]
pub struct RawClient<S = TcpStream> {
    wire: Wire<ClientSession, S>,
    /// Bytes of slices that were announced and not written.
    outgoing: VecDeque<u8>,
}

impl RawClient {
    /// Connects by TCP, and waits until both sides agree.
    ///
    /// # Errors
    /// When the server does not take the connection.
    pub fn connect(address: impl ToSocketAddrs, config: &ClientConfig) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        wire::set_up(&stream)?;
        Self::over(stream, config)
    }

    /// Whether the server ends the connection within [`PATIENCE`], whatever it says before.
    pub fn is_hung_up_on(&mut self) -> bool {
        ends(self.stream())
    }

    /// Ends the connection without a word.
    pub fn vanish(mut self) {
        let _gone = self.stream().shutdown(Shutdown::Both);
    }

    /// Sends `bytes` to a server instead of a session, ends its own side, and returns what the
    /// server says until it closes.
    ///
    /// # Errors
    /// When the server does not close.
    pub fn babble(address: impl ToSocketAddrs, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        // The server may have closed already.
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

impl<S: Read + Write> RawClient<S> {
    /// Says hello on a connection that is there, and waits until both sides agree.
    ///
    /// # Errors
    /// When the server does not take the connection.
    pub fn over(stream: S, config: &ClientConfig) -> io::Result<Self> {
        let session = ClientSession::new(config, Instant::now()).map_err(io::Error::other)?;
        let mut wire = Wire::new(stream, session);
        match wire.event()? {
            Event::Connected { .. } => Ok(Self { wire, outgoing: VecDeque::new() }),
            event => Err(io::Error::other(format!("{event:?} instead of a connection"))),
        }
    }

    /// Its stream, for bytes that the session knows nothing of.
    pub fn stream(&mut self) -> &mut S {
        &mut self.wire.stream
    }

    /// Its stream, without the session.
    pub fn into_stream(self) -> S {
        self.wire.stream
    }

    /// Queues a request.
    ///
    /// # Panics
    /// When the session has ended, or the request cannot be said.
    pub fn queue(&mut self, request: &Request) {
        self.wire.session.send(request).unwrap();
    }

    /// Queues a slice with its bytes and its right digest.
    ///
    /// # Panics
    /// As [`RawClient::queue`].
    pub fn queue_slice(&mut self, bytes: &[u8]) {
        self.queue_slice_as(bytes, Digest::of(bytes));
    }

    /// Queues a slice with its bytes and any digest.
    ///
    /// # Panics
    /// As [`RawClient::queue`].
    pub fn queue_slice_as(&mut self, bytes: &[u8], digest: Digest) {
        self.queue(&Request::Slice { length: u32::try_from(bytes.len()).unwrap(), digest });
        self.outgoing.extend(bytes);
    }

    /// The bytes of all that is queued, which the session takes as sent.
    pub fn queued(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let now = Instant::now();
        while let Some(transmit) = self.wire.session.poll_transmit(now) {
            match transmit {
                Transmit::Bytes(control) => bytes.extend(control),
                Transmit::Payload(n) => {
                    let n = usize::try_from(n).unwrap().min(self.outgoing.len());
                    if n == 0 {
                        break;
                    }
                    bytes.extend(self.outgoing.drain(..n));
                    self.wire.session.payload_sent(now, n as u64);
                }
            }
        }
        bytes
    }

    /// Writes all that is queued, in one call.
    ///
    /// # Errors
    /// When the connection has ended.
    pub fn flush(&mut self) -> io::Result<()> {
        let bytes = self.queued();
        if bytes.is_empty() { Ok(()) } else { self.stream().write_all(&bytes) }
    }

    /// Sends a request, without waiting.
    ///
    /// # Errors
    /// When the connection has ended.
    pub fn send(&mut self, request: &Request) -> io::Result<()> {
        self.wire.session.send(request).map_err(io::Error::other)?;
        self.flush()
    }

    /// Sends a slice with its right digest, without waiting.
    ///
    /// # Errors
    /// When the connection has ended.
    ///
    /// # Panics
    /// When the slice has 4 GiB.
    pub fn slice(&mut self, bytes: &[u8]) -> io::Result<()> {
        let length = u32::try_from(bytes.len()).unwrap();
        self.send(&Request::Slice { length, digest: Digest::of(bytes) })?;
        self.write(bytes)
    }

    /// Writes raw bytes: those that a slice announced, or any.
    ///
    /// # Errors
    /// When the connection has ended.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.wire.write(bytes)?;
        self.flush()
    }

    /// Writes what is queued, and reads until something happens.
    ///
    /// # Errors
    /// When the connection has ended.
    pub fn event(&mut self) -> io::Result<Event<Response>> {
        // What the server said before it stopped reading counts.
        let flushed = self.flush();
        match self.wire.event() {
            Ok(event) => Ok(event),
            Err(error) => Err(flushed.err().unwrap_or(error)),
        }
    }

    /// The next response. The payload of an object is to be taken before the one after it.
    ///
    /// # Errors
    /// When the connection has ended.
    pub fn receive(&mut self) -> io::Result<Response> {
        loop {
            match self.event()? {
                Event::Message(response) => return Ok(response),
                Event::Closed => return Err(io::ErrorKind::UnexpectedEof.into()),
                Event::Connected { .. } | Event::PayloadDone => {}
            }
        }
    }

    /// Sends a request and waits for its response.
    ///
    /// # Errors
    /// When the connection has ended.
    pub fn ask(&mut self, request: &Request) -> io::Result<Response> {
        self.wire.session.send(request).map_err(io::Error::other)?;
        self.receive()
    }

    /// The payload that the last response announced.
    ///
    /// # Errors
    /// When the connection has ended.
    pub fn payload(&mut self) -> io::Result<Vec<u8>> {
        self.wire.payload()
    }

    /// The same, written to `to` as far as it comes.
    ///
    /// # Errors
    /// When the connection has ended, or `to` fails.
    pub fn payload_to(&mut self, to: &mut impl Write) -> io::Result<()> {
        self.wire.payload_to(to)
    }

    /// The payload that comes with one read; nothing when none is announced.
    ///
    /// # Errors
    /// When the connection has ended.
    pub fn some_payload(&mut self) -> io::Result<Vec<u8>> {
        self.wire.some_payload()
    }

    /// Gets sections of a plain object: what it is, and its bytes; or the response instead.
    ///
    /// # Errors
    /// Any other response.
    ///
    /// # Panics
    /// When the connection ends, or the payload is not what was announced.
    #[track_caller]
    pub fn get(&mut self, name: &str, sections: &[Section]) -> Result<(Info, Vec<u8>), Response> {
        let (key, sections) = (ObjectKey::new(name).unwrap(), sections.to_vec());
        let get = Request::Get { key, version: None, sections, kind: Kind::Plain };
        match self.ask(&get).unwrap() {
            Response::Object { info, payload, .. } => {
                let bytes = self.payload().unwrap();
                assert_eq!(bytes.len() as u64, payload);
                Ok((info, bytes))
            }
            other => Err(other),
        }
    }

    /// Puts a plain object in slices of `slice` bytes, all in one flight.
    ///
    /// # Panics
    /// When it is not stored.
    #[track_caller]
    pub fn put(&mut self, name: &str, bytes: &[u8], slice: usize) -> Version {
        let (key, condition) = (ObjectKey::new(name).unwrap(), Condition::Any);
        self.queue(&Request::Begin { key, kind: Kind::Plain, condition, header: None });
        let slices = bytes.chunks(slice).count();
        assert!(slices <= 60, "one flight");
        bytes.chunks(slice).for_each(|slice| self.queue_slice(slice));
        self.queue(&Request::Commit);
        assert_eq!(self.receive().unwrap(), Response::Begun);
        for _ in 0..slices {
            assert_eq!(self.receive().unwrap(), Response::SliceHeld);
        }
        match self.receive().unwrap() {
            Response::Committed { version } => version,
            other => panic!("{other:?}"),
        }
    }

    /// Reads until the server ends the connection, and returns what else it said.
    ///
    /// # Panics
    /// When the server does not end it within [`PATIENCE`].
    #[track_caller]
    pub fn end(mut self) -> Vec<Response> {
        let mut said = Vec::new();
        while let Ok(event) = self.event() {
            if let Event::Message(response) = event {
                said.push(response);
            }
        }
        assert!(ends(self.stream()), "the server does not end the connection");
        said
    }
}

/// Whether the peer ends the connection, whatever it says before.
fn ends(stream: &mut impl Read) -> bool {
    match io::copy(stream, &mut io::sink()) {
        Ok(_) => true,
        Err(e) => e.kind() == io::ErrorKind::ConnectionReset,
    }
}

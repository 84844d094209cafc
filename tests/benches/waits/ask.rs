//! The least of a client at each transport: it asks for a range, and throws away what comes.

use std::{
    io::{Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    str::FromStr,
    time::Instant,
};

use rustix::net::sockopt;
use zput_proto::{
    message::{Kind, Request, Response, Section},
    mount::MountName,
    name::ObjectKey,
    session::{ClientConfig, ClientSession, ClientTls, Event, Transmit, Wants},
};
use zput_testkit::PATIENCE;

use crate::{
    Failure,
    ground::{BLOB, FILES, Served},
};

/// Bytes that are received at once, as the client library does it.
const BLOCK_BYTES: usize = 1 << 20;

/// The longest head of an answer.
const HEAD_MAX_BYTES: usize = 4096;

/// How a server is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Http,
    Tls,
    Plaintext,
    /// Plaintext over a Unix socket.
    Unix,
}

impl Transport {
    pub(crate) const ALL: [Self; 4] = [Self::Http, Self::Tls, Self::Plaintext, Self::Unix];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tls => "tls",
            Self::Plaintext => "plaintext",
            Self::Unix => "unix",
        }
    }
}

impl FromStr for Transport {
    type Err = Failure;

    fn from_str(name: &str) -> Result<Self, Failure> {
        let named = Self::ALL.into_iter().find(|transport| transport.name() == name);
        named.ok_or_else(|| format!("{name} is no transport").into())
    }
}

trait Line: Read + Write {}

impl<T: Read + Write> Line for T {}

/// A connection.
pub(crate) struct Reader {
    line: Box<dyn Line>,
    /// None at the HTTP transport.
    session: Option<ClientSession>,
    /// Received, and not looked at yet.
    held: Vec<u8>,
    block: Vec<u8>,
}

impl Reader {
    pub(crate) fn connect(
        transport: Transport,
        served: &Served,
        congestion: &str,
    ) -> Result<Self, Failure> {
        let tcp = |address: &str| -> Result<Box<dyn Line>, Failure> {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            sockopt::set_tcp_congestion(&stream, congestion)?;
            Ok(Box::new(stream))
        };
        let line = match transport {
            Transport::Http => tcp(served.http())?,
            Transport::Tls | Transport::Plaintext => tcp(served.zput())?,
            Transport::Unix => Box::new(UnixStream::connect(served.unix())?),
        };
        let config = match transport {
            Transport::Http => None,
            Transport::Tls => {
                let key_file = served.key_file();
                let server = key_file.server_key.as_ref().ok_or("no server in the key file")?;
                Some(ClientConfig::Tls(ClientTls::new(&key_file.device_seed().tls_key(), server)?))
            }
            Transport::Plaintext | Transport::Unix => Some(ClientConfig::Plaintext),
        };
        let session =
            config.map(|config| ClientSession::new(&config, Instant::now())).transpose()?;
        let mut reader = Self { line, session, held: Vec::new(), block: vec![0; BLOCK_BYTES] };
        if reader.session.is_some() {
            match reader.ask(&Request::Mount { name: MountName::parse(FILES)? })? {
                Response::Mounted => {}
                other => return Err(format!("not mounted: {other:?}").into()),
            }
        }
        Ok(reader)
    }

    /// Gets `length` bytes of the blob from `offset`.
    pub(crate) fn range(&mut self, offset: u64, length: u64) -> Result<(), Failure> {
        if self.session.is_none() {
            return self.http_range(offset, length);
        }
        let get = Request::Get {
            key: ObjectKey::new(BLOB)?,
            version: None,
            sections: vec![Section::Range { offset, length }],
            kind: Kind::Sealed,
        };
        match self.ask(&get)? {
            Response::Object { payload, .. } if payload == length => {}
            other => return Err(format!("not got: {other:?}").into()),
        }
        self.discard(length)?;
        let session = self.session.as_mut().ok_or("no session")?;
        session.payload_received(Instant::now(), length);
        if let Wants::Payload { remaining } = session.wants() {
            return Err(format!("{remaining} bytes too few").into());
        }
        Ok(())
    }

    fn http_range(&mut self, offset: u64, length: u64) -> Result<(), Failure> {
        let last = offset + length - 1;
        let request = format!(
            "GET /{FILES}/{BLOB} HTTP/1.1\r\nHost: waits\r\nRange: bytes={offset}-{last}\r\n\r\n"
        );
        self.line.write_all(request.as_bytes())?;
        let end = loop {
            if let Some(at) = self.held.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at + 4;
            }
            self.receive(HEAD_MAX_BYTES)?;
        };
        let head = String::from_utf8_lossy(&self.held[..end]).into_owned();
        if !head.starts_with("HTTP/1.1 206 ") {
            return Err(format!("not got: {head}").into());
        }
        self.held.drain(..end);
        self.discard(length)
    }

    /// Throws `length` bytes away.
    fn discard(&mut self, length: u64) -> Result<(), Failure> {
        let held = usize::try_from(length).map_or(self.held.len(), |n| n.min(self.held.len()));
        self.held.drain(..held);
        let mut left = length - held as u64;
        while left > 0 {
            let most = usize::try_from(left).map_or(BLOCK_BYTES, |n| n.min(BLOCK_BYTES));
            match self.line.read(&mut self.block[..most])? {
                0 => return Err("the server ended the connection".into()),
                n => left -= n as u64,
            }
        }
        Ok(())
    }

    /// Some more bytes to look at, at least one.
    fn receive(&mut self, most: usize) -> Result<(), Failure> {
        let received = self.line.read(&mut self.block[..most])?;
        if received == 0 {
            return Err("the server ended the connection".into());
        }
        self.held.extend_from_slice(&self.block[..received]);
        Ok(())
    }

    fn ask(&mut self, request: &Request) -> Result<Response, Failure> {
        let mut session = self.session.take().ok_or("no session")?;
        session.send(request)?;
        let answer = loop {
            while let Some(transmit) = session.poll_transmit(Instant::now()) {
                match transmit {
                    Transmit::Bytes(bytes) => self.line.write_all(&bytes)?,
                    Transmit::Payload(_) => return Err("there is nothing to be sent".into()),
                }
            }
            let mut answer = None;
            while let Some(event) = session.poll_event() {
                if let Event::Message(message) = event {
                    answer = Some(message);
                }
            }
            if let Some(answer) = answer {
                break answer;
            }
            self.receive(HEAD_MAX_BYTES)?;
            let taken = session.handle_input(Instant::now(), &self.held)?;
            self.held.drain(..taken);
        };
        self.session = Some(session);
        Ok(answer)
    }
}

//! The least of a zput client: `tls` mode, payload thrown away in the kernel as [`crate::http`]
//! does.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Instant,
};

use zput_proto::{
    message::{Kind, Request, Response, Section},
    mount::MountName,
    name::ObjectKey,
    session::{ClientConfig, ClientSession, ClientTls, Event, Transmit, Wants},
};
use zput_seal::keys::{KeyFile, ParsedKeyFile};
use zput_tests::Machine;

use crate::{Failure, ground::FILES, http::Discard};

/// Control bytes that are read at once: an answer and a little payload behind it.
const CONTROL_BYTES: usize = 4096;

/// What `home`, which has an account, speaks with.
pub(crate) fn credentials(home: &Machine) -> Result<ClientConfig, Failure> {
    let ParsedKeyFile::Open(key_file) = KeyFile::parse(&std::fs::read_to_string(home.key_file())?)?
    else {
        return Err("the key file is locked".into());
    };
    let server = key_file.server_key.as_ref().ok_or("the key file knows no server")?;
    Ok(ClientConfig::Tls(ClientTls::new(&key_file.device_seed().tls_key(), server)?))
}

/// A connection, which speaks of the served files.
pub(crate) struct SealedClient {
    stream: TcpStream,
    session: ClientSession,
    /// Received, and not given to the session yet.
    held: Vec<u8>,
    discard: Discard,
}

impl SealedClient {
    /// Connects, and hears that the files are there.
    pub(crate) fn connect(address: &str, config: &ClientConfig) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let session = ClientSession::new(config, Instant::now())?;
        let mut client = Self { stream, session, held: Vec::new(), discard: Discard::new() };
        match client.ask(&Request::Mount { name: MountName::parse(FILES)? })? {
            Response::Mounted => Ok(client),
            other => Err(format!("not mounted: {other:?}").into()),
        }
    }

    /// Gets the parts and the footer of the sealed file `name`; says how many bytes they had.
    pub(crate) fn get(&mut self, name: &str) -> Result<u64, Failure> {
        let get = Request::Get {
            key: ObjectKey::new(name)?,
            version: None,
            sections: vec![Section::Header, Section::Footer, Section::Body],
            kind: Kind::Sealed,
        };
        let length = match self.ask(&get)? {
            Response::Object { payload, .. } => payload,
            other => return Err(format!("not got: {other:?}").into()),
        };
        while let Wants::Payload { remaining } = self.session.wants() {
            let received = if self.held.is_empty() {
                self.discard.some(&self.stream, remaining)?
            } else {
                let held =
                    usize::try_from(remaining).map_or(self.held.len(), |n| n.min(self.held.len()));
                self.held.drain(..held);
                held as u64
            };
            self.session.payload_received(Instant::now(), received);
        }
        Ok(length)
    }

    /// The bare connection, which stays open and says nothing more.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream
    }

    fn ask(&mut self, request: &Request) -> Result<Response, Failure> {
        self.session.send(request)?;
        loop {
            while let Some(transmit) = self.session.poll_transmit(Instant::now()) {
                match transmit {
                    Transmit::Bytes(bytes) => self.stream.write_all(&bytes)?,
                    Transmit::Payload(_) => return Err("there is nothing to be sent".into()),
                }
            }
            while let Some(event) = self.session.poll_event() {
                if let Event::Message(answer) = event {
                    return Ok(answer);
                }
            }
            let mut block = [0; CONTROL_BYTES];
            let received = self.stream.read(&mut block)?;
            if received == 0 {
                return Err("the server ended the connection".into());
            }
            self.held.extend_from_slice(&block[..received]);
            let taken = self.session.handle_input(Instant::now(), &self.held)?;
            self.held.drain(..taken);
        }
    }
}

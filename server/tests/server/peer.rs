//! A client for tests: the protocol's client session over a blocking socket, and servers to talk
//! to.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    net::TcpStream,
    path::Path,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use zput_proto::{
    digest::Digest,
    keys::{DevicePublicKey, DeviceTlsKey, InviteSecret},
    message::{
        Condition, ErrorCode, HeaderSlice, Info, Kind, Request, Response, Scopes, Section, Version,
    },
    name::ObjectKey,
    session::{ClientConfig, ClientSession, ClientTls, Event, Transmit, Wants},
};
use zput_server::{
    Server, ServerHandle, ServerOptions,
    mounts::{MountPoint, Mounts, Policy, Source},
    store::{Clock, Store},
};

/// Longest wait for anything: a test that needs longer has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A server on a directory of its own.
pub(crate) struct Home {
    pub(crate) server: ServerHandle,
    pub(crate) store: Store,
    pub(crate) dir: TempDir,
}

/// A server that allows anonymous peers all operations, unless `change` changes that.
pub(crate) fn serve(change: impl FnOnce(&mut ServerOptions)) -> Home {
    serve_as(EVERYTHING, change)
}

/// The policy that allows anonymous peers all operations, on unsealed objects too.
pub(crate) const EVERYTHING: Policy =
    Policy { anonymous: Scopes::ALL, allow_unsealed: true, ..Policy::PRIVATE };

/// A server whose store has this policy.
pub(crate) fn serve_as(policy: Policy, change: impl FnOnce(&mut ServerOptions)) -> Home {
    serve_all(policy, [], change)
}

/// A server with other mounts besides its store.
pub(crate) fn serve_mounts(policy: Policy, others: impl IntoIterator<Item = MountPoint>) -> Home {
    serve_all(policy, others, |_| {})
}

fn serve_all(
    policy: Policy,
    others: impl IntoIterator<Item = MountPoint>,
    change: impl FnOnce(&mut ServerOptions),
) -> Home {
    serve_in(tempfile::tempdir().unwrap(), policy, others, change)
}

/// A server on a directory that may be a store already.
pub(crate) fn serve_in(
    dir: TempDir,
    policy: Policy,
    others: impl IntoIterator<Item = MountPoint>,
    change: impl FnOnce(&mut ServerOptions),
) -> Home {
    let store = Store::open(dir.path(), Clock::system()).unwrap();
    let listen = vec!["127.0.0.1:0".parse().unwrap()];
    let root = MountPoint::new("", Source::Store(store.clone()), policy);
    let mounts = Mounts::new(std::iter::once(root).chain(others)).unwrap();
    let mut options = ServerOptions::new(mounts, listen);
    options.workers = 2;
    options.limits.pool_threads = 4;
    options.limits.shutdown_timeout = Duration::from_secs(5);
    change(&mut options);
    let server = Server::bind(options).unwrap().spawn().unwrap();
    Home { server, store, dir }
}

impl Home {
    pub(crate) fn tcp(&self) -> TcpStream {
        let stream = TcpStream::connect(self.server.addresses()[0].tcp().unwrap()).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Connects an anonymous client in `plaintext` mode.
    pub(crate) fn plain(&self) -> Peer<TcpStream> {
        Peer::connect(self.tcp(), &ClientConfig::Plaintext).unwrap()
    }

    /// A client with this key, known or not.
    pub(crate) fn device(&self, seed: &DeviceTlsKey) -> Peer<TcpStream> {
        Peer::connect(self.tcp(), &self.tls(seed)).unwrap()
    }

    pub(crate) fn tls(&self, seed: &DeviceTlsKey) -> ClientConfig {
        let server = self.store.server_key().public_key();
        ClientConfig::Tls(ClientTls::new(seed, &server).unwrap())
    }

    /// Gives a device an account without the network.
    pub(crate) fn enroll(&self, seed: &DeviceTlsKey, scopes: Scopes) {
        let secret = self.invite(scopes);
        self.store.redeem_invite(&secret, &public(seed), "test").unwrap();
    }

    pub(crate) fn invite(&self, scopes: Scopes) -> InviteSecret {
        self.store.create_invite(scopes, Duration::from_secs(60)).unwrap()
    }

    /// Files of uploads under way.
    pub(crate) fn staged(&self) -> usize {
        count(&self.dir.path().join("staging"))
    }
}

pub(crate) fn public(seed: &DeviceTlsKey) -> DevicePublicKey {
    seed.public_key()
}

pub(crate) fn seed(byte: u8) -> DeviceTlsKey {
    DeviceTlsKey::from_bytes([byte; 32])
}

pub(crate) fn count(dir: &Path) -> usize {
    std::fs::read_dir(dir).unwrap().count()
}

/// Waits until `condition` holds; fails when it never does.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Why a peer got no answer: the text of what ended the connection.
#[derive(Debug)]
pub(crate) struct Gone(pub(crate) String);

/// The client's end of a connection.
pub(crate) struct Peer<S> {
    pub(crate) stream: S,
    pub(crate) session: ClientSession,
    /// Read and not taken.
    unread: VecDeque<u8>,
    /// Bytes of slices that were announced.
    outgoing: VecDeque<u8>,
    /// Why the session has ended.
    over: Option<Gone>,
}

impl<S: Read + Write> Peer<S> {
    /// Says hello and waits until both sides agree.
    pub(crate) fn connect(stream: S, config: &ClientConfig) -> Result<Self, Gone> {
        let session = ClientSession::new(config, Instant::now()).unwrap();
        let (unread, outgoing) = Default::default();
        let mut peer = Self { stream, session, unread, outgoing, over: None };
        match peer.event()? {
            Event::Connected { .. } => Ok(peer),
            other => Err(Gone(format!("{other:?} instead of a connection"))),
        }
    }

    /// What is to be written now, taken from the session.
    pub(crate) fn written(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let now = Instant::now();
        while let Some(transmit) = self.session.poll_transmit(now) {
            match transmit {
                Transmit::Bytes(control) => bytes.extend(control),
                Transmit::Payload(n) => {
                    let n = usize::try_from(n).unwrap().min(self.outgoing.len());
                    if n == 0 {
                        break;
                    }
                    bytes.extend(self.outgoing.drain(..n));
                    self.session.payload_sent(now, n as u64);
                }
            }
        }
        bytes
    }

    /// Writes all that is queued, in one call.
    pub(crate) fn flush(&mut self) -> Result<(), Gone> {
        let bytes = self.written();
        if bytes.is_empty() { Ok(()) } else { self.stream.write_all(&bytes).map_err(gone) }
    }

    /// Queues a request without sending it.
    pub(crate) fn say(&mut self, request: &Request) {
        self.session.send(request).unwrap();
    }

    /// Queues a slice with its bytes and its right digest.
    pub(crate) fn say_slice(&mut self, bytes: &[u8]) {
        self.say_slice_as(bytes, Digest::of(bytes));
    }

    pub(crate) fn say_slice_as(&mut self, bytes: &[u8], digest: Digest) {
        self.say(&Request::Slice { length: u32::try_from(bytes.len()).unwrap(), digest });
        self.outgoing.extend(bytes);
    }

    /// Writes and reads until something happens.
    pub(crate) fn event(&mut self) -> Result<Event<Response>, Gone> {
        loop {
            // A server that has said its last word does not read any more.
            if let Err(why) = self.flush() {
                self.over.get_or_insert(why);
            }
            if let Some(event) = self.session.poll_event() {
                return Ok(event);
            }
            // What was heard before the end counts.
            if let Some(why) = self.over.take() {
                return Err(why);
            }
            if self.unread.is_empty() {
                self.fill()?;
            }
            let (bytes, _) = self.unread.as_slices();
            match self.session.handle_input(Instant::now(), bytes) {
                Ok(taken) => drop(self.unread.drain(..taken)),
                Err(error) => self.over = Some(Gone(error.to_string())),
            }
        }
    }

    fn fill(&mut self) -> Result<(), Gone> {
        let mut buffer = vec![0; 65_536];
        let n = self.stream.read(&mut buffer).map_err(gone)?;
        if n == 0 {
            return Err(Gone("the server closed".to_owned()));
        }
        self.unread.extend(&buffer[..n]);
        Ok(())
    }

    /// Receives the next answer.
    pub(crate) fn hear(&mut self) -> Result<Response, Gone> {
        loop {
            match self.event()? {
                Event::Message(response) => return Ok(response),
                Event::PayloadDone => {}
                other => return Err(Gone(format!("{other:?}"))),
            }
        }
    }

    /// Sends a request and receives its answer.
    pub(crate) fn ask(&mut self, request: &Request) -> Result<Response, Gone> {
        self.say(request);
        self.hear()
    }

    /// Up to `n` payload bytes, however many come with one read.
    pub(crate) fn some_payload(&mut self, n: usize) -> Result<Vec<u8>, Gone> {
        let Wants::Payload { remaining } = self.session.wants() else {
            return Ok(Vec::new());
        };
        if self.unread.is_empty() {
            self.fill()?;
        }
        let n = n.min(self.unread.len()).min(usize::try_from(remaining).unwrap());
        let bytes: Vec<u8> = self.unread.drain(..n).collect();
        self.session.payload_received(Instant::now(), bytes.len() as u64);
        Ok(bytes)
    }

    /// All payload bytes that were announced.
    pub(crate) fn payload(&mut self) -> Result<Vec<u8>, Gone> {
        let mut payload = Vec::new();
        while matches!(self.session.wants(), Wants::Payload { .. }) {
            payload.extend(self.some_payload(usize::MAX)?);
        }
        Ok(payload)
    }

    /// A get of a plain object.
    pub(crate) fn get(
        &mut self,
        name: &str,
        sections: &[Section],
    ) -> Result<(Info, Vec<u8>), Response> {
        match self.ask(&get(name, sections, Kind::Plain)).unwrap() {
            Response::Object { info, payload, .. } => {
                let bytes = self.payload().unwrap();
                assert_eq!(bytes.len() as u64, payload);
                Ok((info, bytes))
            }
            other => Err(other),
        }
    }

    /// A put of a plain object in slices of `slice` bytes, all in one flight.
    pub(crate) fn put(&mut self, name: &str, bytes: &[u8], slice: usize) -> Version {
        self.say(&begin(name, Kind::Plain));
        let slices = bytes.chunks(slice).count();
        assert!(slices <= 60, "one flight");
        bytes.chunks(slice).for_each(|slice| self.say_slice(slice));
        self.say(&Request::Commit);
        assert_eq!(self.hear().unwrap(), Response::Begun);
        for _ in 0..slices {
            assert_eq!(self.hear().unwrap(), Response::SliceHeld);
        }
        match self.hear().unwrap() {
            Response::Committed { version } => version,
            other => panic!("{other:?}"),
        }
    }

    /// Reads until the server ends the connection; gives what else it said.
    pub(crate) fn end(mut self) -> Vec<Response> {
        let mut said = Vec::new();
        loop {
            match self.event() {
                Ok(Event::Message(response)) => said.push(response),
                Ok(Event::Closed) => {}
                Ok(_) => {}
                Err(Gone(why)) => {
                    assert!(!why.contains("timed out") && !why.contains("unavailable"), "{why}");
                    return said;
                }
            }
        }
    }
}

fn gone(error: io::Error) -> Gone {
    Gone(error.to_string())
}

pub(crate) fn key(name: &str) -> ObjectKey {
    ObjectKey::new(name).unwrap()
}

/// Of a plain object, or of a sealed one with a header as of [`sealed`].
pub(crate) fn begin(name: &str, kind: Kind) -> Request {
    let [header, ..] = sealed(name, 0);
    let header = (kind == Kind::Sealed).then(|| HeaderSlice::of(header));
    Request::Begin { key: key(name), kind, condition: Condition::Any, header }
}

pub(crate) fn get(name: &str, sections: &[Section], kind: Kind) -> Request {
    Request::Get { key: key(name), version: None, sections: sections.to_vec(), kind }
}

/// The code of an error answer.
pub(crate) fn code(response: &Response) -> Option<ErrorCode> {
    match response {
        Response::Error(error) => error.known(),
        _ => None,
    }
}

/// Bytes that repeat nowhere within a gigabyte: a counter in every eight.
pub(crate) fn bytes(length: usize) -> Vec<u8> {
    let mixed = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    (0..length as u64 / 8 + 1).flat_map(mixed).take(length).collect()
}

/// Header, body and footer of an object with the framing of a sealed one (FORMAT 3 to 7), of one
/// part of `body` bytes; 0 stands for one of no plaintext. The server can read no more of it than
/// this.
pub(crate) fn sealed(name: &str, body: usize) -> [Vec<u8>; 3] {
    let body = bytes(body.max(72));
    let header = zput_framed::header(name.as_bytes(), 300, PART_SIZE_LOG2, 7, [7; 32]);
    let footer = zput_framed::footer(&[&body], PART_SIZE_LOG2);
    [header, body, footer]
}

/// Of [`sealed`]: a full part is sealed to 524,872 bytes.
pub(crate) const PART_SIZE_LOG2: u8 = 19;

//! A client for tests, and servers to talk to. It believes nothing but what it reads.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    time::Duration,
};

use tempfile::TempDir;
use zput_proto::{
    digest::Digest,
    message::{Condition, Kind, Version},
    name::ObjectKey,
};
use zput_server::{
    Server, ServerHandle, ServerOptions,
    mounts::{DirMount, MountPoint, Mounts, Policy, Source},
    store::{Clock, Store},
};

/// Longest wait for anything: a test that needs longer has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Everybody may get everything.
pub(crate) const PUBLIC: Policy = Policy { public: true, allow_unsealed: true, ..Policy::PRIVATE };

/// A server with a tree at the root, and that tree.
pub(crate) struct Home {
    pub(crate) server: ServerHandle,
    pub(crate) dir: TempDir,
}

/// Serves a tree by HTTP.
pub(crate) fn serve(change: impl FnOnce(&mut ServerOptions)) -> Home {
    serve_as(PUBLIC, change)
}

pub(crate) fn serve_as(policy: Policy, change: impl FnOnce(&mut ServerOptions)) -> Home {
    let dir = tempfile::tempdir().unwrap();
    let server = start(Mounts::new([tree("", dir.path(), policy)]).unwrap(), change);
    Home { server, dir }
}

pub(crate) fn start(mounts: Mounts, change: impl FnOnce(&mut ServerOptions)) -> ServerHandle {
    let mut options = ServerOptions::new(mounts, Vec::new());
    options.http = vec!["127.0.0.1:0".parse().unwrap()];
    options.workers = 2;
    options.limits.shutdown_timeout = Duration::from_secs(5);
    change(&mut options);
    Server::bind(options).unwrap().spawn().unwrap()
}

pub(crate) fn tree(name: &str, dir: &Path, policy: Policy) -> MountPoint {
    MountPoint::new(name, Source::Dir(DirMount::open(dir, Clock::system()).unwrap()), policy)
}

impl Home {
    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let new = self.dir.path().join(".new");
        fs::write(&new, bytes).unwrap();
        fs::rename(new, self.dir.path().join(name)).unwrap();
    }

    pub(crate) fn client(&self) -> Client {
        Client::of(&self.server)
    }
}

/// Puts a plain object.
pub(crate) fn put(store: &Store, key: &str, bytes: &[u8]) -> Version {
    let key = ObjectKey::new(key).unwrap();
    let mut upload = store.begin(&key, Kind::Plain, Condition::Any, None).unwrap();
    upload.start_slice(bytes.len().try_into().unwrap(), Digest::of(bytes)).unwrap();
    upload.write(bytes).unwrap();
    upload.end_slice().unwrap();
    upload.commit().unwrap()
}

/// Bytes that differ at every place.
pub(crate) fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n ^ (n >> 8) ^ (n >> 16)) as u8).collect()
}

/// An HTTP client with one connection.
pub(crate) struct Client(pub(crate) TcpStream);

/// A response as it came.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Client {
    pub(crate) fn of(server: &ServerHandle) -> Self {
        let stream = TcpStream::connect(server.addresses()[0].tcp().unwrap()).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    pub(crate) fn say(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).unwrap();
    }

    pub(crate) fn get(&mut self, path: &str) -> Response {
        self.ask("GET", path, "")
    }

    /// Sends a request with further field lines, and receives the response.
    pub(crate) fn ask(&mut self, method: &str, path: &str, fields: &str) -> Response {
        self.say(&format!("{method} {path} HTTP/1.1\r\nHost: h\r\n{fields}\r\n"));
        self.hear(method != "HEAD")
    }

    /// The head of the next response.
    pub(crate) fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            let n = self.0.read(&mut byte).unwrap();
            assert!(n == 1, "the connection ended in {:?}", String::from_utf8_lossy(&head));
            head.push(byte[0]);
        }
        String::from_utf8(head).unwrap()
    }

    /// Receives the next response.
    pub(crate) fn hear(&mut self, with_body: bool) -> Response {
        let head = self.head();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length = field(&head, "Content-Length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; if with_body && status != 304 { length } else { 0 }];
        self.0.read_exact(&mut body).unwrap();
        Response { status, head, body }
    }

    /// Whatever comes until the server ends the connection.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        // A reset ends it too.
        let _reset = self.0.read_to_end(&mut rest);
        rest
    }
}

impl Response {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

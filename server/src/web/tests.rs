use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
};

use tempfile::TempDir;

use super::*;
use crate::{
    desk::Lent,
    engines::Engine,
    mounts::{DirMount, Mounts, Policy, Source},
    store::Clock,
    wire::Socket,
    worker::Overheard,
};

/// A connection, all that a worker lends it, and a client that asks for no memory itself.
struct Bench {
    connection: Connection,
    client: UnixStream,
    lent: Lent,
    overheard: Overheard,
    heard: Vec<u8>,
    _dir: TempDir,
}

impl Bench {
    fn new(engine: Engine) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, length) in [("small", 4096), ("large", 100_000)] {
            fs::write(dir.path().join(name), vec![7; length]).unwrap();
        }
        let source = Source::Dir(DirMount::open(dir.path(), Clock::system()).unwrap());
        let policy = Policy { public: true, unsealed: true, ..Policy::PRIVATE };
        let mounts = Mounts::new([MountPoint::new("", source, policy)]).unwrap();
        let (ours, client) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let wire = Wire::new(Socket::Unix(mio::net::UnixStream::from_std(ours)));
        let (inbox, overheard) = Overheard::inbox();
        let door = Door { timeouts: Timeouts::default(), min_rate: 1024 };
        let connection = Connection::new(wire, &door, "test".to_owned(), Instant::now());
        let mut lent = Lent::new(mounts, inbox);
        lent.engine = engine;
        client.set_nonblocking(true).unwrap();
        Self { connection, client, lent, overheard, heard: vec![0; 1 << 20], _dir: dir }
    }

    /// Asks, gives turns until the server waits for more, and returns how many bytes came of it.
    fn ask(&mut self, request: &[u8]) -> usize {
        self.client.write_all(request).unwrap();
        let mut heard = 0;
        for _ in 0..1000 {
            self.connection.wire().wake_for_test();
            let verdict = self.connection.turn(&mut self.lent.desk());
            if self.connection.ticket.is_some() {
                let done = self.overheard.done();
                self.connection.deliver(done, &mut self.lent.desk()).unwrap();
                continue;
            }
            match self.client.read(&mut self.heard[heard..]) {
                Ok(n) => heard += n,
                Err(_) if matches!(verdict, Verdict::Park(_)) && heard > 0 => return heard,
                Err(_) => assert!(!matches!(verdict, Verdict::Close(_)), "{verdict:?}"),
            }
        }
        panic!("{} is never answered", String::from_utf8_lossy(request))
    }
}

/// Once a connection and its files are warm, a request asks for no memory: not to be read, looked up, answered or
/// sent, with no engine.
#[test]
fn a_request_allocates_nothing() {
    let requests: [&[u8]; 6] = [
        b"GET /small HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /large HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /large HTTP/1.1\r\nHost: h\r\nRange: bytes=50000-\r\n\r\n",
        b"HEAD /large HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /small HTTP/1.1\r\nHost: h\r\nIf-None-Match: *\r\n\r\n",
        b"GET /small HTTP/1.1\r\nHost: h\r\n\r\nGET /small HTTP/1.1\r\nHost: h\r\n\r\n",
    ];
    for engine in Engine::ALL {
        let mut bench = Bench::new(engine);
        let mut expected = Vec::new();
        for _ in 0..3 {
            expected = requests.iter().map(|request| bench.ask(request)).collect();
        }
        for (length, payload) in expected.iter().zip([4096, 100_000, 50_000, 0, 0, 8192]) {
            let head = length - payload;
            assert!((50..800).contains(&head), "{engine}: {length} bytes for {payload}");
        }
        let counted = allocation_counter::measure(|| {
            for _ in 0..100 {
                for (request, length) in requests.iter().zip(&expected) {
                    assert_eq!(bench.ask(request), *length);
                }
            }
        });
        assert_eq!(counted.count_total, 0, "{engine}");
    }
}

/// The counter counts what a first request takes.
#[test]
fn the_first_request_allocates() {
    let mut bench = Bench::new(Engine::default());
    let counted = allocation_counter::measure(|| {
        bench.ask(b"GET /small HTTP/1.1\r\nHost: h\r\n\r\n");
    });
    assert!(counted.count_total > 3, "{counted:?}");
}

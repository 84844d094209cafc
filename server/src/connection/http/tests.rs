use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    time::Duration,
};

use tempfile::TempDir;

use super::*;
use crate::{
    connection::{Driver, TestContext, TurnOutcome},
    http::Date,
    jobs::{Device, ReceivedCompletions, Ticket, Window},
    mounts::{DirMount, Mounts, Policy, Source},
    store::Clock,
    transfer::{
        engines::Engine,
        socket::{ReadySocket, Socket},
    },
};

const HOUR: Duration = Duration::from_secs(3600);

/// A connection, all that a worker lends it, and a client that asks for no memory itself.
struct Bench {
    connection: Driver<Service>,
    client: UnixStream,
    lent: TestContext,
    completed: ReceivedCompletions,
    heard: Vec<u8>,
    /// Jobs that requests waited for.
    jobs: usize,
    _dir: TempDir,
}

impl Bench {
    fn new(engine: Engine) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, length) in [("small", 4096), ("large", 100_000)] {
            fs::write(dir.path().join(name), vec![7; length]).unwrap();
        }
        let source = Source::Dir(DirMount::open(dir.path(), Clock::system()).unwrap());
        let policy = Policy { public: true, allow_unsealed: true, ..Policy::PRIVATE };
        let mounts = Mounts::new([MountPoint::new("", source, policy)]).unwrap();
        let (ours, client) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let socket = ReadySocket::new(Socket::Unix(mio::net::UnixStream::from_std(ours)));
        let (completions, completed) = ReceivedCompletions::channel();
        let door = Settings { timeouts: Timeouts::default(), min_rate: 16 * 1024 };
        let service = Service::new(&door, "test".to_owned(), Device::Local, Instant::now());
        let connection = Driver::new(socket, service, door.min_rate);
        let mut lent = TestContext::new(mounts, completions);
        lent.worker.engine = engine;
        client.set_nonblocking(true).unwrap();
        Self { connection, client, lent, completed, heard: vec![0; 1 << 20], jobs: 0, _dir: dir }
    }

    /// As [`Self::new`], with a client that may be silent for a long time but has to take 16 KiB a
    /// second, and who has asked for more than the socket holds and takes nothing of it.
    fn stuck() -> Self {
        let mut bench = Self::new(Engine::Sendfile);
        let long = Timeouts { head: HOUR, idle: HOUR };
        bench.connection.protocol.session = Session::new(long, Instant::now());
        let request = b"GET /large HTTP/1.1\r\nHost: h\r\n\r\n";
        bench.client.write_all(&request.repeat(100)).unwrap();
        bench.rest();
        bench
    }

    /// The object of 100,000 bytes.
    fn large(&self) -> Arc<OpenObject> {
        let source = Source::Dir(DirMount::open(self._dir.path(), Clock::system()).unwrap());
        let mount = MountPoint::new("", source, Policy { allow_unsealed: true, ..Policy::PRIVATE });
        let key = ObjectKey::new("large").unwrap();
        Arc::new(mount.open(&key, None, &self.lent.worker.open_files).unwrap())
    }

    /// A window of it that a job has loaded.
    fn window(&self) -> Window {
        Window::new(Arc::clone(self.large().file()), 0..100_000, 0, Instant::now())
    }

    /// Gives turns until the connection waits for the client.
    fn rest(&mut self) {
        self.connection.socket().wake_for_test();
        for _ in 0..1000 {
            let verdict = self.connection.turn(&mut self.lent.cx());
            assert!(!matches!(verdict, TurnOutcome::Close(_)), "{verdict:?}");
            if self.connection.ticket.is_some() {
                let done = self.completed.done();
                self.connection.deliver(done, &mut self.lent.cx()).unwrap();
            } else if matches!(verdict, TurnOutcome::Park(_)) {
                return;
            }
        }
        panic!("it never waits");
    }

    /// Whether the connection outlives this moment.
    fn outlives(&mut self, instant: Instant) -> Result<(), CloseReason> {
        let date = Date::at(std::time::SystemTime::now());
        self.connection.expire(&Now { instant, date })
    }

    /// Asks, gives turns until the server waits for more, and returns how many bytes came of it.
    fn ask(&mut self, request: &[u8]) -> usize {
        self.client.write_all(request).unwrap();
        let mut heard = 0;
        for _ in 0..1000 {
            self.connection.socket().wake_for_test();
            let verdict = self.connection.turn(&mut self.lent.cx());
            if self.connection.ticket.is_some() {
                self.jobs += 1;
                let done = self.completed.done();
                self.connection.deliver(done, &mut self.lent.cx()).unwrap();
                continue;
            }
            match self.client.read(&mut self.heard[heard..]) {
                Ok(n) => heard += n,
                Err(_) if matches!(verdict, TurnOutcome::Park(_)) && heard > 0 => return heard,
                Err(_) => assert!(!matches!(verdict, TurnOutcome::Close(_)), "{verdict:?}"),
            }
        }
        panic!("{} is never answered", String::from_utf8_lossy(request))
    }
}

/// Once a connection and its files are warm, a request asks for no memory: not to be read, looked
/// up, answered or sent, with no engine.
#[test]
fn http_request_on_warm_connection_allocates_nothing() {
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
        // A job allocates. Now and then there is one: when the file's name is looked at again, or
        // when the kernel has evicted its pages.
        let mut without_job = 0;
        for _ in 0..100 {
            for (request, length) in requests.iter().zip(&expected) {
                let jobs = bench.jobs;
                let counted = allocation_counter::measure(|| {
                    assert_eq!(bench.ask(request), *length);
                });
                if bench.jobs == jobs {
                    assert_eq!(counted.count_total, 0, "{engine}");
                    without_job += 1;
                }
            }
        }
        assert!(without_job >= 300, "{engine}: {without_job} of 600 requests needed no job");
    }
}

/// The counter counts what a first request takes.
#[test]
fn http_request_first_on_connection_allocates() {
    let mut bench = Bench::new(Engine::default());
    let counted = allocation_counter::measure(|| {
        bench.ask(b"GET /small HTTP/1.1\r\nHost: h\r\n\r\n");
    });
    assert!(counted.count_total > 3, "{counted:?}");
}

/// An HTTP connection is closed as slow when its client reads less than the minimum rate.
#[test]
fn http_connection_closes_client_below_min_rate() {
    let mut bench = Bench::stuck();
    let second = |n| Instant::now() + Duration::from_secs(n);
    assert!(bench.connection.deadline().unwrap() <= second(60), "it is watched");
    bench.outlives(second(59)).unwrap();
    assert!(matches!(bench.outlives(second(61)), Err(CloseReason::Slow)));
}

/// 61 s at 16 KiB are 999,424.
#[test]
fn http_connection_keeps_client_above_min_rate() {
    let mut bench = Bench::stuck();
    for _ in 0..20 {
        let mut some = [0; 60_000];
        bench.client.read_exact(&mut some).unwrap();
        bench.rest();
    }
    bench.outlives(Instant::now() + Duration::from_secs(61)).unwrap();
}

/// An HTTP client that has read everything so far is not slow.
#[test]
fn http_connection_client_with_nothing_to_read_is_not_slow() {
    let mut bench = Bench::stuck();
    let mut nothing_new = 0;
    while nothing_new < 3 {
        match bench.client.read(&mut bench.heard) {
            Ok(n) if n > 0 => nothing_new = 0,
            _ => nothing_new += 1,
        }
        bench.rest();
    }
    bench.outlives(Instant::now() + Duration::from_secs(61)).unwrap();
}

/// What was answered is not lost for a reset, and nobody lingers for ever.
#[test]
fn http_lingering_close_lasts_two_seconds_or_80_mib() {
    let last = b"GET /small HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    let mut bench = Bench::new(Engine::Sendfile);
    let before = Instant::now();
    bench.client.write_all(last).unwrap();
    bench.rest();
    assert!(matches!(bench.client.read(&mut bench.heard), Ok(4096..)));
    assert!(matches!(bench.client.read(&mut bench.heard), Ok(0)), "the server writes no more");
    let until = bench.connection.deadline().unwrap();
    assert!(
        until >= before + Duration::from_secs(2)
            && until <= Instant::now() + Duration::from_secs(2)
    );
    bench.outlives(until - Duration::from_millis(1)).unwrap();
    assert!(matches!(bench.outlives(until), Err(CloseReason::CloseTimeout)));

    // It discards 80 MiB, and no more.
    let mut poured = 0;
    let end = loop {
        poured += bench.client.write(&[0; 65_536]).unwrap();
        assert!(poured < 81 * 1024 * 1024, "it reads on");
        bench.connection.socket().wake_for_test();
        if let TurnOutcome::Close(end) = bench.connection.turn(&mut bench.lent.cx()) {
            break end;
        }
    };
    assert!(matches!(end, CloseReason::Done), "{end:?}");
    assert!(poured > 80 * 1024 * 1024, "{poured}");
}

/// RFC 9112, 9.6: a client that has ended already is not waited for.
#[test]
fn http_connection_does_not_linger_after_client_eof() {
    let mut bench = Bench::new(Engine::Sendfile);
    bench.client.write_all(b"GET /small HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    bench.client.shutdown(std::net::Shutdown::Write).unwrap();
    let ended = (0..100).any(|_| {
        bench.connection.socket().wake_for_test();
        match bench.connection.turn(&mut bench.lent.cx()) {
            TurnOutcome::Close(end) => {
                assert!(matches!(end, CloseReason::Done), "{end:?}");
                return true;
            }
            _ if bench.connection.ticket.is_some() => {
                let done = bench.completed.done();
                bench.connection.deliver(done, &mut bench.lent.cx()).unwrap();
            }
            _ => {}
        }
        false
    });
    assert!(ended, "it is never closed");
}

/// A window that the disk does not give ends the connection: what was announced cannot be kept.
#[test]
fn http_connection_closes_when_disk_read_fails() {
    let mut bench = Bench::new(Engine::Sendfile);
    let window = bench.window();
    bench.connection.sending = Some(
        Transfer::new(bench.large(), Engine::Sendfile, std::iter::once(0..100_000), Instant::now())
            .unwrap(),
    );
    let done = Done::Loaded(window, Err(std::io::Error::from_raw_os_error(5)));
    let end = bench.connection.deliver(done, &mut bench.lent.cx());
    assert!(matches!(end, Err(CloseReason::Load(_))), "{end:?}");
}

/// A client is not idle while the server waits for its disk.
#[test]
fn http_connection_idle_time_restarts_after_load() {
    let mut bench = Bench::stuck();
    let window = bench.window();
    bench.connection.ticket = Some(Ticket::for_test());
    assert!(matches!(bench.connection.turn(&mut bench.lent.cx()), TurnOutcome::Park(_)));
    bench.lent.ahead = HOUR - Duration::from_secs(60);
    bench.connection.deliver(Done::Loaded(window, Ok(())), &mut bench.lent.cx()).unwrap();
    let start = Instant::now();
    bench.outlives(start + HOUR + Duration::from_secs(60)).unwrap();
    let end = bench.outlives(start + 2 * HOUR);
    assert!(matches!(end, Err(CloseReason::Idle)), "{end:?}");
}

/// Whether somebody else may read it is nobody's to know.
#[test]
fn http_open_error_maps_to_404_503_or_500() {
    for (code, status) in [
        (ErrorCode::NotFound, "404"),
        (ErrorCode::Denied, "404"),
        (ErrorCode::Busy, "503"),
        (ErrorCode::Internal, "500"),
    ] {
        let mut bench = Bench::new(Engine::Sendfile);
        bench.client.write_all(b"GET /small HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        bench.connection.socket().wake_for_test();
        assert!(matches!(bench.connection.turn(&mut bench.lent.cx()), TurnOutcome::Park(_)));
        drop(bench.completed.done());
        bench.connection.deliver(Done::Opened(Err(code.into())), &mut bench.lent.cx()).unwrap();
        bench.rest();
        let n = bench.client.read(&mut bench.heard).unwrap();
        let head = String::from_utf8_lossy(&bench.heard[..n]);
        assert_eq!(head.get(9..12), Some(status), "{code:?}: {head}");
    }
}

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    sync::Arc,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use zput_proto::{digest::Digest, hello::ServerLimits, message::Scopes, session::ServerConfig};

use super::{Service, Settings};
use crate::{
    connection::{CloseReason, Driver, Protocol as _, TestContext, TurnOutcome},
    http::{Date, Now},
    jobs::{Buffers, Device, ReceivedCompletions},
    mounts::{Mounts, Policy},
    store::{Clock, Store},
    transfer::socket::{ReadySocket, Socket},
};

/// A client hello of PROTOCOL 1: `plaintext` only.
const HELLO: &[u8] = b"zput/c1\n\x00\x07\x01\x01\x01\x00\x00\x00\x00";

/// Request 1 in a frame.
const PING: &[u8] = b"\x00\x00\x00\x01\x01";

/// Request 5 in a frame: from the start, one entry, without headers.
const LIST: &[u8] = b"\x00\x00\x00\x04\x05\x00\x01\x00";

/// Request 7 in a frame: key "k", plain, any condition, no header.
const BEGIN: &[u8] = b"\x00\x00\x00\x06\x07\x01k\x01\x00\x00";

/// A connection, all that a worker lends it, and its peer.
struct Bench {
    connection: Driver<Service>,
    peer: UnixStream,
    lent: TestContext,
    completed: ReceivedCompletions,
    _dir: TempDir,
}

impl Bench {
    /// After the handshake, with at most `buffers`.
    fn new(buffers: usize) -> Self {
        Self::with(buffers, 0)
    }

    /// And with a peer that has to move so many bytes a second.
    fn with(buffers: usize, min_rate: u64) -> Self {
        Self::at(buffers, |door| Settings { min_rate, ..door })
    }

    /// After the handshake at another door.
    fn at(buffers: usize, other: impl FnOnce(Settings) -> Settings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Clock::system()).unwrap();
        let (ours, peer) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let config =
            ServerConfig { tls: None, allow_plaintext: true, limits: ServerLimits::default() };
        let door = other(Settings {
            session: Arc::new(config),
            min_rate: 0,
            must_request: false,
            explains_failures: false,
        });
        let policy = Policy { anonymous: Scopes::ALL, allow_unsealed: true, ..Policy::PRIVATE };
        let socket = ReadySocket::new(Socket::Unix(mio::net::UnixStream::from_std(ours)));
        let (completions, completed) = ReceivedCompletions::channel();
        let service = Service::new(&door, "test".to_owned(), Device::Local, 1, Instant::now());
        let connection = Driver::new(socket, service, door.min_rate);
        let mut lent = TestContext::new(Mounts::of_store(store, policy), completions);
        lent.worker.buffers = Buffers::new(buffers);
        let mut bench = Self { connection, peer, lent, completed, _dir: dir };
        bench.shake_hands();
        bench
    }

    /// PROTOCOL 3: "The first frame in each direction is `Echo`: the two hellos".
    fn shake_hands(&mut self) {
        self.peer.write_all(HELLO).unwrap();
        assert!(matches!(self.turn(), TurnOutcome::Park(_)));
        let mut answer = [0; 36];
        self.peer.read_exact(&mut answer).unwrap();
        let echo = [&[0, 17][..], HELLO, &[36], &answer].concat();
        self.peer.write_all(&[0, 0, 0, u8::try_from(echo.len()).unwrap()]).unwrap();
        self.peer.write_all(&echo).unwrap();
        self.connection.socket().wake_for_test();
        assert!(matches!(self.turn(), TurnOutcome::Park(_)));
        self.heard();
    }

    /// Lets the deadlines pass that pass by this moment.
    fn expire(&mut self, instant: Instant) -> Result<(), CloseReason> {
        let date = Date::at(std::time::SystemTime::now());
        self.connection.expire(&Now { instant, date })
    }

    fn turn(&mut self) -> TurnOutcome {
        self.connection.turn(&mut self.lent.cx())
    }

    /// Has a request answered; gives how many bytes that took.
    fn serve(&mut self, request: &[u8]) -> usize {
        self.peer.write_all(request).unwrap();
        self.connection.socket().wake_for_test();
        assert!(matches!(self.turn(), TurnOutcome::Park(_)));
        while self.connection.ticket.is_some() {
            let done = self.completed.done();
            self.connection.deliver(done, &mut self.lent.cx()).unwrap();
            assert!(matches!(self.turn(), TurnOutcome::Park(_)));
        }
        self.heard()
    }

    /// What has reached the peer.
    fn heard(&mut self) -> usize {
        self.peer.set_nonblocking(true).unwrap();
        let mut all = Vec::new();
        let _blocked = self.peer.read_to_end(&mut all);
        self.peer.set_nonblocking(false).unwrap();
        all.len()
    }
}

/// A turn yields when its budget is used up, and later turns answer the rest.
#[test]
fn session_turn_yields_when_budget_is_used_up() {
    let mut bench = Bench::new(1);
    bench.peer.write_all(&PING.repeat(1000)).unwrap();
    bench.connection.socket().wake_for_test();
    assert!(matches!(bench.turn(), TurnOutcome::Yield(_)));
    let pongs = bench.heard() / 5;
    // 512 KiB, and each ping costs at least one step of 4 KiB.
    assert!((1..=128).contains(&pongs), "{pongs} pings were answered in one turn");
    // The rest of them takes further turns.
    let mut heard = pongs;
    let mut turns = 1;
    while heard < 1000 {
        turns += 1;
        assert!(turns < 1000, "{heard} pings were answered in {turns} turns");
        if let TurnOutcome::Park(_) = bench.turn() {
            bench.connection.socket().wake_for_test();
        }
        heard += bench.heard() / 5;
    }
    assert!(turns >= 8, "{turns}");
}

/// A peer without a key that the server does not hurry may take its time; one that it does has to
/// ask for something, and a ping is nothing.
#[test]
fn keyless_peer_pings_do_not_extend_request_deadline() {
    let in_seconds = |n| Instant::now() + Duration::from_secs(n);
    for (must_request, request, ends_in_10, ends_in_119) in
        [(true, PING, true, true), (false, PING, false, false), (true, LIST, false, false)]
    {
        let mut bench = Bench::at(1, |door| Settings { must_request, ..door });
        assert!(bench.serve(request) > 0, "it was answered");
        bench.expire(in_seconds(9)).unwrap();
        assert!(bench.connection.phase.is_open());
        bench.expire(in_seconds(11)).unwrap();
        assert_eq!(!bench.connection.phase.is_open(), ends_in_10, "{must_request} {request:?}");
        let _over = bench.expire(in_seconds(118));
        assert_eq!(!bench.connection.phase.is_open(), ends_in_119, "{must_request} {request:?}");
    }
}

/// PROTOCOL 9: a peer without a key keeps no seat by an upload that makes no progress. Pings say
/// that somebody is there, and other requests are about something else.
#[test]
fn keyless_stalled_upload_is_evictable_despite_pings() {
    // Request 8 in a frame: one byte and its digest; then the byte.
    let slice = [&b"\x00\x00\x00\x22\x08\x01"[..], Digest::of(b"x").as_bytes(), b"x"].concat();
    for (must_request, request, yields) in
        [(true, PING, true), (true, LIST, true), (true, &slice, false), (false, PING, false)]
    {
        let mut bench = Bench::at(1, |door| Settings { must_request, ..door });
        // Answer 7 in a frame: Begun.
        assert_eq!(bench.serve(BEGIN), 5);
        assert_eq!(bench.lent.worker.keyless.count(), 1);
        for seconds in [60, 119, 121, 239] {
            bench.lent.ahead = Duration::from_secs(seconds);
            let now = bench.lent.cx().now.instant;
            bench.expire(now).unwrap();
            assert!(bench.connection.phase.is_open());
            let stalled = seconds > 120 && yields;
            assert_eq!(
                bench.connection.protocol.is_evictable(),
                stalled,
                "{must_request} {request:?} {seconds}"
            );
            // Its share is somebody else's.
            assert_eq!(bench.lent.worker.keyless.count(), usize::from(!stalled));
            assert!(bench.serve(request) > 0, "it was answered");
        }
        if !yields {
            continue;
        }
        // A source that was slow goes on, where there is a share for it.
        let others: Vec<_> =
            (0..15).map(|_| bench.lent.worker.keyless.try_acquire().unwrap()).collect();
        assert_eq!(bench.serve(&slice), 5);
        assert!(!bench.connection.protocol.is_evictable() && bench.connection.phase.is_open());
        assert!(bench.lent.worker.keyless.try_acquire().is_none());
        for seconds in [300, 361] {
            bench.lent.ahead = Duration::from_secs(seconds);
            let now = bench.lent.cx().now.instant;
            bench.expire(now).unwrap();
            assert!(bench.serve(PING) > 0, "it was answered");
        }
        let _last = bench.lent.worker.keyless.try_acquire().unwrap();
        bench.peer.write_all(&slice).unwrap();
        bench.connection.socket().wake_for_test();
        while !matches!(bench.turn(), TurnOutcome::Close(_)) && bench.connection.phase.is_open() {
            if bench.connection.ticket.is_some() {
                let done = bench.completed.done();
                bench.connection.deliver(done, &mut bench.lent.cx()).unwrap();
            }
        }
        assert!(bench.heard() >= 5, "what was held is said to be");
        drop(others);
    }
}

/// A session that has a slice to receive and finds no buffer waits for one.
#[test]
fn session_turn_awaits_buffer_for_slice() {
    let mut bench = Bench::new(0);
    // Begin: request 7, key "k", plain, any condition, no header; then Slice: request 8, one byte,
    // its digest.
    bench.peer.write_all(BEGIN).unwrap();
    bench.peer.write_all(b"\x00\x00\x00\x22\x08\x01").unwrap();
    bench.peer.write_all(&[7; 33]).unwrap();
    bench.connection.socket().wake_for_test();
    assert!(matches!(bench.turn(), TurnOutcome::Park(_)), "the pool begins");
    let done = bench.completed.done();
    bench.connection.deliver(done, &mut bench.lent.cx()).unwrap();
    assert!(matches!(bench.turn(), TurnOutcome::AwaitBuffer(_)));
}

/// 61 s at 4,400 bytes are 268,400, of which 256 KiB may be owed. Answers that the peer does not
/// take, as many as the socket holds.
fn stuck() -> Bench {
    let mut bench = Bench::with(1, 4400);
    bench.peer.set_nonblocking(true).unwrap();
    let mut turns = 0;
    // The socket is full in both directions.
    while bench.peer.write(&PING.repeat(1000)).is_ok() {
        bench.connection.socket().wake_for_test();
        while let TurnOutcome::Yield(_) = bench.turn() {}
        turns += 1;
        assert!(turns < 10_000, "a socket buffer has an end");
    }
    assert!(matches!(bench.turn(), TurnOutcome::Park(_)));
    bench
}

/// A session closes a peer as slow that reads less than the minimum rate.
#[test]
fn session_closes_peer_that_reads_below_min_rate() {
    let mut bench = stuck();
    let second = |n| Instant::now() + Duration::from_secs(n);
    assert!(bench.connection.deadline().unwrap() <= second(60), "it is watched");
    bench.expire(second(59)).unwrap();
    assert!(matches!(bench.expire(second(61)), Err(CloseReason::Slow)));
}

/// A session keeps a peer that reads at least the minimum rate.
#[test]
fn session_keeps_peer_that_reads_above_min_rate() {
    let mut bench = stuck();
    // What the socket holds moved before it was full.
    let (mut taken, mut turns) = (0, 0);
    bench.heard();
    while taken < 10_000 {
        bench.connection.socket().wake_for_test();
        bench.turn();
        taken += bench.heard();
        turns += 1;
        assert!(turns < 10_000, "{taken} bytes came");
    }
    bench.expire(Instant::now() + Duration::from_secs(61)).unwrap();
}

/// A slice that was announced and does not come.
#[test]
fn session_closes_peer_that_sends_slice_below_min_rate() {
    let mut bench = Bench::with(1, 4400);
    bench.peer.write_all(BEGIN).unwrap();
    bench.peer.write_all(b"\x00\x00\x00\x22\x08\x40").unwrap();
    bench.peer.write_all(&[7; 33]).unwrap();
    bench.connection.socket().wake_for_test();
    // The pool begins, and then it writes the one byte that came.
    for _ in 0..2 {
        assert!(matches!(bench.turn(), TurnOutcome::Park(_)));
        let done = bench.completed.done();
        bench.connection.deliver(done, &mut bench.lent.cx()).unwrap();
    }
    assert!(matches!(bench.turn(), TurnOutcome::Park(_)));
    let second = |n| Instant::now() + Duration::from_secs(n);
    bench.expire(second(59)).unwrap();
    assert!(bench.connection.phase.is_open());
    bench.expire(second(61)).unwrap();
    assert!(!bench.connection.phase.is_open(), "one byte of 64 in a minute is enough");
}

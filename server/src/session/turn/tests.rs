use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    sync::Arc,
};

use tempfile::TempDir;
use zput_common::proto::{ServerConfig, ServerLimits, message::Scopes};

use super::*;
use crate::{
    desk::Lent,
    mounts::{Mounts, Policy},
    session::Door,
    store::{Clock, Store},
    wire::{Socket, Wire},
    worker::{Buffers, Overheard},
};

/// A client hello of PROTOCOL 1: `plaintext` only.
const HELLO: &[u8] = b"zput/c1\n\x00\x07\x01\x01\x01\x00\x00\x00\x00";

/// Request 1 in a frame.
const PING: &[u8] = b"\x00\x00\x00\x01\x01";

/// A connection, all that a worker lends it, and its peer.
struct Bench {
    connection: Connection,
    peer: UnixStream,
    lent: Lent,
    overheard: Overheard,
    _dir: TempDir,
}

impl Bench {
    /// After the handshake, with at most `buffers`.
    fn new(buffers: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Clock::system()).unwrap();
        let (ours, peer) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let config =
            ServerConfig { tls: None, allow_plaintext: true, limits: ServerLimits::default() };
        let door = Door { session: Arc::new(config), min_rate: 0 };
        let policy = Policy { plaintext: Scopes::ALL, unsealed: true, ..Policy::PRIVATE };
        let wire = Wire::new(Socket::Unix(mio::net::UnixStream::from_std(ours)));
        let (inbox, overheard) = Overheard::inbox();
        let connection = Connection::new(wire, &door, "test".to_owned(), Instant::now());
        let mut lent = Lent::new(Mounts::of_store(store, policy), inbox);
        lent.buffers = Buffers::new(buffers);
        let mut bench = Self { connection, peer, lent, overheard, _dir: dir };
        bench.shake_hands();
        bench
    }

    /// PROTOCOL 3: "The first frame in each direction is `Echo`: the two hellos".
    fn shake_hands(&mut self) {
        self.peer.write_all(HELLO).unwrap();
        assert!(matches!(self.turn(), Verdict::Park(_)));
        let mut answer = [0; 36];
        self.peer.read_exact(&mut answer).unwrap();
        let echo = [&[0, 17][..], HELLO, &[36], &answer].concat();
        self.peer.write_all(&[0, 0, 0, u8::try_from(echo.len()).unwrap()]).unwrap();
        self.peer.write_all(&echo).unwrap();
        self.connection.wire().wake_for_test();
        assert!(matches!(self.turn(), Verdict::Park(_)));
        self.heard();
    }

    fn turn(&mut self) -> Verdict {
        self.connection.turn(&mut self.lent.desk())
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

#[test]
fn a_turn_ends_though_there_is_more_to_do() {
    let mut bench = Bench::new(1);
    bench.peer.write_all(&PING.repeat(1000)).unwrap();
    bench.connection.wire().wake_for_test();
    assert!(matches!(bench.turn(), Verdict::Again(_)));
    let pongs = bench.heard() / 5;
    // 512 KiB, and each ping costs at least one step of 4 KiB.
    assert!((1..=128).contains(&pongs), "{pongs} pings were answered in one turn");
    // The rest of them takes further turns.
    let mut heard = pongs;
    let mut turns = 1;
    while heard < 1000 {
        turns += 1;
        assert!(turns < 1000, "{heard} pings were answered in {turns} turns");
        if let Verdict::Park(_) = bench.turn() {
            bench.connection.wire().wake_for_test();
        }
        heard += bench.heard() / 5;
    }
    assert!(turns >= 8, "{turns}");
}

#[test]
fn a_connection_without_a_buffer_waits_for_one() {
    let mut bench = Bench::new(0);
    // Begin: request 7, key "k", plain, any condition, no header; then Slice: request 8, one byte, its digest.
    bench.peer.write_all(b"\x00\x00\x00\x06\x07\x01k\x01\x00\x00").unwrap();
    bench.peer.write_all(b"\x00\x00\x00\x22\x08\x01").unwrap();
    bench.peer.write_all(&[7; 33]).unwrap();
    bench.connection.wire().wake_for_test();
    assert!(matches!(bench.turn(), Verdict::Park(_)), "the pool begins");
    let done = bench.overheard.done();
    bench.connection.deliver(done, &mut bench.lent.desk()).unwrap();
    assert!(matches!(bench.turn(), Verdict::Starved(_)));
}

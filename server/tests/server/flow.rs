//! Bytes that come slowly, in pieces, or not at all, and peers that share a worker.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use super::peer::{self, begin, bytes, get, serve};
use socket2::{Domain, Socket, Type};
use zput_proto::{
    message::{Kind, Request, Response, Section},
    session::ClientConfig,
};
use zput_testkit::{PATIENCE, RawClient, StoreServer, until};

/// The one object file of a store.
fn object_file(home: &StoreServer) -> PathBuf {
    let shards = fs::read_dir(home.dir.path().join("objects")).unwrap();
    let files = shards.flat_map(|shard| fs::read_dir(shard.unwrap().path()).unwrap());
    let files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 1);
    files[0].clone()
}

/// A connection whose peer can have only little on its way.
fn narrow(home: &StoreServer) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&home.server.addresses()[0].tcp().unwrap().into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// sendfile moves a part, then the socket is full, then it has room again, many times.
#[test]
fn get_reaches_slow_reader_completely() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let unix = format!("unix:{}", path.display());
    let home = serve(|options| options.listen.push(unix.parse().unwrap()));
    let object = bytes(12_000_000);
    home.plain().put("k", &object, 6_000_000);

    let tcp = RawClient::over(narrow(&home), &ClientConfig::Plaintext).unwrap();
    read_slowly(tcp, &object);
    let stream = UnixStream::connect(&path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    read_slowly(RawClient::over(stream, &ClientConfig::Plaintext).unwrap(), &object);
}

fn read_slowly<S: Read + Write>(mut peer: RawClient<S>, object: &[u8]) {
    let sections = [Section::Range { offset: 3, length: 5_000_000 }, Section::All];
    let answer = peer.ask(&get("k", &sections, Kind::Plain)).unwrap();
    assert!(matches!(answer, Response::Object { payload: 17_000_000, .. }));
    let mut got = Vec::new();
    let mut pauses = 0;
    while got.len() < 17_000_000 {
        if got.len() > pauses * 1_000_000 {
            pauses += 1;
            thread::sleep(Duration::from_millis(10));
        }
        got.extend(peer.some_payload().unwrap());
    }
    assert!(got == [&object[3..5_000_003], object].concat());
    assert_eq!(peer.ask(&Request::Ping).unwrap(), Response::Pong);
}

/// A small get on one worker is answered while large gets stream.
#[test]
fn get_of_small_object_is_answered_beside_large_gets() {
    let home = serve(|options| options.workers = 1);
    let mut small = home.plain();
    let object = bytes(16_000_000);
    small.put("large", &object, 16_000_000);
    small.put("small", b"0123456789", 10);
    let (done, received) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..3 {
            let mut large = home.plain();
            let (done, received) = (&done, &received);
            scope.spawn(move || {
                // 1 GB of payload from 16 MB on disk, again and again.
                'asking: loop {
                    large.queue(&get("large", &[Section::All; 64], Kind::Plain));
                    let answer = large.receive().unwrap();
                    assert!(matches!(answer, Response::Object { payload: 1_024_000_000, .. }));
                    loop {
                        let some = large.some_payload().unwrap().len();
                        received.fetch_add(some as u64, Ordering::Relaxed);
                        if done.load(Ordering::Relaxed) {
                            break 'asking;
                        }
                        if some == 0 {
                            break;
                        }
                    }
                }
            });
        }
        until("they stream", || received.load(Ordering::Relaxed) > 16_000_000);
        let mut meanwhile = Vec::new();
        for _ in 0..51 {
            let before = received.load(Ordering::Relaxed);
            let got = small.get("small", &[Section::All]);
            meanwhile.push(received.load(Ordering::Relaxed) - before);
            if got.map(|(_, bytes)| bytes).as_deref() != Ok(b"0123456789") {
                done.store(true, Ordering::Relaxed);
                panic!("another object");
            }
        }
        done.store(true, Ordering::Relaxed);
        // A turn of each of the three others, and not what is left of an answer of theirs. This
        // process may be held up itself now and then, so it is the get in the middle that counts.
        meanwhile.sort_unstable();
        assert!(meanwhile[25] < 200_000_000, "bytes of others meanwhile: {meanwhile:?}");
    });
}

/// Forty concurrent range gets each return their own bytes.
#[test]
fn get_of_ranges_by_forty_readers_returns_own_bytes() {
    let home = serve(|_| {});
    let object = bytes(4_000_000);
    home.plain().put("k", &object, 4_000_000);
    thread::scope(|scope| {
        for n in 0..40_usize {
            let (home, object) = (&home, &object);
            scope.spawn(move || {
                let mut peer = home.plain();
                let (offset, length) = (n * 10_007, 2_000_000 + n);
                let range = Section::Range { offset: offset as u64, length: length as u64 };
                let (_, got) = peer.get("k", &[range]).unwrap();
                assert!(got == object[offset..offset + length], "reader {n}");
            });
        }
    });
}

/// A get of a file that is truncated meanwhile closes the connection, and nothing spins.
#[test]
fn get_of_truncated_file_closes_connection() {
    let home = serve(|_| {});
    let object = bytes(16_000_000);
    home.plain().put("k", &object, 16_000_000);
    let mut peer = RawClient::over(narrow(&home), &ClientConfig::Plaintext).unwrap();
    let answer = peer.ask(&get("k", &[Section::All; 8], Kind::Plain)).unwrap();
    assert!(matches!(answer, Response::Object { payload: 128_000_000, .. }));
    let cut = File::options().write(true).open(object_file(&home)).unwrap();
    cut.set_len(1_000_000).unwrap();
    let mut got = 0;
    let closed = loop {
        match peer.some_payload() {
            Ok(bytes) if bytes.is_empty() => break None,
            Ok(bytes) => got += bytes.len(),
            Err(gone) => break Some(gone),
        }
    };
    assert!(closed.is_some(), "128,000,000 bytes of a file that has 1,000,000");
    assert!(got < 128_000_000);
    until("the connection is gone", || home.server.stats().connections == 0);
    assert_stands_still(&home);
}

/// Idle workers do not wake up: the number of rounds stays the same while no request arrives.
fn assert_stands_still(home: &StoreServer) {
    until("the workers rest", || {
        let before = home.server.stats().rounds;
        thread::sleep(Duration::from_millis(300));
        // A late job's end, at most.
        home.server.stats().rounds - before <= 2
    });
}

/// A server whose peers are all idle or blocked runs no event-loop turns.
#[test]
fn server_with_blocked_peers_does_not_spin() {
    let home = serve(|_| {});
    let object = bytes(16_000_000);
    home.plain().put("k", &object, 16_000_000);
    let _idle = home.plain();
    let _silent = home.tcp();
    // One that does not read what it asked for.
    let mut full = RawClient::over(narrow(&home), &ClientConfig::Plaintext).unwrap();
    full.ask(&get("k", &[Section::All], Kind::Plain)).unwrap();
    // One in the middle of a slice.
    let mut half = home.plain();
    assert_eq!(half.ask(&begin("h", Kind::Plain)).unwrap(), Response::Begun);
    half.queue_slice(&bytes(1_000_000));
    let written = half.queued();
    half.stream().write_all(&written[..500_000]).unwrap();
    // One that will not send any more.
    let mut ended = RawClient::over(narrow(&home), &ClientConfig::Plaintext).unwrap();
    ended.ask(&get("k", &[Section::All], Kind::Plain)).unwrap();
    ended.stream().shutdown(Shutdown::Write).unwrap();
    until("all have seats", || home.server.stats().connections == 5);
    assert_stands_still(&home);
    assert_eq!(home.server.stats().connections, 5);
    assert!(full.payload().unwrap() == object);
    assert!(ended.payload().unwrap() == object);
}

/// A plaintext upload whose client vanishes or resets leaves no staging file.
#[test]
fn upload_of_vanished_client_leaves_no_staging_file() {
    let home = serve(|_| {});
    for sent in [0, 1, 100_000, 700_000] {
        let mut peer = home.plain();
        assert_eq!(peer.ask(&begin("k", Kind::Plain)).unwrap(), Response::Begun);
        assert_eq!(home.staged(), 1);
        peer.queue_slice(&bytes(1_000_000));
        let written = peer.queued();
        peer.stream().write_all(&written[..sent]).unwrap();
        drop(peer);
        until("the staging file is gone", || home.staged() == 0);
    }
    // Reset in the middle, with answers unread.
    let mut peer = home.plain();
    assert_eq!(peer.ask(&begin("k", Kind::Plain)).unwrap(), Response::Begun);
    peer.queue_slice(&bytes(1_000_000));
    peer.flush().unwrap();
    peer.stream().set_nonblocking(false).unwrap();
    socket2::SockRef::from(&*peer.stream()).set_linger(Some(Duration::ZERO)).unwrap();
    drop(peer);
    until("the staging file is gone", || home.staged() == 0);
    until("all connections are gone", || home.server.stats().connections == 0);
    assert_eq!(peer::count(&home.dir.path().join("staging")), 0);
}

/// A client that has ended its sending side gets the answers to all of its requests.
#[test]
fn half_closed_connection_gets_all_answers() {
    let home = serve(|_| {});
    let object = bytes(3_000_000);
    let mut peer = home.plain();
    peer.queue(&begin("k", Kind::Plain));
    peer.queue_slice(&object);
    peer.queue(&Request::Commit);
    peer.queue(&get("k", &[Section::All], Kind::Plain));
    peer.flush().unwrap();
    peer.stream().shutdown(Shutdown::Write).unwrap();
    assert_eq!(peer.receive().unwrap(), Response::Begun);
    assert_eq!(peer.receive().unwrap(), Response::SliceHeld);
    assert!(matches!(peer.receive().unwrap(), Response::Committed { .. }));
    assert!(matches!(peer.receive().unwrap(), Response::Object { .. }));
    assert!(peer.payload().unwrap() == object);
    assert!(peer.end().is_empty());
    until("the connection is gone", || home.server.stats().connections == 0);
}

/// Writes a few bytes at a time, as many as a small generator says.
struct Splitting {
    stream: TcpStream,
    state: u64,
}

impl Splitting {
    fn next(&mut self, below: u64) -> u64 {
        // SplitMix64's step and one round of mixing are random enough to cut with.
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed >> 32) % below
    }
}

impl Write for Splitting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let most = [1, 7, 60, 9_000][usize::try_from(self.next(4)).unwrap()];
        let n = usize::try_from(1 + self.next(most)).unwrap().min(bytes.len());
        if self.next(50) == 0 {
            thread::sleep(Duration::from_micros(self.next(500)));
        }
        self.stream.write(&bytes[..n])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl Read for Splitting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = [1, 7, 60, 9_000][usize::try_from(self.next(4)).unwrap()];
        let n = usize::try_from(1 + self.next(most)).unwrap().min(buffer.len());
        self.stream.read(&mut buffer[..n])
    }
}

/// A put and get over plaintext work however the bytes are split.
#[test]
fn plaintext_put_and_get_work_with_any_byte_splits() {
    let home = serve(|_| {});
    thread::scope(|scope| {
        for lane in 0..10_u64 {
            let home = &home;
            scope.spawn(move || {
                for n in 0..10 {
                    let state = lane * 10 + n;
                    let stream = Splitting { stream: home.tcp(), state };
                    let mut peer = RawClient::over(stream, &ClientConfig::Plaintext).unwrap();
                    let (name, object) = (format!("k{state}"), bytes(10_000 + 1_000 * n as usize));
                    peer.put(&name, &object, 3_333);
                    assert!(peer.get(&name, &[Section::All]).unwrap().1 == object, "seed {state}");
                }
            });
        }
    });
}

/// A put and get over TLS work however the bytes are split.
#[test]
fn tls_put_and_get_work_with_any_byte_splits() {
    let home = serve(|_| {});
    let device = peer::seed(3);
    home.enroll(&device, zput_proto::message::Scopes::ALL);
    for state in 0..10 {
        let stream = Splitting { stream: home.tcp(), state };
        let mut peer = RawClient::over(stream, &home.tls(&device)).unwrap();
        let name = format!("k{state}");
        let slices = peer::sealed(&name, 20_000);
        peer.queue(&begin(&name, Kind::Sealed));
        slices[1..].iter().for_each(|slice| peer.queue_slice(slice));
        peer.queue(&Request::Commit);
        assert_eq!(peer.receive().unwrap(), Response::Begun);
        for _ in 0..2 {
            assert_eq!(peer.receive().unwrap(), Response::SliceHeld);
        }
        assert!(matches!(peer.receive().unwrap(), Response::Committed { .. }));
        let sections = [Section::Header, Section::Body, Section::Footer];
        let answer = peer.ask(&get(&name, &sections, Kind::Sealed)).unwrap();
        let Response::Object { header, .. } = answer else { panic!("{answer:?}") };
        assert!(header.unwrap() == slices[0], "seed {state}");
        assert!(peer.payload().unwrap() == slices[1..].concat(), "seed {state}");
    }
}

/// Uploads that share one buffer wait for it in turn, and all of them end.
#[test]
fn uploads_share_single_buffer() {
    let home = serve(|options| {
        options.workers = 1;
        options.limits.pool_threads = 1;
        options.limits.upload_memory = 256 * 1024;
    });
    let object = bytes(2_000_000);
    thread::scope(|scope| {
        for n in 0..8 {
            let (home, object) = (&home, &object);
            scope.spawn(move || {
                let mut peer = home.plain();
                peer.put(&format!("k{n}"), object, 1_000_000);
            });
        }
    });
    assert!(home.plain().get("k7", &[Section::All]).unwrap().1 == object);
}

/// A peer that pauses in the middle of a slice does not sleep on a buffer that others need.
#[test]
fn slow_upload_does_not_hold_buffer_of_others() {
    let home = serve(|options| {
        options.workers = 1;
        options.limits.upload_memory = 256 * 1024;
    });
    let object = bytes(1_000_000);
    let mut slow: Vec<_> = (0..3).map(|_| home.plain()).collect();
    for (n, peer) in slow.iter_mut().enumerate() {
        assert_eq!(peer.ask(&begin(&format!("s{n}"), Kind::Plain)).unwrap(), Response::Begun);
        peer.queue_slice(&object);
        let written = peer.queued();
        peer.stream().write_all(&written[..100_000 + n]).unwrap();
    }
    thread::sleep(Duration::from_millis(50));
    home.plain().put("k", &object, 1_000_000);
    assert!(home.plain().get("k", &[Section::All]).unwrap().1 == object);
}

/// A get under way sends the old bytes of an object that is replaced meanwhile.
#[test]
fn get_of_replaced_object_sends_old_bytes() {
    let home = serve(|_| {});
    let (old, new) = (bytes(16_000_000), vec![7; 1000]);
    home.plain().put("k", &old, 16_000_000);
    let mut peer = RawClient::over(narrow(&home), &ClientConfig::Plaintext).unwrap();
    peer.ask(&get("k", &[Section::All], Kind::Plain)).unwrap();
    home.plain().put("k", &new, 1000);
    assert!(peer.payload().unwrap() == old);
    assert_eq!(peer.get("k", &[Section::All]).unwrap().1, new);
}

//! A process without descriptors. Alone in its program: the limit is the whole process's.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, Write as _},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use zput_proto::message::Scopes;
use zput_server::{
    Server, ServerOptions,
    mounts::{Mounts, Policy},
    store::{Clock, Store},
};

/// PROTOCOL 1: version 1 only, plaintext only, no features.
const HELLO: &[u8] = b"zput/c1\n\x00\x07\x01\x01\x01\x00\x00\x00\x00";

/// Bytes of an accepting hello: magic, length, and 26 bytes.
const SERVER_HELLO_BYTES: usize = 36;

/// What a peer hears that says hello: nothing when it was turned away.
fn greet(stream: &mut TcpStream) -> Vec<u8> {
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut heard = vec![0; SERVER_HELLO_BYTES];
    // Writing to a connection that was closed, and reading from it, may fail: that is an answer
    // too.
    let said = stream.write_all(HELLO).and_then(|()| stream.read_exact(&mut heard));
    if said.is_ok() { heard } else { Vec::new() }
}

/// Connects. The server may have the last descriptor for a moment, while it refuses another peer.
fn connect(address: SocketAddr) -> TcpStream {
    for _ in 0..200 {
        match TcpStream::connect(address) {
            Ok(stream) => return stream,
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
    panic!("no descriptor for two seconds")
}

/// Ticks of the CPU that this process has used, a hundredth of a second each (proc(5), `utime` and
/// `stime`).
fn cpu_ticks(stat: &mut File) -> u64 {
    let mut text = String::new();
    stat.rewind().unwrap();
    stat.read_to_string(&mut text).unwrap();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// A server out of descriptors closes new connections, does not spin, and recovers.
#[test]
fn server_out_of_descriptors_closes_new_peers_without_spinning() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Clock::system()).unwrap();
    let options = ServerOptions::new(
        Mounts::of_store(store, Policy { anonymous: Scopes::ALL, ..Policy::PRIVATE }),
        vec!["127.0.0.1:0".parse().unwrap()],
    );
    let server = Server::bind(options).unwrap().spawn().unwrap();
    let address: SocketAddr = server.addresses()[0].tcp().unwrap();
    let mut before = TcpStream::connect(address).unwrap();
    assert_eq!(greet(&mut before)[..8], *b"zput/s1\n");

    let mut stat = File::open("/proc/self/stat").unwrap();
    let limit = getrlimit(Resource::Nofile);
    let in_use = fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    setrlimit(Resource::Nofile, Rlimit { current: Some(in_use + 40), ..limit }).unwrap();
    let mut hogs: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    assert!(hogs.len() > 20);

    // A descriptor for the client, and none for the server to accept it with.
    drop(hogs.pop());
    let start = Instant::now();
    let mut turned_away = connect(address);
    assert!(greet(&mut turned_away).is_empty());
    assert!(start.elapsed() < Duration::from_secs(5), "it was left waiting");

    // Peers keep knocking.
    let ticks = cpu_ticks(&mut stat);
    let mut knocking = turned_away;
    for _ in 0..5 {
        drop(knocking);
        knocking = connect(address);
        thread::sleep(Duration::from_millis(200));
    }
    let used = cpu_ticks(&mut stat) - ticks;
    assert!(used < 30, "{used} hundredths of a second of CPU within one second");

    drop(hogs);
    setrlimit(Resource::Nofile, limit).unwrap();
    let start = Instant::now();
    let after = loop {
        let mut after = TcpStream::connect(address).unwrap();
        let heard = greet(&mut after);
        if !heard.is_empty() {
            assert_eq!(heard[..8], *b"zput/s1\n");
            break after;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "it does not come back");
        thread::sleep(Duration::from_millis(10));
    };
    drop((before, after, knocking));
    server.shutdown().unwrap();
}

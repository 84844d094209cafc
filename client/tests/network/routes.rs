//! Names that do not resolve for a while, unreachable addresses, peers of other protocols, and
//! silent connections.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use zput::{
    Error, ErrorKind, Event, Silent,
    cli::{GetOptions, Resolver, Route},
    error::ResolveError,
};
use zput_proto::{keys::Remote, session::Patience};

use crate::setting::{Machine, Setting, exit, name};

const NOW: u64 = 1_796_000_000_000_000_000;

/// Answers of the resolver, one for each lookup; the last one repeats.
type Script = Vec<Result<Vec<IpAddr>, fn() -> ResolveError>>;

fn again() -> ResolveError {
    ResolveError::Unknown(io::Error::other("no name server answers"))
}

fn no_such() -> ResolveError {
    ResolveError::NoSuchName(io::Error::other("no such name"))
}

/// A machine whose server is called "server.example", and the number of lookups of that name.
fn by_name(setting: &Setting, script: Script) -> (Machine, Arc<AtomicUsize>) {
    by_name_at(setting, setting.server.addresses()[0].to_string(), script)
}

fn by_name_at(setting: &Setting, at: String, script: Script) -> (Machine, Arc<AtomicUsize>) {
    let port = at.rsplit_once(':').unwrap().1.to_owned();
    let mut key_file = setting.key_file.clone();
    key_file.remote = Some(format!("zput://server.example:{port}").parse().unwrap());
    let mut machine = setting.machine_with("named", NOW, key_file);
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let script = Mutex::new(script);
    let resolver = Resolver::new(move |host| {
        assert_eq!(host, "server.example");
        count.fetch_add(1, Ordering::Relaxed);
        let mut script = script.lock().unwrap();
        let answer = if script.len() > 1 { script.remove(0) } else { script[0].clone() };
        answer.map_err(|error| error())
    });
    machine.client.set_route(Route::new(resolver, Patience::default()));
    (machine, asked)
}

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A put retries a name lookup that fails for a moment, if retries are set.
#[test]
fn failed_name_lookup_is_retried() {
    let setting = Setting::at(NOW);
    let script: Script = vec![Err(again), Err(again), Ok(vec![LOOPBACK])];
    let (mut machine, asked) = by_name(&setting, script.clone());
    assert_eq!(exit(machine.try_put(b"x")), ErrorKind::Temporary);
    let (mut machine, _) = by_name(&setting, script);
    machine.client.set_retries(2, Arc::new(|_| {}));
    machine.put(b"x");
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

/// The text of an error and of its cause.
fn with_cause(error: &Error) -> String {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    format!("{error}: {}", cause.unwrap_or_default())
}

/// A host name that does not exist is a final error after one lookup.
#[test]
fn unknown_host_name_is_not_retried() {
    let setting = Setting::at(NOW);
    let (mut machine, asked) = by_name(&setting, vec![Err(no_such), Ok(vec![LOOPBACK])]);
    machine.client.set_retries(5, Arc::new(|_| panic!("it is tried again")));
    let error = machine.try_put(b"x").unwrap_err();
    assert_eq!(with_cause(&error), "cannot find server.example: no such name");
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

/// The name server is behind the same broken line.
#[test]
fn client_reconnects_by_address_when_name_lookup_fails() {
    let setting = Setting::at(NOW);
    for lost in [again, no_such] {
        let (mut machine, _) = by_name(&setting, vec![Ok(vec![LOOPBACK]), Err(lost)]);
        for round in 0..3 {
            machine.put(&[round]);
            machine.client.disconnect();
        }
        machine.gets(&[2]);
    }
}

/// RFC 8305: an address without a route, one that refuses, and one that drops packets.
#[test]
fn client_skips_dead_addresses_and_remembers_a_working_one() {
    let setting = Setting::at(NOW);
    let port = setting.server.addresses()[0].to_string();
    let port: u16 = port.rsplit_once(':').unwrap().1.parse().unwrap();
    // A listener with a full queue: the kernel drops connections, as the network of a dead host
    // does.
    let dead = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), port)).unwrap();
    rustix::net::listen(&dead, 0).unwrap();
    let full: Vec<_> = (0..4)
        .map(|_| {
            TcpStream::connect_timeout(&dead.local_addr().unwrap(), Duration::from_millis(100))
        })
        .collect();
    assert!(full.iter().any(Result::is_err), "the queue is not full");
    let dead = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    let refusing = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));
    // TCP has no route to a broadcast address: ENETUNREACH. Neither has an IPv6 address on a
    // machine without IPv6 routing.
    let nowhere = IpAddr::V4(Ipv4Addr::BROADCAST);
    for addresses in [vec![dead, LOOPBACK], vec![refusing, LOOPBACK], vec![nowhere, dead, LOOPBACK]]
    {
        let (mut machine, asked) = by_name(&setting, vec![Ok(addresses), Err(no_such)]);
        machine.put(b"x");
        // The address that worked is remembered.
        for _ in 0..3 {
            machine.client.disconnect();
            machine.gets(b"x");
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }
}

/// A server that sends `said` to every peer.
fn saying(said: &'static [u8]) -> (String, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let saying = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(said).unwrap();
        let _all = stream.read_to_end(&mut Vec::new());
    });
    (address, saying)
}

/// The error about a peer that speaks HTTP, TLS or SSH names the protocol.
#[test]
fn client_names_the_foreign_protocol_of_a_peer() {
    let setting = Setting::at(NOW);
    for (said, protocol) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "HTTP"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "TLS"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "SSH"),
    ] {
        let (address, saying) = saying(said);
        let mut key_file = setting.key_file.clone();
        key_file.remote = Some(format!("zput://{address}").parse().unwrap());
        let mut machine = setting.machine_with("lost", NOW, key_file);
        machine.client.set_retries(5, Arc::new(|_| panic!("it is tried again")));
        let error = machine.try_get().unwrap_err();
        assert_eq!(
            with_cause(&error),
            format!(
                "the session with zput://{address} ended: this is no zput server: what listens there speaks {protocol} (is the port the \
                 right one?)"
            )
        );
        assert_eq!(error.kind(), ErrorKind::Other);
        saying.join().unwrap();
    }
}

/// A proxy in front of the server that forwards everything until it silently drops all further
/// bytes.
struct Swallowing {
    address: String,
    /// Bytes that pass up and down on the first connection.
    thread: thread::JoinHandle<()>,
}

impl Swallowing {
    /// The first connection is dropped after this many bytes from the server; the next one passes.
    fn new(setting: &Setting, passing: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = setting.server.addresses()[0].to_string();
        let thread = thread::spawn(move || {
            let mut held = Vec::new();
            for passing in [passing, usize::MAX] {
                let (client, _) = listener.accept().unwrap();
                let server = TcpStream::connect(&server).unwrap();
                let up = (client.try_clone().unwrap(), server.try_clone().unwrap());
                held.push(thread::spawn(move || {
                    let _ended = io::copy(&mut &up.0, &mut &up.1);
                    let _ended = up.1.shutdown(std::net::Shutdown::Write);
                }));
                let mut left = passing;
                let mut block = [0; 65_536];
                loop {
                    let most = left.min(block.len());
                    if most == 0 {
                        // Read and drop bytes until the client closes.
                        break;
                    }
                    let received = (&server).read(&mut block[..most]).unwrap_or(0);
                    if received == 0 {
                        let _ended = client.shutdown(std::net::Shutdown::Write);
                        break;
                    }
                    (&client).write_all(&block[..received]).unwrap();
                    left = left.saturating_sub(received);
                }
            }
            for up in held {
                up.join().unwrap();
            }
        });
        Self { address, thread }
    }
}

/// A line that forgets a connection: a NAT, a tunnel, a proxy that hangs.
#[test]
fn get_reconnects_after_silent_connection() {
    let setting = Setting::at(NOW);
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    setting.machine("writer", NOW).put(&bytes);
    // In the middle of a payload, and before the first answer.
    for passing in [1_000_000, 80] {
        let line = Swallowing::new(&setting, passing);
        let mut key_file = setting.key_file.clone();
        key_file.remote = Some(format!("zput://{}", line.address).parse::<Remote>().unwrap());
        let mut machine = setting.machine_with("reader", NOW, key_file);
        let mut patience = Patience::default();
        patience.silence = Duration::from_millis(300);
        machine.client.set_route(Route::new(Resolver::system(), patience));
        let said = Arc::new(Mutex::new(Vec::new()));
        let says = Arc::clone(&said);
        machine.client.set_retries(
            2,
            Arc::new(move |notice| {
                if let Event::Retry { error, .. } = notice.event {
                    says.lock().unwrap().push(with_cause(error));
                }
            }),
        );
        let begun = Instant::now();
        machine.gets(&bytes);
        // Otherwise the client would wait ten minutes for the answer to Commit.
        assert!(begun.elapsed() < Duration::from_secs(60));
        let address = &line.address;
        let silent =
            format!("the session with zput://{address} ended: the peer was idle for too long");
        assert_eq!(*said.lock().unwrap(), [silent]);
        drop(machine);
        line.thread.join().unwrap();
    }
}

/// A slow sink does not count as silence of the server.
#[test]
fn get_with_slow_sink_is_not_a_silent_server() {
    use zput::{cli::Sink, error::SinkError};

    struct Slow(usize);
    impl Sink for Slow {
        fn write(&mut self, plaintext: &[u8]) -> Result<(), SinkError> {
            thread::sleep(Duration::from_millis(600));
            self.0 += plaintext.len();
            Ok(())
        }
    }

    let setting = Setting::at(NOW);
    let bytes = vec![7; 3 * 16_777_216];
    setting.machine("writer", NOW).put(&bytes);
    let mut machine = setting.machine("reader", NOW);
    let mut patience = Patience::default();
    patience.silence = Duration::from_millis(300);
    machine.client.set_route(Route::new(Resolver::system(), patience));
    let mut slow = Slow(0);
    let got: Result<_, Error> =
        machine.client.get(&name(), &GetOptions::default(), &mut slow, &Silent);
    got.unwrap();
    assert_eq!(slow.0, bytes.len());
}

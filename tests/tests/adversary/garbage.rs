//! Bytes that are no protocol, and silence that is none either.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::TcpStream,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use zput_proto::{
    keys::Invite,
    message::{ErrorCode, Request, Response},
    session::{ClientConfig, ClientTls},
};
use zput_tests::{RawClient, ServerProcess, command_path};

use crate::guarded::{Guarded, code, device, get, quick_directory};

/// PROTOCOL 1: an honest client hello for these modes.
fn hello(modes: u8) -> Vec<u8> {
    [&b"zput/c1\n\x00\x07\x01\x01"[..], &[modes, 0, 0, 0, 0]].concat()
}

fn frame(body: &[u8]) -> Vec<u8> {
    [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], body].concat()
}

/// A malformed hello closes the connection; an unsupported one is refused with its reason.
#[test]
fn hello_that_is_malformed_closes_connection() {
    let guarded = Guarded::new(&[]);
    let mut garbage: Vec<Vec<u8>> = vec![
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"zput/s1\n\x00\x1a\x00\x01\x01".to_vec(),
        b"zput/c2\n\x00\x07\x01\x01\x02\x00\x00\x00\x00".to_vec(),
        b"zput/c1\n\x00\x06\x01\x01\x02\x00\x00\x00".to_vec(),
        b"zput/c1\n\x00\x41".to_vec(),
        b"zput/c1\n\xff\xff".to_vec(),
        vec![0; 100_000],
        vec![0xff; 100_000],
        vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3],
        [&hello(2)[..], &[0; 100_000]].concat(),
        [&hello(2)[..], b"\x16\x03\x03\xff\xff"].concat(),
        [&hello(2)[..], b"\x17\x03\x03\x00\x10", &[7; 16]].concat(),
    ];
    garbage.extend((0..hello(2).len()).map(|cut| hello(2)[..cut].to_vec()));
    for bytes in &garbage {
        let said = RawClient::babble(guarded.server.address(), bytes).unwrap();
        // At most its own hello and an alert.
        assert!(said.is_empty() || said.starts_with(b"zput/s1\n"), "{bytes:?}: {said:?}");
        assert!(said.len() < 100, "{bytes:?}: {said:?}");
    }
    // Hellos that are honest and lead nowhere: a refusal, with its reason.
    let refused = |bytes: &[u8], status: u8| {
        let said = RawClient::babble(guarded.server.address(), bytes).unwrap();
        assert!(said.starts_with(b"zput/s1\n"), "{bytes:?}: {said:?}");
        assert_eq!(said[10], status, "{bytes:?}");
        assert_eq!(said[11..35], [0; 24], "{bytes:?}");
    };
    refused(&hello(0), 13);
    refused(&hello(4), 13);
    // This listener speaks tls only.
    refused(&hello(1), 13);
    refused(b"zput/c1\n\x00\x07\x02\x09\x02\x00\x00\x00\x00", 12);
    refused(b"zput/c1\n\x00\x07\x00\x00\x02\x00\x00\x00\x00", 12);
    guarded.is_well();
}

/// Each malformed message is answered with Malformed and closes the connection.
#[test]
fn message_that_is_malformed_closes_connection() {
    let guarded = Guarded::new(&["--anonymous", "put,get,list,delete"]);
    let long = |prefix: &[u8], count: usize, byte: u8, suffix: &[u8]| {
        [prefix, &vec![byte; count][..], suffix].concat()
    };
    let malformed: Vec<(&str, Vec<u8>)> = vec![
        ("an empty frame", vec![0; 4]),
        ("a frame that is too long", 131_073_u32.to_be_bytes().to_vec()),
        ("a frame of 4 GiB", vec![0xff; 4]),
        ("a Mount that is cut", frame(&[13])),
        ("a Resume that is cut", frame(&[14])),
        ("a Claim that is cut", frame(&[15])),
        ("Compose, which is reserved", frame(&[16])),
        ("a number that is free", frame(&[17])),
        ("a number of five bytes", frame(&[0xff, 0xff, 0xff, 0xff, 0x0f])),
        ("a number that does not end", frame(&[0xff; 16])),
        ("a second echo", frame(&[0, 0, 0])),
        ("bytes behind a message", frame(&[1, 0])),
        ("a key of no bytes", frame(&[4, 0, 0])),
        ("a key of 1,025 bytes", frame(&long(&[4, 0x81, 0x08], 1025, b'k', &[0]))),
        ("a key of 2^64 bytes", frame(&long(&[4], 9, 0xff, &[1, b'k', 0]))),
        ("a key that is cut", frame(&[4, 5, b'k'])),
        ("65 sections", frame(&long(&[3, 1, b'k', 0, 65], 65, 0, &[0]))),
        ("2^32 sections", frame(&[3, 1, b'k', 0, 0xff, 0xff, 0xff, 0xff, 0x0f, 0])),
        ("a section that does not exist", frame(&[3, 1, b'k', 0, 1, 5, 0])),
        ("a kind that does not exist", frame(&[3, 1, b'k', 0, 1, 3, 2])),
        ("a condition that does not exist", frame(&[7, 1, b'k', 0, 3])),
        ("an option that is neither", frame(&[4, 1, b'k', 2])),
        ("a page of nothing", frame(&[5, 0, 0, 0])),
        ("a cursor that no store gives", frame(&long(&[5, 1, 65], 65, 0, &[1, 0]))),
        ("a cursor of 1,025 bytes", frame(&long(&[5, 1, 0x81, 0x08], 1025, 0, &[1, 0]))),
        ("a bool that is neither", frame(&[5, 0, 1, 2])),
        ("versions of nothing", frame(&[6, 1, b'k', 0, 0])),
        ("a label of 65 bytes", frame(&long(&long(&[2], 32, 0, &[65]), 65, b'l', &[]))),
        ("a label that acts on terminals", frame(&long(&[2], 32, 0, b"\x04\x1b[2J"))),
        ("a label that is no text", frame(&long(&[2], 32, 0, &[1, 0xff]))),
        ("a message that is cut", frame(&[7, 1])),
    ];
    for (what, bytes) in &malformed {
        let mut client = guarded.plain();
        assert_eq!(client.ask(&Request::Ping).unwrap(), Response::Pong);
        client.write(bytes).unwrap();
        let _maybe_gone = client.send(&Request::Ping);
        let answer = client.receive().unwrap();
        assert_eq!(code(&answer), Some(ErrorCode::Malformed), "{what}: {answer:?}");
        assert!(client.is_hung_up_on(), "{what}");
    }
    // Half a frame, and then nothing.
    for cut in 1..5 {
        let mut client = guarded.plain();
        client.write(&frame(&[4, 1])[..cut]).unwrap();
        client.vanish();
    }
    // Nothing was allocated by a length that a client wrote.
    assert!(guarded.peak_kib() < 96 * 1024, "{} KiB", guarded.peak_kib());
    guarded.is_well();
}

/// PROTOCOL 9: "hello and TLS handshake: 10 s", however the time is spent.
#[test]
fn hello_timeout_closes_slow_connection() {
    let guarded = Guarded::new(&["--anonymous", "get"]);
    let address = guarded.server.address();
    let slow = |first: Vec<u8>, drip: &'static [u8]| {
        let mut stream = TcpStream::connect(address).unwrap();
        move || {
            let begun = Instant::now();
            stream.write_all(&first).unwrap();
            stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
            let mut drip = drip.iter();
            let mut block = [0; 1000];
            while begun.elapsed() < Duration::from_secs(30) {
                match stream.read(&mut block) {
                    Ok(0) => return begun.elapsed(),
                    Ok(_) => {}
                    Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => {
                        return begun.elapsed();
                    }
                    Err(_) => {}
                }
                if let Some(byte) = drip.next() {
                    let _maybe_gone = stream.write_all(&[*byte]);
                }
            }
            begun.elapsed()
        }
    };
    let half = hello(2)[..8].to_vec();
    let clients = [
        slow(Vec::new(), b""),
        slow(half, b""),
        slow(Vec::new(), b"zput/c1\n\x00\x07\x01\x01\x02\x00\x00\x00\x00"),
        slow(hello(2), b""),
        slow([&hello(2)[..], b"\x16\x03\x03\x04\x00"].concat(), &[1; 100]),
        slow(hello(1), b""),
        slow([&hello(1)[..], b"\x00\x00\x00\xff"].concat(), &[0; 100]),
    ];
    thread::scope(|scope| {
        let running: Vec<_> = clients.into_iter().map(|client| scope.spawn(client)).collect();
        for (i, client) in running.into_iter().enumerate() {
            let lasted = client.join().unwrap();
            let expected = Duration::from_secs(9)..Duration::from_secs(25);
            assert!(expected.contains(&lasted), "client {i} after {lasted:?}");
        }
    });
}

/// Silence in the middle of something is silence.
#[test]
fn idle_limit_closes_connection_stalled_inside_a_request() {
    let guarded = Guarded::new(&["--anonymous", "put,get", "--idle-timeout", "1"]);
    let slice = frame(&[&[8, 100][..], &[0; 32]].concat());
    let begun = frame(b"\x07\x01k\x00\x00");
    let middles = [
        Vec::new(),
        begun[..2].to_vec(),
        begun[..5].to_vec(),
        [&begun[..], &slice[..10]].concat(),
        [&begun[..], &slice, b"three of a hundred"].concat(),
    ];
    thread::scope(|scope| {
        for middle in middles {
            let mut client = guarded.plain();
            scope.spawn(move || {
                client.write(&middle).unwrap();
                let begun = Instant::now();
                assert!(client.is_hung_up_on());
                let lasted = begun.elapsed();
                assert!(lasted < Duration::from_secs(15), "{middle:?} after {lasted:?}");
            });
        }
    });
    assert!(guarded.forgets_uploads());
}

/// A log is read in terminals and kept for long: no escapes, and no secrets.
#[test]
fn log_has_no_control_characters_or_secrets_from_clients() {
    let root = quick_directory();
    let path = root.path().join("log");
    let mut zserve = Command::new(command_path("zserve"));
    zserve.stderr(File::create(&path).unwrap());
    let args = ["--log", "trace", "--anonymous", "get"];
    let server = ServerProcess::start_by(zserve, &root.path().join("store"), &args);
    let invite: Invite = server.invite(&[]).parse().unwrap();
    let wrong = [0x5a; 32];
    for secret in [wrong, *invite.secret.as_bytes()] {
        let tls = ClientTls::new(&device(), &invite.server_key).unwrap();
        let mut client = RawClient::connect(server.address(), &ClientConfig::Tls(tls)).unwrap();
        let label = "\u{202e}a label".to_owned();
        let _answered = client.ask(&Request::Join { secret, label }).unwrap();
        let _maybe_denied = client.ask(&get(b"\x1b]0;pwned\x07\n"));
    }
    let babble = [b"\x1b[2J".to_vec(), [&hello(1)[..], b"\x1b[2J"].concat()];
    for bytes in babble {
        RawClient::babble(server.address(), &bytes).unwrap();
    }
    assert_eq!(server.stop(), Some(0));
    let log = fs::read_to_string(path).unwrap();
    assert!(log.contains("joined"), "{log}");
    assert!(log.chars().all(|c| c == '\n' || !c.is_control()), "{log:?}");
    for secret in [&wrong, invite.secret.as_bytes()] {
        assert!(!log.contains(&hex::encode(secret)), "{log}");
        assert!(!log.contains(&format!("{secret:?}")), "{log}");
    }
}

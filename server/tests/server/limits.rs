//! Limits, deadlines, garbage, and the end of a server.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use super::peer::{self, begin, bytes, get, seed, serve};
use zput_proto::{
    digest::Digest,
    message::{ErrorCode, Kind, Request, Response, Scopes, Section},
    session::ClientConfig,
};
use zput_testkit::{RawClient, StoreServer, until};

/// Reads until the server closes; gives how long that took.
fn until_closed(mut stream: TcpStream) -> Duration {
    let start = Instant::now();
    let mut rest = Vec::new();
    // A reset is an end as well.
    let _end = stream.read_to_end(&mut rest);
    start.elapsed()
}

/// The idle timeout closes idle connections, also with an open upload, and not busy ones.
#[test]
fn idle_timeout_closes_idle_connection_and_upload() {
    let home = serve(|options| options.limits.idle_timeout = Duration::from_secs(1));
    let peer = home.plain();
    let mut uploading = home.plain();
    assert_eq!(uploading.ask(&begin("k", Kind::Plain)).unwrap(), Response::Begun);
    let mut busy = home.plain();
    for _ in 0..8 {
        thread::sleep(Duration::from_millis(250));
        assert_eq!(busy.ask(&Request::Ping).unwrap(), Response::Pong);
    }
    assert!(until_closed(peer.into_stream()) < Duration::from_secs(1));
    assert!(uploading.end().is_empty());
    until("the upload is gone", || home.staged() == 0);
    assert_eq!(busy.ask(&Request::Ping).unwrap(), Response::Pong);
}

/// A peer that asks and does not read is idle too, and the object is let go.
#[test]
fn idle_timeout_closes_peer_that_does_not_read() {
    let home = serve(|options| options.limits.idle_timeout = Duration::from_secs(1));
    home.plain().put("k", &bytes(16_000_000), 16_000_000);
    let mut peer = home.plain();
    peer.ask(&get("k", &[Section::All; 64], Kind::Plain)).unwrap();
    until("it is closed", || home.server.stats().connections == 0);
}

/// The handshake deadline closes peers that send nothing or half a hello.
#[test]
fn handshake_deadline_closes_silent_and_partial_peer() {
    let home = serve(|_| {});
    let (silent, mut half) = (home.tcp(), home.tcp());
    half.write_all(b"zput/c1\n\x00").unwrap();
    for stream in [silent, half] {
        let took = until_closed(stream);
        assert!(took < Duration::from_secs(13), "{took:?}");
    }
    until("both are gone", || home.server.stats().connections == 0);
}

/// PROTOCOL 9: bytes do not move the deadline of a device without an account; a member's has none
/// but the idle time.
#[test]
fn unregistered_device_deadline_is_not_extended_by_bytes() {
    let home = serve(|_| {});
    let member = seed(1);
    home.enroll(&member, Scopes::GET);
    let start = Instant::now();
    let silent = home.device(&seed(8)).into_stream();
    let (stranger, member) = (home.device(&seed(9)), home.device(&member));
    // The header of a TLS record of 16,384 bytes, and then one byte now and then.
    let trickle = |mut stream: TcpStream, most: Duration| {
        let (begin, mut rest) = (Instant::now(), [0; 100]);
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        stream.write_all(b"\x17\x03\x03\x40\x00").unwrap();
        while begin.elapsed() < most {
            match stream.read(&mut rest) {
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
                Ok(n) if n > 0 => {}
                _closed => return true,
            }
            if stream.write_all(b"x").is_err() {
                return true;
            }
        }
        false
    };
    let closed = thread::spawn(move || trickle(member.into_stream(), Duration::from_secs(14)));
    assert!(trickle(stranger.into_stream(), Duration::from_secs(14)), "a seat held by a trickle");
    assert!(start.elapsed() > Duration::from_secs(9), "{:?}", start.elapsed());
    until_closed(silent);
    assert!(start.elapsed() < Duration::from_secs(14), "{:?}", start.elapsed());
    assert!(!closed.join().unwrap(), "a member may be slow");
}

/// A quarter of the connections is reserved for devices with an account.
#[test]
fn keyless_peers_leave_connections_to_devices() {
    let home = serve(|options| options.limits.max_connections = 8);
    let member = seed(1);
    home.enroll(&member, Scopes::GET);
    let mut keyless: Vec<_> = (0..6).map(|_| home.plain()).collect();
    for peer in &mut keyless {
        assert_eq!(peer.ask(&Request::Ping).unwrap(), Response::Pong);
    }
    for _ in 0..3 {
        let mut more = home.plain();
        let answer = more.ask(&Request::Ping).unwrap();
        assert_eq!(peer::code(&answer), Some(ErrorCode::Busy), "{answer:?}");
    }
    until("they are gone", || home.server.stats().connections == 6);
    let mut members: Vec<_> = (0..2).map(|_| home.device(&member)).collect();
    for peer in &mut members {
        assert_eq!(peer.ask(&Request::Ping).unwrap(), Response::Pong);
    }
    drop(keyless.pop());
    until("a permit is free", || home.server.stats().connections == 7);
    assert_eq!(home.plain().ask(&Request::Ping).unwrap(), Response::Pong);
}

/// Keyless peers beyond their share make room for a device at once, also when they say nothing.
#[test]
fn connection_limit_evicts_silent_keyless_peers_beyond_their_share() {
    let home = serve(|options| options.limits.max_connections = 8);
    let member = seed(1);
    home.enroll(&member, Scopes::GET);
    let mut keyless: Vec<_> = (0..6).map(|_| home.plain()).collect();
    for peer in &mut keyless {
        assert_eq!(peer.ask(&Request::Ping).unwrap(), Response::Pong);
    }
    let begun = Instant::now();
    let silent: Vec<_> = (0..2).map(|_| home.plain()).collect();
    until("every connection is taken", || home.server.stats().connections == 8);
    let mut devices = Vec::new();
    until("two devices have got in", || {
        devices.extend(RawClient::over(home.tcp(), &home.tls(&member)).ok());
        devices.len() == 2
    });
    // A silent peer would be closed for its silence after ten seconds.
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    for peer in keyless.iter_mut().chain(&mut devices) {
        assert_eq!(peer.ask(&Request::Ping).unwrap(), Response::Pong);
    }
    for peer in silent {
        until_closed(peer.into_stream());
    }
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
}

/// At the connection limit, a silent peer that has not authenticated is evicted for a new
/// connection.
#[test]
fn connection_limit_evicts_silent_peer_for_device() {
    let home = serve(|options| options.limits.max_connections = 4);
    let member = seed(1);
    home.enroll(&member, Scopes::GET);
    let mut silent: Vec<_> = (0..4).map(|_| home.tcp()).collect();
    until("all permits are taken", || home.server.stats().connections == 4);
    let begun = Instant::now();
    let mut device = loop {
        match RawClient::over(home.tcp(), &home.tls(&member)) {
            Ok(device) => break device,
            // Each peer has a second to authenticate before it can be evicted.
            Err(_) => thread::sleep(Duration::from_millis(50)),
        }
        assert!(begun.elapsed() < Duration::from_secs(8), "evicted before they time out");
    };
    assert_eq!(device.ask(&Request::Ping).unwrap(), Response::Pong);
    let first = silent.remove(0);
    assert!(until_closed(first) < Duration::from_secs(8), "the first one was evicted");
}

/// A stalled upload on a connection that sends pings is evicted when another peer needs its
/// permit.
#[test]
fn connection_limit_evicts_stalled_keyless_uploads() {
    let home = serve(|options| {
        (options.limits.max_connections, options.limits.idle_timeout) = (4, Duration::from_secs(2))
    });
    let member = seed(1);
    home.enroll(&member, Scopes::PUT);
    // Three quarters of four.
    let mut still: Vec<_> = (0..3).map(|_| home.plain()).collect();
    for (peer, name) in still.iter_mut().zip(["a", "b", "c"]) {
        assert_eq!(peer.ask(&begin(name, Kind::Plain)).unwrap(), Response::Begun);
    }
    let mut come = Vec::new();
    let piece = bytes(65_536);
    until("others have come in their place, and go on", || {
        for peer in &mut still {
            // Whoever has made room hears nothing.
            let _pong = peer.ask(&Request::Ping);
        }
        if let Ok(mut peer) = RawClient::over(home.tcp(), &ClientConfig::Plaintext)
            && matches!(peer.ask(&begin("d", Kind::Plain)), Ok(Response::Begun))
        {
            come.push(peer);
        }
        come.retain_mut(|peer| {
            peer.queue_slice(&piece);
            matches!(peer.receive(), Ok(Response::SliceHeld))
        });
        come.len() == 3
    });
    let mut device = home.device(&member);
    assert_eq!(device.ask(&Request::Ping).unwrap(), Response::Pong);
    until("those have made room that had to", || home.server.stats().connections <= 4);
}

/// At the connection limit a further peer is refused with the reason.
#[test]
fn connection_limit_refuses_peer_with_reason() {
    let home = serve(|options| options.limits.max_connections = 2);
    let (mut first, second) = (home.plain(), home.plain());
    let mut refused = 0;
    for _ in 0..5 {
        match RawClient::over(home.tcp(), &ClientConfig::Plaintext) {
            Ok(_) => panic!("a third connection"),
            // The refusal, unless the reset overtook it.
            Err(why) => refused += usize::from(why.to_string().contains("too many connections")),
        }
    }
    assert!(refused > 0);
    assert_eq!(first.ask(&Request::Ping).unwrap(), Response::Pong);
    drop(second);
    until("there is a seat", || RawClient::over(home.tcp(), &ClientConfig::Plaintext).is_ok());
    assert_eq!(first.ask(&Request::Ping).unwrap(), Response::Pong);
}

/// Garbage before or after the handshake closes its connection and harms no other.
#[test]
fn garbage_before_and_after_handshake_closes_connection() {
    let home = serve(|_| {});
    for garbage in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"zput/c1\n\x00\x07\x02\x09\x01\x00\x00\x00\x00",
        b"zput/c1\n\xff\xff",
        b"\0",
    ] {
        let mut stream = home.tcp();
        stream.write_all(garbage).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(until_closed(stream) < Duration::from_secs(5), "{garbage:?}");
    }
    // After the handshake: a frame of an unknown message, and one that is too long.
    for garbage in [b"\x00\x00\x00\x01\x77", b"\xff\xff\xff\xff\x00"] {
        let mut peer = home.plain();
        peer.stream().write_all(garbage).unwrap();
        let mut said = Vec::new();
        peer.stream().read_to_end(&mut said).unwrap();
        // PROTOCOL 6 and 7: answer 12, Error, with the code 1, Malformed.
        assert_eq!(said[4..6], [12, 1], "{said:?}");
    }
    drop(home.tcp());
    until("all are gone", || home.server.stats().connections == 0);
    assert_eq!(home.plain().ask(&Request::Ping).unwrap(), Response::Pong);
}

/// A peer that pours in more than was asked for after its put was refused is cut off.
#[test]
fn lingering_close_cuts_off_peer_that_keeps_sending() {
    let home = serve(|_| {});
    let mut peer = home.plain();
    peer.stream().write_all(b"\x00\x00\x00\x01\x77").unwrap();
    let megabyte = vec![0; 1_000_000];
    let cut = (0..200).any(|_| peer.stream().write_all(&megabyte).is_err());
    assert!(cut, "200 MB were taken from a peer that was dismissed");
    until("it is gone", || home.server.stats().connections == 0);
}

/// A shutdown closes idle connections and waits for gets and uploads under way.
#[test]
fn shutdown_waits_for_gets_and_uploads_under_way() {
    let home = serve(|_| {});
    let object = bytes(16_000_000);
    home.plain().put("k", &object, 16_000_000);
    let address = home.server.addresses()[0].tcp().unwrap();
    let idle = home.plain();
    let mut getting = home.plain();
    let answer = getting.ask(&get("k", &[Section::All; 4], Kind::Plain)).unwrap();
    assert!(matches!(answer, Response::Object { payload: 64_000_000, .. }));
    let mut putting = home.plain();
    assert_eq!(putting.ask(&begin("new", Kind::Plain)).unwrap(), Response::Begun);

    let StoreServer { server, store, dir } = home;
    let stopping = thread::spawn(move || server.shutdown());
    assert!(
        until_closed(idle.into_stream()) < Duration::from_secs(3),
        "an idle one is closed at once"
    );
    until("no connection is accepted any more", || TcpStream::connect(address).is_err());
    assert!(getting.payload().unwrap() == object.repeat(4));
    putting.queue_slice(b"late");
    putting.queue(&Request::Commit);
    assert_eq!(putting.receive().unwrap(), Response::SliceHeld);
    assert!(matches!(putting.receive().unwrap(), Response::Committed { .. }));
    assert!(putting.end().is_empty(), "the server takes its leave");
    assert!(getting.end().is_empty());
    stopping.join().unwrap().unwrap();
    assert_eq!(store.lookup(&peer::key("new"), None).unwrap().info().length, 4);
    drop(dir);
}

/// A shutdown ends at its drain timeout although peers are stuck.
#[test]
fn shutdown_ends_after_drain_timeout() {
    let home = serve(|options| options.limits.shutdown_timeout = Duration::from_millis(300));
    home.plain().put("k", &bytes(16_000_000), 16_000_000);
    let mut stuck = home.plain();
    stuck.ask(&get("k", &[Section::All; 64], Kind::Plain)).unwrap();
    let mut putting = home.plain();
    putting.queue(&begin("new", Kind::Plain));
    putting.queue(&Request::Slice { length: 1_000_000, digest: Digest::of(b"") });
    assert_eq!(putting.receive().unwrap(), Response::Begun);
    let start = Instant::now();
    let StoreServer { server, dir, .. } = home;
    server.shutdown().unwrap();
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!(peer::count(&dir.path().join("staging")), 0);
}

/// ShutdownHandle::stop ends the wait of another thread, and may be called twice.
#[test]
fn shutdown_handle_ends_wait_of_other_thread() {
    let home = serve(|_| {});
    let shutdown_handle = home.server.shutdown_handle().unwrap();
    let waiting = thread::spawn(move || home.server.wait());
    shutdown_handle.stop();
    shutdown_handle.stop();
    waiting.join().unwrap().unwrap();
}

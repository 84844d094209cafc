use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    sync::{Arc, mpsc},
    thread,
};

use zput_proto::{
    hello::ServerLimits,
    message::{RemoteError, Scopes},
    mount::MountName,
    session::{ServerConfig, ServerSession, Transmit},
};

use super::*;
use crate::error::{Error, ErrorKind};

/// Whether `act` returns within ten seconds.
fn ends(act: impl FnOnce() + Send + 'static) -> bool {
    let (done, is_done) = mpsc::channel();
    thread::spawn(move || {
        act();
        let _nobody_waits = done.send(());
    });
    is_done.recv_timeout(Duration::from_secs(10)).is_ok()
}

fn over(stream: UnixStream) -> Connection {
    Connection::from_stream(stream, Remote::Unix("/x".into()), &ClientConfig::Plaintext).unwrap()
}

/// Closing a connection does not wait for a peer that reads nothing.
#[test]
fn connection_close_does_not_wait_for_a_stuck_peer() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    while (&ours).write(&[0; 65_536]).is_ok() {}
    ours.set_nonblocking(false).unwrap();
    assert!(ends(move || over(ours).close()));
    drop(theirs);
}

/// Sending a slice fails if the peer closes before its hello is complete or sends garbage.
#[test]
fn send_slice_fails_when_peer_ends_before_its_hello() {
    for said in [&b""[..], b"zput/s1\n", b"rubbish"] {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(said).unwrap();
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        let slice = move || {
            assert!(over(ours).send_slice(b"slice", Digest::of(b"slice")).is_err());
        };
        assert!(ends(slice), "{said:?}");
        drop(theirs);
    }
}

/// A server that answers with `answer` until its peer closes; returns the requests that it
/// received.
fn serve(
    mut stream: UnixStream,
    answer: impl Fn(&Request) -> Response + Send + 'static,
) -> thread::JoinHandle<Vec<Request>> {
    thread::spawn(move || {
        let config =
            ServerConfig { tls: None, allow_plaintext: true, limits: ServerLimits::default() };
        let mut session = ServerSession::new(Arc::new(config), Instant::now());
        let (mut asked, mut block) = (Vec::new(), vec![0; 65_536]);
        loop {
            let received = stream.read(&mut block).unwrap_or(0);
            if received == 0 {
                return asked;
            }
            let mut rest = &block[..received];
            while !rest.is_empty() {
                let taken = session.handle_input(Instant::now(), rest).unwrap();
                rest = &rest[taken..];
                while let Some(event) = session.poll_event() {
                    if let Event::Message(request) = event {
                        session.send(&answer(&request)).unwrap();
                        asked.push(request);
                    }
                }
            }
            while let Some(Transmit::Bytes(bytes)) = session.poll_transmit(Instant::now()) {
                // A client that was refused may be gone.
                let _gone = stream.write_all(&bytes);
            }
        }
    })
}

fn to_images(
    answer: impl Fn(&Request) -> Response + Send + 'static,
) -> (Connection, thread::JoinHandle<Vec<Request>>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let remote = "zput://example.org:7447/images".parse().unwrap();
    let connection = Connection::from_stream(ours, remote, &ClientConfig::Plaintext).unwrap();
    (connection, serve(theirs, answer))
}

fn honest(request: &Request) -> Response {
    match request {
        Request::Ping => Response::Pong,
        Request::Join { .. } => Response::Joined { scopes: Scopes::GET },
        Request::List { .. } => Response::Page { entries: Vec::new(), next: None, unreadable: 0 },
        Request::Mount { .. } => Response::Mounted,
        _ => refusal(11),
    }
}

fn refusal(code: u8) -> Response {
    Response::Error(RemoteError { code, text: "no".into(), number: 0 })
}

fn list() -> Request {
    Request::List { after: None, limit: 1, headers: false }
}

fn mount() -> Request {
    Request::Mount { name: MountName::parse("images").unwrap() }
}

/// A connection selects its mount once, before the first request that needs it.
#[test]
fn connection_selects_the_mount_once_before_requests() {
    let (mut connection, server) = to_images(honest);
    assert_eq!((connection.capacity(), connection.in_flight()), (63, 0));
    for _ in 0..2 {
        connection.send(&list()).unwrap();
    }
    assert_eq!((connection.capacity(), connection.in_flight()), (61, 2));
    for _ in 0..2 {
        assert!(matches!(connection.receive_ok().unwrap(), Response::Page { .. }));
    }
    assert_eq!(connection.in_flight(), 0);
    assert_eq!(connection.call(&Request::Ping).unwrap(), Response::Pong);
    connection.close();
    assert_eq!(server.join().unwrap(), [mount(), list(), list(), Request::Ping]);
}

/// PROTOCOL 5: Join "is the only request that an unknown device may send".
#[test]
fn connection_joins_before_selecting_the_mount() {
    let (mut connection, server) = to_images(honest);
    let join = Request::Join { secret: [7; 32], label: String::new() };
    connection.send(&join).unwrap();
    connection.send(&list()).unwrap();
    assert_eq!(connection.in_flight(), 2);
    assert!(matches!(connection.receive_ok().unwrap(), Response::Joined { .. }));
    assert!(matches!(connection.receive_ok().unwrap(), Response::Page { .. }));
    connection.close();
    assert_eq!(server.join().unwrap(), [join, mount(), list()]);
}

/// Not even if the server answers the later requests: they would be about another mount.
#[test]
fn connection_drops_answers_when_the_mount_is_missing() {
    let (mut connection, server) = to_images(|request| match request {
        Request::Mount { .. } => refusal(3),
        other => honest(other),
    });
    connection.send(&Request::Ping).unwrap();
    connection.send(&list()).unwrap();
    assert_eq!(connection.receive_ok().unwrap(), Response::Pong);
    for _ in 0..2 {
        let error = connection.receive_ok().unwrap_err();
        assert_eq!(
            error.to_string(),
            "the server zput://example.org:7447 has no mount images, or none for this key file (its \
             operator knows the names; remote in the key file says which is meant)"
        );
        assert_eq!(Error::from(error).kind(), ErrorKind::NotFound);
    }
    assert!(matches!(connection.send(&Request::Ping), Err(ConnectionError::NotMounted { .. })));
    assert!(connection.try_receive().is_none());
    connection.close();
    assert_eq!(server.join().unwrap(), [Request::Ping, mount(), list()]);
}

/// A mount that is refused because the server is busy is reported as busy.
#[test]
fn mount_refusal_for_another_reason_is_reported() {
    let (mut connection, server) = to_images(|_| refusal(6));
    let error = connection.call(&list()).unwrap_err();
    assert_eq!(error.to_string(), "zput://example.org:7447/images is busy: no");
    assert_eq!(Error::from(error).kind(), ErrorKind::Temporary);
    connection.close();
    server.join().unwrap();
}

/// A connection to the root mount sends no mount request.
#[test]
fn connection_to_the_root_sends_no_mount_request() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let remote = "zput://example.org:7447".parse().unwrap();
    let mut connection = Connection::from_stream(ours, remote, &ClientConfig::Plaintext).unwrap();
    let server = serve(theirs, honest);
    assert_eq!(connection.capacity(), 64);
    connection.call(&list()).unwrap();
    connection.close();
    assert_eq!(server.join().unwrap(), [list()]);
}

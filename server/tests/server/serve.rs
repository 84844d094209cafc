//! Every request, answered over a socket.

use std::os::unix::net::UnixStream;

use super::peer::{self, begin, bytes, code, get, key, sealed, seed, serve};
use zput_proto::{
    digest::Digest,
    message::{
        Condition, ErrorCode, HeaderSlice, Kind, Request, Response, Scopes, Section, VersionState,
    },
    session::ClientConfig,
};
use zput_server::{embedded, mounts::Policy};
use zput_testkit::{RawClient, StoreServer, until};

/// A get returns the bytes and the ranges of what was put.
#[test]
fn put_then_get_returns_bytes_and_ranges() {
    let home = serve(|_| {});
    let mut peer = home.plain();
    let object = bytes(3_000_000);
    let version = peer.put("k", &object, 1_000_000);
    let (info, got) = peer.get("k", &[Section::All]).unwrap();
    assert_eq!((info.version, info.length), (version, 3_000_000));
    assert!(got == object);
    let sections = [
        Section::Range { offset: 2_999_999, length: 1 },
        Section::Range { offset: 0, length: 0 },
        Section::Range { offset: 5, length: 100_000 },
    ];
    let (_, got) = peer.get("k", &sections).unwrap();
    assert!(got == [&object[2_999_999..], &object[5..100_005]].concat());
    assert_eq!(peer.get("k", &[]).unwrap().1, b"");
}

/// An empty object is put and got, and the connection stays open.
#[test]
fn put_then_get_of_empty_object_works() {
    let home = serve(|_| {});
    let mut peer = home.plain();
    peer.put("empty", b"", 1);
    assert_eq!(peer.get("empty", &[Section::All]).unwrap().1, b"");
    assert_eq!(peer.ask(&Request::Ping).unwrap(), Response::Pong);
}

/// Requests that fail are answered with their error codes, and the connection stays open.
#[test]
fn request_errors_are_answered_and_keep_connection() {
    let home = serve(|_| {});
    let mut peer = home.plain();
    peer.put("k", b"0123456789", 10);
    for (request, expected) in [
        (get("absent", &[Section::All], Kind::Plain), ErrorCode::NotFound),
        (get("k", &[Section::All], Kind::Sealed), ErrorCode::Kind),
        (get("k", &[Section::Header], Kind::Plain), ErrorCode::Range),
        (get("k", &[Section::Range { offset: 5, length: 6 }], Kind::Plain), ErrorCode::Range),
        (Request::Stat { key: key("absent"), version: None }, ErrorCode::NotFound),
        (Request::Delete { key: key("absent"), condition: Condition::Any }, ErrorCode::NotFound),
        (Request::Delete { key: key("k"), condition: Condition::Absent }, ErrorCode::Exists),
        (Request::Commit, ErrorCode::State),
        (Request::Abort, ErrorCode::State),
    ] {
        let answer = peer.ask(&request).unwrap();
        assert_eq!(code(&answer), Some(expected), "{request:?}");
    }
    assert_eq!(peer.ask(&Request::Ping).unwrap(), Response::Pong);
}

/// List, versions, delete, restore and stat requests are answered over a socket.
#[test]
fn list_versions_delete_restore_and_stat_are_served() {
    let home = serve(|_| {});
    let mut peer = home.plain();
    let first = peer.put("a", b"1", 1);
    let second = peer.put("a", b"22", 2);
    peer.put("b", b"3", 1);

    let list = Request::List { after: None, limit: 1000, headers: true };
    let Response::Page { entries, next, .. } = peer.ask(&list).unwrap() else { panic!() };
    let mut keys: Vec<_> = entries.iter().map(|e| (e.key.to_string(), e.info.length)).collect();
    keys.sort();
    assert_eq!(keys, [("a".to_owned(), 2), ("b".to_owned(), 1)]);
    assert_eq!(next, None);

    let versions = Request::Versions { key: key("a"), after: None, limit: 10 };
    let Response::Versions { versions, .. } = peer.ask(&versions).unwrap() else { panic!() };
    let found: Vec<_> = versions.iter().map(|v| (v.version, v.state)).collect();
    assert_eq!(found, [(second, VersionState::Current), (first, VersionState::History)]);

    let delete = Request::Delete { key: key("a"), condition: Condition::Any };
    assert_eq!(peer.ask(&delete).unwrap(), Response::Deleted { version: second });
    assert_eq!(code(&peer.get("a", &[Section::All]).unwrap_err()), Some(ErrorCode::NotFound));
    let restore = Request::Restore { key: key("a"), version: second };
    assert_eq!(peer.ask(&restore).unwrap(), Response::Committed { version: second });
    assert_eq!(peer.get("a", &[Section::All]).unwrap().1, b"22");
    let stat = Request::Stat { key: key("a"), version: Some(first) };
    let Response::Stat { info } = peer.ask(&stat).unwrap() else { panic!() };
    assert_eq!(info.length, 1);
}

/// Pipelined requests of the zput protocol are answered in order.
#[test]
fn zput_pipelined_requests_are_answered_in_order() {
    let home = serve(|_| {});
    let mut peer = home.plain();
    let object = bytes(100_000);
    peer.put("k", &object, 100_000);
    for n in 0..20 {
        peer.queue(&get("k", &[Section::Range { offset: n * 1000, length: 1000 }], Kind::Plain));
        peer.queue(&Request::Ping);
        peer.queue(&get("absent", &[], Kind::Plain));
    }
    for n in 0..20 {
        let answer = peer.receive().unwrap();
        assert!(matches!(answer, Response::Object { payload: 1000, .. }), "{n}: {answer:?}");
        assert!(peer.payload().unwrap() == object[n * 1000..(n + 1) * 1000]);
        assert_eq!(peer.receive().unwrap(), Response::Pong);
        assert_eq!(code(&peer.receive().unwrap()), Some(ErrorCode::NotFound));
    }
}

/// A TLS connection puts and gets sealed objects and refuses plain ones.
#[test]
fn tls_connection_carries_sealed_objects_only() {
    let home = serve(|_| {});
    let device = seed(1);
    home.enroll(&device, Scopes::ALL);
    let mut peer = home.device(&device);
    let [header, body, footer] = sealed("blob", 500_000);
    peer.queue(&begin("blob", Kind::Sealed));
    for slice in [&body, &footer] {
        peer.queue_slice(slice);
    }
    peer.queue(&Request::Commit);
    assert_eq!(peer.receive().unwrap(), Response::Begun);
    for _ in 0..2 {
        assert_eq!(peer.receive().unwrap(), Response::SliceHeld);
    }
    assert!(matches!(peer.receive().unwrap(), Response::Committed { .. }));
    let asked = [Section::Footer, Section::Header, Section::Body];
    let answer = peer.ask(&get("blob", &asked, Kind::Sealed)).unwrap();
    let Response::Object { info, header: said, payload } = answer else { panic!("{answer:?}") };
    assert_eq!((info.header_length, info.footer_length, payload), (300, 87, 500_087));
    assert_eq!(said, Some(header));
    assert!(peer.payload().unwrap() == [&footer[..], &body].concat());
    // The header names the object: no raw bytes hold any of it.
    let touching = Section::Range { offset: 299, length: 1 };
    for section in [Section::All, touching, Section::Range { offset: 0, length: 0 }] {
        let answer = peer.ask(&get("blob", &[section], Kind::Sealed)).unwrap();
        assert_eq!(code(&answer), Some(ErrorCode::Range), "{section:?}");
    }
    let behind = Section::Range { offset: 300, length: 10 };
    let answer = peer.ask(&get("blob", &[behind], Kind::Sealed)).unwrap();
    assert!(matches!(answer, Response::Object { header: None, payload: 10, .. }), "{answer:?}");
    assert_eq!(peer.payload().unwrap(), body[..10]);

    home.plain().put("clear", b"x", 1);
    let answer = peer.ask(&get("clear", &[Section::All], Kind::Plain)).unwrap();
    assert_eq!(code(&answer), Some(ErrorCode::Kind));
    let answer = peer.ask(&begin("clear", Kind::Plain)).unwrap();
    assert_eq!(code(&answer), Some(ErrorCode::Kind));
    assert_eq!(peer.ask(&Request::Ping).unwrap(), Response::Pong);
}

/// Plain objects are neither put nor got on a mount that does not allow unsealed ones.
#[test]
fn plain_objects_need_unsealed_policy() {
    let home =
        StoreServer::start(Policy { allow_unsealed: false, ..StoreServer::EVERYTHING }, |_| {});
    let mut peer = home.plain();
    assert_eq!(code(&peer.ask(&begin("k", Kind::Plain)).unwrap()), Some(ErrorCode::Kind));
    let answer = peer.ask(&get("k", &[], Kind::Plain)).unwrap();
    assert_eq!(code(&answer), Some(ErrorCode::Kind));
}

/// A slice with a wrong digest ends its upload, and the connection stays open.
#[test]
fn slice_with_wrong_digest_ends_upload_and_keeps_connection() {
    let home = serve(|_| {});
    let mut peer = home.plain();
    let slice = bytes(2_000_000);
    peer.queue(&begin("k", Kind::Plain));
    peer.queue_slice(&slice);
    peer.queue_slice_as(&slice, Digest::of(b"something else"));
    // PROTOCOL 5: "the slices that are still on their way are read, thrown away and answered
    // State".
    peer.queue_slice(&slice);
    peer.queue(&Request::Commit);
    peer.queue(&Request::Ping);
    assert_eq!(peer.receive().unwrap(), Response::Begun);
    assert_eq!(peer.receive().unwrap(), Response::SliceHeld);
    assert_eq!(code(&peer.receive().unwrap()), Some(ErrorCode::Digest));
    assert_eq!(code(&peer.receive().unwrap()), Some(ErrorCode::State));
    assert_eq!(code(&peer.receive().unwrap()), Some(ErrorCode::State));
    assert_eq!(peer.receive().unwrap(), Response::Pong);
    assert_eq!(home.staged(), 0);
    // The connection has room for a new upload.
    peer.put("k", &slice, 500_000);
    assert!(peer.get("k", &[Section::All]).unwrap().1 == slice);
}

/// A second Begin during an upload is refused with State and ends the first.
#[test]
fn second_begin_is_refused_and_ends_first_upload() {
    let home = serve(|_| {});
    let mut peer = home.plain();
    assert_eq!(peer.ask(&begin("a", Kind::Plain)).unwrap(), Response::Begun);
    assert_eq!(home.staged(), 1);
    assert_eq!(code(&peer.ask(&begin("b", Kind::Plain)).unwrap()), Some(ErrorCode::State));
    peer.queue_slice(b"for b, not for a");
    assert_eq!(code(&peer.receive().unwrap()), Some(ErrorCode::State));
    assert_eq!(code(&peer.ask(&Request::Commit).unwrap()), Some(ErrorCode::State));
    until("the staging file is gone", || home.staged() == 0);
}

/// An Abort removes the upload's staging file.
#[test]
fn abort_removes_staging_file() {
    let home = serve(|_| {});
    let mut peer = home.plain();
    peer.queue(&begin("k", Kind::Plain));
    peer.queue_slice(b"bytes");
    peer.queue(&Request::Abort);
    assert_eq!(peer.receive().unwrap(), Response::Begun);
    assert_eq!(peer.receive().unwrap(), Response::SliceHeld);
    assert_eq!(peer.receive().unwrap(), Response::Aborted);
    assert_eq!(home.staged(), 0);
}

/// A sealed put whose bytes are no blob is Malformed and closes the connection.
#[test]
fn sealed_put_of_unsealed_bytes_closes_connection() {
    let home = serve(|_| {});
    let mut peer = home.plain();
    peer.queue(&begin("k", Kind::Sealed));
    peer.queue_slice(b"not the magic of a sealed blob");
    peer.queue(&Request::Commit);
    peer.queue(&Request::Ping);
    let said: Vec<_> = peer.end().iter().map(code).collect();
    assert_eq!(said.last(), Some(&Some(ErrorCode::Malformed)), "{said:?}");
}

/// PROTOCOL 5, "What a server checks": the connection ends, and what was there stays.
#[test]
fn put_of_unreadable_blob_is_refused_and_keeps_old_version() {
    let home = serve(|_| {});
    let [header, body, footer] = sealed("k", 500);
    let put = |header: &[u8], slices: &[&[u8]]| {
        let mut peer = home.plain();
        let header = Some(HeaderSlice::of(header.to_vec()));
        let (kind, condition) = (Kind::Sealed, Condition::Any);
        peer.queue(&Request::Begin { key: key("k"), kind, condition, header });
        slices.iter().for_each(|slice| peer.queue_slice(slice));
        peer.queue(&Request::Commit);
        peer
    };
    let mut peer = put(&header, &[&body, &footer]);
    for expected in [Response::Begun, Response::SliceHeld, Response::SliceHeld] {
        assert_eq!(peer.receive().unwrap(), expected);
    }
    assert!(matches!(peer.receive().unwrap(), Response::Committed { .. }));
    let mut suite = header.clone();
    suite[14] = 9;
    let (one, two) = body.split_at(250);
    let other = peer::bytes(501);
    let cases = [
        ("an unknown suite", &suite, vec![&body[..], &footer]),
        ("the footer twice", &header, vec![&body, &footer, &footer]),
        ("a part in two slices", &header, vec![one, two, &footer]),
        ("another part", &header, vec![&other[1..], &footer]),
        ("no footer", &header, vec![&body]),
    ];
    for (case, header, slices) in cases {
        let said: Vec<_> = put(header, &slices).end().iter().map(code).collect();
        assert_eq!(said.last(), Some(&Some(ErrorCode::Malformed)), "{case}: {said:?}");
        let mut peer = home.plain();
        let answer = peer.ask(&get("k", &[Section::Body, Section::Footer], Kind::Sealed)).unwrap();
        assert!(matches!(answer, Response::Object { .. }), "{case}: {answer:?}");
        assert!(peer.payload().unwrap() == [&body[..], &footer].concat(), "{case}");
    }
    assert_eq!(home.staged(), 0);
}

/// A server on a Unix socket serves it and removes its file at the shutdown.
#[test]
fn unix_socket_is_served_and_removed_at_shutdown() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("zput.sock");
    let unix = format!("unix:{}", path.display()).parse().unwrap();
    let home = serve(|options| options.listen = vec![unix]);
    let stream = UnixStream::connect(&path).unwrap();
    let mut peer = RawClient::over(stream, &ClientConfig::Plaintext).unwrap();
    let object = bytes(2_000_000);
    peer.put("k", &object, 1_000_000);
    assert!(peer.get("k", &[Section::All]).unwrap().1 == object);
    drop(peer);
    home.server.shutdown().unwrap();
    assert!(!path.exists());
}

/// An embedded server serves its own program over several connections.
#[test]
fn embedded_server_serves_several_connections() {
    let dir = tempfile::tempdir().unwrap();
    let clock = zput_server::store::Clock::system();
    let store = zput_server::store::Store::open(dir.path(), clock).unwrap();
    let (stream, server) = embedded::serve(&store).unwrap();
    let mut peer = RawClient::over(stream, &ClientConfig::Plaintext).unwrap();
    let object = bytes(5_000_000);
    peer.put("k", &object, 1_000_000);
    let second = server.connect().unwrap();
    let mut second = RawClient::over(second, &ClientConfig::Plaintext).unwrap();
    assert!(second.get("k", &[Section::All]).unwrap().1 == object);
    drop((peer, second));
    drop(server);
}

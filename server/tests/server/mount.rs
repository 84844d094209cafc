//! Which mount a connection speaks of (PROTOCOL 5).

use super::peer::{begin, bytes, code, get, key, seed, serve};
use zput_common::{
    mount::MountName,
    proto::message::{Condition, ErrorCode, Kind, Request, Response, Scopes, Section, Version},
};

fn mount(name: &str) -> Request {
    Request::Mount { name: MountName::parse(name).unwrap() }
}

/// One of each request that speaks of a mount, and needs no upload.
fn requests() -> [Request; 7] {
    let condition = Condition::Any;
    [
        get("k", &[Section::All], Kind::Plain),
        Request::Stat { key: key("k"), version: None },
        Request::List { after: None, limit: 1, headers: false },
        Request::Versions { key: key("k"), after: None, limit: 1 },
        begin("k", Kind::Plain),
        Request::Delete { key: key("k"), condition },
        Request::Restore { key: key("k"), version: Version(1) },
    ]
}

#[test]
fn the_root_is_mounted_from_the_start_and_by_its_name() {
    let home = serve(|_| {});
    let mut peer = home.plain();
    peer.put("k", b"0123456789", 10);
    assert_eq!(peer.ask(&mount("")).unwrap(), Response::Mounted);
    assert!(matches!(peer.ask(&requests()[0]).unwrap(), Response::Object { payload: 10, .. }));
    assert_eq!(peer.payload().unwrap(), b"0123456789");
}

/// PROTOCOL 5: "After a Mount that fails the connection speaks of no mount": what a client sent behind it
/// without waiting reaches no other.
#[test]
fn behind_a_mount_that_is_not_there_nothing_is() {
    let home = serve(|_| {});
    let mut peer = home.plain();
    let version = peer.put("k", b"0123456789", 10);
    for name in ["images", "a/b"] {
        peer.say(&mount(name));
        for request in requests() {
            peer.say(&request);
        }
        for _ in 0..=requests().len() {
            assert_eq!(code(&peer.hear().unwrap()), Some(ErrorCode::NotFound), "{name}");
        }
        assert_eq!(peer.ask(&Request::Ping).unwrap(), Response::Pong);
    }
    // The slices of a put that did not begin are read, and go nowhere.
    peer.say(&begin("k", Kind::Plain));
    peer.say_slice(&bytes(1_000_000));
    peer.say(&Request::Commit);
    let said: Vec<_> = (0..3).map(|_| code(&peer.hear().unwrap())).collect();
    let state = Some(ErrorCode::State);
    assert_eq!(said, [Some(ErrorCode::NotFound), state, state]);

    assert_eq!(peer.ask(&mount("")).unwrap(), Response::Mounted);
    let Response::Stat { info } = peer.ask(&requests()[1]).unwrap() else { panic!("no stat") };
    assert_eq!((info.version, info.length), (version, 10));
    assert_eq!(home.staged(), 0);
}

#[test]
fn a_mount_ends_an_open_upload() {
    let home = serve(|_| {});
    let mut peer = home.plain();
    assert_eq!(peer.ask(&begin("k", Kind::Plain)).unwrap(), Response::Begun);
    peer.say_slice(b"0123456789");
    assert_eq!(peer.hear().unwrap(), Response::SliceHeld);
    for request in [mount(""), Request::Commit] {
        assert_eq!(code(&peer.ask(&request).unwrap()), Some(ErrorCode::State), "{request:?}");
    }
    // It is still the root's: only what was under way is lost.
    assert!(peer.put("k", b"1", 1) > Version(0));
}

#[test]
fn every_peer_may_turn_to_a_mount_but_a_stranger() {
    let home = serve(|options| options.plaintext = Scopes::LIST);
    assert_eq!(home.plain().ask(&mount("")).unwrap(), Response::Mounted);
    home.enroll(&seed(1), Scopes::NONE);
    let mut member = home.device(&seed(1));
    assert_eq!(member.ask(&mount("")).unwrap(), Response::Mounted);
    // The scopes are asked about first.
    assert_eq!(code(&member.ask(&mount("images")).unwrap()), Some(ErrorCode::NotFound));
    assert_eq!(code(&member.ask(&requests()[1]).unwrap()), Some(ErrorCode::Denied));
    let mut stranger = home.device(&seed(2));
    assert_eq!(code(&stranger.ask(&mount("")).unwrap()), Some(ErrorCode::Denied));
    assert!(stranger.end().is_empty(), "closed");
}

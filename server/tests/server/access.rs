//! Who may do what (PROTOCOL 5).
use zput_testkit::{RawClient, StoreServer};

use super::peer::{begin, code, get, key, public, sealed, seed};
use zput_proto::{
    message::{Condition, ErrorCode, Kind, Request, Response, Scopes, Section, Version},
    session::ClientConfig,
};
use zput_server::mounts::Policy;

/// A server that refuses peers without a key.
fn guarded() -> StoreServer {
    StoreServer::start(Policy::PRIVATE, |_| {})
}

fn join(home: &StoreServer, scopes: Scopes) -> Request {
    Request::Join { secret: *home.invite(scopes).as_bytes(), label: "laptop".to_owned() }
}

/// One request for each scope.
fn requests() -> [(&'static str, Request); 6] {
    let condition = Condition::Any;
    [
        ("get", get("k", &[Section::All], Kind::Sealed)),
        ("get", Request::Stat { key: key("k"), version: None }),
        ("get", Request::Versions { key: key("k"), after: None, limit: 1 }),
        ("list", Request::List { after: None, limit: 1, headers: false }),
        ("delete", Request::Delete { key: key("k"), condition }),
        ("delete", Request::Restore { key: key("k"), version: Version(1) }),
    ]
}

/// A server whose mounts give plaintext no scope refuses plaintext connections.
#[test]
fn server_without_plaintext_scopes_refuses_plaintext() {
    let home = guarded();
    let Err(why) = RawClient::over(home.tcp(), &ClientConfig::Plaintext) else {
        panic!("connected")
    };
    assert!(why.to_string().contains("refuses"), "{why}");
}

/// An unregistered device is denied and closed, whatever it requests.
#[test]
fn unregistered_device_is_denied_and_closed_on_any_request() {
    let home = guarded();
    let put = ("put", begin("k", Kind::Sealed));
    let ping = ("", Request::Ping);
    for (_, request) in requests().into_iter().chain([put, ping]) {
        let mut peer = home.device(&seed(9));
        assert_eq!(code(&peer.ask(&request).unwrap()), Some(ErrorCode::Denied), "{request:?}");
        assert!(peer.end().is_empty(), "closed after {request:?}");
    }
}

/// A Join registers a device for its connection and for later ones.
#[test]
fn join_registers_device_for_this_and_later_connections() {
    let home = guarded();
    let mut peer = home.device(&seed(1));
    let answer = peer.ask(&join(&home, Scopes::GET.and(Scopes::LIST))).unwrap();
    assert_eq!(answer, Response::Joined { scopes: Scopes::GET.and(Scopes::LIST) });
    let list = Request::List { after: None, limit: 1, headers: false };
    assert!(matches!(peer.ask(&list).unwrap(), Response::Page { .. }));
    // Another connection of the same device.
    assert!(matches!(home.device(&seed(1)).ask(&list).unwrap(), Response::Page { .. }));
    assert_eq!(
        home.store.scopes_of(&public(&seed(1))).unwrap(),
        Some(Scopes::GET.and(Scopes::LIST))
    );
}

/// A Join with a wrong invite is denied and closes the connection before a second try.
#[test]
fn join_with_wrong_invite_is_denied_and_closed() {
    let home = guarded();
    let good = join(&home, Scopes::ALL);
    let mut peer = home.device(&seed(1));
    peer.queue(&Request::Join { secret: [0x5a; 32], label: String::new() });
    peer.queue(&good);
    let said = peer.end();
    assert_eq!(said.iter().map(code).collect::<Vec<_>>(), [Some(ErrorCode::Denied)]);
    assert_eq!(home.store.scopes_of(&public(&seed(1))).unwrap(), None);
    // The good invite was not spent by it.
    assert!(matches!(home.device(&seed(1)).ask(&good).unwrap(), Response::Joined { .. }));
}

/// PROTOCOL 5: the scopes of a second invite are added, on this connection and the next.
#[test]
fn join_with_second_invite_adds_scopes() {
    let home = guarded();
    home.enroll(&seed(1), Scopes::GET);
    let list = Request::List { after: None, limit: 1, headers: false };
    let mut peer = home.device(&seed(1));
    assert_eq!(code(&peer.ask(&list).unwrap()), Some(ErrorCode::Denied));
    let both = Scopes::GET.and(Scopes::LIST);
    let answer = peer.ask(&join(&home, Scopes::LIST)).unwrap();
    assert_eq!(answer, Response::Joined { scopes: both });
    assert!(matches!(peer.ask(&list).unwrap(), Response::Page { .. }));
    assert_eq!(home.store.scopes_of(&public(&seed(1))).unwrap(), Some(both));
}

/// PROTOCOL 5: the answer to a Join that was lost can be asked for again.
#[test]
fn join_with_spent_invite_returns_scopes_to_registered_device() {
    let home = guarded();
    let invite = join(&home, Scopes::GET);
    for _ in 0..2 {
        let answer = home.device(&seed(1)).ask(&invite).unwrap();
        assert_eq!(answer, Response::Joined { scopes: Scopes::GET });
    }
    let mut peer = home.device(&seed(1));
    let unknown = Request::Join { secret: [0x5a; 32], label: String::new() };
    assert_eq!(peer.ask(&unknown).unwrap(), Response::Joined { scopes: Scopes::GET });
    assert_eq!(peer.ask(&Request::Ping).unwrap(), Response::Pong);
    let answer = home.device(&seed(2)).ask(&invite).unwrap();
    assert_eq!(code(&answer), Some(ErrorCode::Denied), "of another device it is spent");
}

/// A person edits an account, and makes a mistake: the device is told whose it is to mend, and
/// until then may do nothing, whatever it asks. When it is mended, it is let in.
#[test]
fn device_with_damaged_account_file_is_unreadable_until_mended() {
    let home = guarded();
    home.enroll(&seed(1), Scopes::ALL);
    let clients = std::fs::read_dir(home.dir.path().join("clients")).unwrap();
    let files: Vec<_> = clients.map(|entry| entry.unwrap().path()).collect();
    let [file] = files.as_slice() else { panic!("{files:?}") };
    let good = std::fs::read_to_string(file).unwrap();
    std::fs::write(file, good.replace("scopes", "scoops")).unwrap();
    let put = ("put", begin("k", Kind::Sealed));
    for (_, request) in requests().into_iter().chain([put, ("", Request::Ping)]) {
        let mut peer = home.device(&seed(1));
        let answer = peer.ask(&request).unwrap();
        assert_eq!(code(&answer), Some(ErrorCode::Unreadable), "{request:?}");
        let Response::Error(error) = answer else { panic!("{request:?}") };
        assert_eq!(
            error.text,
            "the server cannot read what this device may do: its operator has to mend the account"
        );
        assert!(peer.end().is_empty(), "closed after {request:?}");
    }
    std::fs::write(file, good).unwrap();
    assert_eq!(home.device(&seed(1)).ask(&Request::Ping).unwrap(), Response::Pong);
}

/// A device's scope allows its own requests and no others.
#[test]
fn scope_allows_its_requests_only() {
    let home = guarded();
    for (n, scope) in ["put", "get", "list", "delete"].into_iter().enumerate() {
        let device = seed(u8::try_from(n).unwrap());
        home.enroll(&device, Scopes::named(scope).unwrap());
        let mut peer = home.device(&device);
        for (needed, request) in requests() {
            let answer = peer.ask(&request).unwrap();
            let denied = code(&answer) == Some(ErrorCode::Denied);
            assert_eq!(denied, needed != scope, "{request:?} with {scope}: {answer:?}");
        }
        assert_eq!(peer.ask(&Request::Ping).unwrap(), Response::Pong);
        let answer = peer.ask(&begin("k", Kind::Sealed)).unwrap();
        if scope == "put" {
            assert_eq!(answer, Response::Begun);
        } else {
            assert_eq!(code(&answer), Some(ErrorCode::Denied));
            assert!(peer.end().is_empty(), "closed");
        }
    }
}

/// A plaintext peer has the scopes of the mount's policy and cannot join.
#[test]
fn plaintext_peer_has_scopes_of_mount_policy() {
    let home =
        StoreServer::start(Policy { anonymous: Scopes::GET, ..StoreServer::EVERYTHING }, |_| {});
    let mut peer = home.plain();
    for (needed, request) in requests() {
        let answer = peer.ask(&request).unwrap();
        let denied = code(&answer) == Some(ErrorCode::Denied);
        assert_eq!(denied, needed != "get", "{request:?}: {answer:?}");
    }
    let answer = peer.ask(&join(&home, Scopes::ALL)).unwrap();
    assert_eq!(
        code(&answer),
        Some(ErrorCode::Denied),
        "there is no key that could have an account"
    );
}

/// PROTOCOL 5: "The slices of an unknown device, or of one that may not put, are not read at all".
#[test]
fn slices_of_device_without_put_scope_are_not_read() {
    let home = guarded();
    home.enroll(&seed(1), Scopes::GET);
    let [_, body, footer] = sealed("k", 200_000);
    for device in [seed(1), seed(9)] {
        let mut peer = home.device(&device);
        peer.queue(&begin("k", Kind::Sealed));
        for slice in [&body, &footer] {
            peer.queue_slice(slice);
        }
        peer.queue(&Request::Commit);
        let said = peer.end();
        assert_eq!(said.iter().map(code).collect::<Vec<_>>(), [Some(ErrorCode::Denied)]);
    }
    assert_eq!(home.staged(), 0);
}

/// A Slice without a Begin is denied to a device without the put scope.
#[test]
fn slice_without_begin_requires_put_scope() {
    let home = guarded();
    home.enroll(&seed(1), Scopes::GET);
    let mut peer = home.device(&seed(1));
    peer.queue_slice(b"x");
    assert_eq!(peer.end().iter().map(code).collect::<Vec<_>>(), [Some(ErrorCode::Denied)]);
}

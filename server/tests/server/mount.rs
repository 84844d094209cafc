//! Which mount a connection speaks of (PROTOCOL 5).

use std::{fs, path::Path, time::Duration};

use super::peer::{begin, bytes, code, get, key, seed, serve, serve_mounts};
use zput_proto::{
    message::{Condition, ErrorCode, Kind, Request, Response, Scopes, Section, Version},
    mount::MountName,
};
use zput_testkit::{PATIENCE, RawClient, StoreServer};

use zput_server::mounts::{DirMount, MountPoint, Mounts, Policy, Source};

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

/// The root mount is selected at the start and by a Mount of the empty name.
#[test]
fn root_mount_is_selected_at_start_and_by_empty_name() {
    let home = serve(|_| {});
    let mut peer = home.plain();
    peer.put("k", b"0123456789", 10);
    assert_eq!(peer.ask(&mount("")).unwrap(), Response::Mounted);
    assert!(matches!(peer.ask(&requests()[0]).unwrap(), Response::Object { payload: 10, .. }));
    assert_eq!(peer.payload().unwrap(), b"0123456789");
}

/// PROTOCOL 5: "After a Mount that fails the connection speaks of no mount": what a client sent
/// behind it without waiting reaches no other.
#[test]
fn failed_mount_leaves_connection_without_mount() {
    let home = serve(|_| {});
    let mut peer = home.plain();
    let version = peer.put("k", b"0123456789", 10);
    for name in ["images", "a/b"] {
        peer.queue(&mount(name));
        for request in requests() {
            peer.queue(&request);
        }
        for _ in 0..=requests().len() {
            assert_eq!(code(&peer.receive().unwrap()), Some(ErrorCode::NotFound), "{name}");
        }
        assert_eq!(peer.ask(&Request::Ping).unwrap(), Response::Pong);
    }
    // The slices of a put that did not begin are read, and go nowhere.
    peer.queue(&begin("k", Kind::Plain));
    peer.queue_slice(&bytes(1_000_000));
    peer.queue(&Request::Commit);
    let said: Vec<_> = (0..3).map(|_| code(&peer.receive().unwrap())).collect();
    let state = Some(ErrorCode::State);
    assert_eq!(said, [Some(ErrorCode::NotFound), state, state]);

    assert_eq!(peer.ask(&mount("")).unwrap(), Response::Mounted);
    let Response::Stat { info } = peer.ask(&requests()[1]).unwrap() else { panic!("no stat") };
    assert_eq!((info.version, info.length), (version, 10));
    assert_eq!(home.staged(), 0);
}

/// A Mount during an upload is refused with State and ends the upload.
#[test]
fn mount_during_upload_is_refused_and_ends_upload() {
    let home = serve(|_| {});
    let mut peer = home.plain();
    assert_eq!(peer.ask(&begin("k", Kind::Plain)).unwrap(), Response::Begun);
    peer.queue_slice(b"0123456789");
    assert_eq!(peer.receive().unwrap(), Response::SliceHeld);
    for request in [mount(""), Request::Commit] {
        assert_eq!(code(&peer.ask(&request).unwrap()), Some(ErrorCode::State), "{request:?}");
    }
    // It is still the root's: only what was under way is lost.
    assert!(peer.put("k", b"1", 1) > Version(0));
}

/// Any peer but an unregistered device may select a mount, whatever its scopes.
#[test]
fn mount_is_allowed_to_all_but_unregistered_devices() {
    let home =
        StoreServer::start(Policy { anonymous: Scopes::LIST, ..StoreServer::EVERYTHING }, |_| {});
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

/// A server with a store at the root, a public tree, and a tree that only
/// devices with a key may read.
fn with_trees(open: &Path, closed: &Path) -> StoreServer {
    let tree = |name, path, policy| {
        let source = DirMount::open(path, zput_server::store::Clock::system()).unwrap();
        MountPoint::new(name, Source::Dir(source), policy)
    };
    let public = Policy { public: true, allow_unsealed: true, ..Policy::PRIVATE };
    serve_mounts(
        Policy::PRIVATE,
        [tree("open", open, public), tree("closed/x", closed, Policy::PRIVATE)],
    )
}

fn turned(home: &StoreServer, name: &str) -> RawClient<std::net::TcpStream> {
    let mut peer = home.plain();
    assert_eq!(peer.ask(&mount(name)).unwrap(), Response::Mounted);
    peer
}

/// A directory mount answers get, stat and list, and denies put, delete and restore.
#[test]
fn dir_mount_is_read_and_listed_but_never_written() {
    let (open, closed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::create_dir(open.path().join("deep")).unwrap();
    fs::write(open.path().join("deep/plain"), bytes(700_000)).unwrap();
    let mut blob = vec![3; 5350];
    blob[..14].copy_from_slice(b"\x8Azput\r\n\x1A\x00\x01\x00\x00\x00\xC8");
    blob[5338..].copy_from_slice(b"\x00\x00\x00\x96\x8Azputend");
    fs::write(open.path().join("sealed"), &blob).unwrap();
    let home = with_trees(open.path(), closed.path());
    let mut peer = turned(&home, "open");
    let (info, got) = peer.get("deep/plain", &[Section::All]).unwrap();
    assert!(got == bytes(700_000) && info.kind == Kind::Plain);
    // Twice: from the disk, and from what is open by then.
    for _ in 0..2 {
        let wish = get("sealed", &[Section::Header, Section::Footer, Section::Body], Kind::Sealed);
        let Response::Object { info, header, payload } = peer.ask(&wish).unwrap() else { panic!() };
        assert_eq!((info.header_length, info.footer_length, payload), (200, 150, 5150));
        assert_eq!(header.unwrap(), &blob[..200]);
        assert!(peer.payload().unwrap() == [&blob[5200..], &blob[200..5200]].concat());
    }
    let Response::Stat { info: stat } =
        peer.ask(&Request::Stat { key: key("deep/plain"), version: Some(info.version) }).unwrap()
    else {
        panic!()
    };
    assert_eq!(stat, info);
    let list = Request::List { after: None, limit: 9, headers: true };
    let Response::Page { entries, next, .. } = peer.ask(&list).unwrap() else { panic!() };
    assert_eq!(next, None);
    let listed: Vec<_> = entries.iter().map(|e| (e.key.as_bytes(), e.info.kind)).collect();
    assert_eq!(listed, [(&b"deep/plain"[..], Kind::Plain), (b"sealed", Kind::Sealed)]);
    assert_eq!(entries[0].info, info);
    assert_eq!(entries[1].header.as_deref(), Some(&blob[..200]));
    // Who has a key may put, and still not here.
    home.enroll(&seed(1), Scopes::ALL);
    let mut member = home.device(&seed(1));
    assert_eq!(member.ask(&mount("open")).unwrap(), Response::Mounted);
    for request in [
        begin("k", Kind::Sealed),
        Request::Delete { key: key("sealed"), condition: Condition::Any },
        Request::Restore { key: key("sealed"), version: Version(1) },
    ] {
        let answer = member.ask(&request).unwrap();
        assert_eq!(code(&answer), Some(ErrorCode::Denied), "{request:?}");
    }
    assert!(open.path().join("sealed").exists());
}

/// A keyless peer finds only public mounts; a registered device finds all.
#[test]
fn keyless_peer_sees_only_public_mounts() {
    let (open, closed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(closed.path().join("f"), "text").unwrap();
    let home = with_trees(open.path(), closed.path());
    let mut peer = home.plain();
    for name in ["closed/x", "", "closed", "nowhere"] {
        let answer = peer.ask(&mount(name)).unwrap();
        assert_eq!(code(&answer), Some(ErrorCode::NotFound), "{name}");
    }
    // The root is mounted from the start, and nothing may be had of it.
    let answer = home.plain().ask(&requests()[1]).unwrap();
    assert_eq!(code(&answer), Some(ErrorCode::Denied));
    home.enroll(&seed(1), Scopes::GET);
    let mut member = home.device(&seed(1));
    assert_eq!(member.ask(&mount("closed/x")).unwrap(), Response::Mounted);
    let stat = Request::Stat { key: key("f"), version: None };
    assert!(matches!(member.ask(&stat).unwrap(), Response::Stat { .. }));
    // A protected connection carries no clear payload.
    let plain = get("f", &[Section::All], Kind::Plain);
    assert_eq!(code(&member.ask(&plain).unwrap()), Some(ErrorCode::Kind));
}

/// A mount that a reload removes is NotFound for open connections.
#[test]
fn reload_removes_mount_for_open_connections() {
    let (open, closed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(open.path().join("f"), "text").unwrap();
    let home = with_trees(open.path(), closed.path());
    let mut peer = turned(&home, "open");
    assert_eq!(peer.get("f", &[Section::All]).unwrap().1, b"text");
    let mounts = Mounts::of_store(home.store.clone(), Policy::PRIVATE);
    home.server.reload_handle().unwrap().serve(mounts).unwrap();
    let deadline = std::time::Instant::now() + PATIENCE;
    let stat = Request::Stat { key: key("f"), version: None };
    while code(&peer.ask(&stat).unwrap()) != Some(ErrorCode::NotFound) {
        assert!(std::time::Instant::now() < deadline, "it is still there");
    }
}

/// A server with a public tree `t`, whose names are revalidated after an hour.
fn with_tree_that_is_believed(tree: &Path) -> StoreServer {
    let source = DirMount::open(tree, zput_server::store::Clock::system()).unwrap();
    let policy = Policy {
        public: true,
        allow_unsealed: true,
        revalidate_after: Duration::from_secs(3600),
        ..Policy::PRIVATE
    };
    serve_mounts(Policy::PRIVATE, [MountPoint::new("t", Source::Dir(source), policy)])
}

/// A reload of the same mounts makes the server check cached files again.
#[test]
fn reload_of_same_mounts_revalidates_open_files() {
    let tree = tempfile::tempdir().unwrap();
    let write = |text: &str| {
        fs::write(tree.path().join("new"), text).unwrap();
        fs::rename(tree.path().join("new"), tree.path().join("f")).unwrap();
    };
    write("first");
    let home = with_tree_that_is_believed(tree.path());
    let mut peer = turned(&home, "t");
    let mut text = || peer.get("f", &[Section::All]).unwrap().1;
    assert_eq!(text(), b"first");
    write("second");
    assert_eq!(text(), b"first", "it may be believed still");
    let mut remounter = home.server.reload_handle().unwrap();
    let same = remounter.mounts().clone();
    remounter.serve(same).unwrap();
    assert_eq!(text(), b"second");
}

/// A reload closes the cached files of a removed mount.
#[test]
fn reload_closes_files_of_removed_mount() {
    let tree = tempfile::tempdir().unwrap();
    fs::write(tree.path().join("f"), "text").unwrap();
    let home = with_tree_that_is_believed(tree.path());
    let mut peer = turned(&home, "t");
    assert_eq!(peer.get("f", &[Section::All]).unwrap().1, b"text");
    assert_eq!(peer.ask(&Request::Ping).unwrap(), Response::Pong, "all was sent");
    assert_eq!(home.server.stats().open_files, 1, "it is kept");
    let mounts = Mounts::of_store(home.store.clone(), Policy::PRIVATE);
    home.server.reload_handle().unwrap().serve(mounts).unwrap();
    // The worker that answers was told of the mounts before it was asked.
    assert_eq!(peer.ask(&Request::Ping).unwrap(), Response::Pong);
    assert_eq!(home.server.stats().open_files, 0);
}

//! Waits for the lock of a shard: writers wait for one another, and no other request waits.

use std::{
    fs::{self, File, OpenOptions},
    ops::ControlFlow,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, Sender, channel},
    thread,
};

use zput_proto::{
    message::{Condition, ErrorCode, Kind, Request, Response, Section, Version},
    name::ObjectKey,
};
use zput_server::store::{Damage, Fraction, Observer, ReadFrom, ScrubOptions, ScrubReport, Store};
use zput_testkit::{PATIENCE, RawClient, StoreServer, until};

fn key(name: &str) -> ObjectKey {
    ObjectKey::new(name).unwrap()
}

/// The lock of every shard of a store; those that no writer has made yet are made.
fn locks(store: &Path) -> Vec<File> {
    let open = |shard| {
        let path = store.join(format!("locks/{shard:02x}"));
        OpenOptions::new().append(true).create(true).open(path).unwrap()
    };
    (0..256).map(open).collect()
}

/// Asks for everything that changes nothing, about the object `name` with these versions.
#[track_caller]
fn read_all(client: &mut RawClient, name: &str, versions: &[(Version, &[u8])]) {
    for &(version, body) in versions {
        let (sections, kind) = (vec![Section::All], Kind::Plain);
        let get = Request::Get { key: key(name), version: Some(version), sections, kind };
        let got = client.ask(&get).unwrap();
        assert!(matches!(got, Response::Object { info, .. } if info.version == version));
        assert_eq!(client.payload().unwrap(), body);
        let stat = client.ask(&Request::Stat { key: key(name), version: Some(version) }).unwrap();
        assert!(matches!(stat, Response::Stat { info } if info.version == version));
    }
    let unknown = client.ask(&Request::Stat { key: key(name), version: Some(Version(7)) }).unwrap();
    assert!(matches!(unknown, Response::Error(e) if e.known() == Some(ErrorCode::NotFound)));
    let list = client.ask(&Request::List { after: None, limit: 9, headers: true }).unwrap();
    let Response::Page { entries, unreadable: 0, .. } = list else { panic!("{list:?}") };
    assert!(entries.iter().any(|entry| entry.key == key(name)));
    let list = Request::Versions { key: key(name), after: None, limit: 9 };
    let Response::Versions { versions: found, .. } = client.ask(&list).unwrap() else {
        panic!("no versions")
    };
    let found: Vec<_> = found.iter().map(|version| version.version).collect();
    assert_eq!(found, versions.iter().rev().map(|(version, _)| *version).collect::<Vec<_>>());
    // "Exists" is told before anything is sent.
    let (condition, header) = (Condition::Absent, None);
    let begin = Request::Begin { key: key(name), kind: Kind::Plain, condition, header };
    let begun = client.ask(&begin).unwrap();
    assert!(matches!(begun, Response::Error(e) if e.known() == Some(ErrorCode::Exists)));
}

/// A lock of each shard is held, and a put waits for one: gets, stats, listings and what a put
/// asks first are answered while it is so.
#[test]
fn held_lock_delays_no_get() {
    let server = StoreServer::start(StoreServer::EVERYTHING, |_| {});
    let mut client = server.plain();
    let old = client.put("a", b"old", 100);
    let new = client.put("a", b"new", 100);
    let locks = locks(server.dir.path());
    locks.iter().for_each(|lock| lock.lock().unwrap());
    thread::scope(|scope| {
        let writer = scope.spawn(|| server.plain().put("a", b"newest", 100));
        let waits = "\nzserve_lock_queued{for=\"lock\"} 1\n";
        until(waits, || server.server.metrics().encode().unwrap().contains(waits));
        read_all(&mut client, "a", &[(old, b"old"), (new, b"new")]);
        assert!(!writer.is_finished(), "it was the lock that the put waited for");
        drop(locks);
        let newest = writer.join().unwrap();
        read_all(&mut client, "a", &[(old, b"old"), (new, b"new"), (newest, b"newest")]);
    });
}

/// Stops in the middle of the second look at a corrupt file, and goes on when it is told to.
struct StopsInSecondLook {
    /// What is still to be read before it stops.
    left: u64,
    stopped: Sender<()>,
    go_on: Receiver<()>,
}

impl Observer for StopsInSecondLook {
    fn on_read(&mut self, bytes: u64) -> ControlFlow<()> {
        let is_there = self.left > 0 && bytes >= self.left;
        self.left = self.left.saturating_sub(bytes);
        if is_there {
            self.stopped.send(()).unwrap();
            self.go_on.recv_timeout(PATIENCE).unwrap();
        }
        ControlFlow::Continue(())
    }

    fn on_damage(&mut self, _damage: &Damage) {}
}

fn scrub(store: &Store, observer: &mut dyn Observer) -> ScrubReport {
    let options = ScrubOptions { fraction: Fraction::ALL, from: ReadFrom::PageCache };
    store.scrub(options, observer).unwrap()
}

/// The one file below `dir`.
fn only_file(dir: &Path) -> PathBuf {
    let shards = fs::read_dir(dir).unwrap().map(|shard| shard.unwrap().path());
    let mut files = shards.flat_map(|shard| fs::read_dir(shard).unwrap());
    let file = files.next().unwrap().unwrap().path();
    assert!(files.next().is_none());
    file
}

/// A scrub reads a corrupt object for the second time: every request for that object is answered
/// while it does, puts and deletes too. What replaced the object stays.
#[test]
fn scrub_of_damaged_object_delays_no_request() {
    const LENGTH: usize = 1_000_000;
    let server = StoreServer::start(StoreServer::EVERYTHING, |_| {});
    let mut client = server.plain();
    let corrupt = client.put("a", &[7; LENGTH], 100_000);
    let path = only_file(&server.dir.path().join("objects"));
    File::options().write(true).open(path).unwrap().write_all_at(&[8], 999_999).unwrap();
    let store = &server.store;
    thread::scope(|scope| {
        let ((stopped, has_stopped), (go_on, may_go_on)) = (channel(), channel());
        let left = LENGTH as u64 * 3 / 2;
        let mut observer = StopsInSecondLook { left, stopped, go_on: may_go_on };
        let scrub = scope.spawn(move || scrub(store, &mut observer));
        has_stopped.recv_timeout(PATIENCE).unwrap();
        let new = client.put("a", b"new", 100);
        let deleted = Request::Delete { key: key("a"), condition: Condition::Version(new) };
        assert_eq!(client.ask(&deleted).unwrap(), Response::Deleted { version: new });
        let restored = client.ask(&Request::Restore { key: key("a"), version: new }).unwrap();
        assert_eq!(restored, Response::Committed { version: new });
        read_all(&mut client, "a", &[(corrupt, &corrupt_bytes()), (new, b"new")]);
        assert!(!scrub.is_finished(), "it stands in its second look");
        go_on.send(()).unwrap();
        // The corrupt version has another name by now, which the next scrub finds.
        assert_eq!(scrub.join().unwrap().damaged, []);
        read_all(&mut client, "a", &[(corrupt, &corrupt_bytes()), (new, b"new")]);
    });
    let found = scrub(store, &mut ()).damaged;
    let [Damage { file, quarantined: Some(_), .. }] = &found[..] else { panic!("{found:?}") };
    assert!(file.starts_with("history/"), "{file}");
    let (_, body) = client.get("a", &[Section::All]).unwrap();
    assert_eq!(body, b"new");

    fn corrupt_bytes() -> Vec<u8> {
        let mut bytes = vec![7; LENGTH];
        bytes[LENGTH - 1] = 8;
        bytes
    }
}

//! Waits without a cause: nothing that is sent over loopback waits for a timer of TCP, no request
//! waits behind requests of another kind, and only writers wait for the lock of a shard.
//!
//! `benches/waits` looks at all sizes of what is sent; these are the sizes at which it happened.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod locks;

use std::{
    fs::{self, File},
    io,
    time::{Duration, Instant},
};

use rustix::fs::{FlockOperation, flock};
use zput_proto::{
    keys::DeviceTlsKey,
    message::{Condition, ErrorCode, Kind, Request, Response, Scopes, Section},
    name::ObjectKey,
    session::ClientConfig,
};
use zput_testkit::StoreServer;
use zput_tests::{Configured, RawClient, WebClient, WebResponse, names, until};

const ENGINES: [&str; 4] = ["splice", "sendfile", "mmap", "copy"];

const CONNECTIONS: usize = 30;

/// Of each connection, one after the other.
const RANGES: u64 = 8;

/// Bytes of a range: two segments of loopback. All ranges of a connection together have less than
/// the 1 MiB after which more may be unsent than a segment has.
const LENGTH: u64 = 120_000;

/// Beginning in the middle of a page, and of another one each time.
fn offset(number: u64) -> u64 {
    900 + number * 7919
}

/// With the fault splice and sendfile waited twice to six times on each connection, 0.2 s each: 14
/// s and 37 s. Without it all four engines together take less than 1 s on a machine that has other
/// things to do.
const ALLOWED: Duration = Duration::from_secs(6);

fn for_each_engine(of_connection: impl Fn(&Configured)) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("f"), vec![7; 400_000]).unwrap();
    for engine in ENGINES {
        let config = format!(
            "engine = {engine:?}\nworkers = 1\n[[mount]]\ndir = {:?}\npublic = true\n",
            dir.path()
        );
        let server = Configured::start(&config);
        let began = Instant::now();
        (0..CONNECTIONS).for_each(|_| of_connection(&server));
        let took = began.elapsed();
        assert!(took < ALLOWED, "{engine}: {took:?} for {CONNECTIONS} times {RANGES} ranges");
    }
}

/// Ranges over HTTP on one connection wait for no timer of TCP, by any engine.
#[test]
fn http_ranges_wait_for_no_tcp_timer() {
    for_each_engine(|server| {
        let mut client = WebClient::connect(server.http()).unwrap();
        for number in 0..RANGES {
            let (first, last) = (offset(number), offset(number) + LENGTH - 1);
            let fields = format!("Range: bytes={first}-{last}\r\n");
            let WebResponse { head, body } = client.get_with("/f", &fields).unwrap();
            assert_eq!((head.status, body.len()), (206, 120_000));
        }
    });
}

/// Ranges over the zput protocol on one connection wait for no TCP timer, by any engine.
#[test]
fn zput_protocol_ranges_wait_for_no_tcp_timer() {
    for_each_engine(|server| {
        let mut client = RawClient::connect(server.zput(), &ClientConfig::Plaintext).unwrap();
        for number in 0..RANGES {
            let get = Request::Get {
                key: ObjectKey::new("f").unwrap(),
                version: None,
                sections: vec![Section::Range { offset: offset(number), length: LENGTH }],
                kind: Kind::Plain,
            };
            let Response::Object { payload: 120_000, .. } = client.ask(&get).unwrap() else {
                panic!("range {number} was not got");
            };
            client.payload_to(&mut io::sink()).unwrap();
        }
    });
}

/// Requests that wait for a lock: twice as many as the pool `write` of [`StoreServer`] has threads,
/// or the pool `control` of any server.
const WAITING: usize = 8;

fn key(name: &str) -> ObjectKey {
    ObjectKey::new(name).unwrap()
}

fn device(number: u8) -> DeviceTlsKey {
    DeviceTlsKey::from_bytes([number; 32])
}

/// A server of two objects in different shards, with the devices 1 and 2. A file of it is locked as
/// by another process, until `lock` is dropped.
struct Held {
    /// Dropped before the server, which waits for what has begun.
    lock: File,
    server: StoreServer,
}

impl Held {
    /// Locks a file or a directory of the store; `None` for the lock of the shard of "held".
    fn new(path: Option<&str>) -> Self {
        let server = StoreServer::start(StoreServer::EVERYTHING, |_| {});
        (1..=2).for_each(|number| server.enroll(&device(number), Scopes::ALL));
        server.plain().put("held", b"old", 3);
        let objects = server.dir.path().join("objects");
        let used = || {
            let shards = names(&objects).into_iter();
            shards.filter(|shard| !names(&objects.join(shard)).is_empty()).collect::<Vec<_>>()
        };
        let [shard] = &used()[..] else { panic!("one object is in {:?}", used()) };
        server.plain().put("other", b"free", 4);
        assert_eq!(used().len(), 2, "both objects are in one shard");
        let path = path.map_or_else(|| format!("locks/{shard}"), str::to_owned);
        let lock = File::open(server.dir.path().join(path)).unwrap();
        flock(&lock, FlockOperation::LockExclusive).unwrap();
        Self { lock, server }
    }

    /// Clients without a key, as many as are to wait.
    fn clients(&self) -> Vec<RawClient> {
        (0..WAITING).map(|_| self.server.plain()).collect()
    }

    /// Lets each client send this request. Returns when all of them wait.
    fn let_wait(&self, clients: &mut [RawClient], request: &Request) {
        clients.iter_mut().for_each(|client| client.send(request).unwrap());
        self.until_waiting(clients.len());
    }

    /// Waits until so many jobs wait for a lock.
    fn until_waiting(&self, jobs: usize) {
        let line = format!("\nzserve_lock_queued{{for=\"lock\"}} {jobs}\n");
        let metrics = self.server.server.metrics();
        until(&line, || metrics.encode().unwrap().contains(&line));
    }

    /// Gets and stats are answered, on old and new connections, by protocol.
    fn assert_reads_are_answered(&self, what: &str) {
        for name in ["held", "other"] {
            let stat = Request::Stat { key: key(name), version: None };
            let answer = self.server.plain().ask(&stat).unwrap();
            assert!(matches!(answer, Response::Stat { .. }), "{what}: {answer:?}");
            let got = self.server.plain().get(name, &[Section::All]);
            assert!(got.is_ok(), "{what}: {got:?}");
        }
    }

    /// A new connection of a device is taken, which looks up its account.
    fn assert_account_is_looked_up(&self, number: u8, what: &str) {
        let stat = Request::Stat { key: key("other"), version: None };
        let answer = self.server.device(&device(number)).ask(&stat).unwrap();
        assert!(matches!(answer, Response::Stat { .. }), "{what}: {answer:?}");
    }
}

/// Clients without a key, each with an upload of an object in the shard whose lock is held.
fn puts(held: &Held) -> Vec<RawClient> {
    let mut clients = held.clients();
    for client in &mut clients {
        let (key, kind, condition) = (key("held"), Kind::Plain, Condition::Any);
        let begin = Request::Begin { key, kind, condition, header: None };
        assert_eq!(client.ask(&begin).unwrap(), Response::Begun);
        client.slice(b"new").unwrap();
        assert_eq!(client.receive().unwrap(), Response::SliceHeld);
    }
    clients
}

/// While more puts than there are threads wait for a lock that another process has, no other
/// request waits: puts and deletes of other objects, gets, stats, listings, joins and new
/// connections.
#[test]
fn puts_that_wait_for_lock_delay_no_other_request() {
    let held = Held::new(None);
    let mut puts = puts(&held);
    held.let_wait(&mut puts, &Request::Commit);
    held.server.plain().put("other", b"more", 2);
    let delete = Request::Delete { key: key("other"), condition: Condition::Any };
    let answer = held.server.plain().ask(&delete).unwrap();
    assert!(matches!(answer, Response::Deleted { .. }), "{answer:?}");
    held.server.plain().put("other", b"again", 2);
    held.assert_reads_are_answered("puts wait");
    held.assert_account_is_looked_up(1, "puts wait");
    let versions = Request::Versions { key: key("other"), after: None, limit: 9 };
    let answer = held.server.plain().ask(&versions).unwrap();
    assert!(matches!(answer, Response::Versions { .. }), "{answer:?}");
    let join =
        Request::Join { secret: *held.server.invite(Scopes::GET).as_bytes(), label: "new".into() };
    let answer = held.server.device(&device(9)).ask(&join).unwrap();
    assert!(matches!(answer, Response::Joined { .. }), "{answer:?}");
    held.until_waiting(WAITING);
    drop(held.lock);
    for client in &mut puts {
        let answer = client.receive().unwrap();
        assert!(matches!(answer, Response::Committed { .. }), "{answer:?}");
    }
}

/// While more devices than there are threads for accounts wait for the lock of the accounts to
/// join, puts, gets, stats and new connections do not. No invite is spent before its device has the
/// lock.
#[test]
fn joins_that_wait_for_lock_delay_no_other_request() {
    let held = Held::new(Some("clients"));
    let mut joining = Vec::new();
    for number in 0..WAITING {
        let secret = *held.server.invite(Scopes::GET).as_bytes();
        let mut client = held.server.device(&device(10 + u8::try_from(number).unwrap()));
        client.send(&Request::Join { secret, label: "new".into() }).unwrap();
        joining.push(client);
    }
    held.until_waiting(WAITING);
    let invites = held.server.dir.path().join("invites");
    assert_eq!(names(&invites).len(), WAITING);
    held.assert_reads_are_answered("joins wait");
    held.assert_account_is_looked_up(2, "joins wait");
    held.server.plain().put("held", b"more", 4);
    held.until_waiting(WAITING);
    drop(held.lock);
    for client in &mut joining {
        let answer = client.receive().unwrap();
        assert!(matches!(answer, Response::Joined { .. }), "{answer:?}");
    }
    assert_eq!(names(&invites).len(), 0);
}

/// A put that does not get its lock within 5 s is answered `Busy`. Its connection goes on.
#[test]
fn put_that_waits_5_s_for_lock_is_answered_busy() {
    let held = Held::new(None);
    let mut puts = puts(&held);
    let began = Instant::now();
    held.let_wait(&mut puts, &Request::Commit);
    for client in &mut puts {
        let answer = client.receive().unwrap();
        let took = began.elapsed();
        let Response::Error(error) = answer else { panic!("{answer:?} after {took:?}") };
        assert_eq!(error.known(), Some(ErrorCode::Busy));
        assert!(took >= Duration::from_secs(5) && took < Duration::from_secs(9), "{took:?}");
    }
    drop(held.lock);
    for client in &mut puts {
        client.put("held", b"newest", 3);
    }
    assert_eq!(names(&held.server.dir.path().join("staging")), [] as [String; 0]);
}

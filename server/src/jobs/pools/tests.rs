use std::{fs::File, sync::Arc};

use tempfile::TempDir;
use zput_proto::{
    digest::Digest,
    keys::{DevicePublicKey, InviteSecret},
    message::{Condition, ErrorCode, HeaderSlice, Kind, Response, Version},
    name::ObjectKey,
};

use super::*;
use crate::{
    jobs::{Append, Done, ReceivedCompletions, Window, slab::ConnectionId},
    limits::Semaphore,
    mounts::{MountPoint, Policy, Source},
    store::{Clock, Store, Upload, Writer},
};

struct Bench {
    store: Store,
    mount: Arc<MountPoint>,
    dir: TempDir,
}

impl Bench {
    fn new() -> Self {
        // In memory, if there is such a file system: a disk may take longer than a job waits.
        let memory = std::path::Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let dir = dir.unwrap();
        let store = Store::open(dir.path(), Clock::system()).unwrap();
        let source = Source::Store(store.clone());
        let mount = Arc::new(MountPoint::new("", source, Policy::PRIVATE));
        Self { store, mount, dir }
    }

    fn key() -> ObjectKey {
        ObjectKey::new("k").unwrap()
    }

    fn upload(&self) -> Box<Upload> {
        let begun = self.store.begin(&Self::key(), Kind::Plain, Condition::Any, None);
        Box::new(begun.unwrap())
    }

    /// One job of each kind, with the names of its pools in a server and in a program.
    fn jobs(&self) -> Vec<(Job, &'static str, &'static str)> {
        let (store, mount, key) = (&self.store, &self.mount, Self::key());
        let device = DevicePublicKey::from_bytes([7; 32]);
        let writer = || Writer { device: None, connection: 1 };
        let condition = Condition::Any;
        let header = || HeaderSlice { bytes: Vec::new(), digest: Digest::of(b"") };
        let open = |version| {
            let (mount, key, files) = (Arc::clone(mount), key.clone(), Semaphore::new(1));
            Job::Open { mount, key, version, files }
        };
        let stat = |version| Job::Stat { mount: Arc::clone(mount), key: key.clone(), version };
        let file = Arc::new(File::open("/dev/null").unwrap());
        let append = Append { upload: self.upload(), start: None, buffers: Vec::new(), end: false };
        vec![
            (Job::Account(store.clone(), device), "control", "open"),
            (
                Job::Join {
                    home: store.clone(),
                    device,
                    secret: InviteSecret::from_bytes([7; 32]),
                    label: String::new(),
                },
                "control",
                "open",
            ),
            (open(None), "open", "open"),
            (stat(None), "open", "open"),
            (Job::Load(Window::new(file, 0..1, 0, Instant::now())), "load", "load"),
            (
                Job::Begin {
                    store: store.clone(),
                    key: key.clone(),
                    kind: Kind::Plain,
                    condition,
                    header: None,
                    writer: writer(),
                    expected: None,
                },
                "write",
                "write",
            ),
            (
                Job::Resume {
                    store: store.clone(),
                    key: key.clone(),
                    condition,
                    header: header(),
                    writer: writer(),
                },
                "write",
                "write",
            ),
            (Job::Claim(self.upload(), Vec::new()), "write", "write"),
            (Job::Append(append), "write", "write"),
            (Job::Commit(self.upload()), "write", "write"),
            (Job::FinishCommit(self.upload().prepare_commit().unwrap()), "write", "write"),
            (Job::Abort(self.upload()), "write", "write"),
            (Job::Release(self.upload()), "write", "write"),
            (Job::Delete { store: store.clone(), key: key.clone(), condition }, "write", "write"),
            (
                Job::Restore { store: store.clone(), key: key.clone(), version: Version(1) },
                "write",
                "write",
            ),
            (
                Job::List { mount: Arc::clone(mount), after: None, limit: 1, headers: false },
                "list",
                "write",
            ),
            (
                Job::Versions { mount: Arc::clone(mount), key: key.clone(), after: None, limit: 1 },
                "list",
                "write",
            ),
            (open(Some(Version(1))), "list", "write"),
            (stat(Some(Version(1))), "list", "write"),
            (Job::Expire(store.clone()), "upkeep", "upkeep"),
        ]
    }
}

fn start(is_embedded: bool) -> Pools {
    let sizes = PoolSizes { threads: 40, connections: 4, is_embedded };
    Pools::start(sizes, &Metrics::new(1, "test")).unwrap().0
}

/// Accounts, opens, loads, writes and listings wait in different pools. An embedded server has
/// fewer pools.
#[test]
fn pools_keep_kinds_of_jobs_apart() {
    let bench = Bench::new();
    let (server, embedded) = (start(false), start(true));
    for (job, in_server, in_embedded) in bench.jobs() {
        assert_eq!(server.of(&job).facts().0, in_server, "{job:?}");
        assert_eq!(embedded.of(&job).facts().0, in_embedded, "{job:?}");
    }
}

/// Each pool has the threads that docs/OPERATIONS.md says, and starts none before its first
/// job. Those of an embedded server are there from the start.
#[test]
fn pools_have_threads_of_operations_page() {
    let all = |pools: &Pools| {
        let AllPools { control, open, load, write, list, upkeep, .. } = &*pools.0;
        [control, open, load, write, list, upkeep].map(Pool::facts)
    };
    let expected = [
        ("control", 0, 4),
        ("open", 0, 16),
        ("load", 0, 40),
        ("write", 0, 40),
        ("list", 0, 4),
        ("upkeep", 0, 2),
    ];
    assert_eq!(all(&start(false)), expected);
    let expected = [
        ("open", 1, 40),
        ("open", 1, 40),
        ("load", 1, 40),
        ("write", 1, 40),
        ("write", 1, 40),
        ("upkeep", 0, 1),
    ];
    assert_eq!(all(&start(true)), expected);
}

/// A refused job is answered `Busy`, whichever it is, and an upload is released.
#[test]
fn job_that_is_refused_answers_busy_and_releases_upload() {
    for (job, ..) in Bench::new().jobs() {
        let name = format!("{job:?}");
        let (done, rest) = job.refuse(ErrorCode::Busy.into());
        let rest = rest.map(|job| format!("{job:?}"));
        let code = match done {
            Done::Account(Err(error)) => Some(error.code),
            Done::Joined(Err(error)) => Some(error.code),
            Done::Opened(Err(error)) => Some(error.code),
            Done::Refused(error) => Some(error.code),
            Done::Appended { upload: Err(error), .. } => Some(error.code),
            Done::Loaded(_, Err(_)) | Done::Finished => None,
            _ => panic!("{name} has an answer"),
        };
        let expected = match name.as_str() {
            "Load" => (None, None),
            "Claim" | "Commit" | "FinishCommit" | "Append" => (Some(6), Some("Release")),
            "Abort" => (Some(6), Some("Abort")),
            "Release" | "Expire" => (None, Some(name.as_str())),
            _ => (Some(6), None),
        };
        assert_eq!((code.map(|code| code as u8), rest.as_deref()), expected, "{name}");
    }
}

/// A job that cannot be queued is refused, and its connection hears of that as of any result. What
/// nothing waits for is done at once.
#[test]
fn pools_answer_busy_when_queue_is_full() {
    let bench = Bench::new();
    let sizes = PoolSizes { threads: 1, connections: 0, is_embedded: false };
    let (pools, _threads) = Pools::start(sizes, &Metrics::new(1, "test")).unwrap();
    let (completions, received) = ReceivedCompletions::channel();
    let reply = || ReplyTo {
        completions: completions.clone(),
        connection: ConnectionId::for_test(),
        device: Device::Local,
    };
    let account = Job::Account(bench.store.clone(), DevicePublicKey::from_bytes([7; 32]));
    pools.submit(account, reply(), Instant::now());
    let Done::Account(Err(error)) = received.done() else { panic!("it was looked up") };
    assert_eq!(error.code, ErrorCode::Busy);
    let staged = || std::fs::read_dir(bench.dir.path().join("staging")).unwrap().count();
    for job in [Job::Commit as fn(_) -> _, Job::Abort] {
        let job = job(bench.upload());
        assert_eq!(staged(), 1);
        pools.submit(job, reply(), Instant::now());
        assert!(matches!(received.done(), Done::Refused(error) if error.code == ErrorCode::Busy));
        assert_eq!(staged(), 0, "it is not released");
    }
}

fn reply(completions: &Completions) -> ReplyTo {
    ReplyTo {
        completions: completions.clone(),
        connection: ConnectionId::for_test(),
        device: Device::Local,
    }
}

/// The lock that `k` needs, as another process has it: SHA-256 of "k" begins with 82.
fn held_lock(bench: &Bench) -> File {
    let mut options = File::options();
    let options = options.write(true).create(true).truncate(false);
    let lock = options.open(bench.dir.path().join("locks/82")).unwrap();
    lock.lock().unwrap();
    lock
}

fn delete(bench: &Bench, name: &str) -> Job {
    let (key, condition) = (ObjectKey::new(name).unwrap(), Condition::Any);
    Job::Delete { store: bench.store.clone(), key, condition }
}

/// Jobs whose lock another process has leave the one thread to a job that needs another lock. They
/// go on in their order when the lock is released.
#[test]
fn job_that_waits_for_lock_leaves_its_thread() {
    let bench = Bench::new();
    let pools = Pools::for_test();
    let (completions, received) = ReceivedCompletions::channel();
    let submit = |job| pools.submit(job, reply(&completions), Instant::now());
    let lock = held_lock(&bench);
    let (store, key) = (bench.store.clone(), Bench::key());
    for job in [
        Job::Restore { store, key, version: Version(1) },
        Job::Commit(bench.upload()),
        delete(&bench, "k"),
        delete(&bench, "x"),
    ] {
        submit(job);
    }
    let code = |done: Done| match done {
        Done::Refused(error) => error.code,
        Done::Answer(response) => panic!("{response:?}"),
        _ => panic!("it has another end"),
    };
    assert_eq!(code(received.done()), ErrorCode::NotFound, "it needs another lock");
    drop(lock);
    assert_eq!(code(received.done()), ErrorCode::NotFound, "there is no such version");
    let Done::Answer(Response::Committed { version }) = received.done() else {
        panic!("it is not committed")
    };
    let deleted = received.done();
    assert!(matches!(deleted, Done::Answer(Response::Deleted { version: v }) if v == version));
}

/// A Resume that waits until an older connection is quiet leaves its thread, and gets the upload.
#[test]
fn job_that_waits_for_lease_leaves_its_thread() {
    let bench = Bench::new();
    let pools = Pools::for_test();
    let (completions, received) = ReceivedCompletions::channel();
    let header = HeaderSlice::of(zput_framed::header(b"k", 200, 19, 7, [7; 32]));
    let by = |connection| Writer { device: None, connection };
    let (key, condition) = (Bench::key(), Condition::Any);
    let mut older = bench.store.begin(&key, Kind::Sealed, condition, by(1)).unwrap();
    older.write_header(&header.bytes, header.digest).unwrap();
    let store = bench.store.clone();
    let resume = Job::Resume { store, key, condition, header, writer: by(2) };
    pools.submit(resume, reply(&completions), Instant::now());
    pools.submit(delete(&bench, "x"), reply(&completions), Instant::now());
    let done = received.done();
    assert!(matches!(done, Done::Refused(error) if error.code == ErrorCode::NotFound));
    let Done::Begun(newer) = received.done() else { panic!("it is not taken over") };
    assert_eq!((older.length(), newer.length()), (0, 200));
}

/// The job of a closed connection waits no longer, its upload is released, and nothing is answered.
#[test]
fn job_of_closed_connection_waits_no_longer() {
    let bench = Bench::new();
    let pools = Pools::for_test();
    let (completions, received) = ReceivedCompletions::channel();
    let lock = held_lock(&bench);
    pools.submit(Job::Commit(bench.upload()), reply(&completions), Instant::now());
    let staged = || std::fs::read_dir(bench.dir.path().join("staging")).unwrap().count();
    let begun = Instant::now();
    while staged() > 0 {
        assert_eq!(staged(), 1);
        pools.cancel(&ReceivedCompletions::channel().0, ConnectionId::for_test());
        assert_eq!(staged(), 1, "it was that of another worker");
        pools.cancel(&completions, ConnectionId::for_test());
        assert!(begun.elapsed() < crate::store::LOCK_WAIT_MAX, "it waits on");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    pools.submit(delete(&bench, "x"), reply(&completions), Instant::now());
    let done = received.done();
    assert!(matches!(done, Done::Refused(error) if error.code == ErrorCode::NotFound));
    drop(lock);
}

//! Promises 1, 2 and 4 where a process is killed: SIGKILL at any moment, to a server or to a client
//! in the middle of puts of all sizes. What was acknowledged is written down by the test, which
//! lives on.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    collections::{BTreeSet, HashMap},
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tempfile::TempDir;
use zput_proto::{
    digest::Digest,
    message::{Condition, HeaderSlice, Kind, Request, Response, Version},
    name::ObjectKey,
    session::ClientConfig,
};
use zput_server::store::{Clock, Store};
use zput_tests::{
    Machine, PATIENCE, Pattern, RawClient, ServerProcess,
    journal::{Subject, Wish, framed, next_generation},
    seed,
};

/// Kills that one store lives through.
const KILLS_EACH: u32 = 10;
/// Who writes at once, and how many objects each of them has.
const WRITERS: usize = 3;
const OBJECTS_EACH: usize = 2;
/// Longest life of a server that is ready.
const LIFE: Duration = Duration::from_millis(60);
/// A file system in memory, if there is one: a killed process takes no page cache with it.
fn memory() -> PathBuf {
    let shm = Path::new("/dev/shm");
    if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() }
}

/// A length from 0 to 2 MiB, small ones as often as large ones.
fn length(dice: &mut StdRng) -> u64 {
    let most = 1 << dice.random_range(0..22);
    dice.random_range(0..most)
}

/// Somebody with a connection, some objects and a journal.
struct Writer {
    subjects: Vec<Subject>,
    dice: StdRng,
}

impl Writer {
    fn new(number: usize, dice: &mut StdRng) -> Self {
        let subject = |n| Subject::new(ObjectKey::new(format!("{number} {n}")).unwrap());
        let subjects = (0..OBJECTS_EACH).map(subject).collect();
        Self { subjects, dice: StdRng::seed_from_u64(dice.random()) }
    }

    /// Changes its objects until the server is gone.
    fn write(&mut self, address: &str) {
        let Ok(mut client) = RawClient::connect(address, &ClientConfig::Plaintext) else {
            return;
        };
        while self.change(&mut client).is_ok() {}
    }

    fn change(&mut self, client: &mut RawClient) -> io::Result<()> {
        let dice = &mut self.dice;
        let subject = &mut self.subjects[dice.random_range(0..OBJECTS_EACH)];
        let key = subject.key().clone();
        let versions: Vec<u64> = subject.history().keys().copied().collect();
        match dice.random_range(0..10) {
            0 if subject.current().is_some() => {
                subject.wish(Wish::Delete);
                client.send(&Request::Delete { key, condition: Condition::Any })?;
            }
            1 if !versions.is_empty() => {
                let version = versions[dice.random_range(0..versions.len())];
                subject.wish(Wish::Restore(version));
                client.send(&Request::Restore { key, version: Version(version) })?;
            }
            _ => {
                let body = Pattern::bytes(dice.random(), length(dice));
                if body.len() > 100 && dice.random_bool(0.5) {
                    let slices = framed(&key, &body, next_generation());
                    subject.wish(Wish::put(Kind::Sealed, &slices.concat()));
                    put(client, key, &slices, Kind::Sealed)?;
                } else {
                    subject.wish(Wish::put(Kind::Plain, &body));
                    let slices: Vec<_> = body.chunks(100_000).map(<[u8]>::to_vec).collect();
                    put(client, key, &slices, Kind::Plain)?;
                }
            }
        }
        match client.receive()? {
            Response::Committed { version } | Response::Deleted { version } => {
                subject.granted(version.0);
                Ok(())
            }
            other => panic!("{other:?} to {:?}", subject.open()),
        }
    }
}

/// Sends a put and hears all answers but the last one.
fn put(client: &mut RawClient, key: ObjectKey, slices: &[Vec<u8>], kind: Kind) -> io::Result<()> {
    let mut rest = slices.iter();
    let header = match kind {
        Kind::Plain => None,
        Kind::Sealed => {
            rest.next().map(|bytes| HeaderSlice { bytes: bytes.clone(), digest: Digest::of(bytes) })
        }
    };
    client.send(&Request::Begin { key, kind, condition: Condition::Any, header })?;
    assert_eq!(client.receive()?, Response::Begun);
    for slice in rest {
        client.slice(slice)?;
        assert_eq!(client.receive()?, Response::SliceHeld);
    }
    client.send(&Request::Commit)
}

/// The store has only files of its versions and of uploads that can be resumed.
fn has_nothing_else(store: &Store, path: &Path, writers: &[Writer]) {
    for upload in fs::read_dir(path.join("staging")).unwrap() {
        let upload = upload.unwrap();
        // STORE, "Kept uploads".
        assert_eq!(upload.file_name().len(), 64, "dead uploads stay");
        assert!(upload.metadata().unwrap().len() >= 1_048_576);
    }
    store.keep_uploads(Duration::ZERO);
    store.expire_uploads().unwrap();
    assert_eq!(fs::read_dir(path.join("staging")).unwrap().count(), 0, "dead uploads stay");
    let mut files = BTreeSet::new();
    for shelf in ["objects", "history", "trash"] {
        for shard in fs::read_dir(path.join(shelf)).unwrap() {
            for file in fs::read_dir(shard.unwrap().path()).unwrap() {
                // One that a change was moving may have two names.
                files.insert(file.unwrap().metadata().unwrap().ino());
            }
        }
    }
    let subjects = writers.iter().flat_map(|writer| &writer.subjects);
    let versions: usize = subjects.map(|subject| subject.history().len()).sum();
    assert_eq!(files.len(), versions);
}

fn servers_are_killed(kills: u32) {
    let mut dice = StdRng::seed_from_u64(seed());
    let args = ["--anonymous", "put,get,list,delete", "--allow-unsealed"];
    let (mut killed, mut kept, mut undecided, mut dead_uploads) = (0, 0, 0, 0);
    while killed < kills {
        let dir: TempDir = tempfile::tempdir_in(memory()).unwrap();
        let path = dir.path().join("store");
        let mut writers: Vec<_> = (0..WRITERS).map(|n| Writer::new(n, &mut dice)).collect();
        for _ in 0..KILLS_EACH {
            let server = ServerProcess::start(&path, &args);
            let address = server.address().to_owned();
            thread::scope(|scope| {
                for writer in &mut writers {
                    scope.spawn(|| writer.write(&address));
                }
                thread::sleep(LIFE.mul_f64(dice.random()));
                server.kill();
            });
            killed += 1;
            dead_uploads += fs::read_dir(path.join("staging")).unwrap().count();
            let store = Store::open(&path, Clock::system()).unwrap();
            for subject in writers.iter_mut().flat_map(|writer| &mut writer.subjects) {
                undecided += u32::from(subject.open().is_some());
                let result = subject.check(&store, false);
                result.unwrap_or_else(|error| panic!("after {killed} kills: {error}"));
            }
            has_nothing_else(&store, &path, &writers);
        }
        let subjects = writers.iter().flat_map(|writer| &writer.subjects);
        kept += subjects.map(|subject| subject.history().len()).sum::<usize>();
    }
    println!(
        "{killed} kills: {kept} versions, all there; {undecided} calls without an answer, \
         {dead_uploads} dead uploads removed"
    );
    assert!(kept > killed as usize && undecided > 0 && dead_uploads > 0);
}

/// Promises 1, 2 and 4: a server is killed, and the next one has what was acknowledged.
#[test]
fn zserve_killed_loses_nothing_acknowledged() {
    servers_are_killed(30);
}

/// By hand: `cargo test -p zput-tests --test kills -- --ignored --nocapture`
#[test]
#[ignore = "it takes minutes"]
fn zserve_killed_a_thousand_times_loses_nothing_acknowledged() {
    servers_are_killed(1000);
}

/// What a name may give: what was acknowledged last, or a put since then that got no answer.
#[derive(Default)]
struct Named {
    /// A number for each put of it; the acknowledged one.
    acknowledged: Option<u64>,
    unanswered: Vec<u64>,
}

/// Lengths of one part, of a full one and a rest, of several.
const LENGTHS: [u64; 5] = [100, 70_000, 3_000_000, 17_000_000, 40_000_000];

fn clients_are_killed(kills: u32) {
    let mut dice = StdRng::seed_from_u64(seed());
    let home = Machine::new();
    let store = tempfile::tempdir_in(memory()).unwrap();
    let server = ServerProcess::start(&store.path().join("store"), &[]);
    server.admit(&home);
    // A client is killed at any moment of the time that its put takes on this machine.
    let mut lives = Vec::new();
    for (number, length) in (0..).zip(LENGTHS) {
        let source = format!("source {number}");
        home.write(&source, Pattern::bytes(number, length));
        let begun = Instant::now();
        let _stored = home.run("zput", ["--name", "measured", &source]).ok();
        lives.push(begun.elapsed());
    }
    let mut names: HashMap<String, Named> = HashMap::new();
    let (mut killed, mut finished) = (0, 0);
    while killed < kills {
        let name = format!("name {}", dice.random_range(0..3));
        let number = dice.random_range(0..LENGTHS.len() as u64);
        let mut put = home.command("zput");
        put.args(["--name", &name, &format!("source {number}")]);
        let mut put = put.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // One in five is acknowledged, however slow the machine is by now.
        let is_spared = (killed + finished) % 5 == 4;
        if !is_spared {
            thread::sleep(lives[number as usize].mul_f64(dice.random()));
            put.kill().unwrap();
        }
        let named = names.entry(name.clone()).or_default();
        match put.wait().unwrap().code() {
            Some(0) => {
                finished += 1;
                *named = Named { acknowledged: Some(number), unanswered: Vec::new() };
            }
            None if !is_spared => {
                killed += 1;
                named.unanswered.push(number);
            }
            code => panic!("zput ended with {code:?}"),
        }
        // After this no put of a killed client can arrive.
        is_swept(server.store());
        if dice.random_bool(0.2) {
            is_there(&home, &name, named);
        }
    }
    for (name, named) in &mut names {
        is_there(&home, name, named);
    }
    println!("{killed} kills, {finished} puts were acknowledged");
    assert!(finished > kills / 20, "{finished} puts were acknowledged");
    assert_eq!(server.stop(), Some(0));
}

/// What a name gives was put whole; and it is not older than what was acknowledged.
fn is_there(home: &Machine, name: &str, named: &mut Named) {
    let got = home.run("zget", ["-o", "-", name]);
    if got.code == Some(4) && named.acknowledged.is_none() {
        return;
    }
    let got = got.ok().stdout;
    let mut may_be = named.acknowledged.iter().chain(&named.unanswered);
    let number = may_be.find(|number| {
        let length = LENGTHS[**number as usize];
        length == got.len() as u64 && Pattern::bytes(**number, length) == got
    });
    let number = *number.unwrap_or_else(|| panic!("{name}: {} bytes that were not put", got.len()));
    // The others came before it, or never.
    *named = Named { acknowledged: Some(number), unanswered: Vec::new() };
}

/// The server removes the uploads of killed clients, or keeps them without writing to them.
fn is_swept(store: &Path) {
    let started = Instant::now();
    loop {
        let uploads = fs::read_dir(store.join("staging")).unwrap();
        let uploads: Vec<_> = uploads.map(|upload| upload.unwrap().path()).collect();
        let mut left = uploads.len();
        for path in uploads {
            // One that has just gone is counted once more.
            let Ok(upload) = fs::File::open(&path) else { continue };
            let is_kept = path.file_name().is_some_and(|name| name.len() == 64);
            if is_kept && upload.try_lock().is_ok() {
                fs::remove_file(&path).unwrap();
                left -= 1;
            }
        }
        if left == 0 {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "dead uploads stay");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Promise 4: a client is killed, and what it had not finished is there wholly or not at all.
#[test]
fn zput_killed_stores_blob_whole_or_not_at_all() {
    clients_are_killed(20);
}

/// By hand: `cargo test -p zput-tests --test kills -- --ignored --nocapture`
#[test]
#[ignore = "it takes minutes"]
fn zput_killed_a_thousand_times_stores_blob_whole_or_not_at_all() {
    clients_are_killed(1000);
}

//! Histories of callers at two servers and in this process, which share a store.

use std::{
    path::{Path, PathBuf},
    sync::{Barrier, Mutex},
    thread,
    time::{Duration, Instant},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tempfile::TempDir;
use zput_proto::{
    message::{Condition, Version},
    name::ObjectKey,
};
use zput_server::store::{Clock, Store};
use zput_tests::{ServerProcess, seed};

use super::{
    checker::{Entry, is_linearizable},
    object::{Answer, Call, Object},
    port::{Connection, Port},
};

/// Calls of each caller in a history.
const CALLS_EACH: usize = 7;

type History = Vec<Entry<Call>>;

/// A store, two servers on it, and callers.
struct Ground {
    ports: Vec<Box<dyn Port>>,
    _servers: [ServerProcess; 2],
    _dir: TempDir,
}

impl Ground {
    fn new() -> Self {
        let dir = tempfile::tempdir_in(memory()).unwrap();
        let path = dir.path().join("store");
        let args = ["--anonymous", "put,get,list,delete", "--allow-unsealed"];
        let servers = [(); 2].map(|()| ServerProcess::start(&path, &args));
        let mut ports: Vec<Box<dyn Port>> = Vec::new();
        for server in &servers {
            for _ in 0..2 {
                ports.push(Box::new(Connection::to(server.address())));
            }
        }
        ports.push(Box::new(Store::open(&path, Clock::system()).unwrap()));
        Self { ports, _servers: servers, _dir: dir }
    }

    /// All callers at once on one object that was not there.
    fn history(&mut self, name: &str, dice: &mut StdRng) -> History {
        let key = ObjectKey::new(name).unwrap();
        let barrier = Barrier::new(self.ports.len());
        let seen = Mutex::new(Vec::new());
        let (key, barrier, seen) = (&key, &barrier, &seen);
        thread::scope(|scope| {
            let threads: Vec<_> = (0u32..)
                .zip(&mut self.ports)
                .map(|(number, port)| {
                    let dice = StdRng::seed_from_u64(dice.random());
                    let mut caller = Caller { number, port: port.as_mut(), key, seen, dice };
                    scope.spawn(move || {
                        barrier.wait();
                        (0..CALLS_EACH).map(|call| caller.call(call)).collect::<History>()
                    })
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        })
    }
}

/// A file system in memory, if there is one: a history is about order, not about what a sync costs.
fn memory() -> PathBuf {
    let shm = Path::new("/dev/shm");
    if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() }
}

struct Caller<'a> {
    number: u32,
    port: &'a mut dyn Port,
    key: &'a ObjectKey,
    /// Versions that any caller has heard of.
    seen: &'a Mutex<Vec<u64>>,
    dice: StdRng,
}

impl Caller<'_> {
    fn call(&mut self, nth: usize) -> Entry<Call> {
        if self.dice.random_bool(0.3) {
            thread::sleep(Duration::from_micros(self.dice.random_range(0..1500)));
        }
        let dice = &mut self.dice;
        let known = {
            let seen = self.seen.lock().unwrap();
            let pick = (!seen.is_empty()).then(|| dice.random_range(0..seen.len()));
            // The newest more often than the others.
            let pick = pick.map(|pick| if dice.random_bool(0.5) { seen.len() - 1 } else { pick });
            pick.map(|pick| seen[pick])
        };
        let condition = match (dice.random_range(0..6), known) {
            (0, _) => Condition::Absent,
            (1..3, Some(version)) => Condition::Version(Version(version)),
            _ => Condition::Any,
        };
        // Two bytes say whose it is; the length says so once more.
        let body = self.number * 256 + nth as u32;
        let choice = dice.random_range(0..10);
        let began = Instant::now();
        let call = match (choice, known) {
            (0..3, _) => {
                let answer = self.port.put(self.key, &bytes_of(body), condition);
                Call::Put { body, condition, answer }
            }
            (3..5, _) => Call::Delete { condition, answer: self.port.delete(self.key, condition) },
            (5, Some(version)) => {
                Call::Restore { version, answer: self.port.restore(self.key, version) }
            }
            (6, Some(version)) => self.get(Some(version)),
            (7, _) => Call::List { found: self.port.list(self.key) },
            _ => self.get(None),
        };
        let ended = Instant::now();
        if let Call::Put { answer: Answer::Done(version), .. }
        | Call::Restore { answer: Answer::Done(version), .. } = call
        {
            self.seen.lock().unwrap().push(version);
        }
        Entry { began, ended, call }
    }

    fn get(&mut self, version: Option<u64>) -> Call {
        let found = self.port.get(self.key, version);
        Call::Get { version, found: found.map(|(version, bytes)| (version, body_of(&bytes))) }
    }
}

fn bytes_of(body: u32) -> Vec<u8> {
    (body as u16).to_be_bytes().repeat(100 + body as usize)
}

/// # Panics
/// When the bytes are not those of any one put.
fn body_of(bytes: &[u8]) -> u32 {
    let body = bytes.first_chunk::<2>().map(|bytes| u16::from_be_bytes(*bytes).into());
    let body = body.unwrap_or_else(|| panic!("nothing but {} bytes", bytes.len()));
    assert!(bytes == bytes_of(body), "a get returned bytes that no client put");
    body
}

fn histories_are_linearizable(count: u32) {
    let mut dice = StdRng::seed_from_u64(seed());
    let mut ground = Ground::new();
    let (mut overlaps, mut refused, mut told) = (0, 0, 0);
    for number in 0..count {
        let history = ground.history(&format!("history {number}"), &mut dice);
        if !is_linearizable::<Object>(&history) {
            let mut history = history;
            history.sort_by_key(|entry| entry.began);
            let zero = history[0].began;
            for Entry { began, ended, call } in &history {
                println!("{:?} to {:?}: {call:?}", *began - zero, *ended - zero);
            }
            panic!("history {number} has no order");
        }
        for one in &history {
            overlaps +=
                history.iter().filter(|o| o.began < one.began && one.began < o.ended).count();
            refused += usize::from(matches!(
                one.call,
                Call::Put { answer: Answer::Exists, .. }
                    | Call::Delete { answer: Answer::Exists, .. }
            ));
        }
        // What an answer that is too old would look like is found out.
        told += usize::from(is_found_out(history));
    }
    let calls = count as usize * CALLS_EACH * ground.ports.len();
    println!(
        "{count} histories, {calls} calls, {overlaps} overlaps, {refused} refused, {told} told a lie"
    );
    assert!(overlaps > calls / 4, "they hardly met: {overlaps} overlaps of {calls} calls");
    assert!(refused > count as usize / 4 && told > count as usize / 2);
}

/// Lets one more caller, behind all others, be told of a version that was current before. Says
/// whether there was one.
fn is_found_out(mut history: History) -> bool {
    let versions = history.iter().filter_map(|entry| match entry.call {
        Call::Put { body, answer: Answer::Done(version), .. } => Some((version, body)),
        _ => None,
    });
    let mut versions: Vec<_> = versions.collect();
    versions.sort_unstable();
    let [oldest, .., _] = versions[..] else { return false };
    let over = history.iter().map(|entry| entry.ended).max().unwrap_or_else(Instant::now);
    let at = |later| over + Duration::from_secs(later);
    let news =
        Call::Put { body: 1 << 16, condition: Condition::Any, answer: Answer::Done(u64::MAX) };
    let stale = Call::Get { version: None, found: Some(oldest) };
    for (later, call) in [(1, news), (3, stale)] {
        history.push(Entry { began: at(later), ended: at(later + 1), call });
    }
    assert!(!is_linearizable::<Object>(&history), "a stale answer is believed");
    history.pop();
    assert!(is_linearizable::<Object>(&history), "and nothing but that answer was wrong");
    true
}

/// Promise 3.
#[test]
fn concurrent_histories_are_linearizable() {
    histories_are_linearizable(100);
}

/// By hand: `cargo test -p zput-tests --test histories -- --ignored --nocapture`
#[test]
#[ignore = "it takes minutes"]
fn concurrent_histories_ten_thousand_are_linearizable() {
    histories_are_linearizable(10_000);
}

//! Many threads, and two processes, on one store.

use std::{
    collections::HashMap,
    io::BufRead,
    sync::{Barrier, atomic::AtomicBool},
    thread,
    time::Duration,
};

use super::{child::Child, *};

const ROUNDS: u32 = 40;

/// Stops the loops of other threads, even when its own thread panics.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Each contender puts each key once, if it is absent; returns the keys of its successful puts.
fn put_each_if_absent(store: &Store, me: u8, mut start: impl FnMut(u32)) -> Vec<u32> {
    let mut won = Vec::new();
    for round in 0..ROUNDS {
        start(round);
        // Two slices, so that there is time between begin and commit.
        match put(store, &format!("round {round}"), &[me; 1500], Condition::Absent) {
            Ok(_) => won.push(round),
            Err(StoreError::Exists(Some(_))) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    won
}

fn check_winners(home: &Home, winners: &[(u8, Vec<u32>)]) {
    let mut by_round = HashMap::new();
    for (winner, won) in winners {
        for round in won {
            assert_eq!(by_round.insert(*round, *winner), None, "two winners of round {round}");
        }
    }
    for round in 0..ROUNDS {
        let body = home.body(&format!("round {round}")).unwrap();
        assert_eq!(body, [by_round[&round]; 1500]);
        assert_eq!(home.states(&format!("round {round}")).len(), 1);
    }
    assert_eq!(home.staged(), 0);
}

/// Of six threads that put with the condition Absent exactly one succeeds.
#[test]
fn put_absent_by_many_threads_has_one_winner() {
    let home = Home::on_disk();
    let barrier = Barrier::new(6);
    let winners: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..6u8)
            .map(|me| {
                // Clones of one store, and separately opened ones.
                let store = match me % 2 {
                    0 => home.store.clone(),
                    _ => open(&home.path(), &home.time).unwrap(),
                };
                let barrier = &barrier;
                scope.spawn(move || (me, put_each_if_absent(&store, me, |_| _ = barrier.wait())))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    check_winners(&home, &winners);
}

/// The role of the other process: each line of input starts a round.
pub(super) fn race(store: &Store, me: u8) {
    let mut input = std::io::stdin().lock().lines();
    println!("child: ready");
    let won = put_each_if_absent(store, me, |_| drop(input.next().unwrap().unwrap()));
    println!("child: {won:?}");
}

/// Of two processes that put with the condition Absent exactly one succeeds.
#[test]
fn put_absent_by_two_processes_has_one_winner() {
    let home = Home::on_disk();
    let mut child = Child::start("race", &home.path());
    assert_eq!(child.line(), "ready");
    let won = put_each_if_absent(&home.store, 1, |round| {
        child.send_line("go");
        // Sometimes one contender is a little earlier, sometimes the other.
        thread::sleep(Duration::from_micros(u64::from(round % 8) * 100));
    });
    let theirs = child.line();
    let theirs = theirs.trim_matches(['[', ']']).split(", ").filter(|round| !round.is_empty());
    let theirs = theirs.map(|round| round.parse().unwrap()).collect();
    child.finish();
    check_winners(&home, &[(1, won), (0xc1, theirs)]);
}

/// Adds 1 to the number in "counter" twenty times, each time on the condition that no other writer
/// has meanwhile.
pub(super) fn count(store: &Store) {
    for _ in 0..20 {
        loop {
            let object = store.lookup(&key("counter"), None).unwrap();
            let number: u32 = String::from_utf8(read(&object)).unwrap().parse().unwrap();
            let next = (number + 1).to_string();
            let condition = Condition::Version(object.version());
            match put(store, "counter", next.as_bytes(), condition) {
                Ok(_) => break,
                Err(StoreError::Exists(_)) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
    }
}

/// Promise 3, across threads and processes: no increment is lost, no version number is given twice.
#[test]
fn conditional_puts_lose_no_increment() {
    let home = Home::on_disk();
    home.put("counter", b"0");
    let child = Child::start("count", &home.path());
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| count(&home.store));
        }
    });
    child.finish();
    assert_eq!(home.body("counter"), Some(b"80".to_vec()));
    assert_eq!(home.states("counter").len(), 81);
}

/// Promise 2: whatever writers do, a reader gets one complete version.
#[test]
fn get_during_puts_returns_one_whole_version() {
    let home = Home::on_disk();
    home.put("a", &[0; 100]);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut reads = 0;
                    while !done.load(Ordering::Relaxed) {
                        // It always exists: versions are replaced, not removed.
                        let body = home.body("a").unwrap();
                        assert_eq!(body.len(), 100 * (usize::from(body[0]) + 1));
                        assert!(body.iter().all(|byte| *byte == body[0]));
                        reads += 1;
                    }
                    reads
                })
            })
            .collect();
        let ends = StopOnDrop(&done);
        for i in 0..60u8 {
            home.put("a", &vec![i; 100 * (usize::from(i) + 1)]);
        }
        drop(ends);
        for reader in readers {
            assert!(reader.join().unwrap() > 0);
        }
    });
}

/// The answer of a reader that asks again where writers overtook it at each look.
fn ask_again<T>(ask: impl Fn() -> Result<T, StoreError>) -> T {
    loop {
        match ask() {
            Err(StoreError::Changing) => {}
            answer => return answer.unwrap(),
        }
    }
}

/// A version can be got by its number while it is deleted, restored and replaced.
#[test]
fn version_is_found_during_delete_and_restore() {
    let home = Home::on_disk();
    let version = home.put("a", b"first");
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let object = ask_again(|| home.store.lookup(&key("a"), Some(Version(version))));
                assert_eq!(read(&object), b"first");
                let (versions, ..) = ask_again(|| home.store.versions(&key("a"), None, 1000));
                let there = versions.iter().filter(|v| v.version.0 == version).count();
                assert_eq!(there, 1);
            }
        });
        let _ends = StopOnDrop(&done);
        for _ in 0..40 {
            home.store.delete(&key("a"), Condition::Any).unwrap();
            home.store.restore(&key("a"), Version(version)).unwrap();
        }
        home.put("a", b"second");
    });
    assert_eq!(home.states("a").len(), 2);
}

/// A listing shows everything that stays, while neighbouring objects come and go.
#[test]
fn store_list_has_every_lasting_object_under_changes() {
    let home = Home::new();
    let stays: Vec<String> = (0..50).map(|i| format!("stays {i}")).collect();
    for name in &stays {
        home.put(name, b"1");
    }
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let _ends = StopOnDrop(&done);
            for i in 0..40 {
                home.put(&format!("comes {i}"), b"1");
                home.put(&stays[i % 50], b"2");
                home.store.delete(&key(&format!("comes {i}")), Condition::Any).unwrap();
            }
        });
        while !done.load(Ordering::Relaxed) {
            let mut found = HashMap::new();
            let mut after: Option<Vec<u8>> = None;
            loop {
                let Page { entries: page, next, .. } =
                    home.store.list(after.as_deref(), 7, false).unwrap();
                for entry in page {
                    assert_eq!(found.insert(entry.key, ()), None);
                }
                after = next;
                if after.is_none() {
                    break;
                }
            }
            assert!(stays.iter().all(|name| found.contains_key(&key(name))));
        }
    });
}

//! Readers beside writers: they wait for none, and what they answer was so at one moment between
//! call and return (STORE, "Readers").

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, atomic::AtomicBool, mpsc},
};

use super::*;
use crate::store::{
    layout::{Area, Shard},
    shard::LockedShard,
    shard_dirs::{LOOKS, ShardDirs},
};

/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// The answer of a call that waits for nothing.
#[track_caller]
fn answer<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(call()));
    receiver.recv_timeout(PATIENCE).expect("it waits for the lock")
}

/// Locks of all shards are held: gets, listings and the first look of a put are answered.
#[test]
fn readers_wait_for_no_lock() {
    let home = Home::new();
    let old = home.put("a", b"old");
    home.put("a", b"new");
    home.put("b", b"1");
    let deleted = home.store.delete(&key("b"), Condition::Any).unwrap().0;
    let locks: Vec<_> = Shard::all().map(|shard| home.path().join(shard.lock_file())).collect();
    // Those that are there, and the others, which a writer would make.
    let open = |path| fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
    let locks: Vec<_> = locks.iter().map(open).collect();
    locks.iter().for_each(|lock| lock.lock().unwrap());
    let with_store = || home.store.clone();
    let store = with_store();
    assert_eq!(answer(move || get(&store, "a", None)), Some(b"new".to_vec()));
    let store = with_store();
    assert_eq!(answer(move || get(&store, "a", Some(old))), Some(b"old".to_vec()));
    let store = with_store();
    assert_eq!(answer(move || get(&store, "b", Some(deleted))), Some(b"1".to_vec()));
    let store = with_store();
    assert_eq!(answer(move || get(&store, "b", Some(7))), None);
    for (name, count) in [("a", 2), ("b", 1)] {
        let store = with_store();
        let (versions, ..) = answer(move || store.versions(&key(name), None, 9)).unwrap();
        assert_eq!(versions.len(), count);
    }
    let store = with_store();
    assert_eq!(answer(move || store.list(None, 9, false)).unwrap().entries.len(), 1);
    let store = with_store();
    let begun = answer(move || store.begin(&key("a"), Kind::Plain, Condition::Absent, None));
    assert!(matches!(begun, Err(StoreError::Exists(Some(_)))), "{begun:?}");
    let store = with_store();
    assert_eq!(answer(move || store.check(&mut ())).unwrap().damaged, []);
}

/// A listing looks again when an object of the shard was replaced or deleted meanwhile, five times.
#[test]
fn listing_looks_again_after_each_change() {
    let home = Home::new();
    home.put("a", b"1");
    let dirs = ShardDirs::open(home.store.fsync(), ObjectName::for_key(&key("a")).shard()).unwrap();
    let readings_until = |quiet_after: usize, change: &dyn Fn()| {
        let mut readings = 0;
        let is_complete = dirs.read_all_lasting(|| {
            readings += 1;
            if readings <= quiet_after {
                change();
            }
            Ok(())
        });
        (readings, is_complete.unwrap())
    };
    let replace = || _ = home.put("a", b"2");
    let delete_and_restore = || {
        let version = home.store.delete(&key("a"), Condition::Any).unwrap();
        home.store.restore(&key("a"), version).unwrap();
    };
    let in_another_shard = || _ = home.put("b", b"1");
    for (what, change) in
        [("replace", &replace as &dyn Fn()), ("delete and restore", &delete_and_restore)]
    {
        assert_eq!(readings_until(0, change), (2, true), "{what}");
        assert_eq!(readings_until(1, change), (4, true), "{what}");
        assert_eq!(readings_until(8, change), (10, true), "{what}");
        assert_eq!(readings_until(9, change), (10, false), "{what}");
    }
    assert_eq!(readings_until(10, &in_another_shard), (2, true));
    assert_eq!(LOOKS.len(), 5);
}

/// The states of one object, in their order: the versions, each with where it is. They are numbered
/// from 1000 in the order of their puts, by which their bodies say which they are.
type State = BTreeMap<u64, VersionState>;

/// An object whose one writer says what it does, and its readers.
struct Watched {
    name: String,
    /// All states that there were. The last one may be about to be.
    states: Mutex<Vec<State>>,
    /// How many of them are certain to be over or there.
    reached: AtomicU64,
    /// The store's numbers of the versions that were put.
    numbers: Mutex<Vec<u64>>,
}

impl Watched {
    fn new(name: String) -> Self {
        let states = Mutex::new(vec![State::new()]);
        Self { name, states, reached: AtomicU64::new(1), numbers: Mutex::default() }
    }

    /// Which version has this number. One that no put has returned yet is that of the put under
    /// way.
    fn version_of(&self, number: u64) -> u64 {
        let numbers = self.numbers.lock().unwrap();
        1000 + numbers.iter().position(|known| *known == number).unwrap_or(numbers.len()) as u64
    }

    /// The number of a version that was put.
    fn number_of(&self, version: u64) -> u64 {
        self.numbers.lock().unwrap()[(version - 1000) as usize]
    }

    /// Makes a change that leads to a state which `next` makes of the one before.
    fn change(&self, next: impl FnOnce(&mut State), make: impl FnOnce()) {
        {
            let mut states = self.states.lock().unwrap();
            let mut state = states.last().unwrap().clone();
            next(&mut state);
            states.push(state);
        }
        make();
        self.reached.fetch_add(1, Ordering::SeqCst);
    }

    /// The states that there were, for a moment or throughout, while `read` ran; and its answer.
    fn during<T>(&self, read: impl FnOnce() -> T) -> (Vec<State>, T) {
        let first = self.reached.load(Ordering::SeqCst) as usize - 1;
        let answer = read();
        (self.states.lock().unwrap()[first..].to_vec(), answer)
    }

    /// Puts, deletes and restores, `count` of them.
    fn write(&self, store: &Store, count: u32) {
        let (key, mut next) = (key(&self.name), 1000);
        let mut dice = u32::from(self.name.as_bytes()[0]).wrapping_mul(2_654_435_761) | 1;
        let leave = |state: &mut State, to| {
            state.values_mut().filter(|s| **s == VersionState::Current).for_each(|s| *s = to);
        };
        for _ in 0..count {
            dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let state = self.states.lock().unwrap().last().unwrap().clone();
            let is_current = state.values().any(|state| *state == VersionState::Current);
            let in_trash: Vec<u64> =
                state.iter().filter(|(_, s)| **s == VersionState::Trash).map(|(v, _)| *v).collect();
            match dice >> 29 {
                0..3 if is_current => self.change(
                    |state| leave(state, VersionState::Trash),
                    || _ = store.delete(&key, Condition::Any).unwrap(),
                ),
                1..6 if !is_current && !in_trash.is_empty() => {
                    let version = in_trash[(dice >> 16) as usize % in_trash.len()];
                    self.change(
                        |state| _ = state.insert(version, VersionState::Current),
                        || _ = store.restore(&key, Version(self.number_of(version))).unwrap(),
                    );
                }
                _ => {
                    let version = next;
                    self.change(
                        |state| {
                            leave(state, VersionState::History);
                            state.insert(version, VersionState::Current);
                        },
                        || {
                            let body = version.to_string();
                            let put = put(store, &self.name, body.as_bytes(), Condition::Any);
                            let mut numbers = self.numbers.lock().unwrap();
                            let number = put.unwrap();
                            assert!(numbers.last().is_none_or(|newest| number > *newest));
                            numbers.push(number);
                        },
                    );
                    next += 1;
                }
            }
        }
    }

    /// Lists the versions once; `false` when they changed too often to tell.
    fn read_versions(&self, store: &Store) -> bool {
        let (states, found) = self.during(|| store.versions(&key(&self.name), None, 1000));
        let found: State = match found {
            Ok((versions, None, 0)) => {
                let found: State =
                    versions.iter().map(|v| (self.version_of(v.version.0), v.state)).collect();
                assert_eq!(found.len(), versions.len(), "one of them is there twice");
                found
            }
            Err(StoreError::NotFound) => State::new(),
            Err(StoreError::Changing) => return false,
            other => panic!("{other:?}"),
        };
        assert!(states.contains(&found), "{}: {found:?} is none of {states:?}", self.name);
        true
    }

    /// Lists the newest two versions, and those behind them.
    fn read_pages(&self, store: &Store) -> bool {
        let (states, found) = self.during(|| store.versions(&key(&self.name), None, 2));
        let found: Vec<_> = match &found {
            Ok((versions, _, 0)) => {
                versions.iter().map(|v| (self.version_of(v.version.0), v.state)).collect()
            }
            Err(StoreError::NotFound) => Vec::new(),
            Err(StoreError::Changing) => return false,
            other => panic!("{other:?}"),
        };
        let newest = |state: &State| -> Vec<_> {
            state.iter().rev().take(2).map(|(version, state)| (*version, *state)).collect()
        };
        let is_one = states.iter().any(|state| newest(state) == found);
        assert!(is_one, "{}: {found:?} is none of {states:?}", self.name);
        true
    }

    /// Gets the current version, and those that were there before the call and may move.
    fn read_bodies(&self, store: &Store) -> bool {
        let reached = self.reached.load(Ordering::SeqCst) as usize;
        let known = self.states.lock().unwrap()[reached - 1].clone();
        // Those that move.
        let known: Vec<_> = known.iter().filter(|(_, s)| **s != VersionState::History).collect();
        for version in known.into_iter().map(|(version, _)| *version) {
            match store.lookup(&key(&self.name), Some(Version(self.number_of(version)))) {
                Ok(object) => assert_eq!(read(&object), version.to_string().as_bytes()),
                Err(StoreError::Changing) => return false,
                other => panic!("{}: version {version}: {other:?}", self.name),
            }
        }
        let (states, found) = self.during(|| store.lookup(&key(&self.name), None));
        let found = match found {
            Ok(object) => {
                let version = self.version_of(object.version().0);
                assert_eq!(read(&object), version.to_string().as_bytes());
                Some(version)
            }
            Err(StoreError::NotFound) => None,
            other => panic!("{other:?}"),
        };
        let current = |state: &State| {
            state.iter().find(|(_, s)| **s == VersionState::Current).map(|(v, _)| *v)
        };
        assert!(states.iter().any(|state| current(state) == found), "{found:?} of {states:?}");
        true
    }
}

/// Names of objects that are in the last shard, so that a listing can begin with it.
fn names_in_last_shard() -> impl Iterator<Item = String> {
    (0..)
        .map(|number: u32| format!("{number}"))
        .filter(|name| ObjectName::for_key(&key(name)).shard() == Shard(255))
}

/// Makes the directories of the last shard so large that it takes a while to read them: with names
/// that no reader opens.
fn fill_last_shard(home: &Home) {
    for area in [Area::History, Area::Trash] {
        let dir = home.path().join(Shard(255).dir_in(area));
        fs::create_dir_all(&dir).unwrap();
        for number in 0..600 {
            let name = format!("ff{number:062x}.{:020}", 1);
            fs::write(dir.join(name), []).unwrap();
        }
    }
    let objects = home.path().join(Shard(255).dir_in(Area::Objects));
    fs::create_dir_all(&objects).unwrap();
    (0..600).for_each(|number| fs::write(objects.join(format!(".x{number:064}")), []).unwrap());
}

/// Listings of versions, gets and listings of the store beside puts, deletes and restores of the
/// same objects, by two processes' worth of stores: each answer was so at some moment between call
/// and return.
#[test]
fn answers_beside_writers_are_those_of_one_moment() {
    let home = Home::new();
    fill_last_shard(&home);
    let mut names = names_in_last_shard();
    let watched: Vec<_> = names.by_ref().take(3).map(Watched::new).collect();
    // They are replaced only, so each listing has them.
    let lasting: Vec<_> = names.take(20).collect();
    lasting.iter().for_each(|name| _ = home.put(name, b"1"));
    let (done, answers) = (AtomicBool::new(false), AtomicU64::new(0));
    let reader = &|read: fn(&Watched, &Store) -> bool| {
        while !done.load(Ordering::Relaxed) {
            for watched in &watched {
                answers.fetch_add(u64::from(read(watched, &home.store)), Ordering::Relaxed);
            }
        }
        // The writers have ended, so there is an answer.
        assert!(watched.iter().all(|watched| read(watched, &home.store)));
    };
    thread::scope(|scope| {
        let read: [fn(&Watched, &Store) -> bool; 3] =
            [Watched::read_versions, Watched::read_pages, Watched::read_bodies];
        let readers = read.map(|read| scope.spawn(move || reader(read)));
        let lister = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let page = match home.store.list(Some(&before_last_shard()), 1000, false) {
                    Err(StoreError::Changing) => continue,
                    page => page.unwrap(),
                };
                let found: BTreeSet<_> = page.entries.iter().map(|entry| &entry.key).collect();
                assert_eq!(found.len(), page.entries.len(), "an object is there twice");
                for name in &lasting {
                    assert!(found.contains(&key(name)), "{name} is missing");
                }
                answers.fetch_add(1, Ordering::Relaxed);
            }
        });
        let writers: Vec<_> = watched
            .iter()
            .map(|watched| {
                let store = open(&home.path(), &home.time).unwrap();
                scope.spawn(move || watched.write(&store, 300))
            })
            .collect();
        let replacer = scope.spawn(|| {
            for round in 0..300 {
                home.put(&lasting[round % lasting.len()], b"2");
            }
        });
        let written: Vec<_> =
            writers.into_iter().chain([replacer]).map(thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        let others = readers.into_iter().chain([lister]).map(thread::ScopedJoinHandle::join);
        others.chain(written).for_each(|result| result.unwrap());
    });
    assert!(answers.into_inner() > 0);
}

/// The cursor behind all objects but those of the last shard.
fn before_last_shard() -> [u8; 32] {
    let mut cursor = [255; 32];
    cursor[0] = 254;
    cursor
}

/// Whatever writers do, and with a clock that stands still, no version number is given twice, and
/// each is above all that were there.
#[test]
fn commits_beside_each_other_give_no_number_twice() {
    let home = Home::new();
    home.put("a", b"1");
    let made: Mutex<BTreeSet<u64>> = Mutex::default();
    thread::scope(|scope| {
        for me in 0..4 {
            let store = open(&home.path(), &home.time).unwrap();
            let made = &made;
            scope.spawn(move || {
                for round in 0..60 {
                    let version = put(&store, "a", &[me], Condition::Any).unwrap();
                    assert!(made.lock().unwrap().insert(version), "{version} was given twice");
                    match round % 3 {
                        0 => _ = store.delete(&key("a"), Condition::Any),
                        // Only a version in the trash keeps its number.
                        1 => match store.restore(&key("a"), Version(version)) {
                            Ok(restored) if restored.0 == version => {}
                            Ok(copy) => assert!(made.lock().unwrap().insert(copy.0), "{copy:?}"),
                            Err(error) => panic!("{error:?}"),
                        },
                        _ => {}
                    }
                }
            });
        }
    });
    let made = made.into_inner().unwrap();
    assert_eq!(home.states("a").len(), made.len() + 1);
    assert_eq!(*made.last().unwrap(), 1000 + made.len() as u64, "each is one above the newest");
}

/// While a put that has looked waits for the lock, the version that it saw is deleted, or another
/// one comes and goes. The put looks again, and its number is above that of the version.
#[test]
fn commit_looks_again_after_change_while_it_waits() {
    for seen in [true, false] {
        let home = Home::new();
        let version = home.put("a", b"1");
        let (path, aside) = (home.object_path("a"), home.dir.path().join("aside"));
        if !seen {
            fs::rename(&path, &aside).unwrap();
        }
        let shard = ObjectName::for_key(&key("a")).shard();
        let store = &home.store;
        let next = thread::scope(|scope| {
            let locked = LockedShard::exclusive(store.fsync(), shard).unwrap();
            let waiting = scope.spawn(|| home.put("a", b"2"));
            wait_for_lock_waiter(store, || waiting.is_finished());
            if !seen {
                fs::rename(&aside, &path).unwrap();
            }
            let current = locked.current(&key("a")).unwrap().unwrap();
            locked.link_current_to(Area::Trash, &current).unwrap();
            locked.unlink(Area::Objects, &ObjectName::for_key(&key("a")).to_string()).unwrap();
            drop(locked);
            waiting.join().unwrap()
        });
        assert_eq!(next, version + 1, "seen: {seen}");
        let states = [(next, VersionState::Current), (version, VersionState::Trash)];
        assert_eq!(home.states("a"), states);
    }
}

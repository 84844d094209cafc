//! A reference model: a map of versions for each key, against which a store is compared after every
//! step.

use std::{cell::RefCell, collections::BTreeMap};

use proptest::{collection::vec, prelude::*, test_runner::TestRunner};
use zput_proto::message::{ErrorCode, VersionState};

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Put { key: u8, body: Vec<u8>, condition: Wanted },
    Abandon { key: u8 },
    Get { key: u8, version: Pick },
    Delete { key: u8, condition: Wanted },
    Restore { key: u8, version: Pick },
    Versions { key: u8, limit: u32 },
    List { limit: u32 },
    Clock { ns: u64 },
    Reopen,
}

#[derive(Clone, Debug)]
enum Wanted {
    Any,
    Absent,
    Current,
    Other(Pick),
}

/// One of a key's versions, or the number after the newest.
#[derive(Clone, Copy, Debug)]
struct Pick(prop::sample::Index);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = 0..4u8;
    let pick = any::<prop::sample::Index>().prop_map(Pick);
    let wanted = prop_oneof![
        4 => Just(Wanted::Any),
        1 => Just(Wanted::Absent),
        2 => Just(Wanted::Current),
        1 => pick.clone().prop_map(Wanted::Other),
    ];
    // Bytes from a seed: a choice for each byte would be most of the cost of a sequence.
    let body = (any::<u32>(), 0..3000u32).prop_map(|(seed, length)| {
        (0..length).map(|at| (seed.wrapping_mul(2 * at + 1) >> 16) as u8).collect()
    });
    let step = prop_oneof![
        8 => (key.clone(), body, wanted.clone())
            .prop_map(|(key, body, condition)| Step::Put { key, body, condition }),
        1 => key.clone().prop_map(|key| Step::Abandon { key }),
        3 => (key.clone(), pick.clone()).prop_map(|(key, version)| Step::Get { key, version }),
        4 => (key.clone(), wanted).prop_map(|(key, condition)| Step::Delete { key, condition }),
        4 => (key.clone(), pick).prop_map(|(key, version)| Step::Restore { key, version }),
        2 => (key, 1..4u32).prop_map(|(key, limit)| Step::Versions { key, limit }),
        1 => (1..4u32).prop_map(|limit| Step::List { limit }),
        2 => (0..5000u64).prop_map(|ns| Step::Clock { ns }),
        1 => Just(Step::Reopen),
    ];
    vec(step, 1..60)
}

#[derive(Default)]
struct Model {
    time: u64,
    /// The newest number that was given to a version of any key.
    last: u64,
    keys: BTreeMap<u8, BTreeMap<u64, (Vec<u8>, VersionState)>>,
}

type Answer = Result<u64, ErrorCode>;

impl Model {
    fn current(&self, key: u8) -> Option<u64> {
        let versions = self.keys.get(&key)?.iter();
        versions.rev().find(|(_, (_, s))| *s == VersionState::Current).map(|(v, _)| *v)
    }

    fn resolve(&self, key: u8, pick: Pick) -> u64 {
        let mut versions: Vec<u64> =
            self.keys.get(&key).map(|v| v.keys().copied().collect()).unwrap_or_default();
        versions.push(versions.last().map_or(1, |newest| newest + 1));
        versions[pick.0.index(versions.len())]
    }

    fn condition(&self, key: u8, wanted: &Wanted) -> Condition {
        match wanted {
            Wanted::Any => Condition::Any,
            Wanted::Absent => Condition::Absent,
            Wanted::Current => Condition::Version(Version(self.current(key).unwrap_or(77))),
            Wanted::Other(pick) => Condition::Version(Version(self.resolve(key, *pick))),
        }
    }

    fn put(&mut self, key: u8, body: &[u8], condition: Condition) -> Answer {
        let current = self.current(key);
        match condition {
            Condition::Absent if current.is_some() => return Err(ErrorCode::Exists),
            Condition::Version(v) if current != Some(v.0) => return Err(ErrorCode::Exists),
            _ => {}
        }
        let versions = self.keys.entry(key).or_default();
        if let Some(current) = current {
            versions.get_mut(&current).unwrap().1 = VersionState::History;
        }
        let version = self.time.max(self.last + 1);
        self.last = version;
        versions.insert(version, (body.to_vec(), VersionState::Current));
        Ok(version)
    }

    fn delete(&mut self, key: u8, condition: Condition) -> Answer {
        let current = self.current(key).ok_or(ErrorCode::NotFound)?;
        match condition {
            Condition::Absent => return Err(ErrorCode::Exists),
            Condition::Version(v) if v.0 != current => return Err(ErrorCode::Exists),
            _ => {}
        }
        self.keys.get_mut(&key).unwrap().get_mut(&current).unwrap().1 = VersionState::Trash;
        Ok(current)
    }

    fn restore(&mut self, key: u8, version: u64) -> Answer {
        let current = self.current(key);
        let versions = self.keys.get_mut(&key).ok_or(ErrorCode::NotFound)?;
        let (body, state) = versions.get_mut(&version).ok_or(ErrorCode::NotFound)?;
        match (*state, current) {
            (VersionState::Current, _) => Ok(version),
            (VersionState::Trash, None) => {
                *state = VersionState::Current;
                Ok(version)
            }
            _ => {
                let body = body.clone();
                self.put(key, &body, Condition::Any)
            }
        }
    }
}

fn name(key: u8) -> String {
    format!("key {key}")
}

fn answer(result: Result<u64, StoreError>) -> Answer {
    result.map_err(|error| error.code())
}

fn step(home: &mut Home, model: &mut Model, step: &Step) {
    match step {
        Step::Put { key, body, condition } => {
            let condition = model.condition(*key, condition);
            let result = put(&home.store, &name(*key), body, condition);
            assert_eq!(answer(result), model.put(*key, body, condition));
        }
        Step::Abandon { key } => {
            let mut upload =
                home.store.begin(&super::key(&name(*key)), Kind::Plain, Condition::Any, None);
            upload.as_mut().unwrap().start_slice(5, Digest::of(b"hello")).unwrap();
            upload.as_mut().unwrap().write(b"he").unwrap();
        }
        Step::Get { key, version } => {
            let version = model.resolve(*key, *version);
            let expected =
                model.keys.get(key).and_then(|v| v.get(&version)).map(|(body, _)| body.clone());
            assert_eq!(get(&home.store, &name(*key), Some(version)), expected);
        }
        Step::Delete { key, condition } => {
            let condition = model.condition(*key, condition);
            let result = home.store.delete(&super::key(&name(*key)), condition);
            assert_eq!(answer(result.map(|v| v.0)), model.delete(*key, condition));
        }
        Step::Restore { key, version } => {
            let version = model.resolve(*key, *version);
            let result = home.store.restore(&super::key(&name(*key)), Version(version));
            assert_eq!(answer(result.map(|v| v.0)), model.restore(*key, version));
        }
        Step::Versions { key, limit } => compare_versions(home, model, *key, *limit),
        Step::List { limit } => compare_list(home, model, *limit),
        Step::Clock { ns } => {
            model.time = *ns;
            home.set_time(*ns);
        }
        Step::Reopen => home.reopen(),
    }
}

fn compare_versions(home: &Home, model: &Model, key: u8, limit: u32) {
    let mut found: Vec<VersionInfo> = Vec::new();
    let mut after = None;
    loop {
        match home.store.versions(&super::key(&name(key)), after, limit) {
            Ok((page, next, unreadable)) => {
                assert_eq!(unreadable, 0);
                assert!(page.len() <= limit as usize);
                found.extend(page);
                after = next;
            }
            Err(StoreError::NotFound) => assert!(found.is_empty()),
            Err(error) => panic!("{error:?}"),
        }
        if after.is_none() {
            break;
        }
    }
    let expected: Vec<_> = model.keys.get(&key).into_iter().flatten().rev().collect();
    assert_eq!(found.len(), expected.len());
    for (found, (version, (body, state))) in found.iter().zip(expected) {
        assert_eq!((found.version.0, found.state), (*version, *state));
        assert_eq!((found.kind, found.length), (Kind::Plain, body.len() as u64));
    }
}

fn compare_list(home: &Home, model: &Model, limit: u32) {
    let mut found = BTreeMap::new();
    let mut after: Option<Vec<u8>> = None;
    loop {
        let Page { entries: page, next, .. } =
            home.store.list(after.as_deref(), limit, false).unwrap();
        assert!(page.len() <= limit as usize);
        for entry in page {
            assert_eq!(found.insert(entry.key.clone(), entry.info.version.0), None);
        }
        after = next;
        if after.is_none() {
            break;
        }
    }
    let current = |key| model.current(key).map(|version| (super::key(&name(key)), version));
    assert_eq!(found, (0..4).filter_map(current).collect());
}

/// Everything visible of the store is as in the model, to the last byte.
fn compare(home: &Home, model: &Model) {
    for key in 0..4 {
        let current = model.current(key).map(|v| model.keys[&key][&v].0.clone());
        assert_eq!(home.body(&name(key)), current);
        compare_versions(home, model, key, 1000);
        for (version, (body, _)) in model.keys.get(&key).into_iter().flatten() {
            assert_eq!(get(&home.store, &name(key), Some(*version)).as_ref(), Some(body));
        }
    }
    compare_list(home, model, 1000);
    assert_eq!(home.staged(), 0);
}

/// Removes every version of the model's keys: creating another store takes longer than a sequence.
fn empty(home: &mut Home) {
    for key in 0..4 {
        for (area, path) in [
            ("objects", home.object_path(&name(key))),
            ("history", home.area_path("history", &name(key), 0)),
            ("trash", home.area_path("trash", &name(key), 0)),
        ] {
            let shard = path.parent().unwrap();
            if !shard.exists() {
                continue;
            }
            for file in names_in(shard) {
                fs::remove_file(shard.join(&file)).unwrap_or_else(|e| panic!("{area}/{file}: {e}"));
            }
        }
    }
}

/// STORE, "Instants": bytes 8 to 16 of the file `clock`.
fn last_instant(home: &Home) -> u64 {
    let clock = fs::read(home.path().join("clock")).unwrap();
    u64::from_be_bytes(clock[8..16].try_into().unwrap())
}

/// Promises 2 and 3, for one caller at a time, in `sequences` sequences of calls.
fn compare_random_sequences(sequences: u32) {
    let home = RefCell::new(Home::new());
    let config =
        ProptestConfig { cases: sequences, max_shrink_iters: 400, ..ProptestConfig::default() };
    let result = TestRunner::new(config).run(&steps(), |steps| {
        let home = &mut *home.borrow_mut();
        empty(home);
        home.set_time(1000);
        let mut model = Model { time: 1000, last: last_instant(home), ..Model::default() };
        for one in &steps {
            step(home, &mut model, one);
        }
        compare(home, &model);
        // Opening takes long, and some of the steps do it too.
        if steps.len() % 4 == 0 {
            home.reopen();
            compare(home, &model);
        }
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

/// Random steps on a store give the same results as a map of versions.
#[test]
fn store_behaves_like_model_of_versions() {
    compare_random_sequences(200);
}

/// By hand: `cargo test -p zput-server --lib -- --ignored hundred_thousand`
#[test]
#[ignore = "it takes many minutes"]
fn store_behaves_like_model_in_hundred_thousand_cases() {
    compare_random_sequences(100_000);
}

//! The part inside the machine. A line for what is asked, a line for what was answered, and then it
//! waits until the host has written that down.

use std::{
    io::{self, Write as _},
    path::Path,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use zput_proto::{
    digest::Digest,
    message::{Condition, Kind, Version},
    name::ObjectKey,
};
use zput_server::store::{Clock, Store, StoreError};
use zput_tests::{
    Pattern,
    journal::{Subject, Wish, framed},
};

/// Objects that are changed.
pub(crate) const OBJECTS: usize = 4;
/// Longest body.
const BODY_MAX_BYTES: u64 = 120_000;
const SLICE_BYTES: usize = 30_000;

/// The key of an object.
pub(crate) fn key(number: usize) -> ObjectKey {
    ObjectKey::new(format!("object {number}")).unwrap()
}

/// A line from the host: a seed and a number of calls at first, "go" later.
fn hear() -> String {
    let mut line = String::new();
    io::stdin().read_line(&mut line).unwrap();
    line.trim().to_owned()
}

fn say(line: &str) {
    println!("{line}");
    io::stdout().flush().unwrap();
}

/// Says what was answered, and waits until that is in the journal.
fn answered(line: &str) {
    say(line);
    assert_eq!(hear(), "go");
}

/// Changes the store as often as it is told to.
pub(crate) fn work(path: &Path) {
    say("ready");
    let told = hear();
    let (seed, calls) = told.split_once(' ').unwrap();
    let mut dice = StdRng::seed_from_u64(seed.parse().unwrap());
    let store = Store::open(path, Clock::system()).unwrap();
    answered("open");
    let mut subjects: Vec<_> = (0..OBJECTS).map(|number| Subject::new(key(number))).collect();
    for _ in 0..calls.parse().unwrap() {
        let number = dice.random_range(0..OBJECTS);
        change(&store, number, &mut subjects[number], &mut dice);
    }
    say("done");
}

fn change(store: &Store, number: usize, subject: &mut Subject, dice: &mut StdRng) {
    let versions: Vec<u64> = subject.history().keys().copied().collect();
    let choice = dice.random_range(0..10);
    let result = match choice {
        0 | 1 if subject.current().is_some() => {
            say(&format!("ask {number} delete"));
            subject.wish(Wish::Delete);
            store.delete(subject.key(), Condition::Any)
        }
        2 | 3 if !versions.is_empty() => {
            let version = versions[dice.random_range(0..versions.len())];
            say(&format!("ask {number} restore {version}"));
            subject.wish(Wish::Restore(version));
            store.restore(subject.key(), Version(version))
        }
        _ => {
            let length = dice.random_range(600..BODY_MAX_BYTES);
            let body = Pattern::bytes(dice.random(), length);
            let (kind, slices) = match dice.random_bool(0.5) {
                true => (Kind::Sealed, framed(subject.key(), &body, now_ns())),
                false => (Kind::Plain, body.chunks(SLICE_BYTES).map(<[u8]>::to_vec).collect()),
            };
            let whole = slices.concat();
            say(&format!("ask {number} {kind:?} {} {}", whole.len(), Digest::of(&whole)));
            subject.wish(Wish::put(kind, &whole));
            put(store, subject.key(), kind, &slices)
        }
    };
    let version = result.unwrap_or_else(|error| panic!("{:?}: {error}", subject.open()));
    subject.granted(version.0);
    answered(&format!("done {number} {version}"));
}

fn put(
    store: &Store,
    key: &ObjectKey,
    kind: Kind,
    slices: &[Vec<u8>],
) -> Result<Version, StoreError> {
    let mut upload = store.begin(key, kind, Condition::Any, None)?;
    for (number, slice) in slices.iter().enumerate() {
        if kind == Kind::Sealed && number == 0 {
            upload.write_header(slice, Digest::of(slice))?;
        } else {
            upload.start_slice(slice.len() as u32, Digest::of(slice))?;
            upload.write(slice)?;
            upload.end_slice()?;
        }
    }
    upload.commit()
}

/// The generation of a put: a guest is another process after each cut.
fn now_ns() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_nanos() as u64
}

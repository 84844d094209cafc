//! Promise 1 where a directory is used for the first time: no acknowledged name hangs from a
//! directory that a power cut can take away.

use std::{fs, os::unix::fs::DirBuilderExt as _, path::Path};

use rand::{SeedableRng as _, rngs::StdRng};
use zput_proto::{
    message::{Condition, Version, VersionState},
    name::ObjectKey,
};
use zput_server::store::{Store, StoreError};
use zput_tests::{journal::look, or_skip};

use super::{
    disk::Disk,
    mounted::Mounted,
    power::fresh,
    workload::{clock, put},
};

/// Power cuts after each operation, each of which keeps another part of what was not synced.
const CUTS_EACH: u64 = 8;

/// A change that makes the first name in a directory, and what is there once it is acknowledged.
struct FirstUse {
    directory: &'static str,
    make: fn(&Store) -> Result<Version, StoreError>,
    /// The states of the object's versions, from old to new.
    leaves: &'static [VersionState],
}

/// In the order in which they come.
const FIRST_USES: [FirstUse; 3] = [
    FirstUse {
        directory: "objects",
        make: |store| put(store, &object(), Condition::Absent, b"first"),
        leaves: &[VersionState::Current],
    },
    FirstUse {
        directory: "history",
        make: |store| put(store, &object(), Condition::Any, b"second"),
        leaves: &[VersionState::History, VersionState::Current],
    },
    FirstUse {
        directory: "trash",
        make: |store| store.delete(&object(), Condition::Any),
        leaves: &[VersionState::History, VersionState::Trash],
    },
];

fn object() -> ObjectKey {
    ObjectKey::new("abc").unwrap()
}

/// SHA-256("abc") of FIPS 180-2, B.1, begins with it.
const SHARD: &str = "ba";

fn open(mounted: &Mounted) -> Store {
    Store::open(&mounted.path().join("store"), clock()).unwrap()
}

/// Of the object's versions, each of which can be read.
fn states(store: &Store) -> Vec<VersionState> {
    let readable = look(store, &object()).unwrap().len();
    let states: Vec<_> = match store.versions(&object(), None, 1000) {
        Ok((versions, ..)) => versions.iter().rev().map(|version| version.state).collect(),
        Err(StoreError::NotFound) => Vec::new(),
        Err(error) => panic!("{error}"),
    };
    assert_eq!(states.len(), readable);
    states
}

/// What another process leaves that makes a directory and has not settled it yet.
fn make_unsettled(store: &Path) {
    for FirstUse { directory, .. } in &FIRST_USES {
        let path = store.join(directory).join(SHARD);
        fs::DirBuilder::new().mode(0o1700).create(path).unwrap();
    }
}

/// Cuts the power at each operation of a first use, and behind it. Gives the number of cuts.
fn cut_at_first_use(fresh: &Disk, uses: &[FirstUse], is_unsettled: bool) -> u64 {
    let (last, before) = uses.split_last().unwrap();
    let mut cuts = 0;
    for nth in 1.. {
        let what = format!("{}, unsettled: {is_unsettled}, operation {nth}", last.directory);
        let mounted = Mounted::new(fresh.clone()).unwrap();
        let store = open(&mounted);
        if is_unsettled {
            make_unsettled(&mounted.path().join("store"));
        }
        before.iter().for_each(|done| _ = (done.make)(&store).unwrap());
        mounted.disk().cut_after(nth);
        let is_acknowledged = (last.make)(&store).is_ok();
        mounted.disk().kill();
        for seed in 0..CUTS_EACH {
            let (left, _) = mounted.disk().after_cut(&mut StdRng::seed_from_u64(seed));
            let story = mounted.disk().story();
            let mounted = Mounted::new(left).unwrap();
            let store = open(&mounted);
            let now = states(&store);
            let as_before = before.last().map_or(&[][..], |done| done.leaves);
            let is_kept = now == last.leaves || (!is_acknowledged && now == as_before);
            assert!(is_kept, "{what}, cut {seed}: {now:?}{story}");
            // The store goes on.
            put(&store, &object(), Condition::Any, b"next").unwrap();
            assert_eq!(states(&store).len(), now.len() + 1, "{what}, cut {seed}");
            cuts += 1;
        }
        if is_acknowledged {
            return cuts;
        }
    }
    unreachable!("the change is acknowledged at some time")
}

/// Promise 1: the power goes at each operation of the put, the replacement and the delete that make
/// the first name in a directory; the directory is new, or another process has just made it.
#[test]
fn power_cut_at_first_use_of_each_directory_loses_nothing() {
    let fresh = or_skip!(fresh());
    for is_unsettled in [false, true] {
        for last in 1..=FIRST_USES.len() {
            let cuts = cut_at_first_use(&fresh, &FIRST_USES[..last], is_unsettled);
            println!("{}: {cuts} cuts", FIRST_USES[last - 1].directory);
            // A delete has its link, two syncs and an unlink, at least.
            assert!(cuts >= 4 * CUTS_EACH);
        }
    }
}

//! Promise 7, and what becomes of calls that fail: no answer that is not so, no end of the server, no space that stays
//! taken, and what was there can be read all the while.

use std::{
    thread,
    time::{Duration, Instant},
};

use fuser::Errno;
use rand::{SeedableRng as _, rngs::StdRng};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use zput_common::{
    name::ObjectKey,
    proto::message::{Condition, ErrorCode, Version},
};
use zput_server::store::{Store, StoreError};
use zput_tests::{
    Home, Pattern, ServerProcess,
    journal::{History, look},
};

use super::{
    disk::{BLOCK_BYTES, Deed, Disk, Fault},
    mounted::Mounted,
    workload::{clock, put},
};

/// How long the kernel may take to close a file that nobody has any more.
const PATIENCE: Duration = Duration::from_secs(20);

fn key(text: &str) -> ObjectKey {
    ObjectKey::new(text).unwrap()
}

fn open(mounted: &Mounted) -> Store {
    Store::open(&mounted.path().join("store"), clock()).unwrap()
}

fn body(seed: u64) -> Vec<u8> {
    Pattern::bytes(seed, 100_000)
}

/// Whether the files take so many blocks, now or in a moment.
fn takes(mounted: &Mounted, blocks: u64) -> bool {
    let started = Instant::now();
    while mounted.disk().used() != blocks {
        if started.elapsed() > PATIENCE {
            return false;
        }
        thread::sleep(Duration::from_millis(2));
    }
    true
}

/// A disk that has, all of it synced, "kept" with one version, and "old" with two and one in the trash.
fn furnished() -> Option<Disk> {
    let mounted = Mounted::new(Disk::default())?;
    let store = open(&mounted);
    put(&store, &key("kept"), Condition::Any, &body(1)).unwrap();
    for seed in 2..5 {
        put(&store, &key("old"), Condition::Any, &body(seed)).unwrap();
    }
    put(&store, &key("deleted"), Condition::Any, &body(5)).unwrap();
    store.delete(&key("deleted"), Condition::Any).unwrap();
    let disk = mounted.disk().clone();
    Some(disk.after_cut(&mut StdRng::seed_from_u64(0)).0)
}

/// A change of [`furnished`]'s store.
#[derive(Clone, Copy, Debug)]
enum Change {
    PutNew,
    PutOver,
    Delete,
    RestoreInPlace,
    RestoreCopy,
}

impl Change {
    const ALL: [Self; 5] =
        [Self::PutNew, Self::PutOver, Self::Delete, Self::RestoreInPlace, Self::RestoreCopy];

    fn subject(self) -> ObjectKey {
        key(match self {
            Self::PutNew => "new",
            Self::PutOver | Self::Delete | Self::RestoreCopy => "old",
            Self::RestoreInPlace => "deleted",
        })
    }

    fn make(self, store: &Store) -> Result<Version, StoreError> {
        let subject = self.subject();
        match self {
            Self::PutNew | Self::PutOver => put(store, &subject, Condition::Any, &body(6)),
            Self::Delete => store.delete(&subject, Condition::Any),
            Self::RestoreInPlace | Self::RestoreCopy => {
                let (versions, _) = store.versions(&subject, None, 10)?;
                let first = versions.last().ok_or(StoreError::NotFound)?;
                store.restore(&subject, first.version)
            }
        }
    }
}

/// What there is of the three objects.
fn histories(store: &Store) -> [History; 3] {
    ["kept", "old", "deleted"].map(|name| look(store, &key(name)).unwrap())
}

fn staged(mounted: &Mounted) -> usize {
    std::fs::read_dir(mounted.path().join("store/staging")).unwrap().count()
}

/// Behind a power cut the store is what it was, or what it would be if the change had been made.
fn is_old_or_new(disk: &Disk, before: &[History; 3], change: Change, what: &str) {
    for seed in 0..3 {
        let (left, _) = disk.after_cut(&mut StdRng::seed_from_u64(seed));
        let mounted = Mounted::new(left).unwrap();
        let store = open(&mounted);
        is_old_or_new_now(&store, before, change, false, &format!("{what}, after cut {seed}"));
    }
}

/// The store is what it would be if the change had been made; if it was not `done` it may be what it was, too.
fn is_old_or_new_now(store: &Store, before: &[History; 3], change: Change, done: bool, what: &str) {
    let now = histories(store);
    assert_eq!(now[0], before[0], "{what}");
    // No version is lost by any change; and the one that was asked for is made by no other.
    for (now, before) in now.iter().zip(before) {
        assert!(before.keys().all(|version| now.contains_key(version)), "{what}: {now:?}");
    }
    let new = look(store, &key("new")).unwrap();
    let is_as_before = now == *before && new.is_empty();
    let changed = match change {
        Change::PutNew => new.len() == 1 && now == *before,
        Change::PutOver | Change::RestoreCopy => now[1].len() == 4 && new.is_empty(),
        Change::Delete => now[1].len() == 3 && now[1] != before[1] && new.is_empty(),
        Change::RestoreInPlace => now[2].len() == 1 && now[2] != before[2] && new.is_empty(),
    };
    assert!(changed || (is_as_before && !done), "{what}: {now:#?}, {new:#?}");
}

/// Fails the first, the second, … deed of a kind that each change comes to, until it comes to no more of them. Gives
/// how many were failed.
fn each_fails(deed: Deed, errno: Errno, code: ErrorCode) -> u32 {
    let Some(furnished) = furnished() else { return u32::MAX };
    let mut failed = 0;
    for change in Change::ALL {
        for nth in 1.. {
            let what = format!("{change:?}, {deed:?} {nth} fails with {errno:?}");
            let mounted = Mounted::new(furnished.clone()).unwrap();
            let store = open(&mounted);
            let before = histories(&store);
            let used = mounted.disk().used();
            mounted.disk().fail(Fault { deed, nth, errno });
            let result = change.make(&store);
            let struck = mounted.disk().struck;
            mounted.disk().heal();
            if !struck {
                result.unwrap();
                break;
            }
            failed += 1;
            let error = result.err().unwrap_or_else(|| panic!("{what}: it says that it is done"));
            assert_eq!(error.code(), code, "{what}: {error}");
            // Reads go on, nothing is there in part, and no space stays taken.
            is_old_or_new_now(&store, &before, change, false, &what);
            assert_eq!(staged(&mounted), 0, "{what}");
            let is_sync = matches!(deed, Deed::SyncFile | Deed::SyncDirectory);
            let is_as_before =
                histories(&store) == before && look(&store, &key("new")).unwrap().is_empty();
            if is_sync {
                is_old_or_new(&mounted.disk().clone(), &before, change, &what);
                // Nothing is put on top of what may not be there.
                assert!(store.suspicion().unwrap().is_some(), "{what}");
                let refused = change.make(&open(&mounted)).unwrap_err();
                assert_eq!(refused.code(), ErrorCode::Suspect, "{what}");
            } else if is_as_before {
                assert!(takes(&mounted, used), "{what}: {used} became {}", mounted.disk().used());
                // It was a passing fault: the same again is done.
                change.make(&store).unwrap_or_else(|error| panic!("{what}, again: {error}"));
                is_old_or_new_now(&store, &before, change, true, &what);
            }
        }
    }
    println!("{deed:?}: {failed} failed with {errno:?}");
    failed
}

#[test]
fn each_write_may_fail() {
    assert!(each_fails(Deed::Write, Errno::EIO, ErrorCode::Internal) >= 10);
}

#[test]
fn each_write_may_find_the_disk_full() {
    assert!(each_fails(Deed::Write, Errno::ENOSPC, ErrorCode::Full) >= 10);
}

#[test]
fn each_new_name_may_find_the_disk_full() {
    assert!(each_fails(Deed::Make, Errno::ENOSPC, ErrorCode::Full) >= 3);
    assert!(each_fails(Deed::Name, Errno::ENOSPC, ErrorCode::Full) >= 6);
}

/// After a sync that failed the disk has forgotten what was to be written, and says that all is well (see `disk`).
#[test]
fn each_sync_may_fail() {
    assert!(each_fails(Deed::SyncFile, Errno::EIO, ErrorCode::Internal) >= 3);
    assert!(each_fails(Deed::SyncDirectory, Errno::EIO, ErrorCode::Internal) >= 8);
}

#[test]
fn each_open_and_each_read_may_fail() {
    assert!(each_fails(Deed::Open, Errno::EMFILE, ErrorCode::Busy) >= 10);
    assert!(each_fails(Deed::Make, Errno::EMFILE, ErrorCode::Busy) >= 3);
    assert!(each_fails(Deed::Read, Errno::EIO, ErrorCode::Internal) >= 4);
}

/// A put of 25 blocks finds 0, 1, 2, … free ones.
#[test]
fn a_put_may_find_the_disk_full_at_every_4_kib() {
    let Some(furnished) = furnished() else { return };
    let mounted = Mounted::new(furnished).unwrap();
    let store = open(&mounted);
    let used = mounted.disk().used();
    let before = histories(&store);
    let needed = 100_000 / BLOCK_BYTES + 1;
    for free in 0..needed {
        mounted.disk().capacity = Some(used + free);
        for name in ["new", "old"] {
            let error = put(&store, &key(name), Condition::Any, &body(6)).unwrap_err();
            assert_eq!(error.code(), ErrorCode::Full, "{free} free blocks: {error}");
            assert!(takes(&mounted, used), "{free} free blocks");
        }
        assert_eq!(staged(&mounted), 0, "{free} free blocks");
        assert_eq!(histories(&store), before, "{free} free blocks");
        assert!(look(&store, &key("new")).unwrap().is_empty());
    }
    // What needs no space is done on a disk that has none.
    mounted.disk().capacity = Some(used);
    let deleted = store.delete(&key("old"), Condition::Any).unwrap();
    assert_eq!(store.restore(&key("old"), deleted).unwrap(), deleted);
    assert_eq!(histories(&store), before);
    mounted.disk().capacity = Some(used + needed);
    put(&store, &key("new"), Condition::Any, &body(6)).unwrap();
    assert_eq!(look(&store, &key("new")).unwrap().len(), 1);
}

/// The whole way: a server whose disk fails says so, goes on, and gives what it has.
#[test]
fn a_server_outlives_the_faults_of_its_disk() {
    let Some(mounted) = Mounted::new(Disk::default()) else { return };
    let home = Home::new();
    let server = ServerProcess::start(&mounted.path().join("store"), &[]);
    server.admit(&home);
    home.write("kept", &body(1));
    home.write("new", &body(2));
    let _stored = home.run("zput", ["kept"]).ok();
    let faults = [
        (Deed::Write, Errno::ENOSPC, 9),
        (Deed::Make, Errno::ENOSPC, 9),
        (Deed::Name, Errno::ENOSPC, 9),
        (Deed::Make, Errno::EMFILE, 5),
        (Deed::Write, Errno::EIO, 1),
        (Deed::Name, Errno::EIO, 1),
        (Deed::SyncDirectory, Errno::EIO, 1),
    ];
    for (deed, errno, code) in faults {
        mounted.disk().fail(Fault { deed, nth: 1, errno });
        let ran = home.run("zput", ["new"]);
        assert!(mounted.disk().struck, "{deed:?} {errno:?}");
        mounted.disk().heal();
        let _failed = ran.ended(code);
        assert!(home.run("zget", ["-o", "-", "kept"]).ok().stdout == body(1), "{deed:?} {errno:?}");
    }
    assert_eq!(server.stop(), Some(0));
}

/// EMFILE wherever it comes: the server has as many descriptors as it has open, and one, two, … more.
#[test]
fn a_server_without_descriptors_answers_no_success_that_is_none() {
    let home = Home::new();
    let server = ServerProcess::start(&home.path().join("store"), &[]);
    server.admit(&home);
    home.write("kept", &body(1));
    let _stored = home.run("zput", ["kept"]).ok();
    let pid = Pid::from_raw(i32::try_from(server.pid()).unwrap());
    let open = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count() as u64;
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = |most| {
        prlimit(pid, Resource::Nofile, Rlimit { current: most, maximum }).unwrap();
    };
    let mut refused = 0;
    for more in 0..16 {
        let name = format!("new {more}");
        home.write(&name, &body(more));
        limit(Some(open + more));
        let put = home.run("zput", [&name]);
        let got = home.run("zget", ["-o", "-", "kept"]);
        limit(maximum);
        // Whatever was said stands.
        assert!(got.code != Some(0) || got.stdout == body(1), "{more}");
        let there = home.run("zget", ["-o", "-", &name]);
        if put.code == Some(0) {
            assert!(there.ok().stdout == body(more), "{more}");
        } else {
            refused += 1;
            let _absent = there.ended(4);
        }
        assert!(home.run("zget", ["-o", "-", "kept"]).ok().stdout == body(1), "{more}");
    }
    assert!((1..16).contains(&refused), "{refused} of 16 puts were refused");
    assert_eq!(server.stop(), Some(0));
}

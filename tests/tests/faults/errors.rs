//! Promise 7, and what becomes of calls that fail: no answer that is not so, no end of the server,
//! no space that stays taken, and what was there can be read all the while.

use std::{
    process::Command,
    thread,
    time::{Duration, Instant},
};

use fuser::Errno;
use rand::{SeedableRng as _, rngs::StdRng};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use zput_proto::{
    keys::DevicePublicKey,
    message::{Condition, ErrorCode, Scopes, Version},
    name::ObjectKey,
};
use zput_server::store::{Store, StoreError};
use zput_tests::{
    Machine, PATIENCE, Pattern, Ran, ServerProcess, command_path,
    journal::{History, Kept, look},
    or_skip,
};

use super::{
    disk::{BLOCK_BYTES, Deed, Disk, Fault},
    mounted::Mounted,
    workload::{clock, put},
};

fn key(text: &str) -> ObjectKey {
    ObjectKey::new(text).unwrap()
}

fn open(mounted: &Mounted) -> Store {
    Store::open(&mounted.path().join("store"), clock()).unwrap()
}

fn body(seed: u64) -> Vec<u8> {
    Pattern::bytes(seed, 100_000)
}

/// Whether the files take this many blocks, now or in a moment.
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

/// A disk that has, all of it synced, "kept" with one version, and "old" with two and one in the
/// trash.
fn furnished() -> Result<Disk, String> {
    let mounted = Mounted::new(Disk::default())?;
    let store = open(&mounted);
    put(&store, &key("kept"), Condition::Any, &body(1)).unwrap();
    for seed in 2..5 {
        put(&store, &key("old"), Condition::Any, &body(seed)).unwrap();
    }
    put(&store, &key("deleted"), Condition::Any, &body(5)).unwrap();
    store.delete(&key("deleted"), Condition::Any).unwrap();
    let disk = mounted.disk().clone();
    Ok(disk.after_cut(&mut StdRng::seed_from_u64(0)).0)
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
                let (versions, _, unreadable) = store.versions(&subject, None, 10)?;
                // A version that cannot be read is left out of them, and counted.
                if unreadable > 0 {
                    let source = std::io::Error::from_raw_os_error(5);
                    let (doing, file) = ("read a version", "of those that were listed".to_owned());
                    return Err(StoreError::Unreadable { doing, file, source });
                }
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

/// The store is what it would be if the change had been made; if it was not `done` it may be what
/// it was, too.
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

/// Nothing is put on top of what may not be there: not by the server that found out, and not by a
/// later one.
fn takes_no_writes(mounted: &Mounted, store: &Store, what: &str) {
    let before = histories(store);
    for store in [store, &open(mounted)] {
        assert!(store.fsync_failure().unwrap().is_some(), "{what}");
        for change in Change::ALL {
            let refused = change.make(store).unwrap_err();
            assert_eq!(refused.code(), ErrorCode::Suspect, "{what}, then {change:?}");
        }
    }
    assert_eq!(histories(store), before, "{what}");
    assert_eq!(staged(mounted), 0, "{what}");
}

/// Runs `zserve check --clear-suspect` on the mounted store.
fn clear_suspect(mounted: &Mounted) -> Ran {
    let store = mounted.path().join("store");
    let mut command = Command::new(command_path("zserve"));
    command.args(["check", "--clear-suspect", "--store"]).arg(store);
    Ran::from(command.output().unwrap())
}

/// The disk is well again and was read: the store that is open takes writes, and behind a cut
/// nothing is missing that was acknowledged, be it before or after. (What a failed sync was to
/// bring to the disk is not there: no second one does it.)
fn takes_writes_when_cleared(
    mounted: &Mounted,
    store: &Store,
    before: &[History; 3],
    change: Change,
    what: &str,
) {
    let _cleared = clear_suspect(mounted).ended(0);
    let again = match change.make(store) {
        Ok(version) => Some(version),
        // It had gone to the trash when the sync failed.
        Err(StoreError::NotFound) if matches!(change, Change::Delete) => None,
        Err(error) => panic!("{what}, again: {error}"),
    };
    let new = put(store, &key("kept"), Condition::Any, &body(7)).unwrap();
    for seed in 0..3 {
        let (left, _) = mounted.disk().after_cut(&mut StdRng::seed_from_u64(seed));
        let mounted = Mounted::new(left).unwrap();
        let store = open(&mounted);
        assert_eq!(store.fsync_failure().unwrap(), None, "{what}");
        let left = histories(&store);
        for (left, before) in left.iter().zip(before) {
            for (version, kept) in before {
                let left = left.get(version).map(Kept::content);
                assert_eq!(left, Some(kept.content()), "{what}, cleared, cut {seed}: {version}");
            }
        }
        assert!(left[0].contains_key(&new.0), "{what}, cleared, cut {seed}");
        let subject = look(&store, &change.subject()).unwrap();
        if let Some(again) = again {
            assert!(subject.contains_key(&again.0), "{what}, cleared and done, cut {seed}");
        }
    }
}

/// Fails the first, the second, … deed of a kind that each change comes to, until it comes to no
/// more of them. Gives how many were failed.
fn each_fails(furnished: &Disk, deed: Deed, errno: Errno, code: ErrorCode) -> u32 {
    // On a mount of its own: nothing of it is in memory when the change is made.
    let before = histories(&open(&Mounted::new(furnished.clone()).unwrap()));
    let mut failed = 0;
    for change in Change::ALL {
        for nth in 1.. {
            let what = format!("{change:?}, {deed:?} {nth} fails with {errno:?}");
            let mounted = Mounted::new(furnished.clone()).unwrap();
            let store = open(&mounted);
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
                takes_no_writes(&mounted, &store, &what);
                takes_writes_when_cleared(&mounted, &store, &before, change, &what);
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

/// A failed write ends the change with Internal and leaves no trace, and reads go on.
#[test]
fn store_change_survives_eio_of_each_write() {
    let disk = or_skip!(furnished());
    assert!(each_fails(&disk, Deed::Write, Errno::EIO, ErrorCode::Internal) >= 10);
}

/// A full disk at any write ends the change with Full and leaves no space taken.
#[test]
fn store_change_survives_enospc_of_each_write() {
    let disk = or_skip!(furnished());
    assert!(each_fails(&disk, Deed::Write, Errno::ENOSPC, ErrorCode::Full) >= 10);
}

/// A full disk at any create or rename ends the change with Full and leaves no space taken.
#[test]
fn store_change_survives_enospc_of_each_new_name() {
    let disk = or_skip!(furnished());
    assert!(each_fails(&disk, Deed::Make, Errno::ENOSPC, ErrorCode::Full) >= 3);
    assert!(each_fails(&disk, Deed::Name, Errno::ENOSPC, ErrorCode::Full) >= 6);
}

/// After a sync that failed the disk has forgotten what was to be written, and says that all is
/// well (see `disk`).
#[test]
fn store_is_suspect_after_failure_of_each_fsync() {
    let disk = or_skip!(furnished());
    assert!(each_fails(&disk, Deed::SyncFile, Errno::EIO, ErrorCode::Internal) >= 3);
    assert!(each_fails(&disk, Deed::SyncDirectory, Errno::EIO, ErrorCode::Internal) >= 8);
}

/// What memory holds is not what the disk holds: a store whose disk has lost something is not
/// cleared by what is in memory.
#[test]
fn clear_suspect_reads_the_disk_and_not_the_page_cache() {
    let furnished = or_skip!(furnished());
    let device = DevicePublicKey::from_bytes([0xd5; 32]);
    // SHA-256("new").
    let new = "store/objects/11/11507a0e2f5e69d5dfa40a62a1bd7b6ee57e6bcd85c67c9b8431b36fff21c437";
    let account = format!("store/clients/{device}.toml");
    // STORE, "The record": of an object of four slices.
    let length = 100_000 + 4 * 36 + "new".len() + 136;
    // A byte of its payload, one of its record; one of each small file.
    for (path, at, is_set_aside) in [
        (new, 1, true),
        (new, length - 50, true),
        (&account, 1, false),
        ("store/server.key", 200, false),
        ("store/zput-store.toml", 75, false),
    ] {
        let what = format!("{path}, byte {at}");
        let mounted = Mounted::new(furnished.clone()).unwrap();
        let store = open(&mounted);
        put(&store, &key("new"), Condition::Any, &body(6)).unwrap();
        let secret = store.create_invite(Scopes::GET, Duration::from_secs(60)).unwrap();
        store.redeem_invite(&secret, &device, "laptop").unwrap();
        mounted.disk().fail(Fault { deed: Deed::SyncDirectory, nth: 1, errno: Errno::EIO });
        store.delete(&key("kept"), Condition::Any).unwrap_err();
        mounted.disk().heal();
        let whole = std::fs::read(mounted.path().join(path)).unwrap();
        assert!(path != new || whole.len() == length, "{}", whole.len());

        mounted.disk().rot(path, at);
        assert!(
            std::fs::read(mounted.path().join(path)).unwrap() == whole,
            "{what}: still in memory"
        );
        let _found = clear_suspect(&mounted).ended(8);
        let refused = put(&store, &key("new"), Condition::Any, &body(7)).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::Suspect, "{what}");
        assert_eq!(mounted.path().join(path).exists(), !is_set_aside, "{what}");
        if !is_set_aside {
            // From a backup.
            std::fs::write(mounted.path().join(path), &whole).unwrap();
        }
        let _cleared = clear_suspect(&mounted).ended(0);
        put(&store, &key("new"), Condition::Any, &body(7)).unwrap();
    }
}

/// A failed open or read ends the change with Busy or Unreadable and leaves no trace.
#[test]
fn store_change_survives_failure_of_each_open_and_read() {
    let disk = or_skip!(furnished());
    assert!(each_fails(&disk, Deed::Open, Errno::EMFILE, ErrorCode::Busy) >= 10);
    assert!(each_fails(&disk, Deed::Make, Errno::EMFILE, ErrorCode::Busy) >= 3);
    assert!(each_fails(&disk, Deed::Read, Errno::EIO, ErrorCode::Unreadable) >= 4);
}

/// A put of 25 blocks finds 0, 1, 2, … free ones.
#[test]
fn put_on_full_disk_at_any_4_kib_leaves_store_unchanged() {
    let furnished = or_skip!(furnished());
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

/// A server whose disk fails reports that, keeps serving, and sends what it can read.
#[test]
fn zserve_goes_on_after_each_disk_fault() {
    let mounted = or_skip!(Mounted::new(Disk::default()));
    let home = Machine::new();
    let server = ServerProcess::start(&mounted.path().join("store"), &[]);
    server.admit(&home);
    home.write("kept", body(1));
    home.write("new", body(2));
    let _stored = home.run("zput", ["kept"]).ok();
    let faults = [
        (Deed::Write, Errno::ENOSPC, 9),
        (Deed::Make, Errno::ENOSPC, 9),
        (Deed::Name, Errno::ENOSPC, 9),
        (Deed::Make, Errno::EMFILE, 5),
        (Deed::Write, Errno::EIO, 1),
        (Deed::Name, Errno::EIO, 1),
        (Deed::SyncDirectory, Errno::EIO, 1),
        (Deed::SyncFile, Errno::EIO, 1),
    ];
    for (deed, errno, code) in faults {
        mounted.disk().fail(Fault { deed, nth: 1, errno });
        let ran = home.run("zput", ["new"]);
        assert!(mounted.disk().struck, "{deed:?} {errno:?}");
        mounted.disk().heal();
        let _failed = ran.ended(code);
        assert!(home.run("zget", ["-o", "-", "kept"]).ok().stdout == body(1), "{deed:?} {errno:?}");
        if matches!(deed, Deed::SyncFile | Deed::SyncDirectory) {
            let _refused = home.run("zput", ["new"]).ended(5);
            assert!(home.run("zget", ["-o", "-", "kept"]).ok().stdout == body(1));
            let _cleared = clear_suspect(&mounted).ended(0);
        }
        // The same server keeps serving.
        let _stored = home.run("zput", ["new"]).ok();
    }
    assert_eq!(server.stop(), Some(0));
}

/// EMFILE wherever it comes: the server has as many descriptors as it has open, and one, two, …
/// more.
#[test]
fn zserve_without_descriptors_acknowledges_only_stored_puts() {
    let home = Machine::new();
    let server = ServerProcess::start(&home.path().join("store"), &[]);
    server.admit(&home);
    home.write("kept", body(1));
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
        home.write(&name, body(more));
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

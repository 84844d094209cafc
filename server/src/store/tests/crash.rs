//! Every state that a crash can leave: made by hand, step by step as STORE lists them, and by
//! killing a process at each of its system calls.

use zput_skip::or_skip;

use super::{
    order::{Traced, trace},
    *,
};

/// The store is intact and works: `current` is the current version of "a", and `versions` are all
/// of them.
fn check(home: &mut Home, case: &str, current: Option<&[u8]>, states: &[(u64, VersionState)]) {
    home.reopen();
    assert_eq!(home.staged(), 0, "{case}");
    assert_eq!(home.body("a").as_deref(), current, "{case}");
    assert_eq!(home.states("a"), states, "{case}");
    let Page { entries, .. } = home.store.list(None, 10, false).unwrap();
    assert_eq!(entries.len(), usize::from(current.is_some()), "{case}");

    // A put, a delete and a restore on top of it lose no version.
    let next = home.put("a", b"next");
    assert_eq!(home.body("a"), Some(b"next".to_vec()), "{case}");
    for (version, _) in states {
        assert!(get(&home.store, "a", Some(*version)).is_some(), "{case}: {version} is lost");
    }
    assert_eq!(home.states("a").len(), states.len() + 1, "{case}");
    assert_eq!(home.store.delete(&key("a"), Condition::Any).unwrap().0, next, "{case}");
    assert_eq!(home.store.restore(&key("a"), Version(next)).unwrap().0, next, "{case}");
    assert_eq!(home.states("a").len(), states.len() + 1, "{case}");
}

/// A store with version 1000 of "a", and the complete file of version 1001 in staging, as before
/// step 6.
fn home_before_step_6() -> (Home, PathBuf) {
    let scratch = Home::new();
    scratch.put("a", b"old");
    scratch.put("a", b"new");
    let home = Home::new();
    home.put("a", b"old");
    let staged = home.path().join("staging/00112233445566778899aabbccddeeff");
    fs::copy(scratch.object_path("a"), &staged).unwrap();
    (home, staged)
}

const OLD: (u64, VersionState) = (1000, VersionState::Current);
const OLD_KEPT: (u64, VersionState) = (1000, VersionState::History);
const NEW: (u64, VersionState) = (1001, VersionState::Current);

/// After a crash in step 5 of a put the torn record is not seen and the old version stays.
#[test]
fn put_crash_at_step_5_torn_record_is_not_seen() {
    let (mut home, staged) = home_before_step_6();
    let length = fs::metadata(&staged).unwrap().len();
    let file = fs::OpenOptions::new().write(true).open(&staged).unwrap();
    file.set_len(length - 20).unwrap();
    check(&mut home, "step 5", Some(b"old"), &[OLD]);
}

/// After a crash before step 6 of a put the complete staging file is no object.
#[test]
fn put_crash_before_step_6_keeps_old_version() {
    let (mut home, _) = home_before_step_6();
    check(&mut home, "before step 6", Some(b"old"), &[OLD]);
}

/// A current version that is also linked in the history counts once.
#[test]
fn put_crash_before_step_7_counts_current_version_once() {
    let (mut home, _) = home_before_step_6();
    fs::hard_link(home.object_path("a"), home.area_path("history", "a", 1000)).unwrap();
    check(&mut home, "before step 7", Some(b"old"), &[OLD]);
    // The next put found the link there, and recognised it.
    assert!(home.area_path("history", "a", 1000).exists());
}

/// After a crash before step 8 of a put the renamed object is the current version.
#[test]
fn put_crash_before_step_8_renamed_object_is_current() {
    let (mut home, staged) = home_before_step_6();
    fs::hard_link(home.object_path("a"), home.area_path("history", "a", 1000)).unwrap();
    fs::rename(staged, home.object_path("a")).unwrap();
    check(&mut home, "before step 8", Some(b"new"), &[NEW, OLD_KEPT]);
}

/// A staging name of a committed object that a crash brought back is removed.
#[test]
fn put_crash_at_step_8_returned_staging_name_is_removed() {
    // A file system may bring back the old name when only the new one's directory was synced.
    let (mut home, staged) = home_before_step_6();
    fs::hard_link(home.object_path("a"), home.area_path("history", "a", 1000)).unwrap();
    fs::rename(&staged, home.object_path("a")).unwrap();
    fs::hard_link(home.object_path("a"), &staged).unwrap();
    check(&mut home, "staging not synced", Some(b"new"), &[NEW, OLD_KEPT]);
}

/// After a crash before a delete's unlink the object is current and can be deleted again.
#[test]
fn delete_crash_before_unlink_keeps_object_current() {
    let mut home = Home::new();
    home.put("a", b"old");
    fs::hard_link(home.object_path("a"), home.area_path("trash", "a", 1000)).unwrap();
    check(&mut home, "before unlink", Some(b"old"), &[OLD]);

    let mut home = Home::new();
    home.put("a", b"old");
    fs::hard_link(home.object_path("a"), home.area_path("trash", "a", 1000)).unwrap();
    home.reopen();
    home.store.delete(&key("a"), Condition::Version(Version(1000))).unwrap();
    check(&mut home, "deleted again", None, &[(1000, VersionState::Trash)]);
}

/// After a crash that follows a delete's unlink the object is in the trash.
#[test]
fn delete_crash_after_unlink_is_complete() {
    let mut home = Home::new();
    home.put("a", b"old");
    fs::rename(home.object_path("a"), home.area_path("trash", "a", 1000)).unwrap();
    check(&mut home, "after unlink", None, &[(1000, VersionState::Trash)]);
}

/// A delete after an interrupted put leaves the version once, in the trash.
#[test]
fn delete_after_interrupted_put_leaves_one_trash_version() {
    let mut home = Home::new();
    home.put("a", b"old");
    fs::hard_link(home.object_path("a"), home.area_path("history", "a", 1000)).unwrap();
    home.store.delete(&key("a"), Condition::Any).unwrap();
    check(&mut home, "history and trash", None, &[(1000, VersionState::Trash)]);
}

/// After a crash before a restore's unlink the version is current and counts once.
#[test]
fn restore_crash_before_unlink_makes_version_current() {
    let mut home = Home::new();
    home.put("a", b"old");
    home.store.delete(&key("a"), Condition::Any).unwrap();
    fs::hard_link(home.area_path("trash", "a", 1000), home.object_path("a")).unwrap();
    check(&mut home, "before unlink", Some(b"old"), &[OLD]);
}

/// A put over an interrupted restore or delete leaves the old version in the history once.
#[test]
fn put_after_interrupted_restore_leaves_one_history_version() {
    let mut home = Home::new();
    home.put("a", b"old");
    fs::hard_link(home.object_path("a"), home.area_path("trash", "a", 1000)).unwrap();
    home.put("a", b"new");
    assert!(!home.area_path("trash", "a", 1000).exists());
    check(&mut home, "it was not deleted", Some(b"new"), &[NEW, OLD_KEPT]);
}

/// The operation of a killed process, and the state of "a" afterwards: unchanged, or with the
/// change done.
struct Attempt {
    role: &'static str,
    before: fn(&Home),
    old: Option<&'static [u8]>,
    new: Option<&'static [u8]>,
}

const ATTEMPTS: [Attempt; 4] = [
    Attempt {
        role: "put",
        before: |home| _ = home.put("a", b"old"),
        old: Some(b"old"),
        new: Some(&[b'n'; 5000]),
    },
    Attempt { role: "put absent", before: |_| {}, old: None, new: Some(b"new") },
    Attempt {
        role: "delete",
        before: |home| _ = home.put("a", b"old"),
        old: Some(b"old"),
        new: None,
    },
    Attempt {
        role: "restore",
        before: |home| {
            home.put("a", b"old");
            home.store.delete(&key("a"), Condition::Any).unwrap();
        },
        old: None,
        new: Some(b"old"),
    },
];

/// The calls that change something, or make it durable.
const CALLS: [&str; 7] =
    ["pwrite64", "fdatasync", "fsync", "linkat", "renameat", "unlinkat", "flock"];

/// Promise 4, and promise 1 for earlier versions: killed at any call, a change is there completely
/// or not at all.
#[test]
fn store_is_whole_after_kill_at_any_system_call() {
    let mut kills = 0;
    for attempt in &ATTEMPTS {
        for call in CALLS {
            for nth in 1.. {
                let mut home = Home::new();
                (attempt.before)(&home);
                let inject = format!("inject={call}:signal=SIGKILL:when={nth}");
                let Traced { output: said, .. } = or_skip!(trace(&[&inject], attempt.role, &home));
                let done = said.starts_with("ok ");
                let case = format!("{} killed at {call} {nth}", attempt.role);
                let now = home.body("a");
                assert!(
                    now.as_deref() == attempt.new || (!done && now.as_deref() == attempt.old),
                    "{case}"
                );
                let states = home.states("a");
                check(&mut home, &case, now.as_deref(), &states);
                if done {
                    break;
                }
                kills += 1;
            }
        }
    }
    assert!(kills >= 30, "{kills} kills");
}

//! Rot and planted files: found, told apart, never served, never destroyed.

use std::os::unix::fs::{FileExt, symlink};

use zput_common::proto::message::ErrorCode;

use super::*;
use crate::store::Rot;

fn rot(result: Result<impl std::fmt::Debug, StoreError>) -> Rot {
    match result {
        Err(error @ StoreError::Corrupt(rot)) => {
            assert_eq!(error.code(), ErrorCode::Internal);
            rot
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_rotten_trailer_is_an_error_for_that_object_alone() {
    let home = Home::new();
    home.put("good", b"1");
    home.put("bad", b"2");
    let file = fs::OpenOptions::new().write(true).open(home.object_path("bad")).unwrap();
    let length = file.metadata().unwrap().len();
    file.write_all_at(b"\xff", length - 50).unwrap();
    assert_eq!(rot(home.store.lookup(&key("bad"), None)), Rot::TrailerDigest);
    // Nobody knows its version, so it cannot be moved to the history or the trash: it stays.
    assert_eq!(rot(put(&home.store, "bad", b"3", Condition::Any)), Rot::TrailerDigest);
    assert_eq!(rot(home.store.delete(&key("bad"), Condition::Any)), Rot::TrailerDigest);
    assert_eq!(fs::metadata(home.object_path("bad")).unwrap().len(), length);
    let (entries, next) = home.store.list(None, 10, true).unwrap();
    assert_eq!(entries.iter().map(|e| &e.key).collect::<Vec<_>>(), [&key("good")]);
    assert_eq!(next, None);
    assert_eq!(home.states("bad"), []);
    assert_eq!(home.body("good"), Some(b"1".to_vec()));
}

#[test]
fn a_rotten_version_hides_no_other() {
    let home = Home::new();
    for body in [b"1", b"2", b"3"] {
        home.put("a", body);
    }
    fs::write(home.shelf_path("history", "a", 1001), "rubbish").unwrap();
    assert_eq!(home.states("a"), [(1002, VersionState::Current), (1000, VersionState::History)]);
    assert_eq!(rot(home.store.lookup(&key("a"), Some(Version(1001)))), Rot::Short);
    assert_eq!(get(&home.store, "a", Some(1000)), Some(b"1".to_vec()));
    // Its number is not given again.
    home.store.delete(&key("a"), Condition::Any).unwrap();
    assert_eq!(home.put("a", b"4"), 1003);
}

#[test]
fn files_under_a_strange_name_are_refused() {
    let home = Home::new();
    home.put("a", b"1");
    home.put("a", b"2");
    fs::copy(home.object_path("a"), home.object_path("b")).unwrap();
    assert_eq!(rot(home.store.lookup(&key("b"), None)), Rot::Misplaced);
    let (entries, _) = home.store.list(None, 10, false).unwrap();
    assert_eq!(entries.len(), 1);
    fs::copy(home.object_path("a"), home.shelf_path("history", "a", 7)).unwrap();
    assert_eq!(rot(home.store.lookup(&key("a"), Some(Version(7)))), Rot::Misplaced);
    assert_eq!(rot(home.store.restore(&key("a"), Version(7))), Rot::Misplaced);
}

#[test]
fn two_files_that_claim_one_version_are_both_kept() {
    let home = Home::new();
    let version = home.put("a", b"1");
    let planted = home.shelf_path("history", "a", version);
    fs::copy(home.object_path("a"), &planted).unwrap();
    assert_eq!(rot(put(&home.store, "a", b"2", Condition::Any)), Rot::Twins);
    assert_eq!(home.body("a"), Some(b"1".to_vec()));
    assert_eq!(home.staged(), 0);
    assert!(planted.exists());

    fs::remove_file(&planted).unwrap();
    let planted = home.shelf_path("trash", "a", version);
    fs::copy(home.object_path("a"), &planted).unwrap();
    assert_eq!(rot(put(&home.store, "a", b"2", Condition::Any)), Rot::Twins);
    assert!(planted.exists());
}

#[test]
fn a_restored_copy_is_verified_slice_by_slice() {
    let home = Home::new();
    let version = home.put("a", &[1; 2500]);
    home.put("a", b"2");
    let old = home.shelf_path("history", "a", version);
    let file = fs::OpenOptions::new().write(true).open(&old).unwrap();
    file.write_all_at(b"\0", 1500).unwrap();
    assert_eq!(rot(home.store.restore(&key("a"), Version(version))), Rot::Slice(1));
    // The table of slices begins behind the payload.
    file.write_all_at(&[1], 1500).unwrap();
    file.write_all_at(b"\xff", 2500).unwrap();
    assert_eq!(rot(home.store.restore(&key("a"), Version(version))), Rot::SliceTable);
    assert_eq!(home.body("a"), Some(b"2".to_vec()));
    assert_eq!(home.staged(), 0);
}

#[test]
fn no_planted_link_is_followed() {
    let home = Home::new();
    home.put("a", b"1");
    home.put("b", b"1");
    let outside = home.dir.path().join("outside");
    fs::copy(home.object_path("a"), &outside).unwrap();

    fs::remove_file(home.object_path("a")).unwrap();
    symlink(&outside, home.object_path("a")).unwrap();
    assert_eq!(rot(home.store.lookup(&key("a"), None)), Rot::NotAFile);
    assert_eq!(rot(put(&home.store, "a", b"2", Condition::Any)), Rot::NotAFile);
    assert_eq!(rot(home.store.delete(&key("a"), Condition::Any)), Rot::NotAFile);
    assert!(home.object_path("a").is_symlink());
    let (entries, _) = home.store.list(None, 10, true).unwrap();
    assert_eq!(entries.iter().map(|e| &e.key).collect::<Vec<_>>(), [&key("b")]);

    let shard = home.object_path("b").parent().unwrap().to_owned();
    let moved = home.dir.path().join("moved");
    fs::rename(&shard, &moved).unwrap();
    symlink(&moved, &shard).unwrap();
    assert_eq!(rot(home.store.lookup(&key("b"), None)), Rot::NotAFile);
    assert_eq!(
        put(&home.store, "b", b"2", Condition::Any).unwrap_err().code(),
        ErrorCode::Internal
    );
    assert_eq!(
        home.store.delete(&key("b"), Condition::Any).unwrap_err().code(),
        ErrorCode::Internal
    );
    assert_eq!(names_in(&moved).len(), 1);
    assert!(matches!(open(&home.path(), &home.time), Err(StoreError::Missing(_))));
}

#[test]
fn a_planted_pipe_does_not_hang_a_get() {
    let home = Home::new();
    let mode = rustix::fs::Mode::RWXU;
    let path = home.object_path("a");
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert_eq!(rot(home.store.lookup(&key("a"), None)), Rot::NotAFile);
    let (entries, _) = home.store.list(None, 10, false).unwrap();
    assert!(entries.is_empty());
}

#[test]
fn strange_names_are_left_alone() {
    let home = Home::new();
    home.put("a", b"1");
    home.put("a", b"2");
    let objects = home.object_path("a").parent().unwrap().to_owned();
    let history = home.shelf_path("history", "a", 1).parent().unwrap().to_owned();
    for dir in [&objects, &history] {
        for name in ["README", "..x", "\u{fc}", &"f".repeat(64), &"A".repeat(64)] {
            fs::write(dir.join(name), "x").unwrap();
        }
    }
    let (entries, next) = home.store.list(None, 10, false).unwrap();
    assert_eq!((entries.len(), next), (1, None));
    assert_eq!(home.states("a").len(), 2);
    assert_eq!(home.put("a", b"3"), 1002);
}

#[test]
fn no_error_shows_a_path() {
    let home = Home::new();
    let version = home.put("a", b"1");
    symlink("/etc/passwd", home.object_path("b")).unwrap();
    fs::remove_dir_all(home.path().join("staging")).unwrap();
    let errors = [
        home.store.lookup(&key("b"), None).unwrap_err(),
        home.store.lookup(&key("c"), None).unwrap_err(),
        put(&home.store, "c", b"1", Condition::Any).unwrap_err(),
        put(&home.store, "a", b"1", Condition::Absent).unwrap_err(),
        home.store.restore(&key("a"), Version(version + 1)).unwrap_err(),
    ];
    for error in errors {
        let text = error.to_string();
        assert!(!text.contains('/') && text.len() <= 256, "{text}");
    }
}

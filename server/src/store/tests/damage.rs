//! Bit rot and planted files: found, distinguished, never served, never destroyed.

use std::os::unix::fs::{FileExt, symlink};

use zput_proto::{keys::DevicePublicKey, message::ErrorCode};

use super::*;
use crate::{
    limits::Semaphore,
    store::{Corruption, Fraction, ReadFrom, ScrubOptions, record::Trailer},
};

fn corruption(result: Result<impl std::fmt::Debug, StoreError>) -> Corruption {
    match result {
        Err(error @ StoreError::Corrupt(rot)) => {
            assert_eq!(error.code(), ErrorCode::Unreadable);
            rot
        }
        other => panic!("{other:?}"),
    }
}

/// A corrupt trailer fails gets, puts and deletes of its object and of no other.
#[test]
fn trailer_corruption_fails_its_object_only() {
    let home = Home::new();
    home.put("good", b"1");
    home.put("bad", b"2");
    let file = fs::OpenOptions::new().write(true).open(home.object_path("bad")).unwrap();
    let length = file.metadata().unwrap().len();
    file.write_all_at(b"\xff", length - 50).unwrap();
    assert_eq!(corruption(home.store.lookup(&key("bad"), None)), Corruption::TrailerDigest);
    // Its version is not known, so it cannot be moved to the history or the trash, and stays.
    assert_eq!(
        corruption(put(&home.store, "bad", b"3", Condition::Any)),
        Corruption::TrailerDigest
    );
    assert_eq!(
        corruption(home.store.delete(&key("bad"), Condition::Any)),
        Corruption::TrailerDigest
    );
    assert_eq!(fs::metadata(home.object_path("bad")).unwrap().len(), length);
    let Page { entries, next, .. } = home.store.list(None, 10, true).unwrap();
    assert_eq!(entries.iter().map(|e| &e.key).collect::<Vec<_>>(), [&key("good")]);
    assert_eq!(next, None);
    assert_eq!(home.states("bad"), []);
    assert_eq!(home.body("good"), Some(b"1".to_vec()));
}

/// A corrupt version hides no other version, and its number is not given again.
#[test]
fn version_corruption_hides_no_other_version() {
    let home = Home::new();
    for body in [b"1", b"2", b"3"] {
        home.put("a", body);
    }
    fs::write(home.area_path("history", "a", 1001), "rubbish").unwrap();
    assert_eq!(home.states("a"), [(1002, VersionState::Current), (1000, VersionState::History)]);
    assert_eq!(corruption(home.store.lookup(&key("a"), Some(Version(1001)))), Corruption::Short);
    assert_eq!(get(&home.store, "a", Some(1000)), Some(b"1".to_vec()));
    // Its number is not given again.
    home.store.delete(&key("a"), Condition::Any).unwrap();
    assert_eq!(home.put("a", b"4"), 1003);
}

/// A file under another object's or version's name is refused as misplaced.
#[test]
fn object_file_under_other_name_is_misplaced() {
    let home = Home::new();
    home.put("a", b"1");
    home.put("a", b"2");
    fs::copy(home.object_path("a"), home.object_path("b")).unwrap();
    assert_eq!(corruption(home.store.lookup(&key("b"), None)), Corruption::Misplaced);
    let Page { entries, .. } = home.store.list(None, 10, false).unwrap();
    assert_eq!(entries.len(), 1);
    fs::copy(home.object_path("a"), home.area_path("history", "a", 7)).unwrap();
    assert_eq!(corruption(home.store.lookup(&key("a"), Some(Version(7)))), Corruption::Misplaced);
    assert_eq!(corruption(home.store.restore(&key("a"), Version(7))), Corruption::Misplaced);
}

/// Two different files of one version are both kept, and checks and scrubs report them.
#[test]
fn version_in_two_unequal_files_is_reported() {
    for area in ["history", "trash"] {
        let home = Home::new();
        let version = home.put("a", b"1");
        let planted = home.area_path(area, "a", version);
        fs::copy(home.object_path("a"), &planted).unwrap();
        record_anew(&planted, |trailer| trailer.slices_digest = Digest::of(b"another table"));
        assert_eq!(
            corruption(put(&home.store, "a", b"2", Condition::Any)),
            Corruption::DuplicateVersion
        );
        assert_eq!(home.body("a"), Some(b"1".to_vec()));
        assert_eq!(home.staged(), 0);
        assert!(planted.exists());
        // Both a check and a scrub report it.
        let file = planted.strip_prefix(home.path()).unwrap().to_str().unwrap().to_owned();
        let all = ScrubOptions { fraction: Fraction::ALL, from: ReadFrom::PageCache };
        let scrubbed = home.store.scrub(all, &mut ()).unwrap().damaged;
        assert!(scrubbed.iter().any(|damage| damage.file == file), "{scrubbed:?}");
        fs::remove_file(&planted).ok();
        fs::copy(home.object_path("a"), &planted).unwrap();
        record_anew(&planted, |trailer| {
            trailer.client = Some(DevicePublicKey::from_bytes([1; 32]))
        });
        let what = Corruption::DuplicateVersion.to_string();
        for damaged in [
            home.store.check(&mut ()).unwrap().damaged,
            home.store.scrub(all, &mut ()).unwrap().damaged,
        ] {
            assert_eq!(damaged.len(), 1, "{damaged:?}");
            assert_eq!((&damaged[0].file, &damaged[0].what), (&file, &what));
            assert_eq!(damaged[0].quarantined, None);
        }
    }
}

/// A crash between the link and the rename leaves two names of one file; a copy without hard links
/// makes two files.
#[test]
fn version_in_two_equal_files_is_listed_once() {
    for area in ["history", "trash"] {
        let home = Home::new();
        let version = home.put("a", b"1");
        let copy = home.area_path(area, "a", version);
        fs::copy(home.object_path("a"), &copy).unwrap();
        assert_eq!(home.states("a"), [(version, VersionState::Current)]);
        assert_eq!(home.store.check(&mut ()).unwrap().damaged, []);
        let all = ScrubOptions { fraction: Fraction::ALL, from: ReadFrom::PageCache };
        assert_eq!(home.store.scrub(all, &mut ()).unwrap().damaged, []);
        let second = home.put("a", b"2");
        assert_eq!(
            home.states("a"),
            [(second, VersionState::Current), (version, VersionState::History)]
        );
        assert_eq!(get(&home.store, "a", Some(version)), Some(b"1".to_vec()));
        assert!(!home.area_path("trash", "a", version).exists());
    }
}

/// Whether a get, a check and a scrub all find a record that does not fit its payload.
fn check_mismatch_is_found(body: [&[u8]; 3], kind: Kind, change: impl Fn(&mut Trailer)) {
    let home = Home::new();
    put_slices(
        &home.store,
        "a",
        kind,
        Condition::Any,
        body.into_iter().filter(|slice| !slice.is_empty()),
    )
    .unwrap();
    let path = home.object_path("a");
    let opened = |store: &Store| {
        let (object, place) = store.open_current(&key("a")).unwrap();
        crate::mounts::OpenObject::stored(
            object,
            Some(place),
            Semaphore::new(1).try_acquire().unwrap(),
        )
    };
    opened(&home.store).unwrap();
    record_anew(&path, change);
    assert_eq!(corruption(opened(&home.store)), Corruption::Envelope);
    let what = Corruption::Envelope.to_string();
    let damaged = home.store.check(&mut ()).unwrap().damaged;
    assert_eq!(damaged.iter().map(|damage| &damage.what).collect::<Vec<_>>(), [&what]);
    assert!(path.exists());
    let all = ScrubOptions { fraction: Fraction::ALL, from: ReadFrom::PageCache };
    let damaged = home.store.scrub(all, &mut ()).unwrap().damaged;
    assert_eq!(damaged.iter().map(|damage| &damage.what).collect::<Vec<_>>(), [&what]);
    assert!(!path.exists(), "it was set aside");
}

/// A check finds a record whose lengths, kind or key do not match its blob.
#[test]
fn check_finds_record_that_does_not_match_blob() {
    let blob = sealed("a", &[7; 5000]);
    let parts = [&blob[0][..], &blob[1], &blob[2]];
    check_mismatch_is_found(parts, Kind::Sealed, |trailer| trailer.header_length += 1);
    check_mismatch_is_found(parts, Kind::Sealed, |trailer| trailer.footer_length -= 1);
    check_mismatch_is_found(parts, Kind::Sealed, |trailer| trailer.footer_length = 0);
    check_mismatch_is_found(parts, Kind::Sealed, |trailer| trailer.header_length = u32::MAX);
    let plain = |trailer: &mut Trailer| {
        (trailer.kind, trailer.header_length, trailer.footer_length) = (Kind::Plain, 0, 0);
    };
    check_mismatch_is_found(parts, Kind::Sealed, plain);
    check_mismatch_is_found([b"plain bytes", b"", b""], Kind::Plain, |trailer| {
        trailer.kind = Kind::Sealed
    });
    // Another object's file with a matching record: the header still names the key that it was
    // sealed for.
    let home = Home::new();
    let slices = parts.into_iter();
    put_slices(&home.store, "a", Kind::Sealed, Condition::Any, slices).unwrap();
    let other = home.object_path("b");
    fs::create_dir_all(other.parent().unwrap()).unwrap();
    fs::copy(home.object_path("a"), &other).unwrap();
    record_anew(&other, |trailer| trailer.key = key("b"));
    let damaged = home.store.check(&mut ()).unwrap().damaged;
    assert_eq!(damaged[0].what, Corruption::Envelope.to_string());
}

/// A plain object's record with a header or footer length is corrupt.
#[test]
fn plain_record_with_header_or_footer_is_corrupt() {
    let home = Home::new();
    home.put("a", b"1");
    record_anew(&home.object_path("a"), |trailer| trailer.header_length = 1);
    assert_eq!(corruption(home.store.lookup(&key("a"), None)), Corruption::Field);
    home.put("b", b"1");
    record_anew(&home.object_path("b"), |trailer| trailer.footer_length = 1);
    assert_eq!(corruption(home.store.lookup(&key("b"), None)), Corruption::Field);
}

/// An upload refuses a slice of no bytes.
#[test]
fn upload_refuses_empty_slice() {
    let home = Home::new();
    let mut upload = home.store.begin(&key("a"), Kind::Plain, Condition::Any, None).unwrap();
    let refused = upload.start_slice(0, Digest::of(b"")).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Malformed);
}

/// Whatever is in the place of an object's file, the other objects are listed, and the page says
/// how many are missing.
#[test]
fn store_list_counts_unreadable_objects() {
    let home = Home::new();
    for n in 0..30 {
        home.put(&n.to_string(), b"x");
    }
    let replace = |key: &str, with: &dyn Fn(&Path)| {
        let path = home.object_path(key);
        fs::remove_file(&path).unwrap();
        with(&path);
    };
    replace("1", &|path| fs::create_dir(path).unwrap());
    replace("2", &|path| symlink("/etc/passwd", path).unwrap());
    replace("3", &|path| symlink(path, path).unwrap());
    replace("4", &|path| fs::write(path, "rubbish").unwrap());
    replace("5", &|path| fs::write(path, "").unwrap());
    for limit in [1, 7, 1000] {
        let (mut after, mut listed, mut unreadable) = (None::<Vec<u8>>, 0, 0);
        loop {
            let page = home.store.list(after.as_deref(), limit, true).unwrap();
            listed += page.entries.len();
            unreadable += page.unreadable;
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!((listed, unreadable), (25, 5), "limit {limit}");
    }
}

/// A listing of versions leaves out a version that cannot be read and counts it.
#[test]
fn versions_listing_counts_unreadable_versions() {
    let home = Home::new();
    for body in [b"1", b"2", b"3"] {
        home.put("a", body);
    }
    let path = home.area_path("history", "a", 1001);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let (versions, next, unreadable) = home.store.versions(&key("a"), None, 10).unwrap();
    assert_eq!((versions.len(), next, unreadable), (2, None, 1));
}

/// A restore verifies each slice and the slice table, and fails on a corrupt one.
#[test]
fn restore_verifies_every_slice_of_copy() {
    let home = Home::new();
    let version = home.put("a", &[1; 2500]);
    home.put("a", b"2");
    let old = home.area_path("history", "a", version);
    let file = fs::OpenOptions::new().write(true).open(&old).unwrap();
    file.write_all_at(b"\0", 1500).unwrap();
    assert_eq!(corruption(home.store.restore(&key("a"), Version(version))), Corruption::Slice(1));
    // The table of slices begins after the payload.
    file.write_all_at(&[1], 1500).unwrap();
    file.write_all_at(b"\xff", 2500).unwrap();
    assert_eq!(corruption(home.store.restore(&key("a"), Version(version))), Corruption::SliceTable);
    assert_eq!(home.body("a"), Some(b"2".to_vec()));
    assert_eq!(home.staged(), 0);
}

/// The store follows no symbolic link in place of an object or a shard.
#[test]
fn store_follows_no_planted_symlink() {
    let home = Home::new();
    home.put("a", b"1");
    home.put("b", b"1");
    let outside = home.dir.path().join("outside");
    fs::copy(home.object_path("a"), &outside).unwrap();

    fs::remove_file(home.object_path("a")).unwrap();
    symlink(&outside, home.object_path("a")).unwrap();
    assert_eq!(corruption(home.store.lookup(&key("a"), None)), Corruption::NotAFile);
    assert_eq!(corruption(put(&home.store, "a", b"2", Condition::Any)), Corruption::NotAFile);
    assert_eq!(corruption(home.store.delete(&key("a"), Condition::Any)), Corruption::NotAFile);
    assert!(home.object_path("a").is_symlink());
    let Page { entries, .. } = home.store.list(None, 10, true).unwrap();
    assert_eq!(entries.iter().map(|e| &e.key).collect::<Vec<_>>(), [&key("b")]);

    let shard = home.object_path("b").parent().unwrap().to_owned();
    let moved = home.dir.path().join("moved");
    fs::rename(&shard, &moved).unwrap();
    symlink(&moved, &shard).unwrap();
    assert_eq!(corruption(home.store.lookup(&key("b"), None)), Corruption::NotAFile);
    assert_eq!(
        put(&home.store, "b", b"2", Condition::Any).unwrap_err().code(),
        ErrorCode::Unreadable
    );
    assert_eq!(
        home.store.delete(&key("b"), Condition::Any).unwrap_err().code(),
        ErrorCode::Unreadable
    );
    assert_eq!(names_in(&moved).len(), 1);
    assert!(matches!(open(&home.path(), &home.time), Err(StoreError::Missing(_))));
}

/// A pipe in place of an object is refused at once and not listed.
#[test]
fn store_get_of_planted_pipe_does_not_block() {
    let home = Home::new();
    let mode = rustix::fs::Mode::RWXU;
    let path = home.object_path("a");
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert_eq!(corruption(home.store.lookup(&key("a"), None)), Corruption::NotAFile);
    let Page { entries, .. } = home.store.list(None, 10, false).unwrap();
    assert!(entries.is_empty());
}

/// Files with strange names in a shard are ignored by lists and puts.
#[test]
fn store_ignores_files_with_strange_names() {
    let home = Home::new();
    home.put("a", b"1");
    home.put("a", b"2");
    let objects = home.object_path("a").parent().unwrap().to_owned();
    let history = home.area_path("history", "a", 1).parent().unwrap().to_owned();
    for dir in [&objects, &history] {
        for name in ["README", "..x", "\u{fc}", &"f".repeat(64), &"A".repeat(64)] {
            fs::write(dir.join(name), "x").unwrap();
        }
    }
    let Page { entries, next, .. } = home.store.list(None, 10, false).unwrap();
    assert_eq!((entries.len(), next), (1, None));
    assert_eq!(home.states("a").len(), 2);
    assert_eq!(home.put("a", b"3"), 1002);
}

/// Names of the store's files contain nothing that a client chose, and are what an operator needs.
#[test]
fn store_errors_show_no_key_or_outside_path() {
    let home = Home::new();
    let version = home.put("a", b"1");
    symlink("/etc/passwd", home.object_path("secret-b")).unwrap();
    fs::remove_dir_all(home.path().join("staging")).unwrap();
    fs::write(home.path().join("staging"), "").unwrap();
    let errors = [
        home.store.lookup(&key("secret-b"), None).unwrap_err(),
        home.store.lookup(&key("secret-c"), None).unwrap_err(),
        put(&home.store, "secret-c", b"1", Condition::Any).unwrap_err(),
        put(&home.store, "a", b"1", Condition::Absent).unwrap_err(),
        home.store.restore(&key("a"), Version(version + 1)).unwrap_err(),
    ];
    let outside = home.dir.path().to_str().unwrap().to_owned();
    for error in errors {
        let text = error.to_string();
        let shows = ["passwd", "secret", &outside].into_iter().any(|part| text.contains(part));
        assert!(!shows && text.len() <= 256, "{text}");
    }
}

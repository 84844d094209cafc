//! Directories that are removed, moved or replaced beneath an open store.

use std::{os::unix::fs::PermissionsExt, time::Duration};

use zput_proto::{
    keys::DevicePublicKey,
    message::{ErrorCode, Scopes},
};

use super::*;
use crate::store::{Fraction, ReadFrom, ScrubOptions};

const DEVICE: DevicePublicKey = DevicePublicKey::from_bytes([0xd7; 32]);

/// Everything that changes or reads a store; each call needs other directories.
fn is_used(home: &Home) {
    home.put("a", b"1");
    home.put("a", b"2");
    assert_eq!(home.body("a"), Some(b"2".to_vec()));
    let deleted = home.store.delete(&key("a"), Condition::Any).unwrap();
    home.store.restore(&key("a"), deleted).unwrap();
    assert_eq!(home.store.list(None, 1000, false).unwrap().entries.len(), 1);
    let invite = home.store.create_invite(Scopes::ALL, Duration::from_secs(60)).unwrap();
    home.store.redeem_invite(&invite, &DEVICE, "a device").unwrap();
    assert_eq!(home.store.scopes_of(&DEVICE).unwrap(), Some(Scopes::ALL));
    home.store.expire_uploads().unwrap();
    let scrub = ScrubOptions { fraction: Fraction::ALL, from: ReadFrom::PageCache };
    assert_eq!(home.store.scrub(scrub, &mut ()).unwrap().damaged, []);
    assert_eq!(home.store.check(&mut ()).unwrap().damaged, []);
}

/// Each directory, with its contents, while the store is open.
#[test]
fn store_remakes_directory_removed_while_open() {
    for removed in
        ["staging", "quarantine", "locks", "clients", "invites", "objects", "history", "trash"]
    {
        let home = Home::new();
        is_used(&home);
        let path = home.path().join(removed);
        fs::remove_dir_all(&path).unwrap();
        is_used(&home);
        if removed != "quarantine" {
            let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
            assert_eq!(mode, 0o700, "{removed}");
        }
    }
}

/// An upload in progress is lost with its file, and fails; later ones do not.
#[test]
fn upload_with_removed_staging_file_fails_alone() {
    let home = Home::new();
    let mut upload = home.store.begin(&key("a"), Kind::Plain, Condition::Any, None).unwrap();
    upload.start_slice(5, Digest::of(b"hello")).unwrap();
    fs::remove_dir_all(home.path().join("staging")).unwrap();
    upload.write(b"hello").unwrap();
    upload.end_slice().unwrap();
    assert_eq!(upload.commit().unwrap_err().code(), ErrorCode::Internal);
    assert_eq!(home.states("a"), []);
    home.put("a", b"again");
    assert_eq!((home.body("a"), home.staged()), (Some(b"again".to_vec()), 0));
}

/// The next start looks for interrupted uploads in whatever directory is called `staging`.
#[test]
fn uploads_use_directory_now_named_staging() {
    let home = Home::new();
    let (staging, moved) = (home.path().join("staging"), home.dir.path().join("moved"));
    fs::rename(&staging, &moved).unwrap();
    let upload = home.store.begin(&key("a"), Kind::Plain, Condition::Any, None).unwrap();
    assert_eq!((home.staged(), names_in(&moved).len()), (1, 0));
    drop(upload);
    // Another directory has its place.
    fs::remove_dir(&staging).unwrap();
    fs::create_dir(&staging).unwrap();
    let upload = home.store.begin(&key("a"), Kind::Plain, Condition::Any, None).unwrap();
    assert_eq!(home.staged(), 1);
    drop(upload);
    // Only a directory is accepted in its place.
    fs::remove_dir(&staging).unwrap();
    fs::write(&staging, "a file").unwrap();
    let error = put(&home.store, "a", b"1", Condition::Any).unwrap_err();
    assert!(error.to_string().contains("staging"), "{error}");
    fs::remove_file(&staging).unwrap();
    home.put("a", b"1");
}

/// A disk that is unmounted, a store that is moved or restored: acknowledged data would be where no
/// reader looks.
#[test]
fn store_displaced_refuses_writes_and_is_not_repaired() {
    let home = Home::new();
    let version = home.put("a", b"1");
    let moved = home.dir.path().join("moved");
    let invite = home.store.create_invite(Scopes::ALL, Duration::from_secs(60)).unwrap();
    // A directory is missing in it, and in what takes its place.
    fs::remove_dir(home.path().join("staging")).unwrap();
    let another = Home::new();
    let in_place: [&dyn Fn(); 3] = [&|| {}, &|| fs::create_dir(home.path()).unwrap(), &|| {
        fs::rename(another.path(), home.path()).unwrap()
    }];
    for (round, make) in in_place.iter().enumerate() {
        fs::rename(home.path(), &moved).unwrap();
        make();
        let entries = names_in(home.dir.path()).len();
        let before = home.path().is_dir().then(|| names_in(&home.path()));
        let refused = |result: Result<(), StoreError>| {
            let error = result.unwrap_err();
            assert!(matches!(error, StoreError::Displaced), "{round}: {error:?}");
            assert_eq!(error.code(), ErrorCode::ReadOnly);
            assert!(error.to_string().starts_with("the store's directory was moved"));
        };
        refused(put(&home.store, "b", b"2", Condition::Any).map(drop));
        refused(home.store.delete(&key("a"), Condition::Any).map(drop));
        refused(home.store.restore(&key("a"), Version(version)).map(drop));
        refused(home.store.redeem_invite(&invite, &DEVICE, "a device").map(drop));
        refused(home.store.expire_uploads().map(drop));
        assert!(!moved.join("staging").exists(), "it was made again");
        assert_eq!(names_in(home.dir.path()).len(), entries);
        assert_eq!(home.path().is_dir().then(|| names_in(&home.path())), before);
        // It can still be read.
        assert_eq!(home.body("a"), Some(b"1".to_vec()));
        if home.path().is_dir() {
            fs::rename(home.path(), home.dir.path().join(format!("aside {round}"))).unwrap();
        }
        fs::rename(&moved, home.path()).unwrap();
    }
    // After it is moved back nothing has to be restarted.
    home.put("b", b"2");
    assert_eq!(home.staged(), 0);
    // An upload in progress when it happens is not acknowledged either.
    let mut upload = home.store.begin(&key("b"), Kind::Plain, Condition::Any, None).unwrap();
    upload.start_slice(1, Digest::of(b"3")).unwrap();
    upload.write(b"3").unwrap();
    upload.end_slice().unwrap();
    fs::rename(home.path(), &moved).unwrap();
    assert!(matches!(upload.commit(), Err(StoreError::Displaced)));
    fs::remove_dir_all(&moved).unwrap();
    let gone = put(&home.store, "b", b"4", Condition::Any).unwrap_err();
    assert!(matches!(gone, StoreError::Displaced), "{gone:?}");
}

/// A thread that waits for a lock whose file is replaced then waits for the one that takes its
/// place. One that is removed is made again.
#[test]
fn writer_follows_replaced_shard_lock_file() {
    let home = Home::new();
    let old = home.lock_file("a");
    old.lock().unwrap();
    let replacement = home.dir.path().join("replacement");
    let new = fs::File::create(&replacement).unwrap();
    new.lock().unwrap();
    let path = home.path().join(ObjectName::for_key(&key("a")).shard().lock_file());
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| home.put("a", b"1"));
        wait_for_lock_waiter(&home.store, || waiting.is_finished());
        fs::rename(&replacement, &path).unwrap();
        drop(old);
        // Many tries later it still waits.
        std::thread::sleep(Duration::from_millis(100));
        wait_for_lock_waiter(&home.store, || waiting.is_finished());
        assert_eq!(home.body("a"), None);
        drop(new);
        waiting.join().unwrap();
    });
    assert_eq!(home.body("a"), Some(b"1".to_vec()));
    fs::remove_dir_all(home.path().join("locks")).unwrap();
    home.put("a", b"2");
    assert!(path.is_file());
}

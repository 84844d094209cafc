//! Waits that have an end (STORE, "Locks").

use zput_proto::{
    keys::DevicePublicKey,
    message::{ErrorCode, Scopes},
};

use super::{
    resume::{LAST, add, begun, claimed, finish, part, resume},
    *,
};

/// Another process has the lock of a shard, or of the accounts, for longer than 5 s: a commit, a
/// delete, a restore, the search for a commit in doubt and a Join are `Busy`. The upload is kept,
/// and the invite is not spent.
#[test]
fn held_lock_answers_busy_within_5_seconds_and_keeps_upload() {
    let home = Home::new();
    let (one, two) = (part(1), part(2));
    let mut upload = begun(&home, &[&one, &two]);
    add(&mut upload, &LAST);
    add(&mut upload, &zput_framed::footer(&[&one, &two, &LAST], PART_SIZE_LOG2));
    let header = zput_proto::message::HeaderSlice::of(sealed("doc", b"")[0].clone());
    let invite = home.store.create_invite(Scopes::GET, Duration::from_secs(3600)).unwrap();
    let device = DevicePublicKey::from_bytes([0xaa; 32]);
    let lock = home.lock_file("doc");
    lock.lock().unwrap();
    let accounts = fs::File::open(home.path().join("clients")).unwrap();
    accounts.lock().unwrap();
    let store = &home.store;
    let begun_at = Instant::now();
    let is_busy = |what: &str, result: Result<(), StoreError>| {
        let (error, waited) = (result.unwrap_err(), begun_at.elapsed());
        assert!(matches!(error, StoreError::Locked), "{what}: {error:?}");
        assert_eq!(error.code(), ErrorCode::Busy);
        assert!(waited >= Duration::from_secs(5), "{what}: {waited:?}");
        // A busy machine may take some time more.
        assert!(waited < Duration::from_secs(9), "{what}: {waited:?}");
    };
    thread::scope(|scope| {
        scope.spawn(|| is_busy("commit", upload.commit().map(drop)));
        scope.spawn(|| is_busy("delete", store.delete(&key("doc"), Condition::Any).map(drop)));
        scope.spawn(|| is_busy("restore", store.restore(&key("doc"), Version(1)).map(drop)));
        scope.spawn(|| is_busy("search", store.committed(&key("doc"), None, &header).map(drop)));
        scope.spawn(|| is_busy("join", store.redeem_invite(&invite, &device, "x").map(drop)));
    });
    assert_eq!(home.body("doc"), None);
    drop((lock, accounts));
    let mut resumed = resume(&home).unwrap();
    assert_eq!(resumed.claim(&[&one[..], &two, &LAST].map(claimed)).unwrap(), 3);
    finish(&home, resumed, &[&one, &two, &LAST]);
    assert_eq!(store.redeem_invite(&invite, &device, "x").unwrap(), Scopes::GET);
}

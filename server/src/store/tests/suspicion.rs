//! A sync has failed (promise 6): what is refused from then on, by whom, and until when.

use std::time::{Duration, UNIX_EPOCH};

use zput_common::{
    keys::public::DevicePublicKey,
    proto::message::{ErrorCode, HeaderSlice, Scopes},
};

use super::{order::trace, *};
use crate::store::{Suspicion, sync::Syncs};

const DEVICE: DevicePublicKey = DevicePublicKey::from_bytes([0xd5; 32]);

/// Where it is written down.
fn marker(home: &Home) -> PathBuf {
    home.path().join("suspect.toml")
}

/// The store takes no writes of any kind, leaves nothing of them, and goes on being read.
fn takes_no_writes(home: &Home, case: &str) {
    let store = &home.store;
    let header = HeaderSlice::of(sealed("a", b"")[0].clone());
    let secret = zput_common::keys::invite::InviteSecret::from_bytes([1; 32]);
    let refusals = [
        ("put", put(store, "a", b"x", Condition::Any).err()),
        ("put of what is there", put(store, "a", b"x", Condition::Absent).err()),
        ("resume", store.resume(&key("a"), Condition::Any, None, &header).err()),
        ("committed", store.committed(&key("a"), None, &header).err()),
        ("delete", store.delete(&key("a"), Condition::Any).err()),
        ("restore", store.restore(&key("a"), Version(1000)).err()),
        ("invite", store.create_invite(Scopes::GET, Duration::from_secs(60)).err()),
        ("join", store.redeem_invite(&secret, &DEVICE, "x").err()),
    ];
    for (deed, refusal) in refusals {
        let code = refusal.map(|refusal| refusal.code());
        assert_eq!(code, Some(ErrorCode::Suspect), "{case}: {deed}");
    }
    assert_eq!(home.staged(), 0, "{case}");
    assert_eq!(names_in(&home.path().join("invites")).len(), 0, "{case}");
    assert_eq!(home.body("a"), Some(b"old".to_vec()), "{case}");
    assert_eq!(home.states("a"), [(1000, VersionState::Current)], "{case}");
    assert_eq!(store.list(None, 10, false).unwrap().0.len(), 1, "{case}");
}

#[test]
fn after_a_failed_sync_nothing_is_written_by_anybody_until_it_is_cleared() {
    for (inject, doing) in [
        ("inject=fdatasync:error=EIO:when=1", "sync an upload"),
        ("inject=fdatasync:error=EIO:when=2", "sync a record"),
        ("inject=fsync:error=EIO:when=1", "sync a directory"),
        // No sync at all succeeds any more.
        ("inject=fdatasync,fsync:error=EIO", "sync an upload"),
    ] {
        let mut home = Home::new();
        home.put("a", b"old");
        assert_eq!(home.store.suspicion().unwrap(), None);
        let Some(traced) = trace(&[inject], "put", &home) else {
            eprintln!("skipped: strace(1) is not installed or may not trace");
            return;
        };
        assert_eq!(traced.said.split(':').next(), Some("Internal"), "{}", traced.said);
        let text = fs::read_to_string(marker(&home)).unwrap();
        assert!(text.contains("format = 1") && text.contains(&format!("doing = \"{doing}\"")));
        // The store that was open all the time, in another process than the one that found out; and a later one.
        takes_no_writes(&home, inject);
        home.reopen();
        takes_no_writes(&home, inject);
        let suspicion = home.store.suspicion().unwrap().unwrap();
        assert_eq!(suspicion.doing, doing);
        assert!(suspicion.since.unwrap() > UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        home.store.clear_suspicion().unwrap();
        assert!(!marker(&home).exists());
        assert_eq!(home.store.suspicion().unwrap(), None);
        home.put("a", b"new");
        assert_eq!(home.body("a"), Some(b"new".to_vec()));
        // What was in the way of the marker is gone.
        assert!(names_in(&home.path()).iter().all(|name| !name.starts_with(".tmp-")));
    }
}

#[test]
fn an_upload_under_way_is_given_up() {
    let home = Home::new();
    home.put("a", b"old");
    let begin = || home.store.begin(&key("a"), Kind::Plain, Condition::Any, None).unwrap();
    let (mut at_slice, at_commit) = (begin(), begin());
    fs::write(marker(&home), "").unwrap();
    let refused = at_slice.start_slice(1, Digest::of(b"x")).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Suspect);
    assert_eq!(at_commit.commit().unwrap_err().code(), ErrorCode::Suspect);
    takes_no_writes(&home, "a marker with nothing in it");
    let suspicion = home.store.suspicion().unwrap().unwrap();
    assert_eq!(suspicion.since, None);
}

#[test]
fn the_first_suspicion_stays() {
    let home = Home::new();
    home.set_time(1_700_000_000_000_000_000);
    let error = || std::io::Error::from_raw_os_error(5);
    home.store.syncs().suspect("sync the first", &error());
    home.set_time(1_800_000_000_000_000_000);
    home.store.syncs().suspect("sync the second", &error());
    let first = Suspicion {
        since: Some(UNIX_EPOCH + Duration::from_secs(1_700_000_000)),
        doing: "sync the first".to_owned(),
    };
    assert_eq!(home.store.suspicion().unwrap(), Some(first));
}

/// On a disk that takes no file any more this process knows it at least.
#[test]
fn what_cannot_be_written_down_is_remembered() {
    let home = Home::new();
    home.put("a", b"old");
    let gone = home.dir.path().join("gone");
    fs::create_dir(&gone).unwrap();
    let fd = Arc::new(std::os::fd::OwnedFd::from(fs::File::open(&gone).unwrap()));
    fs::remove_dir(&gone).unwrap();
    let syncs = Syncs::new(fd, Clock::system());
    syncs.suspect("sync something", &std::io::Error::from_raw_os_error(5));
    assert!(syncs.unmarked.load(Ordering::Relaxed));
    // What a store makes of it.
    home.store.syncs().unmarked.store(true, Ordering::Relaxed);
    takes_no_writes(&home, "unmarked");
    let suspicion = home.store.suspicion().unwrap().unwrap();
    assert_eq!(suspicion.since, None);
    home.store.clear_suspicion().unwrap();
    home.put("a", b"new");
}

/// A store that could not be made durable is made, and is suspect.
#[test]
fn a_store_whose_making_was_not_durable_takes_no_writes() {
    // Of the store's directory, and of the history's.
    for nth in [3, 6] {
        let dir = tempfile::tempdir_in(memory()).unwrap();
        let mut home = Home::new();
        let path = dir.path().join("store");
        let Some(made) = made_with(&format!("inject=fsync:error=EIO:when={nth}"), &path) else {
            eprintln!("skipped: strace(1) is not installed or may not trace");
            return;
        };
        assert!(!made, "{nth}");
        let store = open(&path, &home.time).unwrap();
        home.store = store;
        let refused = put(&home.store, "a", b"x", Condition::Any).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::Suspect, "{nth}");
    }
}

/// Whether a process made a store under strace with this argument.
fn made_with(inject: &str, path: &Path) -> Option<bool> {
    let log = path.with_extension("log");
    let command = ["strace", "-f", "-o", log.to_str()?, "-e", "trace=fsync", "-e", inject];
    let mut child = super::child::Child::start_under(&command, "open", path)?;
    let said = child.line();
    child.wait();
    if said.is_empty() { None } else { Some(said == "opened") }
}

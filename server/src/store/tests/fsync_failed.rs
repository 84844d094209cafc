//! After a failed fsync (promise 6): what is refused, to which callers, and until when.

use std::{
    ops::ControlFlow,
    os::unix::fs::FileExt as _,
    thread,
    time::{Duration, UNIX_EPOCH},
};

use zput_proto::{
    keys::DevicePublicKey,
    message::{ErrorCode, HeaderSlice, Scopes},
};
use zput_skip::{self as skip, or_skip};

use super::{
    order::{NO_STRACE, Traced, trace},
    *,
};
use crate::store::{
    ClearReport, Damage, FsyncFailure, Observer, fsync::Fsync, layout::VERIFYING_FILE, root::Root,
    shard::LockedShard,
};

const DEVICE: DevicePublicKey = DevicePublicKey::from_bytes([0xd5; 32]);

/// The path of the store's `suspect` marker.
fn marker(home: &Home) -> PathBuf {
    home.path().join("suspect.toml")
}

fn make_suspect(store: &Store, doing: &'static str) {
    store.fsync().record_failure(doing, &std::io::Error::from_raw_os_error(5));
}

/// Verifies a suspect store, and returns the result.
fn clear(home: &Home) -> ClearReport {
    home.store.clear_suspect(&mut ()).unwrap().unwrap()
}

/// The store takes no writes of any kind, keeps nothing of them, and can still be read.
fn takes_no_writes(home: &Home, case: &str) {
    let store = &home.store;
    let header = HeaderSlice::of(sealed("a", b"")[0].clone());
    let secret = zput_proto::keys::InviteSecret::from_bytes([1; 32]);
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
    for (operation, refusal) in refusals {
        let code = refusal.map(|refusal| refusal.code());
        assert_eq!(code, Some(ErrorCode::Suspect), "{case}: {operation}");
    }
    assert_eq!(home.staged(), 0, "{case}");
    assert_eq!(names_in(&home.path().join("invites")).len(), 0, "{case}");
    assert_eq!(home.body("a"), Some(b"old".to_vec()), "{case}");
    assert_eq!(home.states("a"), [(1000, VersionState::Current)], "{case}");
    assert_eq!(store.list(None, 10, false).unwrap().entries.len(), 1, "{case}");
}

/// After a failed fsync every process refuses writes until the store is cleared.
#[test]
fn fsync_failure_refuses_all_writes_until_cleared() {
    for (role, inject, doing) in [
        ("put", "inject=fdatasync:error=EIO:when=1", "sync the clock file"),
        ("put", "inject=fdatasync:error=EIO:when=2", "sync an upload"),
        ("put large", "inject=fdatasync:error=EIO:when=1", "sync an upload"),
        ("put large", "inject=fdatasync:error=EIO:when=2", "sync the clock file"),
        ("put large", "inject=fdatasync:error=EIO:when=3", "sync a record"),
        ("put", "inject=fsync:error=EIO:when=1", "sync a directory"),
        // Every fsync fails.
        ("put", "inject=fdatasync,fsync:error=EIO", "sync the clock file"),
    ] {
        let mut home = Home::new();
        home.put("a", b"old");
        assert_eq!(home.store.fsync_failure().unwrap(), None);
        let traced = or_skip!(trace(&[inject], role, &home));
        assert_eq!(traced.output.split(':').next(), Some("Internal"), "{}", traced.output);
        let text = fs::read_to_string(marker(&home)).unwrap();
        assert!(text.contains("format = 2") && text.contains(&format!("doing = \"{doing}\"")));
        // The store that another process had open all the time refuses writes, and so does a new
        // one.
        takes_no_writes(&home, inject);
        home.reopen();
        takes_no_writes(&home, inject);
        let suspicion = home.store.fsync_failure().unwrap().unwrap();
        assert_eq!(suspicion.doing, doing);
        assert!(suspicion.since.unwrap() > UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        assert!(clear(&home).cleared);
        assert!(!marker(&home).exists());
        assert_eq!(home.store.fsync_failure().unwrap(), None);
        home.put("a", b"new");
        assert_eq!(home.body("a"), Some(b"new".to_vec()));
        // The file in the marker's place is gone.
        assert!(names_in(&home.path()).iter().all(|name| !name.starts_with(".tmp-")));
    }
}

/// Uploads under way fail at their next slice or commit once the store is suspect.
#[test]
fn fsync_failure_ends_uploads_under_way() {
    let home = Home::new();
    home.put("a", b"old");
    let begin = || home.store.begin(&key("a"), Kind::Plain, Condition::Any, None).unwrap();
    let (mut at_slice, at_commit) = (begin(), begin());
    fs::write(marker(&home), "").unwrap();
    let refused = at_slice.start_slice(1, Digest::of(b"x")).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Suspect);
    assert_eq!(at_commit.commit().unwrap_err().code(), ErrorCode::Suspect);
    takes_no_writes(&home, "a marker with nothing in it");
    let suspicion = home.store.fsync_failure().unwrap().unwrap();
    assert_eq!(suspicion.since, None);
}

/// A second failed fsync does not overwrite the first failure's time and cause.
#[test]
fn fsync_failure_keeps_first_failure() {
    let home = Home::new();
    home.set_time(1_700_000_000_000_000_000);
    make_suspect(&home.store, "sync the first");
    home.set_time(1_800_000_000_000_000_000);
    make_suspect(&home.store, "sync the second");
    let first = FsyncFailure {
        since: Some(UNIX_EPOCH + Duration::from_secs(1_700_000_000)),
        doing: "sync the first".to_owned(),
    };
    assert_eq!(home.store.fsync_failure().unwrap(), Some(first));
}

/// On a disk that accepts no more files, at least this process knows.
#[test]
fn fsync_failure_without_marker_is_kept_in_memory() {
    let home = Home::new();
    home.put("a", b"old");
    let gone = home.dir.path().join("gone");
    fs::create_dir(&gone).unwrap();
    let fd = Arc::new(std::os::fd::OwnedFd::from(fs::File::open(&gone).unwrap()));
    fs::remove_dir(&gone).unwrap();
    let root = Root::new(fd, &gone).unwrap();
    let fsync = Fsync::new(root, Clock::system(), None);
    fsync.record_failure("sync a test file", &std::io::Error::from_raw_os_error(5));
    assert!(fsync.unrecorded_failures.load(Ordering::Relaxed) == 1);
    // As the store sets it.
    home.store.fsync().unrecorded_failures.store(1, Ordering::Relaxed);
    takes_no_writes(&home, "unmarked");
    let suspicion = home.store.fsync_failure().unwrap().unwrap();
    assert_eq!(suspicion.since, None);
    assert!(clear(&home).cleared);
    home.put("a", b"new");
}

/// On a disk, where pages are evicted: the page cache is no evidence of what is on the disk.
#[test]
fn clear_suspect_reads_from_disk() {
    use crate::sys::residency::Residency;
    let home = Home::within(std::env::current_exe().unwrap().parent().unwrap());
    home.put("hot", &vec![7; 2_000_000]);
    let file = fs::File::open(home.object_path("hot")).unwrap();
    let is_there = || {
        let file = std::os::fd::AsFd::as_fd(&file);
        Residency::default().is_resident(file, 0, 1_900_000).unwrap()
    };
    if !is_there() {
        return skip::because("this file system does not tell what is in memory");
    }
    assert_eq!(home.store.clear_suspect(&mut ()).unwrap(), None, "it is not suspect");
    assert!(is_there());
    make_suspect(&home.store, "sync a test file");
    let ClearReport { report, cleared } = clear(&home);
    assert!(cleared);
    assert_eq!((report.current, report.bytes, report.damaged), (1, 2_000_000, vec![]));
    assert!(!is_there(), "it was read from memory");
}

/// A store stays suspect until a verification finds no damage.
#[test]
fn clear_suspect_fails_until_run_finds_no_damage() {
    let home = Home::new();
    home.put("a", b"old");
    home.put("b", b"bad");
    let path = home.object_path("b");
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(b"x", 1).unwrap();
    make_suspect(&home.store, "sync a test file");
    let ClearReport { report, cleared } = clear(&home);
    assert!(!cleared);
    let name = path.file_name().unwrap().to_str().unwrap();
    let damage = Damage {
        file: format!("objects/{}/{name}", &name[..2]),
        key: Some("b".to_owned()),
        what: "slice 0 does not match its digest".to_owned(),
        quarantined: Some(format!("quarantine/objects-{name}")),
    };
    assert_eq!(report.damaged, [damage]);
    assert!(!path.exists());
    takes_no_writes(&home, "one was set aside");
    assert!(clear(&home).cleared);
    home.put("a", b"new");
}

/// A file that cannot be quarantined is left to the operator.
#[test]
fn clear_suspect_fails_while_unquarantined_damage_stays() {
    let mut home = Home::new();
    home.put("a", b"old");
    home.put("a", b"new");
    make_suspect(&home.store, "sync a test file");
    let twin = home.area_path("trash", "a", 1000);
    fs::copy(home.area_path("history", "a", 1000), &twin).unwrap();
    let writer = zput_proto::keys::DevicePublicKey::from_bytes([1; 32]);
    record_anew(&twin, |trailer| trailer.client = Some(writer));
    let old = fs::read(&twin).unwrap();
    fs::remove_file(&twin).unwrap();
    let within = |path: &str| home.path().join(path);
    let name = "5".repeat(64);
    let damages: [(PathBuf, &[u8], &str); 7] = [
        (home.place("objects/aa/README"), b"", "no file that a store makes"),
        (twin, &old, "two files claim to be the same version"),
        (within(&format!("clients/{name}.toml")), b"", "is damaged: line 1: missing field"),
        (
            within(&format!("invites/{name}.toml")),
            b"format = 2",
            "is damaged: line 1: missing field",
        ),
        (within("clock"), &[0; 64], "clock is damaged: remove it, and the next put makes it"),
        (within("server.key"), b"\0\0\0", "server.key is damaged"),
        (within("zput-store.toml"), b"\0\0\0", "zput-store.toml is damaged"),
    ];
    for (path, bytes, what) in damages {
        let before = fs::read(&path).ok();
        fs::write(&path, bytes).unwrap();
        let ClearReport { report, cleared } = clear(&home);
        assert!(!cleared, "{what}");
        let [damage] = &report.damaged[..] else { panic!("{what}: {:?}", report.damaged) };
        assert!(damage.what.contains(what), "{what}: {}", damage.what);
        assert_eq!((home.path().join(&damage.file), &damage.quarantined), (path.clone(), &None));
        assert_eq!(
            home.store.check(&mut ()).unwrap().damaged,
            report.damaged,
            "a check finds it, too"
        );
        match before {
            Some(before) => fs::write(&path, before).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        home.reopen();
        let refused = put(&home.store, "a", b"x", Condition::Any).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::Suspect, "{what}");
    }
    assert!(clear(&home).cleared);
    home.put("a", b"newer");
}

/// Calls a function once, while a verification runs.
struct OnRead<F: FnMut()>(F);

impl<F: FnMut()> Observer for OnRead<F> {
    fn on_read(&mut self, bytes: u64) -> ControlFlow<()> {
        if bytes > 0 {
            (self.0)();
        }
        ControlFlow::Continue(())
    }

    fn on_damage(&mut self, damage: &Damage) {
        panic!("{damage:?}");
    }
}

/// An fsync that fails during the verification leaves the store suspect.
#[test]
fn clear_suspect_keeps_failure_during_verification() {
    let home = Home::new();
    home.put("a", b"old");
    let server = open(&home.path(), &home.time).unwrap();
    make_suspect(&home.store, "sync the first");
    let mut fails = OnRead(|| {
        assert!(server.is_suspect().unwrap());
        make_suspect(&server, "sync the second");
        let doing = server.fsync_failure().unwrap().unwrap().doing;
        assert_eq!(doing, "sync the first", "it is still open");
    });
    let clearing = home.store.clear_suspect(&mut fails).unwrap().unwrap();
    assert_eq!((clearing.cleared, clearing.report.damaged), (false, vec![]));
    assert_eq!(home.store.fsync_failure().unwrap().unwrap().doing, "sync the second");
    takes_no_writes(&home, "a second failure");
    // The same where only this process knows of the failure.
    let mut fails =
        OnRead(|| _ = home.store.fsync().unrecorded_failures.fetch_add(1, Ordering::Relaxed));
    assert!(!home.store.clear_suspect(&mut fails).unwrap().unwrap().cleared);
    takes_no_writes(&home, "a third failure");
    assert!(clear(&home).cleared);
    put(&server, "a", b"new", Condition::Any).unwrap();
}

/// A verification that is stopped or dropped leaves the store suspect.
#[test]
fn clear_suspect_interrupted_clears_nothing() {
    struct Stop;
    impl Observer for Stop {
        fn on_read(&mut self, _bytes: u64) -> ControlFlow<()> {
            ControlFlow::Break(())
        }

        fn on_damage(&mut self, damage: &Damage) {
            panic!("{damage:?}");
        }
    }
    let mut home = Home::new();
    home.put("a", b"old");
    make_suspect(&home.store, "sync a test file");
    let stopped = home.store.clear_suspect(&mut Stop).unwrap().unwrap();
    assert_eq!((stopped.cleared, stopped.report.stopped), (false, true));
    // The state that a killed verification leaves.
    assert!(!marker(&home).exists() && home.path().join(VERIFYING_FILE).exists());
    home.reopen();
    takes_no_writes(&home, "stopped");
    assert_eq!(home.store.fsync_failure().unwrap().unwrap().doing, "sync a test file");
    // Another process is verifying.
    let verification = home.store.begin_verification().unwrap();
    let other = open(&home.path(), &home.time).unwrap();
    assert_eq!(
        other.clear_suspect(&mut ()).unwrap_err().to_string(),
        "this store is being verified already: wait for that to end"
    );
    drop(verification);
    takes_no_writes(&home, "dropped");
    assert!(clear(&home).cleared);
    assert!(!home.path().join(VERIFYING_FILE).exists());
}

/// STORE, "Suspicion": every directory is synced before anything is read, and every file before it
/// is read.
#[test]
fn clear_suspect_syncs_everything_and_fails_with_any_fsync() {
    let suspected = || {
        let home = Home::new();
        home.put("a", b"old");
        make_suspect(&home.store, "sync a test file");
        home
    };
    let home = suspected();
    let Traced { output: said, calls } = or_skip!(trace(&[], "clear", &home));
    assert_eq!(said, "ok 1");
    let count = |wanted: &str| calls.iter().filter(|call| *call == wanted).count();
    for area in ["objects", "history", "trash"] {
        assert_eq!(count(&format!("fsync {area}/ab")), 1);
    }
    for dir in
        ["objects", "history", "trash", "staging", "quarantine", "locks", "clients", "invites"]
    {
        assert_eq!(count(&format!("fsync {dir}")), 1, "{dir}");
    }
    let at = |wanted: &str| calls.iter().rposition(|call| call == wanted).unwrap();
    assert!(at("fsync invites") < at("fdatasync objects/ab/H"));
    // The first and the last are those of the markers' names, the others up to the last but one
    // those of the directories.
    for nth in [1, 2, 7, 13, 14] {
        let home = suspected();
        let inject = format!("inject=fsync:error=EIO:when={nth}");
        let Traced { output: said, .. } = or_skip!(trace(&[&inject], "clear", &home));
        assert!(said.starts_with("Internal: cannot sync a directory"), "{nth}: {said}");
        takes_no_writes(&home, &format!("fsync {nth}"));
        assert!(clear(&home).cleared, "{nth}");
    }
    // Of zput-store.toml, server.key, clock and the object: a failure there is damage.
    for nth in 1..=4 {
        let home = suspected();
        let inject = format!("inject=fdatasync:error=EIO:when={nth}");
        let Traced { output: said, .. } = or_skip!(trace(&[&inject], "clear", &home));
        assert_eq!(said, "ok 0", "{nth}");
        takes_no_writes(&home, &inject);
        assert!(clear(&home).cleared, "{nth}");
    }
}

/// While a writer waits for a shard, an fsync of the writer before it may fail.
#[test]
fn writer_waiting_for_shard_lock_sees_fsync_failure() {
    type Operation = fn(&Store) -> Result<u64, StoreError>;
    let home = Home::new();
    home.put("a", b"old");
    let store = &home.store;
    let shard = ObjectName::for_key(&key("a")).shard();
    let operations: [(&str, Operation); 3] = [
        ("put", |store| put(store, "a", b"new", Condition::Any)),
        ("delete", |store| store.delete(&key("a"), Condition::Any).map(|version| version.0)),
        ("restore", |store| store.restore(&key("a"), Version(1000)).map(|version| version.0)),
    ];
    for (operation, make) in operations {
        let locked = LockedShard::exclusive(store.fsync(), shard).unwrap();
        let refused = thread::scope(|scope| {
            let made = scope.spawn(|| make(store));
            wait_for_lock_waiter(store, || made.is_finished());
            make_suspect(store, "sync a test file");
            drop(locked);
            made.join().unwrap().unwrap_err()
        });
        assert_eq!(refused.code(), ErrorCode::Suspect, "{operation}");
        takes_no_writes(&home, operation);
        assert!(clear(&home).cleared);
    }
}

/// A store whose creation could not be made durable exists, and is suspect.
#[test]
fn store_creation_with_failed_fsync_is_suspect() {
    // The fsyncs of the store's directory and of the history's.
    for nth in [3, 6] {
        let dir = tempfile::tempdir_in(memory()).unwrap();
        let mut home = Home::new();
        let path = dir.path().join("store");
        let made = created_under_strace(&format!("inject=fsync:error=EIO:when={nth}"), &path);
        let made = or_skip!(made.ok_or(NO_STRACE));
        assert!(!made, "{nth}");
        let store = open(&path, &home.time).unwrap();
        home.store = store;
        let refused = put(&home.store, "a", b"x", Condition::Any).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::Suspect, "{nth}");
    }
}

/// Whether a process created a store under strace with this argument; `None` where strace cannot
/// run.
fn created_under_strace(inject: &str, path: &Path) -> Option<bool> {
    let log = path.with_extension("log");
    let command = ["strace", "-f", "-o", log.to_str()?, "-e", "trace=fsync", "-e", inject];
    let mut child = super::child::Child::start_under(&command, "open", path)?;
    let said = child.line();
    child.wait();
    if said.is_empty() { None } else { Some(said == "opened") }
}

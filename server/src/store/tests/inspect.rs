//! Scrubs and checks: every corrupt file is found and quarantined, and nothing else is touched.

use std::{
    ops::ControlFlow,
    os::unix::fs::{FileExt, symlink},
};

use zput_skip as skip;

use super::*;
use crate::store::{
    CheckReport, Corruption, Damage, Observer, ReadFrom, ScrubOptions, ScrubReport,
};

const ALL: ScrubOptions =
    ScrubOptions { fraction: crate::store::Fraction::ALL, from: ReadFrom::PageCache };

fn scrub(home: &Home) -> ScrubReport {
    home.store.scrub(ALL, &mut ()).unwrap()
}

fn check(home: &Home) -> CheckReport {
    home.store.check(&mut ()).unwrap()
}

/// The part of `path` below the store's directory.
fn relative(home: &Home, path: &Path) -> String {
    path.strip_prefix(home.path()).unwrap().to_str().unwrap().to_owned()
}

fn corrupt_damage(home: &Home, path: &Path, rot: Corruption, key: Option<&str>) -> Damage {
    let file = relative(home, path);
    let mut parts = file.split('/');
    let (area, name) = (parts.next().unwrap(), parts.next_back().unwrap());
    let quarantined = Some(format!("quarantine/{area}-{name}"));
    Damage { key: key.map(str::to_owned), what: rot.to_string(), quarantined, file }
}

fn flip(path: &Path, at: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

/// A scrub and a check of a sound store report its counts and change nothing.
#[test]
fn scrub_of_sound_store_changes_nothing() {
    let home = Home::new();
    for body in [b"one".as_slice(), &[7; 700_000], b""] {
        home.put("a", body);
    }
    home.put("b", b"two");
    home.store.delete(&key("b"), Condition::Any).unwrap();
    home.set_time(5_000_000_000);
    let before = home.states("a");
    let report = scrub(&home);
    assert_eq!((report.files, report.bytes, report.damaged), (4, 700_006, vec![]));
    let pass = report.pass.unwrap();
    assert_eq!((pass.finished, pass.files, pass.bytes, pass.damaged), (5, 4, 700_006, 0));
    assert_eq!(home.store.last_scrub().unwrap(), Some(pass));
    assert_eq!(home.states("a"), before);
    let report = check(&home);
    assert_eq!((report.current, report.history, report.trash, report.bytes), (1, 2, 1, 700_006));
    assert_eq!((report.damaged, report.leftovers), (vec![], Default::default()));
}

/// A directory cannot be linked. It is reported, and the files after it are still verified.
#[test]
fn scrub_reports_directory_that_cannot_be_quarantined() {
    let mut home = Home::new();
    home.put("a", b"1111");
    let path = home.object_path("a");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let is_told = |damaged: &[Damage]| {
        let [damage] = damaged else { panic!("{damaged:?}") };
        assert_eq!(damage.what, Corruption::NotAFile.to_string());
        assert_eq!(damage.quarantined, None);
    };
    let report = scrub(&home);
    is_told(&report.damaged);
    assert!(!report.stopped && path.is_dir());
    home.store.fsync().record_failure("sync a test file", &std::io::Error::from_raw_os_error(5));
    let clearing = home.store.clear_suspect(&mut ()).unwrap().unwrap();
    is_told(&clearing.report.damaged);
    assert!(!clearing.cleared && path.is_dir());
    fs::remove_dir(&path).unwrap();
    assert!(home.store.clear_suspect(&mut ()).unwrap().unwrap().cleared);
    home.reopen();
    home.put("a", b"2222");
}

/// A scrub quarantines corrupt files, keeps their bytes, and touches no others.
#[test]
fn scrub_quarantines_corrupt_files_only() {
    let mut home = Home::new();
    for body in [b"1111", b"2222", b"3333"] {
        home.put("a", body);
    }
    home.put("b", b"kept");
    let (current, old) = (home.object_path("a"), home.area_path("history", "a", 1001));
    flip(&current, 2);
    flip(&old, 0);
    let damaged = scrub(&home).damaged;
    let slice = Corruption::Slice(0);
    assert_eq!(
        damaged,
        [
            corrupt_damage(&home, &current, slice, Some("a")),
            corrupt_damage(&home, &old, slice, Some("a"))
        ]
    );
    assert!(!current.exists() && !old.exists());
    for damage in &damaged {
        let aside = fs::read(home.path().join(damage.quarantined.as_ref().unwrap())).unwrap();
        assert!(aside.ends_with(b"\x8azputrec"), "all of it is there");
    }
    home.reopen();
    assert_eq!(home.body("a"), None, "no older version takes its place by itself");
    assert_eq!(home.states("a"), [(1000, VersionState::History)]);
    assert_eq!(home.body("b"), Some(b"kept".to_vec()));
    assert_eq!(home.store.restore(&key("a"), Version(1000)).unwrap(), Version(1004));
    assert_eq!(scrub(&home).damaged, []);
    assert_eq!(check(&home).leftovers.quarantined, 2);
    // A second file of the same name gets another one.
    flip(&current, 2);
    assert_eq!(
        scrub(&home).damaged[0].quarantined,
        Some(format!("{}.1", damaged[0].quarantined.as_ref().unwrap()))
    );
}

/// Scrubs only the shard of `path`.
fn scrub_shard_of(home: &Home, path: &Path) -> Vec<Damage> {
    let shard = path.parent().unwrap().file_name().unwrap().to_str().unwrap();
    let state = format!(
        "format = 2\nafter = \"{shard}/objects/\"\n[so_far]\nfiles = 0\nbytes = 0\ndamaged = 0\n"
    );
    fs::write(home.path().join("scrub.toml"), state).unwrap();
    let fraction = "1/256".parse().unwrap();
    home.store.scrub(ScrubOptions { fraction, ..ALL }, &mut ()).unwrap().damaged
}

/// Damages an object of 64 KiB at every `stride`th byte, and truncates it at every `stride`th
/// length; at every one in its last kilobyte, where the record is.
fn check_scrub_finds_corruption(stride: u64) {
    let home = Home::new();
    let body: Vec<u8> = (0..65_536u32).map(|i| (i % 251) as u8).collect();
    home.put("a", &body);
    let path = home.object_path("a");
    let whole = fs::read(&path).unwrap();
    let length = whole.len() as u64;
    let found = |case: &str, at: u64| {
        let damaged = scrub_shard_of(&home, &path);
        assert_eq!(damaged.len(), 1, "{case} {at}");
        let aside = home.path().join(damaged[0].quarantined.as_ref().unwrap());
        assert!(!path.exists(), "{case} {at}");
        fs::rename(aside, &path).unwrap();
    };
    for at in (0..length).filter(|at| at % stride == 0 || at + 1024 > length) {
        flip(&path, at);
        found("flipped", at);
        flip(&path, at);
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(at).unwrap();
        found("cut", at);
        file.write_all_at(&whole[at as usize..], at).unwrap();
    }
    assert_eq!(scrub_shard_of(&home, &path), []);
    assert_eq!(home.body("a"), Some(body));
}

/// A scrub finds a flipped byte or a cut at any of the sampled positions of a file.
#[test]
fn scrub_finds_flipped_byte_and_truncation_in_sample() {
    check_scrub_finds_corruption(61);
}

/// By hand: `cargo test -p zput-server --lib -- --ignored every_byte`
#[test]
#[ignore = "it takes a minute"]
fn scrub_finds_flip_of_every_byte_and_every_truncation() {
    check_scrub_finds_corruption(1);
}

/// An observer that records the damage and stops the inspection after some bytes.
struct Limit {
    left: u64,
}

impl Observer for Limit {
    fn on_read(&mut self, bytes: u64) -> ControlFlow<()> {
        self.left = self.left.saturating_sub(bytes);
        if self.left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn on_damage(&mut self, damage: &Damage) {
        panic!("{damage:?}");
    }
}

/// A stopped scrub continues at the file where it stopped, also after a restart.
#[test]
fn scrub_continues_where_it_was_stopped() {
    let mut home = Home::new();
    for n in 0..40 {
        home.put(&n.to_string(), &[7; 1000]);
    }
    let first = home.store.scrub(ALL, &mut Limit { left: 9_001 }).unwrap();
    assert_eq!((first.files, first.pass, first.stopped), (9, None, true));
    home.reopen();
    let second = scrub(&home);
    assert_eq!((second.files, second.stopped), (31, false));
    assert_eq!(second.pass.unwrap().files, 40, "of the whole pass");
    assert_eq!(scrub(&home).files, 40, "the next pass begins at the beginning");
}

/// Thirty scrubs of a fraction of 1/30 each cover the whole store once.
#[test]
fn scrub_of_thirty_shares_covers_whole_store() {
    let home = Home::new();
    for n in 0..300 {
        home.put(&n.to_string(), b"x");
    }
    let options = ScrubOptions { fraction: "1/30".parse().unwrap(), ..ALL };
    let mut files = 0;
    for run in 1..=30 {
        let report = home.store.scrub(options, &mut ()).unwrap();
        files += report.files;
        assert!(report.files < 60, "{run}: {}", report.files);
        // 29 shares of 9 shards cover 261.
        assert_eq!(report.pass.is_some(), run >= 29, "{run}");
        if let Some(pass) = report.pass {
            assert_eq!((pass.files, files), (300, 300));
            break;
        }
    }
    assert!("1/0".parse::<crate::store::Fraction>().is_err());
    assert!("1/257".parse::<crate::store::Fraction>().is_err());
    assert!("2/3".parse::<crate::store::Fraction>().is_err());
}

/// A scrub whose saved state cannot be read starts from the beginning.
#[test]
fn scrub_with_unreadable_state_starts_over() {
    let home = Home::new();
    home.put("a", b"1");
    for text in ["", "format = 1\n", "rubbish", "format = 2\nafter = \"zz/objects/\"\n"] {
        fs::write(home.path().join("scrub.toml"), text).unwrap();
        assert_eq!(scrub(&home).files, 1, "{text}");
    }
}

/// A check reports foreign, misplaced and duplicate files and leftovers, and changes nothing.
#[test]
fn check_reports_foreign_files_and_leftovers() {
    let home = Home::new();
    home.put("a", b"1");
    home.put("a", b"2");
    home.put("b", b"3");
    let upload = home.store.begin(&key("c"), Kind::Plain, Condition::Any, None).unwrap();
    let objects = home.object_path("a").parent().unwrap().to_owned();
    fs::write(objects.join("README"), "strange").unwrap();
    symlink("/etc/passwd", home.area_path("trash", "a", 7)).unwrap();
    // One version in two files with different records.
    fs::copy(home.area_path("history", "a", 1000), home.area_path("trash", "a", 1000)).unwrap();
    let writer = zput_proto::keys::DevicePublicKey::from_bytes([1; 32]);
    record_anew(&home.area_path("trash", "a", 1000), |trailer| trailer.client = Some(writer));
    // Another object's file.
    let b = home.object_path("b");
    fs::copy(home.object_path("a"), &b).unwrap();
    fs::write(home.path().join(".tmp-1"), "cut off").unwrap();
    let report = check(&home);
    let damage = |path: &Path, what: &str, key: Option<&str>| Damage {
        file: relative(&home, path),
        key: key.map(str::to_owned),
        what: what.to_owned(),
        quarantined: None,
    };
    let mut expected = [
        damage(&objects.join("README"), "no file that a store makes", None),
        damage(&home.area_path("trash", "a", 7), &Corruption::NotAFile.to_string(), None),
        damage(
            &home.area_path("trash", "a", 1000),
            &Corruption::DuplicateVersion.to_string(),
            Some("a"),
        ),
        damage(&b, &Corruption::Misplaced.to_string(), Some("a")),
    ];
    let mut damaged = report.damaged;
    damaged.sort_by(|a, b| a.file.cmp(&b.file));
    expected.sort_by(|a, b| a.file.cmp(&b.file));
    assert_eq!(damaged, expected);
    assert_eq!((report.leftovers.uploads, report.leftovers.temporary), (1, 1));
    drop(upload);
    assert!(objects.join("README").exists() && b.exists(), "a check changes nothing");
}

/// On a disk, where pages are evicted.
#[test]
fn scrub_leaves_page_cache_as_it_was() {
    use crate::sys::{fs::drop_cached, residency::Residency};
    let program = std::env::current_exe().unwrap();
    let home = Home::within(program.parent().unwrap());
    home.put("hot", &vec![7; 2_000_000]);
    home.put("cold", &vec![8; 2_000_000]);
    let open = |key: &str| fs::File::open(home.object_path(key)).unwrap();
    let (hot, cold) = (open("hot"), open("cold"));
    let is_there = |file: &fs::File| {
        Residency::default().is_resident(std::os::fd::AsFd::as_fd(file), 0, 2_000_000).unwrap()
    };
    if !is_there(&hot) {
        return skip::because("this file system does not tell what is in memory");
    }
    // Pages that are being read at this moment stay cached.
    for _ in 0..100 {
        drop_cached(&cold, 0, 4_000_000);
        if !is_there(&cold) {
            break;
        }
    }
    assert!(!is_there(&cold));
    assert_eq!(scrub(&home).bytes, 4_000_000);
    assert!(is_there(&hot), "hot objects stay hot");
    assert!(!is_there(&cold), "cold ones do not push them out");
    let options = ScrubOptions { from: ReadFrom::Disk, ..ALL };
    assert_eq!(home.store.scrub(options, &mut ()).unwrap().bytes, 4_000_000);
    assert!(!is_there(&hot), "it was read from the disk");
}

/// Cached pages may be corrupt where the disk is not, so a file is quarantined only for what the
/// disk holds.
#[test]
fn scrub_rereads_from_disk_before_quarantine() {
    use crate::sys::residency::Residency;
    let program = std::env::current_exe().unwrap();
    let home = Home::within(program.parent().unwrap());
    home.put("a", &vec![7; 2_000_000]);
    let path = home.object_path("a");
    flip(&path, 1_900_000);
    let is_there = |file: &fs::File| {
        Residency::default().is_resident(std::os::fd::AsFd::as_fd(file), 0, 2_000_000).unwrap()
    };
    let object = fs::File::open(&path).unwrap();
    if !is_there(&object) {
        return skip::because("this file system does not tell what is in memory");
    }
    // A scrub by itself leaves cached pages alone; the second look has dropped them.
    let [damage] = &scrub(&home).damaged[..] else { panic!("one is rotten") };
    assert!(damage.quarantined.is_some(), "{damage:?}");
    assert!(!is_there(&object), "it was not read from the disk");
}

/// An observer that makes sure that the lock of a shard is free while a file is read.
struct LockIsFree(fs::File);

impl Observer for LockIsFree {
    fn on_read(&mut self, _bytes: u64) -> ControlFlow<()> {
        self.0.try_lock().expect("the lock is held while a file is read");
        self.0.unlock().unwrap();
        ControlFlow::Continue(())
    }

    fn on_damage(&mut self, _damage: &Damage) {}
}

/// Neither look at a corrupt file holds up writers of its shard, and both obey the observer.
#[test]
fn scrub_reads_corrupt_file_without_lock() {
    let home = Home::new();
    home.put("a", &[7; 300_000]);
    flip(&home.object_path("a"), 299_999);
    let mut watcher = LockIsFree(home.lock_file("a"));
    let report = home.store.scrub(ALL, &mut watcher).unwrap();
    assert!(report.damaged[0].quarantined.is_some(), "{report:?}");
    home.put("a", &[7; 300_000]);
    flip(&home.object_path("a"), 299_999);
    // 300,000 bytes are the first look.
    let stopped = home.store.scrub(ALL, &mut Limit { left: 300_001 }).unwrap();
    assert!(stopped.stopped && stopped.damaged.is_empty());
    assert!(home.object_path("a").exists());
}

/// While a scrub waits for the lock to quarantine a file, another file gets its name. That one is
/// looked at anew.
#[test]
fn scrub_leaves_file_that_replaced_corrupt_one() {
    let home = Home::new();
    home.put("a", &[7; 5000]);
    let path = home.object_path("a");
    let sound = home.dir.path().join("sound");
    fs::copy(&path, &sound).unwrap();
    flip(&path, 2000);
    let lock = home.lock_file("a");
    lock.lock().unwrap();
    let report = thread::scope(|scope| {
        let scrub = scope.spawn(|| scrub(&home));
        wait_for_lock_waiter(&home.store, || scrub.is_finished());
        fs::rename(&sound, &path).unwrap();
        lock.unlock().unwrap();
        scrub.join().unwrap()
    });
    assert_eq!(report.damaged, []);
    assert_eq!(home.body("a"), Some(vec![7; 5000]));
}

/// The same where the corrupt file gets another name meanwhile: it is quarantined in the end.
#[test]
fn scrub_quarantines_corrupt_file_that_changes_meanwhile() {
    let home = Home::new();
    home.put("a", &[7; 5000]);
    let path = home.object_path("a");
    flip(&path, 2000);
    let lock = home.lock_file("a");
    lock.lock().unwrap();
    let report = thread::scope(|scope| {
        let scrub = scope.spawn(|| scrub(&home));
        wait_for_lock_waiter(&home.store, || scrub.is_finished());
        fs::hard_link(&path, home.area_path("history", "a", 1000)).unwrap();
        lock.unlock().unwrap();
        scrub.join().unwrap()
    });
    // The new name came when the names were read already, and is left to the next scrub.
    assert_eq!(report.damaged, [corrupt_damage(&home, &path, Corruption::Slice(2), Some("a"))]);
    assert!(!path.exists());
}

//! Copies of stores: without empty directories, with other modes, on a read-only disk.

use std::{os::unix::fs::PermissionsExt, process::Command};

use zput_proto::message::ErrorCode;
use zput_skip as skip;

use super::*;
use crate::store::{Fraction, ReadFrom, ScrubOptions};

const SCRUB: ScrubOptions = ScrubOptions { fraction: Fraction::ALL, from: ReadFrom::PageCache };

/// A store with an object in each area, whose contents the tests know.
fn home_with_all_areas() -> Home {
    let home = Home::new();
    for body in [b"1", b"2", b"3"] {
        home.put("a", body);
    }
    home.put("b", b"4");
    home.store.delete(&key("b"), Condition::Any).unwrap();
    home
}

fn is_whole(home: &Home) {
    let states = [
        (1002, VersionState::Current),
        (1001, VersionState::History),
        (1000, VersionState::History),
    ];
    assert_eq!(home.states("a"), states);
    assert_eq!(home.states("b"), [(1003, VersionState::Trash)]);
    assert_eq!(home.body("a"), Some(b"3".to_vec()));
    assert_eq!(home.store.check(&mut ()).unwrap().damaged, []);
}

/// All directories below `path`, and all files.
fn tree(path: &Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let (mut dirs, mut files) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let (below, inside) = tree(&path);
            dirs.push(path);
            dirs.extend(below);
            files.extend(inside);
        } else {
            files.push(path);
        }
    }
    (dirs, files)
}

/// Copies as a tool does that copies files only, with or without empty files.
fn copy_files(home: &Home, empty_ones: bool) -> PathBuf {
    let copy = home.dir.path().join("copy");
    for file in tree(&home.path()).1 {
        let target = copy.join(file.strip_prefix(home.path()).unwrap());
        if empty_ones || fs::metadata(&file).unwrap().len() > 0 {
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            fs::copy(&file, target).unwrap();
        }
    }
    copy
}

/// A copy of a store without its empty directories opens and is complete.
#[test]
fn store_copy_without_empty_directories_opens() {
    for empty_files in [true, false] {
        let mut home = home_with_all_areas();
        let copy = copy_files(&home, empty_files);
        assert!(tree(&copy).0.len() < 20);
        fs::rename(&copy, home.dir.path().join("store2")).unwrap();
        fs::remove_dir_all(home.path()).unwrap();
        fs::rename(home.dir.path().join("store2"), home.path()).unwrap();
        home.reopen();
        is_whole(&home);
        // Those with a file; objects has one, history one, trash one; and 8 at the top.
        assert_eq!(tree(&home.path()).0.len(), 3 + 8);
        home.put("c", b"5");
        home.put("a", b"6");
    }
}

/// Each directory alone, when a server starts and beneath a running one.
#[test]
fn store_open_makes_missing_directories_again() {
    let mut home = home_with_all_areas();
    for piece in ["staging", "quarantine", "locks", "clients", "invites", "trash"] {
        let (path, was) = (home.path().join(piece), home.dir.path().join("was"));
        fs::rename(&path, &was).unwrap();
        home.reopen();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o700, "{piece}");
        if piece == "trash" {
            // Only its contents are gone.
            assert_eq!(home.states("b"), []);
            fs::remove_dir_all(&path).unwrap();
            fs::rename(&was, &path).unwrap();
        } else {
            let _ = fs::remove_dir_all(&was);
        }
        is_whole(&home);
    }
    // A tool that removes empty files and directories beneath a running server.
    for lock in names_in(&home.path().join("locks")) {
        fs::remove_file(home.path().join("locks").join(lock)).unwrap();
    }
    for dir in tree(&home.path()).0.iter().rev() {
        let _ = fs::remove_dir(dir);
    }
    is_whole(&home);
    assert_eq!(home.store.list(None, 1000, false).unwrap().entries.len(), 1);
    home.put("a", b"6");
    home.store.delete(&key("a"), Condition::Any).unwrap();
}

/// Opening a copy of a store sets the modes of its directories and files right.
#[test]
fn store_open_repairs_modes_of_copy() {
    for (dirs, files) in [(0o755, 0o644), (0o777, 0o666), (0o500, 0o400)] {
        let mut home = home_with_all_areas();
        let (all_dirs, all_files) = tree(&home.path());
        for (paths, mode) in [(&all_files, files), (&all_dirs, dirs)] {
            for path in paths.iter().rev() {
                fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
            }
        }
        home.reopen();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        for dir in &all_dirs {
            assert_eq!(mode(dir), 0o700, "{dir:?}");
        }
        assert_eq!(mode(&home.path().join("server.key")) & 0o177, 0, "{files:o}");
        let locks = names_in(&home.path().join("locks"));
        assert_eq!(locks.len(), 2);
        for lock in locks {
            assert_eq!(mode(&home.path().join("locks").join(lock)) & 0o600, 0o600);
        }
        is_whole(&home);
        home.put("c", b"5");
    }
}

/// Calls `looks` with a store on a read-only file system.
fn with_read_only_mount(home: &Home, looks: impl FnOnce(&Path)) {
    let target = home.dir.path().join("mounted");
    fs::create_dir(&target).unwrap();
    let mount = |arguments: &[&str]| {
        let output = Command::new("mount").args(arguments).arg(&target).output();
        output.is_ok_and(|output| output.status.success())
    };
    let source = home.path();
    if !mount(&["--bind", source.to_str().unwrap()]) {
        return skip::because("mount(8) is not allowed here");
    }
    let read_only = mount(&["-o", "remount,ro,bind"]);
    let looked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| looks(&target)));
    let unmounted = Command::new("umount").arg("-l").arg(&target).status().unwrap();
    assert!(read_only && unmounted.success());
    looked.unwrap();
}

fn refused<T: std::fmt::Debug>(result: Result<T, StoreError>) {
    let error = result.unwrap_err();
    assert_eq!(error.code(), ErrorCode::ReadOnly, "{error}");
    let text = error.to_string();
    assert!(text.starts_with("this store is read-only: Read-only file system"), "{text}");
}

/// A store on a read-only disk serves reads, scrubs and checks and refuses every write.
#[test]
fn read_only_store_serves_reads_and_refuses_writes() {
    let home = home_with_all_areas();
    // A copy without the empty directories.
    for piece in ["quarantine", "staging", "locks"] {
        fs::remove_dir_all(home.path().join(piece)).unwrap();
    }
    with_read_only_mount(&home, |path| {
        let store = Store::open(path, Clock::system()).unwrap();
        assert!(store.is_read_only());
        let page = store.list(None, 1000, true).unwrap();
        assert_eq!((page.entries.len(), page.unreadable), (1, 0));
        assert_eq!(get(&store, "a", None), Some(b"3".to_vec()));
        assert_eq!(get(&store, "a", Some(1000)), Some(b"1".to_vec()));
        assert_eq!(get(&store, "b", Some(1003)), Some(b"4".to_vec()));
        assert_eq!(store.versions(&key("a"), None, 10).unwrap().0.len(), 3);
        refused(store.begin(&key("c"), Kind::Plain, Condition::Any, None));
        refused(store.delete(&key("a"), Condition::Any));
        refused(store.restore(&key("a"), Version(1000)));
        refused(
            store.create_invite(
                zput_proto::message::Scopes::GET,
                std::time::Duration::from_secs(60),
            ),
        );
        refused(store.clear_suspect(&mut ()));
        assert_eq!(store.expire_uploads().unwrap(), 0);
        let report = store.scrub(SCRUB, &mut ()).unwrap();
        assert_eq!((report.files, report.damaged.len(), report.read_only), (4, 0, true));
        let report = store.check(&mut ()).unwrap();
        assert_eq!((report.current, report.damaged.len()), (1, 0));
    });
    assert!(!home.path().join("scrub.toml").exists());
    assert!(!home.path().join("quarantine").exists());
}

/// A corrupt file cannot be quarantined there, and is reported.
#[test]
fn read_only_store_scrub_reports_damage_without_quarantine() {
    let home = home_with_all_areas();
    fs::write(home.object_path("a"), "rubbish").unwrap();
    with_read_only_mount(&home, |path| {
        let store = Store::open(path, Clock::system()).unwrap();
        let report = store.scrub(SCRUB, &mut ()).unwrap();
        assert_eq!(report.damaged.len(), 1);
        assert_eq!(report.damaged[0].quarantined, None);
        assert_eq!(store.list(None, 10, true).unwrap().unreadable, 1);
    });
    assert!(home.object_path("a").exists());
}

/// Opening an empty read-only directory as a store fails.
#[test]
fn store_open_of_empty_read_only_directory_fails() {
    let home = Home::new();
    fs::remove_dir_all(home.path()).unwrap();
    fs::create_dir(home.path()).unwrap();
    with_read_only_mount(&home, |path| {
        let error = Store::open(path, Clock::system()).unwrap_err();
        assert!(matches!(error, StoreError::NotWritable(_)), "{error:?}");
        let error = Store::open_existing(path, Clock::system()).unwrap_err();
        assert!(matches!(error, StoreError::NoStore), "{error:?}");
    });
}

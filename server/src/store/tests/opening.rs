//! Creating, recognising and refusing stores.

use std::{
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    thread,
};

use zput_skip::or_skip;

use super::{child::Child, *};

fn at(path: &Path) -> Result<Store, StoreError> {
    Store::open(path, Clock::system())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// A new store has the documented directories, files and modes.
#[test]
fn store_open_creates_documented_layout() {
    let dir = tempfile::tempdir_in(memory()).unwrap();
    let path = dir.path().join("srv/zput");
    let store = at(&path).unwrap();
    assert_eq!(
        names_in(&path),
        [
            "clients",
            "clock",
            "history",
            "invites",
            "locks",
            "objects",
            "quarantine",
            "server.key",
            "staging",
            "trash",
            "zput-store.toml"
        ]
    );
    // The others are made when they are first needed.
    for dir in ["objects", "history", "trash", "locks"] {
        assert_eq!(names_in(&path.join(dir)), Vec::<String>::new());
    }
    put(&store, "abc", b"1", Condition::Any).unwrap();
    for dir in ["objects", "history", "trash", "locks"] {
        assert_eq!(names_in(&path.join(dir)), ["ba"]);
    }
    for made in ["", "../", "objects", "objects/ba", "trash/ba", "clients", "staging", "locks"] {
        assert_eq!(mode(&path.join(made)), 0o700, "{made}");
    }
    // SHA-256("abc") of FIPS 180-2, B.1.
    let object = "objects/ba/ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    for made in ["server.key", "zput-store.toml", "clock", "locks/ba", object] {
        assert_eq!(mode(&path.join(made)), 0o600, "{made}");
    }
    let text = fs::read_to_string(path.join("zput-store.toml")).unwrap();
    assert!(text.lines().any(|line| line == "format = 2"));
    let id = text.lines().find_map(|line| line.strip_prefix("id = \"")?.strip_suffix('"'));
    assert!(id.is_some_and(|id| id.len() == 32 && id != "0".repeat(32)), "{text}");
    let other = Home::new();
    assert_ne!(fs::read_to_string(other.path().join("zput-store.toml")).unwrap(), text);
}

/// The server key stays across restarts, and a damaged or missing one is an error.
#[test]
fn server_key_is_kept_and_never_replaced() {
    let mut home = Home::new();
    let seed = *home.store.server_key().as_bytes();
    assert_ne!(seed, [0; 32]);
    home.reopen();
    assert_eq!(*home.store.server_key().as_bytes(), seed);
    let text = fs::read_to_string(home.path().join("server.key")).unwrap();
    assert!(text.contains(&format!("seed = \"{}\"", hex::encode(seed))));
    assert_ne!(Home::new().store.server_key().as_bytes(), &seed);

    for damage in ["", "format = 2\nseed = \"00\"\n", &text.replace("format = 2", "format = 1")] {
        fs::write(home.path().join("server.key"), damage).unwrap();
        assert!(matches!(at(&home.path()), Err(StoreError::Damaged("server.key"))), "{damage}");
    }
    // A store without its key does not make another one: clients have pinned the lost one.
    fs::remove_file(home.path().join("server.key")).unwrap();
    assert!(matches!(at(&home.path()), Err(StoreError::Missing(name)) if name == "server.key"));
}

/// Four threads that open a new store at once get the same server key.
#[test]
fn store_opened_concurrently_is_created_once() {
    let dir = tempfile::tempdir_in(memory()).unwrap();
    let path = dir.path().join("store");
    let seeds: Vec<[u8; 32]> = thread::scope(|scope| {
        let path = &path;
        let threads: Vec<_> =
            (0..4).map(|_| scope.spawn(|| *at(path).unwrap().server_key().as_bytes())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(seeds.iter().all(|seed| *seed == seeds[0]));
}

/// An empty directory becomes a store, and one with other files is refused untouched.
#[test]
fn store_open_makes_store_of_empty_directory_only() {
    let dir = tempfile::tempdir_in(memory()).unwrap();
    fs::create_dir(dir.path().join("lost+found")).unwrap();
    at(dir.path()).unwrap();

    let dir = tempfile::tempdir_in(memory()).unwrap();
    fs::write(dir.path().join("thesis.tex"), "x").unwrap();
    let error = at(dir.path()).unwrap_err();
    assert!(matches!(error, StoreError::NotAStore));
    assert!(error.to_string().contains("neither empty nor a store"));
    assert_eq!(names_in(dir.path()), ["thesis.tex"]);
}

/// Opening a regular file as a store fails with NotADirectory.
#[test]
fn store_open_of_file_is_not_a_directory() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for path in [file.path(), &file.path().join("store")] {
        let error = at(path).unwrap_err();
        assert!(matches!(error, StoreError::NotADirectory), "{error:?}");
        assert_eq!(error.to_string(), "this is not a directory");
    }
}

/// A store of a newer format is refused and nothing in it is touched.
#[test]
fn store_open_refuses_newer_format_untouched() {
    let home = Home::new();
    let staged = home.path().join("staging/left-over");
    fs::write(&staged, "x").unwrap();
    let file = home.path().join("zput-store.toml");
    fs::write(&file, "format = 3\nshards = 4096\n").unwrap();
    let error = at(&home.path()).unwrap_err();
    assert!(matches!(error, StoreError::NewerFormat { found: 3 }));
    assert_eq!(
        error.to_string(),
        "this store has format 3, this zput knows format 2: use a newer zput"
    );
    assert!(staged.exists());
    for damage in ["", "format = 0", "format = \"2\"", "format = 2", "\0"] {
        fs::write(&file, damage).unwrap();
        assert!(matches!(at(&home.path()), Err(StoreError::Damaged("zput-store.toml"))));
    }
}

/// A store of the format before this one is refused, untouched, and the error says what to do.
#[test]
fn store_open_refuses_older_format_untouched() {
    let home = Home::new();
    let staged = home.path().join("staging/left-over");
    fs::write(&staged, "x").unwrap();
    fs::write(home.path().join("zput-store.toml"), "format = 1\n").unwrap();
    fs::remove_file(home.path().join("clock")).unwrap();
    let before = names_in(&home.path());
    for open in [Store::open, Store::open_existing] {
        let error = open(&home.path(), Clock::system()).unwrap_err();
        assert!(matches!(error, StoreError::OlderFormat { found: 1 }), "{error:?}");
        assert_eq!(
            error.to_string(),
            "this store has format 1, from before the first release of zput; this zput knows \
             format 2 and converts no store: get what is in it with the zput that made it, and \
             put that into a new directory"
        );
    }
    assert_eq!(names_in(&home.path()), before);
    assert!(staged.exists());
}

/// Replaces the line of `zput-store.toml` that begins with `field`.
fn set_words(home: &Home, field: &str, words: &str) {
    let file = home.path().join("zput-store.toml");
    let text = fs::read_to_string(&file).unwrap();
    let line = text.lines().find(|line| line.starts_with(field)).unwrap();
    fs::write(file, text.replace(line, &format!("{field} = {words}"))).unwrap();
}

/// Promise 15: a store with what this version does not know is left alone.
#[test]
fn unknown_incompatible_word_is_refused() {
    let home = Home::new();
    home.put("a", b"1");
    let staged = home.path().join("staging/left-over");
    fs::write(&staged, "x").unwrap();
    fs::remove_dir(home.path().join("quarantine")).unwrap();
    for (words, what) in [
        (
            "[\"areas\", \"segments\"]",
            "this store has the feature \"segments\", which this zput does not know: use the zput \
             that made or changed it",
        ),
        (
            "[\"trailer-1\"]",
            "this store has the feature \"trailer-1\", which this zput does not know: use the zput \
             that made or changed it",
        ),
        (
            "[]",
            "this store does not have the feature \"areas\", so another version of zput made it: \
             use that one",
        ),
    ] {
        set_words(&home, "incompatible", words);
        for open in [Store::open, Store::open_existing] {
            let error = open(&home.path(), Clock::system()).unwrap_err();
            assert_eq!(error.to_string(), what);
        }
        assert!(staged.exists() && !home.path().join("quarantine").exists(), "{words}");
    }
    set_words(&home, "incompatible", "[\"areas\"]");
    assert_eq!(get(&at(&home.path()).unwrap(), "a", None), Some(b"1".to_vec()));
}

/// Promise 15: a store with what this version may not change is served, and not changed.
#[test]
fn unknown_read_only_compatible_word_opens_for_reading_only() {
    let mut home = Home::new();
    let version = home.put("a", b"1");
    let staged = home.path().join("staging/left-over");
    fs::write(&staged, "x").unwrap();
    fs::remove_dir(home.path().join("quarantine")).unwrap();
    let clock = fs::read(home.path().join("clock")).unwrap();
    set_words(&home, "read_only_compatible", "[\"quota\", \"feed\"]");
    home.reopen();
    let store = &home.store;
    assert!(store.is_read_only());
    assert_eq!(home.body("a"), Some(b"1".to_vec()));
    assert_eq!(store.list(None, 10, false).unwrap().entries.len(), 1);
    assert_eq!(home.states("a"), [(version, VersionState::Current)]);
    assert_eq!(store.check(&mut ()).unwrap().damaged, []);
    let invite = || store.create_invite(zput_proto::message::Scopes::GET, Duration::from_secs(9));
    for refused in [
        put(store, "a", b"2", Condition::Any).err(),
        put(store, "b", b"2", Condition::Absent).err(),
        store.delete(&key("a"), Condition::Any).err(),
        store.restore(&key("a"), Version(version)).err(),
        store.clear_suspect(&mut ()).err(),
        invite().err(),
    ] {
        let error = refused.unwrap();
        assert_eq!(error.code(), zput_proto::message::ErrorCode::ReadOnly);
        assert_eq!(
            error.to_string(),
            "this store is read-only: it has the feature \"quota\", with which this zput may only \
             read"
        );
    }
    assert_eq!(store.expire_uploads().unwrap(), 0);
    assert!(staged.exists() && !home.path().join("quarantine").exists());
    assert_eq!(names_in(&home.path().join("locks")).len(), 1);
    assert_eq!(fs::read(home.path().join("clock")).unwrap(), clock);
    set_words(&home, "read_only_compatible", "[]");
    home.reopen();
    home.put("a", b"2");
}

/// Opening a store fails when a link stands in place of one of its directories.
#[test]
fn store_open_refuses_link_in_place_of_directory() {
    for piece in ["objects/ab", "history/00", "trash/ff", "staging", "clients", "locks/7f"] {
        let home = Home::new();
        let path = home.path().join(piece);
        let aside = home.dir.path().join("aside");
        fs::create_dir_all(&path).unwrap();
        fs::rename(&path, &aside).unwrap();
        symlink(&aside, &path).unwrap();
        let refused = |result| matches!(result, Err(StoreError::Missing(name)) if name == piece);
        assert!(refused(at(&home.path())), "{piece}");
    }
}

/// A copy without zput-store.toml is refused as incomplete.
#[test]
fn store_open_refuses_copy_without_store_file() {
    let home = Home::new();
    fs::remove_file(home.path().join("zput-store.toml")).unwrap();
    let error = at(&home.path()).unwrap_err();
    assert!(matches!(error, StoreError::IncompleteCopy), "{error:?}");
    assert!(error.to_string().contains("copy all files of the store"), "{error}");
}

/// Opening completes a store whose creation was interrupted at any step.
#[test]
fn store_open_completes_interrupted_creation() {
    let whole = Home::new();
    let key = fs::read(whole.path().join("server.key")).unwrap();
    // In the order of its creation, step by step, with the store's file named last.
    for stop in 0..5 {
        let dir = tempfile::tempdir_in(memory()).unwrap();
        let path = dir.path();
        fs::write(path.join(".tmp-zput-store.toml"), if stop == 4 { "form" } else { "" }).unwrap();
        if stop >= 1 {
            fs::create_dir(path.join("locks")).unwrap();
            fs::write(path.join("locks/00"), "").unwrap();
        }
        if stop >= 2 {
            fs::create_dir_all(path.join("objects/00")).unwrap();
            fs::write(path.join(".tmp-00112233445566778899aabbccddeeff"), "seed = ").unwrap();
        }
        if stop >= 3 {
            fs::write(path.join("server.key"), &key).unwrap();
        }
        let store = at(path).unwrap();
        let kept = store.server_key().as_bytes() == whole.store.server_key().as_bytes();
        assert_eq!(kept, stop >= 3, "stop {stop}");
        assert_eq!(names_in(path), names_in(&whole.path()), "stop {stop}");
        put(&store, "a", b"1", Condition::Any).unwrap();
        at(path).unwrap();
    }
}

/// Opening removes abandoned staging and temporary files and follows no link.
#[test]
fn store_open_removes_abandoned_temporary_files() {
    let mut home = Home::new();
    for left in ["staging/0123", "staging/x", ".tmp-1", "clients/.tmp-2", "invites/.tmp-3"] {
        fs::write(home.path().join(left), "x").unwrap();
    }
    fs::write(home.path().join("clients/kept.toml"), "x").unwrap();
    let outside = home.dir.path().join("outside");
    fs::write(&outside, "x").unwrap();
    symlink(&outside, home.path().join("staging/link")).unwrap();
    home.reopen();
    assert_eq!(names_in(&home.path().join("staging")), ["link"]);
    assert_eq!(names_in(&home.path().join("clients")), ["kept.toml"]);
    assert_eq!(names_in(&home.path().join("invites")), Vec::<String>::new());
    assert!(!home.path().join(".tmp-1").exists());
    assert!(outside.exists());
}

/// Opening keeps the uploads of living processes and removes those of a dead one.
#[test]
fn store_open_keeps_uploads_of_living_processes() {
    let mut home = Home::new();
    // Of this process, and of another one.
    let mut mine = home.store.begin(&key("mine"), Kind::Plain, Condition::Any, None).unwrap();
    mine.start_slice(2, Digest::of(b"ab")).unwrap();
    mine.write(b"a").unwrap();
    let mut child = Child::start("upload", &home.path());
    assert_eq!(child.line(), "uploading");
    assert_eq!(home.staged(), 2);
    home.reopen();
    assert_eq!(home.staged(), 2);
    mine.write(b"b").unwrap();
    mine.end_slice().unwrap();
    mine.commit().unwrap();
    child.send_line("commit");
    assert_eq!(child.line(), "committed");
    child.finish();
    assert_eq!(home.body("mine"), Some(b"ab".to_vec()));
    assert_eq!(home.body("child's"), Some(b"from the child".to_vec()));

    // Of a dead process.
    let mut child = Child::start("upload", &home.path());
    assert_eq!(child.line(), "uploading");
    child.kill();
    assert_eq!(home.staged(), 1);
    home.reopen();
    assert_eq!(home.staged(), 0);
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Opening a directory that cannot be written to fails and makes nothing.
#[test]
fn store_open_refuses_unwritable_directory() {
    let dir = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir();
    let dir = dir.unwrap();
    let path = dir.path().join("store");
    fs::create_dir(&path).unwrap();
    let me = fs::metadata(&path).unwrap().uid();
    let say = if is_root() {
        // Root may write anywhere, so this runs as another user.
        let nobody = 65534;
        chown(&path, Some(nobody), Some(nobody)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o500)).unwrap();
        let child = Child::start_as(nobody, "open", &path);
        let mut child = or_skip!(child.ok_or("another user cannot run the test's program"));
        let line = child.line();
        child.finish();
        line
    } else {
        assert_ne!(me, 0);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o500)).unwrap();
        at(&path).unwrap_err().to_string()
    };
    assert!(say.starts_with("this directory cannot be written to: Permission denied"), "{say}");
    assert_eq!(names_in(&path), Vec::<String>::new());
}

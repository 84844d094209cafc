//! The order of system calls, as strace(1) shows it, and the effects of a failure of each.
//!
//! A test on a live system cannot show that something was durable before it was acknowledged; the
//! order of the calls can.

use std::os::unix::fs::PermissionsExt as _;

use zput_skip::or_skip;

use super::{child::Child, *};

/// Why a test that traces cannot run.
pub(super) const NO_STRACE: &str = "strace(1) is not installed or may not trace";

/// The output of a traced process, and the calls that it made between "ready" and that output.
pub(super) struct Traced {
    /// Empty when it was killed.
    pub(super) output: String,
    pub(super) calls: Vec<String>,
}

/// Runs `role` under strace with these `-e` arguments; the error says why that cannot be done.
pub(super) fn trace(expressions: &[&str], role: &str, home: &Home) -> Result<Traced, &'static str> {
    trace_if_possible(expressions, role, home).ok_or(NO_STRACE)
}

fn trace_if_possible(expressions: &[&str], role: &str, home: &Home) -> Option<Traced> {
    let log = home.dir.path().join("strace");
    let calls = "trace=write,pwrite64,fdatasync,fsync,flock,linkat,renameat,unlinkat";
    let mut command = vec!["strace", "-f", "-y", "-o", log.to_str().unwrap(), "-e", calls];
    for expression in expressions {
        command.extend(["-e", expression]);
    }
    let mut child = Child::start_under(&command, role, &home.path())?;
    let ready = child.line();
    let said = child.line();
    child.wait();
    let log = fs::read_to_string(log).ok()?;
    // A process that was killed before it was ready leaves a log; a strace that may not trace
    // leaves an empty one.
    if ready.is_empty() && !log.contains("killed by SIGKILL") {
        return None;
    }
    Some(Traced { output: said, calls: calls_between(&log, &home.path()) })
}

/// The calls on the store between the child's two lines, in words.
fn calls_between(log: &str, store: &Path) -> Vec<String> {
    let store = format!("{}/", store.canonicalize().unwrap().display());
    let begin = log.find("child: ready").unwrap_or(log.len());
    let end = log[begin..].find("child: ok").map_or(log.len(), |at| begin + at);
    let lines = log[begin..end].lines().filter(|line| line.contains(&store));
    lines.map(|line| describe(line, &store)).collect()
}

/// `123 fdatasync(7</store/staging/0123>) = 0` in words: "fdatasync staging/*".
fn describe(line: &str, store: &str) -> String {
    let call = line.split_once(' ').unwrap().1.trim_start();
    let (name, arguments) = call.split_once('(').unwrap();
    // Descriptors are shown as 7</path>, names as "name"; a name follows the descriptor that it is
    // relative to.
    let mut places = Vec::new();
    for piece in arguments.split(", ") {
        if let Some((_, path)) = piece.split_once(store) {
            let path = path.split(['>', ')']).next().unwrap();
            places.push(path_pattern(path.trim_end_matches(" (deleted)")));
        } else if let Some(entry) = piece.strip_prefix('"')
            && name != "pwrite64"
        {
            let entry = entry.split('"').next().unwrap();
            if let Some(dir) = places.pop() {
                places.push(path_pattern(&format!("{dir}/{entry}")));
            }
        }
    }
    let lock = if arguments.contains("LOCK_EX") { " exclusively" } else { "" };
    let failed = if line.contains(" = -1 ") { " fails" } else { "" };
    format!("{name} {}{lock}{failed}", places.join(" -> "))
}

/// A path of the store without the parts that differ from run to run: shards and random names.
fn path_pattern(path: &str) -> String {
    let words = path.split('/').map(|part| match part.len() {
        2 if part != ".." => "ab",
        32 => "*",
        37 if part.starts_with(".tmp-") => ".tmp",
        64 => "H",
        69 => "X.toml",
        85 => "H.version",
        _ => part,
    });
    words.collect::<Vec<_>>().join("/")
}

/// Runs `role` in a store that `before` has prepared, and returns its calls.
fn calls_of(role: &str, before: fn(&Home)) -> Result<Vec<String>, &'static str> {
    let home = Home::new();
    before(&home);
    let traced = trace(&[], role, &home)?;
    assert!(traced.output.starts_with("ok "), "{}", traced.output);
    Ok(traced.calls)
}

/// A process looks at the file of instants once, before its first upload.
const LOOK_AT_CLOCK: &str = "flock clock exclusively, flock clock";
/// The child's clock is far ahead of what the tests' clock has reserved.
const RESERVE: &str = "flock clock exclusively, pwrite64 clock, fdatasync clock, flock clock";
const TAKE_INSTANT: &str = "flock clock exclusively, pwrite64 clock, flock clock";

/// The calls, of which some are written as lists of several.
fn list(calls: &[&str]) -> Vec<String> {
    calls.iter().flat_map(|calls| calls.split(", ")).map(str::to_owned).collect()
}

/// Promise 1: STORE, "Put" 1 to 8.
#[test]
fn put_system_calls_are_durable_before_acknowledgement() {
    let calls = or_skip!(calls_of("put", |home| _ = home.put("a", b"old")));
    assert_eq!(
        calls,
        list(&[
            LOOK_AT_CLOCK,
            // 1. The staging file, locked.
            "flock staging/* exclusively",
            // 2. Slices.
            "pwrite64 staging/*",
            "pwrite64 staging/*",
            "pwrite64 staging/*",
            "pwrite64 staging/*",
            "pwrite64 staging/*",
            // 3.
            RESERVE,
            // 4.
            "flock locks/ab exclusively",
            TAKE_INSTANT,
            // 5. The record; it is synced with the data.
            "pwrite64 staging/*",
            "fdatasync staging/*",
            // 6: the old version's new name is durable before step 7 removes its old one. 8.
            "linkat objects/ab/H -> history/ab/H.version",
            "fsync history/ab",
            "renameat staging/* -> objects/ab/H",
            "fsync objects/ab",
        ])
    );
}

/// From 1 MiB on no writer waits for the lock while the data is synced.
#[test]
fn put_of_large_object_syncs_data_before_shard_lock() {
    // The directories are there.
    let before = |home: &Home| {
        home.put("a", b"old");
        home.store.delete(&key("a"), Condition::Any).unwrap();
    };
    let mut calls = or_skip!(calls_of("put large", before));
    calls.dedup();
    assert_eq!(
        calls,
        list(&[
            LOOK_AT_CLOCK,
            "flock staging/* exclusively",
            "pwrite64 staging/*",
            // 3.
            "fdatasync staging/*",
            RESERVE,
            "flock locks/ab exclusively",
            TAKE_INSTANT,
            "pwrite64 staging/*",
            "fdatasync staging/*",
            "renameat staging/* -> objects/ab/H",
            "fsync objects/ab",
        ])
    );
}

/// A key's first put links nothing into the history and syncs its name.
#[test]
fn put_of_new_key_makes_no_history_link() {
    let before = |home: &Home| {
        home.put("a", b"old");
        home.store.delete(&key("a"), Condition::Any).unwrap();
    };
    let calls = or_skip!(calls_of("put absent", before));
    assert_eq!(
        calls,
        list(&[
            LOOK_AT_CLOCK,
            "flock staging/* exclusively",
            "pwrite64 staging/*",
            RESERVE,
            "flock locks/ab exclusively",
            TAKE_INSTANT,
            "pwrite64 staging/*",
            "fdatasync staging/*",
            "renameat staging/* -> objects/ab/H",
            "fsync objects/ab",
        ])
    );
}

/// STORE, "Layout": "A process that is about to make a name in a directory with the bit syncs the
/// directory above first."
#[test]
fn first_name_in_directory_syncs_directory_above() {
    const TRACED: &str = "trace=write,mkdirat,fchmod,fsync,renameat,linkat";
    let first_use = |home: &Home| -> Result<Vec<String>, &'static str> {
        let traced = trace(&[TRACED], "put absent", home)?;
        assert!(traced.output.starts_with("ok "), "{}", traced.output);
        Ok(traced.calls)
    };
    let home = Home::new();
    // The first use of all three.
    let expected = [
        "mkdirat objects/ab",
        "mkdirat history/ab",
        "mkdirat trash/ab",
        "fsync objects",
        "fchmod objects/ab",
        "fsync history",
        "fchmod history/ab",
        "fsync trash",
        "fchmod trash/ab",
        "renameat staging/* -> objects/ab/H",
        "fsync objects/ab",
    ];
    assert_eq!(or_skip!(first_use(&home)), expected);
    // What another process made, and has not settled; and no longer than until the next name.
    let dir = home.object_path("a");
    let dir = dir.parent().unwrap();
    let mode = |bits| fs::set_permissions(dir, fs::Permissions::from_mode(bits)).unwrap();
    mode(0o1700);
    home.store.delete(&key("a"), Condition::Any).unwrap();
    assert_eq!(fs::metadata(dir).unwrap().permissions().mode() & 0o7777, 0o700);
    mode(0o1700);
    let expected = [
        "fsync objects",
        "fchmod objects/ab",
        "renameat staging/* -> objects/ab/H",
        "fsync objects/ab",
    ];
    assert_eq!(or_skip!(first_use(&home)), expected);
    home.store.delete(&key("a"), Condition::Any).unwrap();
    let expected = ["renameat staging/* -> objects/ab/H", "fsync objects/ab"];
    assert_eq!(or_skip!(first_use(&home)), expected);
}

/// STORE, "Instants": "no instant above this one was given; synced before one is". A commit renews
/// the reservation before it has a lock; where it did not, the instant itself does.
#[test]
fn instant_above_reservation_is_synced_first() {
    let home = Home::new();
    let traced = or_skip!(trace(&[], "two instants", &home));
    assert!(traced.output.starts_with("ok "), "{}", traced.output);
    assert_eq!(traced.calls, list(&[RESERVE, TAKE_INSTANT]));
    // Nothing is answered, and none is given, where the sync fails.
    let home = Home::new();
    let inject = "inject=fdatasync:error=EIO:when=1";
    let Traced { output: said, calls } = or_skip!(trace(&[inject], "two instants", &home));
    assert_eq!(said.split(':').next(), Some("Internal"), "{said}");
    assert_eq!(calls[2], "fdatasync clock fails");
}

/// A commit reads directories, which may be large, before it has the lock.
#[test]
fn commit_reads_no_directory_under_lock() {
    let home = Home::new();
    home.put("a", b"old");
    let traced = or_skip!(trace(&["trace=write,flock,getdents64"], "put", &home));
    assert!(traced.output.starts_with("ok "), "{}", traced.output);
    let mut calls = traced.calls;
    calls.dedup();
    let with_clock = "flock clock exclusively, flock clock";
    assert_eq!(
        calls,
        list(&[
            with_clock,
            "flock staging/* exclusively",
            with_clock,
            "getdents64 history/ab",
            "getdents64 trash/ab",
            "flock locks/ab exclusively",
            with_clock,
        ])
    );
}

/// Promise 1: "'Already there' means the same."
#[test]
fn put_absent_of_existing_object_syncs_before_exists() {
    let home = Home::new();
    home.put("a", b"old");
    let traced = or_skip!(trace(&[], "put absent", &home));
    assert!(traced.output.starts_with("Exists:"), "{}", traced.output);
    assert_eq!(traced.calls, list(&[LOOK_AT_CLOCK, "fsync objects/ab"]));
}

/// A delete syncs the trash before it unlinks the object's name.
#[test]
fn delete_syncs_trash_before_unlink() {
    let calls = or_skip!(calls_of("delete", |home| _ = home.put("a", b"old")));
    assert_eq!(
        calls,
        [
            "flock locks/ab exclusively",
            "linkat objects/ab/H -> trash/ab/H.version",
            "fsync trash/ab",
            "unlinkat objects/ab/H",
            "fsync objects/ab",
        ]
    );
}

/// A restore syncs the object's name before it unlinks it from the trash.
#[test]
fn restore_from_trash_syncs_object_before_unlink() {
    let before = |home: &Home| {
        home.put("a", b"old");
        home.store.delete(&key("a"), Condition::Any).unwrap();
    };
    let calls = or_skip!(calls_of("restore", before));
    assert_eq!(
        calls,
        [
            "flock locks/ab exclusively",
            "linkat trash/ab/H.version -> objects/ab/H",
            "fsync objects/ab",
            "unlinkat trash/ab/H.version",
            "fsync trash/ab",
        ]
    );
}

/// A restore from the history copies the version with the calls of a put.
#[test]
fn restore_from_history_makes_calls_of_put() {
    let before = |home: &Home| {
        home.put("a", b"old");
        home.put("a", b"new");
    };
    let calls = or_skip!(calls_of("restore copy", before));
    assert_eq!(
        calls,
        list(&[
            "flock locks/ab exclusively",
            "flock staging/* exclusively",
            "pwrite64 staging/*",
            RESERVE,
            "flock locks/ab exclusively",
            TAKE_INSTANT,
            "pwrite64 staging/*",
            "fdatasync staging/*",
            "linkat objects/ab/H -> history/ab/H.version",
            "fsync history/ab",
            "renameat staging/* -> objects/ab/H",
            "fsync objects/ab",
        ])
    );
}

/// STORE, "Invites": "spent by unlink + fsync(invites) before the client's file is written".
#[test]
fn invite_is_unlinked_and_synced_before_account_is_written() {
    let calls = or_skip!(calls_of("join", |_| {}));
    assert_eq!(
        calls,
        [
            "flock clients exclusively",
            "unlinkat invites/X.toml",
            "fsync invites",
            "flock clients/.tmp exclusively",
            "pwrite64 clients/.tmp",
            "fdatasync clients/.tmp",
            "renameat clients/.tmp -> clients/X.toml",
            "fsync clients",
        ]
    );
}

/// STORE, promises: "A sync that fails fails the put and is not repeated"; the file is discarded.
#[test]
fn fdatasync_failure_fails_put_and_is_not_repeated() {
    // Those between are of the file of instants.
    for (role, nth) in [("put", 2), ("put large", 1), ("put large", 3)] {
        let home = Home::new();
        home.put("a", b"old");
        let inject = format!("inject=fdatasync:error=EIO:when={nth}");
        let Traced { output: said, calls } = or_skip!(trace(&[&inject], role, &home));
        assert_eq!(said.split(':').next(), Some("Internal"), "{said}");
        // The further calls mark the store suspect.
        let expected = [
            "fdatasync staging/* fails",
            "flock .tmp exclusively",
            "pwrite64 .tmp",
            "fdatasync .tmp",
            "unlinkat staging/*",
        ];
        assert_eq!(calls[calls.len() - 5..], expected, "{role}: sync {nth}");
        assert_eq!(home.staged(), 0);
        assert_eq!(home.body("a"), Some(b"old".to_vec()));
        assert_eq!(home.states("a").len(), 1);
    }
}

/// A failed fsync of a directory fails the put and keeps the old version readable.
#[test]
fn directory_fsync_failure_fails_put() {
    for nth in 1..=2 {
        let home = Home::new();
        home.put("a", b"old");
        let inject = format!("inject=fsync:error=EIO:when={nth}");
        let Traced { output: said, calls } = or_skip!(trace(&[&inject], "put", &home));
        assert_eq!(said.split(':').next(), Some("Internal"), "{said}");
        if nth == 1 {
            // The old version's new name is not durable, so its old one stays.
            assert!(calls[calls.len() - 5..][..1] == ["fsync history/ab fails"]);
            assert_eq!(calls.last().unwrap(), "unlinkat staging/*");
            assert_eq!(home.body("a"), Some(b"old".to_vec()));
            assert_eq!(home.states("a").len(), 1);
        } else {
            let failed = &calls[calls.len() - 4];
            assert!(failed.starts_with("fsync ") && failed.ends_with(" fails"), "{calls:?}");
            assert_eq!(calls.last().unwrap(), "fdatasync .tmp");
            // Not acknowledged, so it may exist; then completely, and with its history.
            assert_eq!(home.body("a"), Some(vec![b'n'; 5000]));
            assert_eq!(home.states("a").len(), 2);
        }
        assert_eq!(home.staged(), 0);
    }
}

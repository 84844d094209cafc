//! Sources that change, fail or are not there, and places that cannot be written.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::{ffi::OsStrExt, net::UnixListener},
    process::Stdio,
    thread,
};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use zput_tests::{
    Call, Machine, Pattern, Ran, ServerProcess, calls, can_trace, command_path, command_words,
    names, or_skip, skip, until,
};

use crate::setting::{got, settled, shell};

/// What lanes put is read in one call; strace(1) stops the command behind it.
#[test]
fn zput_refuses_small_file_that_changes_while_it_is_read() {
    or_skip!(can_trace());
    let home = settled();
    home.write("small", b"before");
    home.write("other", b"other");
    let trace = home.path().join("trace");
    let mut strace = home.program("strace");
    let stops = "inject=pread64:signal=SIGSTOP:when=1";
    strace.args(["-f", "-P", "small", "-e", "trace=pread64", "-e", stops, "-o"]).arg(&trace);
    strace.arg(command_path("zput")).args(["small", "other"]).stderr(Stdio::piped());
    let child = strace.spawn().unwrap();
    let stopped = || {
        let trace = fs::read_to_string(&trace).unwrap_or_default();
        let line = trace.lines().find(|line| line.ends_with("--- stopped by SIGSTOP ---"))?;
        let (thread, _) = line.split_once(' ')?;
        let has_read = |call: &Call| thread.parse() == Ok(call.thread) && call.result == 6;
        calls(&trace).iter().any(has_read).then(|| thread.parse().unwrap())
    };
    until("it has read and was stopped", || stopped().is_some());
    home.write("small", b"behind");
    kill_process(Pid::from_raw(stopped().unwrap()).unwrap(), Signal::CONT).unwrap();
    let ran = Ran::from(child.wait_with_output().unwrap()).ended(3);
    assert!(ran.stderr.contains("small changed while it was read"), "{}", ran.stderr);
    assert_eq!(home.run("zblob ls", [""; 0]).ok().text(), "first\nother\n");
}

/// The output of a command that is killed or fails replaces no version.
#[test]
fn zput_exec_stores_nothing_when_its_command_is_killed() {
    let home = settled();
    // A pipe does not tell; a command does.
    for script in ["head -c 100 /dev/zero; kill -9 $$", "head -c 40000000 /dev/zero; exit 1"] {
        let args = ["--exec", "--name", "first", "--", "bash", "-c", script];
        let _failed = home.run("zput", args).ended(1);
    }
    assert_eq!(got(&home, "first"), b"first");
}

/// A put of a file that grows meanwhile stores the prefix it had at first.
#[test]
fn zput_of_growing_file_stores_its_length_at_open() {
    let home = settled();
    let bytes = Pattern::bytes(7, 60_000_000);
    home.write("log", &bytes);
    let path = home.file("log");
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let writer = thread::spawn(move || {
        let mut log = OpenOptions::new().append(true).open(path).unwrap();
        while stopped.try_recv().is_err() {
            log.write_all(b"one more line\n").unwrap();
        }
    });
    let ran = home.run("zput", ["log"]);
    let _sealed = home.run("zblob seal", ["-o", "sealed", "log"]).ok();
    stop.send(()).unwrap();
    writer.join().unwrap();
    let _stored = ran.ok();
    let stored = got(&home, "log");
    // It was written to since before it was opened.
    assert!(stored.len() >= bytes.len(), "{} bytes", stored.len());
    assert!(home.read("log").starts_with(&stored) && stored.starts_with(&bytes));
    assert!(stored.len() < home.read("log").len());
}

/// Each file that cannot be put is one error, and the other files are stored.
#[test]
fn zput_reports_each_bad_name_and_stores_the_others() {
    let home = settled();
    for name in ["ok1", "ok2", "ok3"] {
        home.write(name, name.as_bytes());
    }
    let bad: [&[u8]; 3] = [b"caf\xe9", b"new\nline", "c1\u{85}".as_bytes()];
    for name in bad {
        let path = home.file(".").join(std::ffi::OsStr::from_bytes(name));
        fs::write(&path, "x").unwrap();
        let ran = shell(&home, "zput -- *").ended(3);
        assert!(ran.stderr.contains("1 of 5 failed"), "{}", ran.stderr);
        assert_eq!(home.run("zblob ls", [""; 0]).ok().text(), "first\nok1\nok2\nok3\n");
        fs::remove_file(path).unwrap();
        let _removed = home.run("zblob rm", ["ok1", "ok2", "ok3"]).ok();
    }
    fs::create_dir(home.file("other")).unwrap();
    home.write("other/ok1", b"another");
    let _socket = UnixListener::bind(home.file("socket")).unwrap();
    let long = "n".repeat(200);
    home.write(&long, b"x");
    let prefix = "p".repeat(900);
    let args = ["--prefix", &prefix, "ok1", "other/ok1", "other", "socket", "ok2", &long, ".."];
    let ran = home.run("zput", args).ended(3);
    assert_eq!(ran.stderr.lines().count(), 6, "{}", ran.stderr);
    assert!(ran.stderr.ends_with("zput: 5 of 7 failed\n"), "{}", ran.stderr);
    assert_eq!(got(&home, &format!("{prefix}/ok1")), b"ok1");
    assert_eq!(got(&home, &format!("{prefix}/ok2")), b"ok2");
}

/// Each bad name is one error, and the other blobs are got or removed.
#[test]
fn zget_and_zblob_rm_report_bad_names_and_do_the_others() {
    let home = settled();
    home.write("other", b"other");
    let _stored = home.run("zput", ["other"]).ok();
    let bad = std::ffi::OsStr::from_bytes(b"caf\xe9");
    let args = |end: &[&str]| {
        let names = ["first", "../bad", "other"].into_iter().chain(end.iter().copied());
        names.map(std::ffi::OsString::from).chain([bad.to_owned()]).collect::<Vec<_>>()
    };
    for name in ["first", "other"] {
        fs::remove_file(home.file(name)).unwrap();
    }
    let ran = home.run("zget", args(&["x/other"])).ended(3);
    assert!(ran.stderr.ends_with("zget: 3 of 5 failed\n"), "{}", ran.stderr);
    assert_eq!((home.read("first"), home.read("other")), (b"first".to_vec(), b"other".to_vec()));
    let ran = home.run("zblob rm", args(&[])).ended(3);
    assert!(ran.stderr.ends_with("zblob rm: 2 of 4 failed\n"), "{}", ran.stderr);
    assert_eq!(home.run("zblob ls", [""; 0]).ok().text(), "");
}

/// A second argument meant as a destination is a usage error that names --name.
#[test]
fn zput_with_destination_like_cp_stores_nothing() {
    let home = settled();
    home.write("secret.bin", b"x");
    let ran = home.run("zput", ["secret.bin", "remote/name"]).ended(2);
    assert!(ran.stderr.contains("did you mean --name remote/name?"), "{}", ran.stderr);
    assert_eq!(home.run("zblob ls", [""; 0]).ok().text(), "first\n");
}

/// A first put of a source that cannot be read makes no key file and no store.
#[test]
fn first_zput_of_unreadable_source_sets_nothing_up() {
    let home = Machine::new();
    fs::create_dir(home.file("dir")).unwrap();
    let _failed = home.run("zput", ["missing"]).ended(4);
    let ran = home.run("zput", ["dir"]).ended(1);
    assert_eq!(ran.stderr, "zput: dir is a directory (tar c dir | zput --name dir.tar -)\n");
    let _failed = home.run("zput", ["dir", "missing"]).ended(3);
    let _failed = shell(&home, "zput --name x - <&-").ended(1);
    assert_eq!(names(home.path()), ["work"]);
}

/// A put works without /proc.
#[test]
fn zput_works_without_proc() {
    if !geteuid().is_root() {
        return skip::because("only root can take /proc away");
    }
    let home = settled();
    home.write("small", b"small");
    home.write("large", Pattern::bytes(2, 17_000_000));
    let mut command = home.program("unshare");
    let script = "umount -l /proc || exit 99; exec \"$@\"";
    command.args(["-m", "sh", "-c", script, "sh"]).arg(command_path("zput"));
    let ran = Ran::from(command.args(["small", "large", "first"]).output().unwrap());
    if ran.code == Some(99) || ran.stderr.contains("unshare") {
        return skip::because(format!("/proc cannot be taken away: {}", ran.stderr));
    }
    let _stored = ran.ok();
    assert_eq!(got(&home, "small"), b"small");
    assert!(got(&home, "large") == Pattern::bytes(2, 17_000_000));
}

/// A state directory on which nothing can be written: stored is stored, and got is got.
#[test]
fn state_directory_that_is_read_only_is_a_warning() {
    let home = settled();
    home.write("small", b"small");
    home.write("large", Pattern::bytes(5, 20_000_000));
    let _stored = home.run("zput", ["small", "large"]).ok();
    // Not a directory: neither root nor anybody else writes into it.
    home.write("file", b"");
    let run = |command: &str, args: &[&str]| {
        let mut command = home.command(command);
        command.args(args).env("XDG_STATE_HOME", home.file("file"));
        Ran::from(command.output().unwrap())
    };
    let is_warned = |ran: Ran, warnings: usize| {
        let ran = ran.ok();
        assert_eq!(ran.stderr.matches("XDG_STATE_HOME").count(), warnings, "{}", ran.stderr);
        ran
    };
    let none = run("zput", &["small"]);
    // Not even read: what was seen before is not known.
    let ran = none.ended(1);
    assert!(ran.stderr.contains("XDG_STATE_HOME"), "{}", ran.stderr);

    // A directory that can be read, on a disk that cannot be written.
    if !geteuid().is_root() {
        return skip::because("only root can mount a disk that cannot be written");
    }
    let state = home.path().join(".local/state");
    let read_only = |command: &str, args: &[&str]| {
        let script =
            "mount --bind \"$0\" \"$0\" && mount -o remount,ro,bind \"$0\" || exit 99; exec \"$@\"";
        let mut unshare = home.program("unshare");
        unshare.args(["-m", "sh", "-c", script]).arg(&state).args(command_words(command));
        Ran::from(unshare.args(args).output().unwrap())
    };
    let probe = read_only("zput", &["--version"]);
    if probe.code != Some(0) {
        return skip::because(format!("nothing can be mounted here: {}", probe.stderr));
    }
    home.write("new", b"new");
    let _stored = is_warned(read_only("zput", &["new"]), 1);
    let _stored = is_warned(read_only("zput", &["--if-absent", "--name", "token", "new"]), 1);
    let _stored = is_warned(read_only("zput", &["small", "new", "large"]), 2);
    // The record, and the journal.
    let _stored = is_warned(read_only("zput", &["large"]), 2);
    let _stored = is_warned(read_only("zput", &["--no-resume", "large"]), 1);
    let got = is_warned(read_only("zget", &["-o", "-", "large"]), 1);
    assert!(got.stdout == Pattern::bytes(5, 20_000_000));
    // The new ones are known from now on, and nothing is warned of.
    assert_eq!(home.run("zget", ["-o", "-", "token"]).ok().stderr, "");
}

/// A put that reached no server leaves no journal.
#[test]
fn put_journal_is_removed_if_no_server_was_reached() {
    let home = Machine::new();
    let server = ServerProcess::start(&home.path().join("store"), &[]);
    server.admit(&home);
    home.write("large", Pattern::bytes(5, 40_000_000));
    assert_eq!(server.stop(), Some(0));
    let mut put = home.command("zput");
    let ran = Ran::from(put.arg("large").env("ZPUT_RETRIES", "2").output().unwrap()).ended(5);
    assert!(!ran.stderr.contains("starting over"), "{}", ran.stderr);
    let puts = home.path().join(".local/state/zput/puts");
    let vaults = names(&puts);
    assert_eq!(vaults.iter().map(|vault| names(&puts.join(vault)).len()).sum::<usize>(), 0);
}

/// setrlimit(2), RLIMIT_FSIZE: the write fails and says of which file; nothing stays.
#[test]
fn file_size_limit_is_an_error_and_leaves_no_file() {
    let home = settled();
    home.write("large", Pattern::bytes(5, 3_000_000));
    let ran = shell(&home, "ulimit -f 1000; zblob seal -o out large").ended(1);
    assert_eq!(ran.stderr, "zblob seal: cannot write out: File too large (os error 27)\n");
    assert_eq!(names(&home.file(".")), ["first", "large"]);
}

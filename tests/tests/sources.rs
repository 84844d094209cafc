//! Where a put takes its bytes from: each source is opened once, and every byte that its writer gave is
//! stored or the command fails.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    fs::{self, OpenOptions},
    io::{Read, Write},
    os::{
        fd::OwnedFd,
        unix::{
            ffi::OsStrExt,
            fs::MetadataExt as _,
            net::{UnixListener, UnixStream},
            process::ExitStatusExt as _,
        },
    },
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use rustix::{
    fs::{CWD, Mode, OFlags, fcntl_getfl, fcntl_setfl, mkfifoat},
    process::{Pid, Signal, geteuid, kill_process},
};
use zput_tests::{
    Call, Machine, Pattern, Ran, ServerProcess, calls, can_trace, command_path, command_words,
    leaves_cores, names, or_skip, skip, until,
};

/// A home whose first put is over.
fn settled() -> Machine {
    let home = Machine::new();
    home.write("first", b"first");
    let _stored = home.run("zput", ["first"]).ok();
    home
}

fn got(home: &Machine, name: &str) -> Vec<u8> {
    home.run("zget", ["-o", "-", name]).ok().stdout
}

/// What a shell makes of `script`, with the commands on its path.
fn shell(home: &Machine, script: &str) -> Ran {
    let directory = command_path("zput").parent().unwrap().to_owned();
    let mut command = home.program("bash");
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", directory.display());
    command.args(["-c", script]).env("PATH", path).output().unwrap().into()
}

fn make_fifo(home: &Machine, name: &str) {
    mkfifoat(CWD, home.file(name), Mode::RWXU).unwrap();
}

/// Writes `bytes` into a named pipe, once there is a reader, and closes it.
fn feed(home: &Machine, name: &str, bytes: Vec<u8>) -> thread::JoinHandle<()> {
    let path = home.file(name);
    thread::spawn(move || {
        let mut pipe = OpenOptions::new().write(true).open(path).unwrap();
        pipe.write_all(&bytes).unwrap();
    })
}

/// All bytes written into a named pipe are put, sealed or opened.
#[test]
fn named_pipe_is_stored_and_sealed_whole() {
    let home = settled();
    make_fifo(&home, "pipe");
    for length in [11, 300_000, 17_000_000] {
        let bytes = Pattern::bytes(length, length);
        let writer = feed(&home, "pipe", bytes.clone());
        let _stored = home.run("zput", ["pipe"]).ok();
        writer.join().unwrap();
        assert!(got(&home, "pipe") == bytes, "{length}");
    }
    // Among files, large and small.
    home.write("small1", b"1");
    home.write("small2", b"2");
    let writer = feed(&home, "pipe", b"among others".to_vec());
    let _stored = home.run("zput", ["small1", "pipe", "small2"]).ok();
    writer.join().unwrap();
    assert_eq!(got(&home, "pipe"), b"among others");
    // Sealed without a server.
    let writer = feed(&home, "pipe", b"to be sealed".to_vec());
    let _sealed = home.run("zblob seal", ["-o", "sealed", "pipe"]).ok();
    writer.join().unwrap();
    assert_eq!(home.run("zblob open", ["-o", "-", "sealed"]).ok().stdout, b"to be sealed");
    // And opened from one.
    let writer = feed(&home, "pipe", home.read("sealed"));
    let opened = home.run("zblob open", ["-o", "-", "pipe"]).ok();
    writer.join().unwrap();
    assert_eq!(opened.stdout, b"to be sealed");
}

/// A put of a process substitution stores what the command wrote.
#[test]
fn process_substitution_is_stored() {
    let home = settled();
    let script = "zput --name sub <(printf 'from a command') && zget -o - sub";
    assert_eq!(shell(&home, script).ok().stdout, b"from a command");
}

const OPENS: [&str; 3] = ["open", "openat", "openat2"];

/// The calls of a command, in their order, whose argument is the name `name`.
fn calls_of(home: &Machine, command: &str, args: &[&str], name: &str) -> Vec<Call> {
    let trace = home.path().join("trace");
    let mut strace = home.program("strace");
    strace.args(["-f", "-e", "trace=%file", "-o"]).arg(&trace);
    let ran = Ran::from(strace.args(command_words(command)).args(args).output().unwrap());
    let _ended = ran.ok();
    let quoted = format!("\"{name}\"");
    let calls = calls(&fs::read_to_string(trace).unwrap());
    // Its arguments are the program's own.
    calls
        .into_iter()
        .filter(|call| !call.is(&["execve"]) && call.arguments.contains(&quoted))
        .collect()
}

/// How often a command opens the file called `name`.
fn opens(home: &Machine, command: &str, args: &[&str], name: &str) -> usize {
    let calls = calls_of(home, command, args, name);
    calls.iter().filter(|call| call.is(&OPENS) && call.result >= 0).count()
}

/// Another file may have its name by then: what counts is the one that was opened.
#[test]
fn source_that_is_open_is_not_looked_up_by_its_name() {
    or_skip!(can_trace());
    let home = settled();
    home.write("small", b"small");
    home.write("large", &Pattern::bytes(1, 17_000_000));
    home.write("empty", b"");
    for name in ["small", "large", "empty"] {
        for (command, args) in
            [("zput", &[name][..]), ("zblob seal", &["--force", "-o", "sealed", name])]
        {
            let calls = calls_of(&home, command, args, name);
            let last = calls.last().unwrap();
            assert!(last.is(&OPENS) && last.result >= 0, "{command} {name}: {last:?}");
        }
    }
}

/// Each source that is named is opened once, alone and among others.
#[test]
fn source_is_opened_exactly_once() {
    or_skip!(can_trace());
    let home = settled();
    make_fifo(&home, "pipe");
    home.write("small", b"small");
    home.write("other", b"other");
    home.write("large", &Pattern::bytes(1, 17_000_000));
    home.write("empty", b"");
    let many = ["small", "pipe", "large", "other", "empty"];
    for (command, args) in [
        ("zput", &["small"][..]),
        ("zput", &["large"]),
        ("zput", &["pipe"]),
        ("zput", &["empty"]),
        ("zput", &many),
        ("zput", &["--jobs", "1", "small", "pipe", "other"]),
        ("zblob seal", &["--force", "-o", "sealed", "pipe"]),
        ("zblob seal", &["--force", "-o", "sealed", "large"]),
    ] {
        for name in many {
            let is_given = args.contains(&name);
            let is_fed = args.contains(&"pipe");
            let writer = is_fed.then(|| feed(&home, "pipe", b"fed".to_vec()));
            let opened = opens(&home, command, args, name);
            if let Some(writer) = writer {
                writer.join().unwrap();
            }
            assert_eq!(opened, usize::from(is_given), "{name} by {command} {args:?}");
        }
    }
}

/// A closed stdin is an error of each command that reads it, and not an empty file.
#[test]
fn stdin_that_is_closed_is_an_error_and_no_empty_file() {
    let home = settled();
    for script in [
        "zput --name first - <&-",
        "zput --name new - <&-",
        "zblob seal -o sealed - <&-",
        "zblob open -o opened - <&-",
        "zblob key import --identity - --key k.zkey <&-",
        "zblob key join --invite-file - --key k.zkey <&-",
        "zblob key join --key k.zkey <&-",
        // stderr too: what is said goes nowhere, and above all into no file.
        "zput --name first - <&- 2>&-",
    ] {
        let ran = shell(&home, script).ended(1);
        assert!(
            ran.stderr.contains("closed") || script.contains("2>&-"),
            "{script}: {}",
            ran.stderr
        );
    }
    // Open for writing alone.
    let _refused = shell(&home, "zput --name first - 0>other").ended(1);
    assert_eq!(got(&home, "first"), b"first");
    assert_eq!(home.run("zblob ls", [""; 0]).ok().text(), "first\n");
    assert_eq!(names(&home.file(".")), ["first", "other"]);
    // What a shell opens is open.
    let _stored = shell(&home, "zput --name null - </dev/null").ok();
    assert_eq!(got(&home, "null"), b"");
}

/// Python (`subprocess.DEVNULL`), Node (`stdio: "ignore"`) and daemon(3) open the null device for reading and
/// writing, as Rust's start-up does where it finds a descriptor closed.
#[test]
fn null_device_open_for_both_is_not_taken_for_closed() {
    let home = settled();
    for script in [
        "zblob ls 0<>/dev/null 1<>/dev/null 2<>/dev/null",
        "zget -o - first 1<>/dev/null",
        "zget -o /dev/stdout first 1<>/dev/null",
        "zput --json --name second - 0<>/dev/null 1<>/dev/null",
    ] {
        let _done = shell(&home, script).ok();
    }
    assert_eq!(home.run("zblob ls", [""; 0]).ok().text(), "first\nsecond\n");
    for script in ["zblob ls >&-", "zget -o - first >&-", "zget -o /dev/stdout first >&-"] {
        let ran = shell(&home, script).ended(1);
        assert!(ran.stderr.contains("closed"), "{script}: {}", ran.stderr);
    }
}

/// A put without stdin, stdout and stderr stores its file and writes nothing into it.
#[test]
fn zput_without_standard_streams_stores_file_and_leaves_it() {
    let home = settled();
    home.write("file", b"nobody writes into this");
    let _stored = shell(&home, "zput file <&- >&- 2>&-").ok();
    assert_eq!(home.read("file"), b"nobody writes into this");
    assert_eq!(got(&home, "file"), b"nobody writes into this");
    let _failed = shell(&home, "zput file missing <&- >&- 2>&-").ended(3);
    assert_eq!(home.read("file"), b"nobody writes into this");
}

/// A non-blocking stdin without data is waited for by poll(2).
#[test]
fn stdin_that_is_nonblocking_is_waited_for() {
    let home = settled();
    let bytes = Pattern::bytes(3, 3_000_000);
    for (command, args) in
        [("zput", &["--name", "pipe", "-"][..]), ("zblob seal", &["--force", "-o", "sealed", "-"])]
    {
        let (reader, mut writer) = std::io::pipe().unwrap();
        fcntl_setfl(&reader, fcntl_getfl(&reader).unwrap() | OFlags::NONBLOCK).unwrap();
        let child = home.command(command).args(args).stdin(reader).spawn().unwrap();
        // It has asked for the first byte by the time that it sleeps.
        let tasks = format!("/proc/{}/task", child.id());
        until("it waits", || waits_in_poll(&tasks));
        writer.write_all(&bytes).unwrap();
        drop(writer);
        assert_eq!(child.wait_with_output().unwrap().status.code(), Some(0), "{command}");
    }
    assert!(got(&home, "pipe") == bytes);
    assert!(home.run("zblob open", ["-o", "-", "sealed"]).ok().stdout == bytes);
}

/// signal(7): poll(2) is interrupted by any signal that has a handler, and that is no end of what is read.
#[test]
fn stdin_wait_goes_on_after_eintr() {
    or_skip!(can_trace());
    let home = settled();
    let (reader, mut writer) = std::io::pipe().unwrap();
    fcntl_setfl(&reader, fcntl_getfl(&reader).unwrap() | OFlags::NONBLOCK).unwrap();
    let trace = home.path().join("trace");
    let mut strace = home.program("strace");
    // The first of each thread: what reads waits at once.
    let interrupts = "inject=?poll,?ppoll:error=EINTR:when=1";
    strace.args(["-f", "-e", "trace=?poll,?ppoll", "-e", interrupts, "-o"]).arg(&trace);
    strace.args(command_words("zblob seal")).args(["-o", "sealed", "-"]);
    let child = strace.stdin(reader).stderr(Stdio::piped()).spawn().unwrap();
    let was_interrupted = |call: &Call| call.arguments.contains("events=POLLIN") && call.result < 0;
    until("it was interrupted", || {
        let trace = fs::read_to_string(&trace).unwrap_or_default();
        let whole = trace.rsplit_once('\n').map_or("", |(whole, _)| whole);
        calls(whole).iter().any(was_interrupted)
    });
    // One that has ended by then does not read it.
    let _read = writer.write_all(b"all of it");
    drop(writer);
    let _sealed = Ran::from(child.wait_with_output().unwrap()).ok();
    assert_eq!(home.run("zblob open", ["-o", "-", "sealed"]).ok().stdout, b"all of it");
}

/// Whether the thread that reads is in poll(2) and stays there: one that asks again and again uses up time.
fn waits_in_poll(tasks: &str) -> bool {
    let of = |task: &Path, file: &str| fs::read_to_string(task.join(file)).unwrap_or_default();
    let Ok(entries) = fs::read_dir(tasks) else { return false };
    let tasks: Vec<_> = entries.flatten().map(|task| task.path()).collect();
    let Some(reader) = tasks.iter().find(|task| of(task, "comm") == "read\n") else { return false };
    // proc(5): its system call by number, 7 on x86-64 and 73 (ppoll) elsewhere; and its time on a CPU, in ns.
    let is_there = || {
        let syscall = of(reader, "syscall");
        ["7 ", "73 ", "271 "].iter().any(|number| syscall.starts_with(number))
    };
    let on_cpu = || of(reader, "schedstat").split(' ').next().map(str::to_owned);
    let before = on_cpu();
    thread::sleep(Duration::from_millis(100));
    is_there() && on_cpu() == before
}

/// An empty pipe, socket or command output is stored only with --allow-empty.
#[test]
fn allow_empty_is_needed_to_store_an_empty_pipe() {
    let home = settled();
    make_fifo(&home, "pipe");
    let refused = |script: &str| {
        let ran = shell(&home, script).ended(1);
        assert!(ran.stderr.contains("gave no data; nothing was stored (--allow-empty"), "{ran:?}");
    };
    refused("false | zput --name first -");
    refused("zput --exec --name first -- true");
    refused("zput --name first <(false)");
    refused("(: > pipe) & zput --name first pipe");
    refused("(: > pipe) & zput first pipe; r=$?; [ $r = 3 ] && exit 1");
    refused("false | zblob seal -o sealed -");
    // What a service manager, ssh or a parent program gives for a stdin.
    let (stdin, writer) = UnixStream::pair().unwrap();
    drop(writer);
    let mut put = home.command("zput");
    put.args(["--name", "first", "-"]).stdin(OwnedFd::from(stdin));
    let ran = Ran::from(put.output().unwrap()).ended(1);
    assert!(ran.stderr.contains("stdin gave no data; nothing was stored"), "{}", ran.stderr);
    assert_eq!(got(&home, "first"), b"first");
    assert_eq!(names(&home.file(".")), ["first", "pipe"]);
    for script in [
        "false | zput --allow-empty --name n -",
        "zput --allow-empty --exec --name n -- true",
        "zput --allow-empty --name n <(false)",
        "(: > pipe) & zput --allow-empty first pipe",
        "false | zblob seal --allow-empty --force -o sealed -",
        // Those were named.
        ": > empty; zput empty",
        "zput --name n /dev/null",
        "zput --name n - < empty",
    ] {
        let _stored = shell(&home, script).ok();
    }
    assert_eq!(got(&home, "n"), b"");
}

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

/// A file on stdin is read from its offset; a directory or the output itself is refused.
#[test]
fn stdin_file_is_read_from_its_offset() {
    let home = settled();
    home.write("file", b"0123456789");
    let script = "(head -c 4 >/dev/null; zput --name rest -) < file && zget -o - rest";
    let ran = shell(&home, script).ok();
    // head(1) may read more than it prints, and seeks back: POSIX, "head".
    assert_eq!(ran.stdout, b"456789");
    let ran = shell(&home, "zput --name dir - < .").ended(1);
    assert_eq!(ran.stderr, "zput: cannot read stdin: is a directory\n");
    let ran = shell(&home, "zblob seal - < file >> file").ended(2);
    assert_eq!(ran.stderr, "zblob seal: input and output are the same file\n");
    assert_eq!(home.read("file"), b"0123456789");
}

/// Files of /proc and /sys that state no size are stored as they are read.
#[test]
fn files_of_proc_and_sys_without_size_are_stored_as_read() {
    let home = settled();
    for path in
        ["/proc/version", "/proc/self/limits", "/sys/kernel/uevent_seqnum", "/proc/filesystems"]
    {
        if !Path::new(path).exists() {
            skip::because(format!("{path} is not there"));
            continue;
        }
        let _stored = home.run("zput", ["--name", "n", path]).ok();
        let stored = got(&home, "n");
        assert!(!stored.is_empty(), "{path}");
        if path == "/proc/version" || path == "/proc/filesystems" {
            assert_eq!(stored, fs::read(path).unwrap());
        }
        let _sealed = home.run("zblob seal", ["--force", "-o", "sealed", path]).ok();
        assert!(!home.run("zblob open", ["-o", "-", "sealed"]).ok().stdout.is_empty(), "{path}");
    }
    // Among others.
    let _stored = home.run("zput", ["/proc/version", "first", "/proc/filesystems"]).ok();
    assert_eq!(got(&home, "version"), fs::read("/proc/version").unwrap());
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
    home.write("large", &Pattern::bytes(2, 17_000_000));
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

/// Waits until the file called `name` has text in it, and gives it.
fn written(home: &Machine, name: &str) -> String {
    until(name, || fs::read(home.file(name)).is_ok_and(|text| text.ends_with(b"\n")));
    String::from_utf8(home.read(name)).unwrap()
}

fn is_gone(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.map_or(true, |stat| stat.contains(") Z "))
}

/// Whether this process, and with it what it starts, ignores SIGHUP (proc(5): a bit for each signal; SIGHUP is 1).
fn hangup_is_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    u64::from_str_radix(ignored.trim(), 16).unwrap() & 1 == 1
}

/// All signals that end a process and can be caught leave what SIGTERM leaves: nothing.
#[test]
fn signal_ends_command_without_its_files_and_children() {
    let home = settled();
    let endless = "echo $$ > pid; (sleep 1000 & echo $! > grandchild; wait) & wait";
    let ends = [
        (Signal::HUP, 129),
        (Signal::INT, 130),
        (Signal::QUIT, 131),
        (Signal::USR1, 138),
        (Signal::TERM, 143),
        (Signal::XCPU, 152),
    ];
    for (by, code) in ends {
        if by == Signal::HUP && hangup_is_ignored() {
            skip::because("SIGHUP is ignored here, as under nohup");
            continue;
        }
        let mut put = home.command("zput");
        put.args(["--exec", "--name", "e", "--", "bash", "-c", endless]);
        let mut put = put.spawn().unwrap();
        let (child, grandchild) = (written(&home, "pid"), written(&home, "grandchild"));
        kill_process(Pid::from_child(&put), by).unwrap();
        assert_eq!(put.wait().unwrap().code(), Some(code));
        for pid in [child, grandchild] {
            until("it is gone", || is_gone(pid.trim()));
        }
        fs::remove_file(home.file("pid")).unwrap();
        fs::remove_file(home.file("grandchild")).unwrap();

        // Something is under way, and waits for more.
        for (command, args) in
            [("zblob seal", &["-o", "out", "-"][..]), ("zblob open", &["-o", "out", "-"])]
        {
            let mut child = home.command(command);
            child.args(args).stdin(Stdio::piped()).stderr(Stdio::null());
            let mut child = child.spawn().unwrap();
            // Waiting for the child would close it, and end the input.
            let _stdin = child.stdin.take();
            until("a temporary file", || names(&home.file(".")).len() > 1);
            kill_process(Pid::from_child(&child), by).unwrap();
            assert_eq!(child.wait().unwrap().code(), Some(code), "{command}");
            assert_eq!(names(&home.file(".")), ["first"], "{command}");
        }
    }
}

/// A command that has closed its output and is not over yet.
#[test]
fn signal_ends_exec_command_that_has_closed_its_output() {
    let home = settled();
    let script = "echo x; exec >&-; echo $$ > pid; exec sleep 1000";
    let mut put = home.command("zput");
    let mut put = put.args(["--exec", "--name", "e", "--", "bash", "-c", script]).spawn().unwrap();
    let child = written(&home, "pid");
    until("it sleeps", || {
        fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap().contains("(sleep)")
    });
    kill_process(Pid::from_child(&put), Signal::TERM).unwrap();
    assert_eq!(put.wait().unwrap().code(), Some(143));
    until("it is gone", || is_gone(child.trim()));
}

/// A put whose SIGHUP is ignored outlives a hangup, also without /proc.
#[test]
fn zput_under_nohup_outlives_sighup() {
    outlives_a_hangup("bash", &["-c", "trap '' HUP; exec \"$@\""]);
    // Nor where nothing says that it is ignored.
    let script = "umount -l /proc; trap '' HUP; exec \"$@\"";
    let takes_away = ["-m", "sh", "-c", "umount -l /proc"];
    let takes_away = Command::new("unshare").args(takes_away).stderr(Stdio::null()).status();
    if !takes_away.is_ok_and(|ended| ended.success()) {
        return skip::because("/proc cannot be taken away");
    }
    outlives_a_hangup("unshare", &["-m", "sh", "-c", script]);
}

fn outlives_a_hangup(program: &str, args: &[&str]) {
    let home = settled();
    let mut command = home.program(program);
    command.args(args).arg("sh").arg(command_path("zput"));
    command.args(["--name", "slow", "-"]).stdin(Stdio::piped());
    let mut put = command.spawn().unwrap();
    let status = format!("/proc/{}/status", put.id());
    until("it handles signals", || {
        let status = fs::read_to_string(&status).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        // SIGTERM is 15.
        u64::from_str_radix(caught.trim(), 16).unwrap() >> 14 & 1 == 1
            && status.starts_with("Name:\tzput")
    });
    kill_process(Pid::from_child(&put), Signal::HUP).unwrap();
    put.stdin.take().unwrap().write_all(b"all the same").unwrap();
    assert_eq!(put.wait().unwrap().code(), Some(0));
    assert_eq!(got(&home, "slow"), b"all the same");
}

/// setrlimit(2), RLIMIT_FSIZE: the write fails and says of which file; nothing stays.
#[test]
fn file_size_limit_is_an_error_and_leaves_no_file() {
    let home = settled();
    home.write("large", &Pattern::bytes(5, 3_000_000));
    let ran = shell(&home, "ulimit -f 1000; zblob seal -o out large").ended(1);
    assert_eq!(ran.stderr, "zblob seal: cannot write out: File too large (os error 27)\n");
    assert_eq!(names(&home.file(".")), ["first", "large"]);
}

/// PR_SET_DUMPABLE: no core, and /proc/PID belongs to root.
#[test]
fn zput_that_holds_keys_leaves_no_core() {
    let home = settled();
    let mut command = home.program("bash");
    command.args(["-c", "ulimit -c unlimited; exec \"$@\"", "bash"]).arg(command_path("zput"));
    command.args(["--name", "slow", "-"]).stdin(Stdio::piped());
    let mut put = command.spawn().unwrap();
    put.stdin.as_mut().unwrap().write_all(b"x").unwrap();
    until("it has begun", || {
        let comm = fs::read_to_string(format!("/proc/{}/comm", put.id())).unwrap();
        comm == "zput\n" && names(Path::new(&format!("/proc/{}/task", put.id()))).len() > 1
    });
    // proc(5): what is in /proc/PID of a process that is not dumpable is root's.
    let owner = fs::metadata(format!("/proc/{}/environ", put.id())).unwrap().uid();
    assert_eq!(owner, 0);
    kill_process(Pid::from_child(&put), Signal::ABORT).unwrap();
    let status = put.wait().unwrap();
    assert_eq!((status.signal(), status.core_dumped()), (Some(6), false));
    assert_eq!(names(&home.file(".")), ["first"]);
    if geteuid().is_root()
        && let Err(reason) = leaves_cores(&home)
    {
        skip::because(format!("a core would not be seen: {reason}"));
    }
}

/// A state directory on which nothing can be written: stored is stored, and got is got.
#[test]
fn state_directory_that_is_read_only_is_a_warning() {
    let home = settled();
    home.write("small", b"small");
    home.write("large", &Pattern::bytes(5, 20_000_000));
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
    home.write("large", &Pattern::bytes(5, 40_000_000));
    assert_eq!(server.stop(), Some(0));
    let mut put = home.command("zput");
    let ran = Ran::from(put.arg("large").env("ZPUT_RETRIES", "2").output().unwrap()).ended(5);
    assert!(!ran.stderr.contains("starting over"), "{}", ran.stderr);
    let puts = home.path().join(".local/state/zput/puts");
    let vaults = names(&puts);
    assert_eq!(vaults.iter().map(|vault| names(&puts.join(vault)).len()).sum::<usize>(), 0);
}

/// The largest a put can be is not reached here; an endless device is read until it is ended.
#[test]
fn signal_ends_zput_of_endless_device() {
    let home = settled();
    let put = home.command("zput").args(["--name", "zero", "/dev/zero"]).spawn();
    let mut put = put.unwrap();
    let staging = home.path().join(".local/share/zput/store/staging");
    until("an upload", || !names(&staging).is_empty());
    kill_process(Pid::from_child(&put), Signal::TERM).unwrap();
    assert_eq!(put.wait().unwrap().code(), Some(143));
    assert_eq!(home.run("zblob ls", [""; 0]).ok().text(), "first\n");
}

/// A put of /dev/tty stores what is typed until Ctrl-D.
#[test]
fn zput_reads_terminal_as_a_source() {
    let home = settled();
    // script(1) gives its command a terminal; what is typed ends with Ctrl-D.
    let mut command = Command::new("script");
    let line = format!("{} --name typed /dev/tty", command_path("zput").display());
    command.args(["-qec", &line, "/dev/null"]).current_dir(home.file(".")).env_clear();
    command.env("PATH", "/usr/bin:/bin").env("HOME", home.path());
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        return skip::because("script(1) is not installed");
    };
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"typed\n\x04").unwrap();
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    drop(stdin);
    assert_eq!(child.wait().unwrap().code(), Some(0), "{said}");
    assert_eq!(got(&home, "typed"), b"typed\n");
}

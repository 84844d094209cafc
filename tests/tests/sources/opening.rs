//! Pipes, terminals, standard input and files: each is opened once and read whole.

use std::{
    fs,
    io::{Read, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use zput_tests::{
    Call, Machine, Pattern, Ran, calls, can_trace, command_path, command_words, names, or_skip,
    skip, until,
};

use crate::setting::{feed, got, make_fifo, settled, shell};

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
    home.write("large", Pattern::bytes(1, 17_000_000));
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
    home.write("large", Pattern::bytes(1, 17_000_000));
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

/// Python (`subprocess.DEVNULL`), Node (`stdio: "ignore"`) and daemon(3) open the null device for
/// reading and writing, as Rust's start-up does where it finds a descriptor closed.
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

/// signal(7): poll(2) is interrupted by any signal that has a handler, and that is no end of what
/// is read.
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

/// Whether the thread that reads is in poll(2) and stays there: one that asks again and again uses
/// up time.
fn waits_in_poll(tasks: &str) -> bool {
    let of = |task: &Path, file: &str| fs::read_to_string(task.join(file)).unwrap_or_default();
    let Ok(entries) = fs::read_dir(tasks) else { return false };
    let tasks: Vec<_> = entries.flatten().map(|task| task.path()).collect();
    let Some(reader) = tasks.iter().find(|task| of(task, "comm") == "read\n") else { return false };
    // proc(5): its system call by number, 7 on x86-64 and 73 (ppoll) elsewhere; and its time on a
    // CPU, in ns.
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

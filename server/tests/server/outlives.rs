//! What the program survives: a log that cannot be written or that has no reader, a standard output
//! that is full, descriptors that are closed, peers that would fill the log.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, PipeReader, Read as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use zput_proto::{
    message::{ErrorCode, Request, Response},
    session::ClientConfig,
};
use zput_testkit::{PATIENCE, RawClient, until};

use super::{peer::code, zserve::ZSERVE};

/// A server on Unix sockets, whose standard descriptors are what a test makes them.
struct Outliving {
    dir: TempDir,
    child: Child,
}

impl Outliving {
    fn start(stdout: impl Into<Stdio>, stderr: impl Into<Stdio>, arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Self::command(dir.path(), arguments);
        let child = command.stdout(stdout).stderr(stderr).spawn().unwrap();
        Self::with(dir, child)
    }

    fn command(dir: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(ZSERVE);
        let unix = |name: &str| format!("unix:{}", dir.join(name).display());
        command.env_remove("RUST_LOG").stdin(Stdio::null());
        command.args(["--anonymous", "put,get", "--allow-unsealed"]);
        command.arg("--store").arg(dir.join("store"));
        command.args(["--listen", &unix("s"), "--admin", &unix("admin")]).args(arguments);
        command
    }

    fn with(dir: TempDir, child: Child) -> Self {
        let server = Self { dir, child };
        until("it listens", || UnixStream::connect(server.dir.path().join("s")).is_ok());
        server
    }

    fn plain(&self) -> RawClient<UnixStream> {
        let stream = UnixStream::connect(self.dir.path().join("s")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        RawClient::over(stream, &ClientConfig::Plaintext).unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// A request that is denied, which is a line of the log; then one that is served.
    fn is_denied_and_served(&self) {
        let mut peer = self.plain();
        let list = Request::List { after: None, limit: 1, headers: false };
        let denied = peer.ask(&list).unwrap();
        assert_eq!(code(&denied), Some(ErrorCode::Denied));
        assert_eq!(peer.ask(&Request::Ping).unwrap(), Response::Pong);
    }

    /// Does what writes to the log, from all of its threads, and ends the server.
    fn lives_to_its_end(mut self) {
        self.is_denied_and_served();
        self.signal(Signal::HUP);
        self.plain().put("k", b"object", 6);
        self.signal(Signal::HUP);
        self.is_denied_and_served();
        self.signal(Signal::TERM);
        assert_eq!(self.ended().code(), Some(0));
    }

    fn ended(&mut self) -> ExitStatus {
        until("it has ended", || self.child.try_wait().unwrap().is_some());
        self.child.wait().unwrap()
    }

    fn metrics(&self) -> String {
        use std::io::Write as _;
        let mut stream = UnixStream::connect(self.dir.path().join("admin")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Outliving {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

/// A pipe, and its reader.
fn pipe() -> (Stdio, PipeReader) {
    let (reader, writer) = std::io::pipe().unwrap();
    (writer.into(), reader)
}

/// The log's reader has gone (`EPIPE`), the log's disk is full (`ENOSPC`).
#[test]
fn zserve_survives_log_that_cannot_be_written() {
    let (stderr, reader) = pipe();
    let server = Outliving::start(Stdio::null(), stderr, &[]);
    drop(reader);
    server.lives_to_its_end();
    let server = Outliving::start(Stdio::null(), full(), &["--log-format", "json"]);
    server.is_denied_and_served();
    until("lost lines are counted", || {
        let metrics = server.metrics();
        let start = "zserve_log_lines_dropped_total{reason=\"write_failed\"} ";
        let line = metrics.lines().find_map(|line| line.strip_prefix(start)).unwrap();
        line.parse::<u64>().unwrap() > 0
    });
    server.lives_to_its_end();
}

/// The reader of the log has stopped reading, and the pipe is full: no worker and no signal waits
/// for it.
#[test]
fn zserve_is_not_blocked_by_unread_log_pipe() {
    let (stderr, reader) = pipe();
    let server = Outliving::start(Stdio::null(), stderr, &["--log", "trace"]);
    until("the log loses lines", || {
        for _ in 0..50 {
            server.is_denied_and_served();
        }
        let metrics = server.metrics();
        !metrics.contains("zserve_log_lines_dropped_total{reason=\"write_failed\"} 0\n")
    });
    server.lives_to_its_end();
    drop(reader);
}

/// What says that the server is ready is no reason not to serve either.
#[test]
fn zserve_survives_stdout_that_takes_nothing() {
    Outliving::start(full(), Stdio::null(), &[]).lives_to_its_end();
    let (stdout, reader) = pipe();
    drop(reader);
    Outliving::start(stdout, Stdio::null(), &[]).lives_to_its_end();
    // A pipe that is full and has no reader.
    let (reader, mut writer) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    while std::io::Write::write(&mut writer, &[b'x'; 4096]).is_ok() {}
    rustix::io::ioctl_fionbio(&writer, false).unwrap();
    Outliving::start(writer, Stdio::null(), &[]).lives_to_its_end();
    drop(reader);
}

/// Nothing that the server opens may become descriptor 0, 1 or 2: a line of the log would be
/// written into it.
#[test]
fn zserve_opens_closed_standard_descriptors_on_dev_null() {
    let dir = tempfile::tempdir().unwrap();
    let inner = Outliving::command(dir.path(), &[]);
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" \"$@\" <&- >&- 2>&-"]).arg(inner.get_program());
    command.args(inner.get_args()).env_remove("RUST_LOG");
    let server = Outliving::with(dir, command.spawn().unwrap());
    for number in 0..3 {
        let path = format!("/proc/{}/fd/{number}", server.child.id());
        assert_eq!(fs::read_link(path).unwrap(), Path::new("/dev/null"), "{number}");
    }
    server.lives_to_its_end();
}

/// What they print is what they are for: where it goes nowhere, nothing is made and that is said.
#[test]
fn zserve_commands_fail_with_closed_stdout() {
    let server = Outliving::start(Stdio::null(), Stdio::null(), &[]);
    server.plain().put("k", b"object", 6);
    let store = server.dir.path().join("store");
    let run = |stdout: &str, arguments: &[&str]| -> Output {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec \"$0\" \"$@\" {stdout}")]).arg(ZSERVE);
        command.args(arguments).arg("--store").arg(&store).output().unwrap()
    };
    for (arguments, what) in [
        (&["invite", "--address", "h:1"][..], "cannot print the invite: it is closed"),
        (&["check"], "cannot write the result: it is closed"),
        (&["scrub", "--json"], "cannot write the result: it is closed"),
    ] {
        let ran = run(">&-", arguments);
        assert_eq!(ran.status.code(), Some(1), "{ran:?}");
        let said = String::from_utf8(ran.stderr).unwrap();
        assert!(said.contains(what), "{said}");
        assert_eq!(fs::read_dir(store.join("invites")).unwrap().count(), 0);
        let ran = run("1<>/dev/null", arguments);
        assert_eq!(ran.status.code(), Some(0), "{ran:?}");
        for invite in fs::read_dir(store.join("invites")).unwrap() {
            fs::remove_file(invite.unwrap().path()).unwrap();
        }
    }
}

/// The result of a command is its exit code, also when its log cannot be written.
#[test]
fn zserve_commands_keep_exit_codes_with_unwritable_log() {
    let server = Outliving::start(Stdio::null(), Stdio::null(), &[]);
    server.plain().put("k", b"object", 6);
    let store = server.dir.path().join("store");
    let run = |arguments: &[&str]| -> Output {
        let mut command = Command::new(ZSERVE);
        command.args(arguments).arg("--store").arg(&store).env_remove("RUST_LOG");
        command.stderr(full()).output().unwrap()
    };
    assert_eq!(run(&["check"]).status.code(), Some(0));
    assert_eq!(run(&["scrub"]).status.code(), Some(0));
    let invite = run(&["invite", "--address", "h:1"]);
    assert_eq!(invite.status.code(), Some(0));
    assert!(String::from_utf8(invite.stdout).unwrap().starts_with("zputinvite1"));
    assert_eq!(run(&["invite", "--address", "0.0.0.0:1"]).status.code(), Some(2));
    fs::write(store.join("suspect.toml"), "").unwrap();
    assert_eq!(run(&["check"]).status.code(), Some(8));
    let absent = Command::new(ZSERVE)
        .args(["check", "--store", "/no/such/store"])
        .stderr(full())
        .status()
        .unwrap();
    assert_eq!(absent.code(), Some(1));
}

/// "zserve check | head -1" has heard enough.
#[test]
fn zserve_commands_exit_141_on_broken_pipe() {
    let server = Outliving::start(Stdio::null(), Stdio::null(), &[]);
    let store = server.dir.path().join("store");
    // Its sockets are there before its store is.
    server.is_denied_and_served();
    for command in [&["check"][..], &["scrub"], &["invite", "--address", "h:1"]] {
        let (stdout, reader) = pipe();
        drop(reader);
        let mut run = Command::new(ZSERVE);
        run.args(command).arg("--store").arg(&store).env("RUST_LOG", "off");
        let child = run.stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
        drop(run);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(141), "{command:?}");
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "", "{command:?}");
    }
}

/// A device may ask for what it may not have as often as it likes; each of its requests is counted,
/// and the log has a line or two.
#[test]
fn denied_requests_are_counted_and_not_all_logged() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let server = Outliving::start(Stdio::null(), File::create(&log).unwrap(), &[]);
    let mut peers: Vec<_> = (0..4).map(|_| server.plain()).collect();
    for peer in &mut peers {
        for _ in 0..500 {
            let list = Request::List { after: None, limit: 1, headers: false };
            assert_eq!(code(&peer.ask(&list).unwrap()), Some(ErrorCode::Denied));
        }
    }
    let denied: u64 = server
        .metrics()
        .lines()
        .filter(|line| line.contains("kind=\"list\",outcome=\"denied\""))
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap())
        .sum();
    assert_eq!(denied, 2000);
    // Connections are as cheap: each would have its line.
    for _ in 0..200 {
        server.is_denied_and_served();
    }
    server.lives_to_its_end();
    let log = fs::read_to_string(log).unwrap();
    let lines = log.lines().filter(|line| line.contains(" denied ")).count();
    assert!((1..=60).contains(&lines), "{lines}: {log}");
    assert!(log.len() < 32 * 1024, "{} bytes", log.len());
}

/// A core of the server would hold its key.
#[test]
fn zserve_disables_core_dumps() {
    let server = Outliving::start(Stdio::null(), Stdio::null(), &[]);
    let of = |file: &str| -> Vec<String> {
        let path = PathBuf::from(format!("/proc/{}/{file}", server.child.id()));
        BufReader::new(File::open(path).unwrap()).lines().map(Result::unwrap).collect()
    };
    let limits = of("limits");
    let core = limits.iter().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().collect::<Vec<_>>()[4..6], ["0", "0"], "{core}");
    assert_eq!(of("coredump_filter"), ["00000000"]);
}

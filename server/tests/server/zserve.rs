//! The program: its command line, its one line, its signals, its memory and its system calls.

use std::{
    fs,
    net::TcpStream,
    path::Path,
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use zput_proto::{
    keys::Invite,
    message::{Kind, Request, Response, Scopes, Section},
    session::{ClientConfig, ClientTls},
};
use zput_skip as skip;
use zput_testkit::{Ran, RawClient, Zserve, until};

use super::peer::{self, bytes, get, seed};

pub(super) const ZSERVE: &str = env!("CARGO_BIN_EXE_zserve");

/// A server whose log a test reads when it has ended.
pub(super) fn start(mut command: Command) -> Zserve {
    command.stderr(Stdio::piped());
    Zserve::start(command)
}

/// A client without a key.
pub(super) fn plain(server: &Zserve) -> RawClient {
    RawClient::connect(server.zput(), &ClientConfig::Plaintext).unwrap()
}

fn zserve(store: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(ZSERVE);
    command.arg("--store").arg(store).args(["--listen", "127.0.0.1:0"]).args(arguments);
    command.env_remove("RUST_LOG");
    command
}

pub(super) fn open(store: &Path, arguments: &[&str]) -> Zserve {
    let everything = ["--anonymous", "put,get,list,delete", "--allow-unsealed"];
    start(zserve(store, &[&everything, arguments].concat()))
}

pub(super) fn run(arguments: &[&str]) -> Output {
    Command::new(ZSERVE).args(arguments).output().unwrap()
}

/// The server prints its addresses in one line and stops with 0 on SIGTERM or SIGINT.
#[test]
fn zserve_prints_addresses_and_stops_on_sigterm_or_sigint() {
    let dir = tempfile::tempdir().unwrap();
    for signal in [Signal::TERM, Signal::INT] {
        let server = open(&dir.path().join("store"), &["--listen", "127.0.0.1:0"]);
        assert_eq!(server.zput_addresses().len(), 2);
        for address in server.zput_addresses() {
            let mut peer = RawClient::connect(address, &ClientConfig::Plaintext).unwrap();
            assert_eq!(peer.ask(&Request::Ping).unwrap(), Response::Pong);
        }
        server.signal(signal);
        let ran = server.end().ended(0);
        assert_eq!(ran.text(), "");
    }
}

/// The first signal lets a get under way complete, and a later second one ends zserve.
#[test]
fn zserve_first_signal_drains_and_second_ends_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = open(&dir.path().join("store"), &[]);
    let object = bytes(16_000_000);
    plain(&server).put("k", &object, 16_000_000);
    let mut peer = plain(&server);
    peer.ask(&get("k", &[Section::All; 2], Kind::Plain)).unwrap();
    server.signal(Signal::TERM);
    until("the door is shut", || TcpStream::connect(server.zput()).is_err());
    assert!(peer.payload().unwrap() == object.repeat(2));
    let Ran { code, stderr: log, .. } = server.end();
    assert_eq!(code, Some(0), "{log}");

    let server = open(&dir.path().join("store"), &[]);
    let mut peer = plain(&server);
    peer.ask(&get("k", &[Section::All; 64], Kind::Plain)).unwrap();
    let first = Instant::now();
    server.signal(Signal::TERM);
    until("the door is shut", || TcpStream::connect(server.zput()).is_err());
    // One that comes within a second is the same one; until then it asks in vain.
    let mut server = server;
    until("another one ends it", || {
        server.signal(Signal::TERM);
        !server.is_alive()
    });
    assert!(first.elapsed() >= Duration::from_secs(1), "{:?}", first.elapsed());
    let Ran { code, stderr: log, .. } = server.end();
    assert_eq!(code, Some(143), "{log}");
}

/// timeout(1), shells and supervisors send a signal to the process and to its group.
#[test]
fn zserve_signals_within_one_second_count_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = open(&dir.path().join("store"), &[]);
    let object = bytes(16_000_000);
    plain(&server).put("k", &object, 16_000_000);
    let mut peer = plain(&server);
    peer.ask(&get("k", &[Section::All; 2], Kind::Plain)).unwrap();
    // With nothing between them: on a busy machine it could take the second that makes another one
    // of it.
    server.signal(Signal::TERM);
    server.signal(Signal::TERM);
    server.signal(Signal::INT);
    assert!(peer.payload().unwrap() == object.repeat(2));
    let Ran { code, stderr: log, .. } = server.end();
    assert_eq!(code, Some(0), "{log}");
}

/// An invite made beside a running server lets a device join it.
#[test]
fn zserve_invite_beside_running_server_admits_device() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let server = start(zserve(&store, &[]));
    let path = store.to_str().unwrap();
    let arguments = ["invite", "--store", path, "--address", server.zput(), "--scopes", "get,list"];
    let output = run(&arguments);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 1, "the invite alone");
    let explained = String::from_utf8(output.stderr).unwrap();
    assert!(explained.contains("get,list") && explained.contains("until 2"), "{explained}");

    let invite: Invite = text.trim().parse().unwrap();
    let device = seed(1);
    let tls = ClientTls::new(&device, &invite.server_key).unwrap();
    let mut peer = RawClient::connect(server.zput(), &ClientConfig::Tls(tls)).unwrap();
    let secret = *invite.secret.as_bytes();
    let joined = peer.ask(&Request::Join { secret, label: "laptop".to_owned() }).unwrap();
    assert_eq!(joined, Response::Joined { scopes: Scopes::GET.and(Scopes::LIST) });
}

/// A mistyped directory is no store, and does not become one.
#[test]
fn zserve_invite_requires_existing_store() {
    let dir = tempfile::tempdir().unwrap();
    let (typo, empty, foreign) =
        (dir.path().join("typo"), dir.path().join("empty"), dir.path().join("foreign"));
    fs::create_dir(&empty).unwrap();
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("thesis.tex"), "x").unwrap();
    for store in [&typo, &empty, &foreign] {
        let path = store.to_str().unwrap();
        let output = run(&["invite", "--store", path, "--address", "zput.example:7799"]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(output.stdout.is_empty());
        assert_eq!(
            String::from_utf8(output.stderr).unwrap(),
            format!(
                "zserve: cannot open the store {path}: no store is there (no zput-store.toml): \
                 name the directory that zserve serves, or start zserve on it first\n"
            )
        );
    }
    assert!(!typo.exists());
    assert_eq!(peer::count(&empty), 0);
    assert_eq!(peer::count(&foreign), 1);
}

/// The JSON log has one object on each line and never the secret of an invite.
#[test]
fn zserve_json_log_holds_no_invite_secret() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let server = open(&store, &["--log-format", "json", "--log", "trace"]);
    let output = run(&["invite", "--store", store.to_str().unwrap(), "--address", server.zput()]);
    let invite: Invite = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
    let tls = ClientTls::new(&seed(1), &invite.server_key).unwrap();
    let mut peer = RawClient::connect(server.zput(), &ClientConfig::Tls(tls)).unwrap();
    let secret = *invite.secret.as_bytes();
    peer.ask(&Request::Join { secret, label: "laptop".to_owned() }).unwrap();
    server.signal(Signal::TERM);
    let log = server.end().stderr;
    assert!(log.lines().count() > 3);
    assert!(log.lines().all(|line| line.starts_with('{') && line.ends_with('}')), "{log}");
    assert!(!log.contains(&hex::encode(secret)) && !log.contains(&format!("{secret:?}")));
}

/// Failures of zserve have their exit codes and one line on standard error.
#[test]
fn zserve_failures_have_exit_code_and_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    assert_eq!(run(&[]).status.code(), Some(2));
    assert_eq!(run(&["--store", path, "--listen", "nowhere"]).status.code(), Some(2));
    assert_eq!(run(&["invite", "--store", path]).status.code(), Some(2));
    assert_eq!(run(&["--help"]).status.code(), Some(0));
    fs::write(dir.path().join("something"), "else").unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    let fresh = dir.path().join("fresh");
    let fresh = fresh.to_str().unwrap();
    for arguments in
        [["--store", path, "--listen", "127.0.0.1:0"], ["--store", fresh, "--listen", &taken]]
    {
        let output = run(&arguments);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        // Without the warning that is logged when the tests run as root.
        let said: Vec<&str> = said.lines().filter(|line| !line.contains(" WARN ")).collect();
        assert!(said.len() == 1 && said[0].starts_with("zserve: "), "{said:?}");
    }
    let arguments = ["--store", fresh, "--listen", "127.0.0.1:0", "--congestion", "no-such"];
    let said = String::from_utf8(run(&arguments).stderr).unwrap();
    assert!(said.starts_with("zserve: cannot use congestion control \"no-such\""), "{said}");
}

/// Peak memory stays where it is said to stay, whatever is put.
#[test]
fn zserve_peak_memory_is_bounded_during_puts() {
    let dir = tempfile::tempdir().unwrap();
    let server = open(&dir.path().join("store"), &[]);
    let object = bytes(64_000_000);
    thread::scope(|scope| {
        for n in 0..4 {
            let (server, object) = (&server, &object);
            scope.spawn(move || plain(server).put(&format!("k{n}"), object, 16_000_000));
        }
    });
    plain(&server).get("k0", &[Section::All]).unwrap();
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kibibytes: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kibibytes < 96 * 1024, "{kibibytes} KiB");
}

/// The payload of a get never enters the process: it leaves by sendfile(2), and of the object's
/// file only the record at its end is read.
#[test]
fn zserve_get_sends_payload_by_sendfile() {
    if Command::new("strace").arg("-V").output().is_err() {
        return skip::because("strace is not installed");
    }
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    let store = dir.path().join("store");
    {
        let server = open(&store, &[]);
        plain(&server).put("k", &bytes(16_000_000), 16_000_000);
    }
    // -D: the server is this program's child, and strace is not, so that ending it ends both.
    let mut command = Command::new("strace");
    command.arg("-D");
    let calls =
        "trace=openat2,openat,open,read,readv,pread64,preadv,preadv2,mmap,close,sendto,sendfile";
    command.args(["-f", "-e", calls, "-e", "signal=none", "-o"]).arg(&trace);
    let args = ["--anonymous", "get", "--allow-unsealed", "--engine", "sendfile"];
    let inner = zserve(&store, &args);
    command.arg(inner.get_program()).args(inner.get_args());
    let server = start(command);
    let (_, got) = plain(&server).get("k", &[Section::All]).unwrap();
    assert!(got == bytes(16_000_000));

    server.signal(Signal::TERM);
    let Ran { code, stderr: log, .. } = server.end();
    assert_eq!(code, Some(0), "{log}");
    let read = || fs::read_to_string(&trace).unwrap();
    until("strace has ended", || read().contains("+++ exited with 0 +++\n"));
    let trace = read();
    let opened = trace.lines().find(|line| line.contains("open") && is_object(line));
    let opened = opened.unwrap_or_else(|| panic!("no object was opened:\n{trace}"));
    let fd = opened.rsplit("= ").next().unwrap().trim();
    let after = trace.split_once(opened).unwrap().1;
    let result = |line: &str| line.rsplit("= ").next().unwrap().trim().parse::<u64>().unwrap_or(0);
    let on_object = |line: &str, call: &str| line.contains(&format!("{call}({fd},"));
    let read: u64 = after
        .lines()
        .filter(|l| {
            ["read", "readv", "pread64", "preadv", "preadv2"].iter().any(|c| on_object(l, c))
        })
        .map(result)
        .sum();
    // STORE: "key_length + 136" bytes of trailer, and a key of one byte.
    assert!(read <= 4096, "{read} bytes of the object were read");
    assert!(!after.lines().any(|l| l.contains("mmap(") && l.contains(&format!(", {fd}, 0"))));
    // A call that another thread's interrupted has its result in a line of its own.
    let is_sent = |line: &&str| line.contains("sendfile(") || line.contains("sendfile resumed>");
    let sent: u64 = after.lines().filter(is_sent).map(result).sum();
    assert_eq!(sent, 16_000_000);
    // The answer is held back until its first bytes are there.
    let announced = after.lines().find(|line| line.contains("sendto("));
    assert!(announced.is_some_and(|line| line.contains("MSG_MORE")), "{announced:?}");
}

/// Whether a line of the trace opens a file named by 64 hex digits.
fn is_object(line: &str) -> bool {
    line.split('"').any(|name| {
        let name = name.rsplit('/').next().unwrap_or_default();
        name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit())
    })
}

//! The program in the hands of an operator: its file, its admin address, its service manager, its
//! user and its sandbox.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    os::{
        fd::AsRawFd as _,
        unix::{
            fs::{chown, symlink},
            net::{UnixDatagram, UnixStream},
        },
    },
    path::PathBuf,
    process::Command,
    time::Instant,
};

use rustix::{
    io::{FdFlags, fcntl_setfd},
    process::{Signal, geteuid},
};
use tempfile::TempDir;
use zput_proto::message::{ErrorCode, Kind, Request, Response, Section};
use zput_server::heartbeat::STALL_LIMIT;
use zput_skip::{self as skip, or_skip};
use zput_testkit::{PATIENCE, Ran, Zserve, until};

use super::{
    peer::{self, begin, bytes, code, get},
    zserve::{self, ZSERVE},
};

/// A configuration of one store and an admin address, and what the service manager hears.
struct Setup {
    dir: TempDir,
    manager: UnixDatagram,
}

impl Setup {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let manager = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        manager.set_read_timeout(Some(PATIENCE)).unwrap();
        let setup = Self { dir, manager };
        fs::create_dir(setup.at("etc")).unwrap();
        setup.configure("");
        setup
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes the configuration, with `more` above its mount.
    fn configure(&self, more: &str) {
        let admin = self.at("admin");
        let text = format!(
            "listen = [\"127.0.0.1:0\"]\nadmin = \"unix:{}\"\n{more}\n[[mount]]\n\
             store = \"../store\"\nanonymous = \"put,get\"\nallow_unsealed = true\n",
            admin.display()
        );
        fs::write(self.at("etc/zserve.toml"), text).unwrap();
    }

    fn command(&self) -> Command {
        let mut command = Command::new(ZSERVE);
        command.arg("--config").arg(self.at("etc/zserve.toml"));
        command.env_remove("RUST_LOG").env("NOTIFY_SOCKET", self.at("notify"));
        command
    }

    fn start(&self) -> Zserve {
        zserve::start(self.command())
    }

    /// What the service manager hears next.
    fn heard(&self) -> String {
        let mut message = [0; 1024];
        let length = self.manager.recv(&mut message).unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap()
    }

    fn admin(&self, path: &str) -> String {
        let mut stream = UnixStream::connect(self.at("admin")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

/// A configured zserve serves metrics and health, and notifies its service manager.
#[test]
fn zserve_with_config_serves_metrics_health_and_notifies() {
    let setup = Setup::new();
    let server = setup.start();
    assert_eq!(setup.heard(), "READY=1\n");
    zserve::plain(&server).put("k", b"object", 6);
    assert!(
        setup.at("store/zput-store.toml").exists(),
        "paths are taken from the file's directory"
    );
    let metrics = setup.admin("/metrics");
    assert!(metrics.contains("\nzserve_build_info{version=\""), "{metrics}");
    assert!(metrics.contains("\nzserve_quarantined_files{mount=\"\"} 0\n"), "{metrics}");
    assert!(
        !metrics.contains("\nzserve_scrub_last_completion_timestamp_seconds{"),
        "no scrub has completed: {metrics}"
    );
    let store = setup.at("store");
    let scrubbed = zserve::run(&["scrub", "--store", store.to_str().unwrap()]);
    assert_eq!(scrubbed.status.code(), Some(0), "{scrubbed:?}");
    let metrics = setup.admin("/metrics");
    assert!(metrics.contains("\nzserve_scrub_damaged_files{mount=\"\"} 0\n"), "{metrics}");
    assert!(
        metrics.contains("\nzserve_scrub_last_completion_timestamp_seconds{mount=\"\"} 1"),
        "{metrics}"
    );
    assert!(setup.admin("/healthz").starts_with("HTTP/1.1 200 OK\r\n"));
    server.signal(Signal::TERM);
    assert_eq!(setup.heard(), "STOPPING=1\n");
    let Ran { code, stderr: log, .. } = server.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(!setup.at("admin").exists(), "the sandbox lets it remove its socket");
}

/// STORE, "Suspicion".
#[test]
fn zserve_suspect_store_is_readable_and_reported() {
    let setup = Setup::new();
    let server = setup.start();
    zserve::plain(&server).put("k", b"object", 6);
    assert!(setup.admin("/metrics").contains("\nzserve_store_suspect{mount=\"\"} 0\n"));
    let marker = setup.at("store/suspect.toml");
    fs::write(&marker, "").unwrap();
    let mut peer = zserve::plain(&server);
    let refused = peer.ask(&begin("k", Kind::Plain)).unwrap();
    assert_eq!(code(&refused), Some(ErrorCode::Suspect));
    assert_eq!(peer.get("k", &[Section::All]).unwrap().1, b"object");
    assert!(setup.admin("/metrics").contains("\nzserve_store_suspect{mount=\"\"} 1\n"));
    assert!(setup.admin("/healthz").starts_with("HTTP/1.1 200 OK\r\n"), "it can be read");
    fs::remove_file(&marker).unwrap();
    peer.put("k", b"again", 5);
    assert!(setup.admin("/metrics").contains("\nzserve_store_suspect{mount=\"\"} 0\n"));
    server.signal(Signal::TERM);
    let log = server.end().stderr;
    assert!(log.contains("zserve check --clear-suspect"), "{log}");
}

/// The health endpoint answers 503 while zserve drains, and a get under way completes.
#[test]
fn zserve_healthz_is_503_while_draining() {
    let setup = Setup::new();
    let server = setup.start();
    zserve::plain(&server).put("k", &bytes(16_000_000), 16_000_000);
    let mut slow = zserve::plain(&server);
    slow.ask(&get("k", &[Section::All; 4], Kind::Plain)).unwrap();
    server.signal(Signal::TERM);
    until("the door is shut", || std::net::TcpStream::connect(server.zput()).is_err());
    let health = setup.admin("/healthz");
    assert!(health.starts_with("HTTP/1.1 503 "), "{health}");
    assert!(health.ends_with("shutting down\n"), "{health}");
    slow.payload().unwrap();
    let Ran { code, stderr: log, .. } = server.end();
    assert_eq!(code, Some(0), "{log}");
}

/// A worker that owed its turn for longer than the limit would be told.
#[test]
fn server_liveness_check_passes_after_workers_turn() {
    let home = peer::serve(|_| {});
    let (liveness, now) = (home.server.liveness(), Instant::now());
    liveness.check(now).unwrap();
    until("all have turned", || liveness.check(now + 2 * STALL_LIMIT).is_ok());
}

/// The server sends WATCHDOG=1 to its service manager when WATCHDOG_USEC is set.
#[test]
fn zserve_notifies_systemd_watchdog() {
    let setup = Setup::new();
    let mut command = setup.command();
    command.env("WATCHDOG_USEC", "200000");
    let server = zserve::start(command);
    let heard: Vec<String> = (0..4).map(|_| setup.heard()).collect();
    assert_eq!(heard.iter().filter(|message| *message == "WATCHDOG=1\n").count(), 3, "{heard:?}");
    assert_eq!(heard.iter().filter(|message| *message == "READY=1\n").count(), 1, "{heard:?}");
    drop(server);
}

/// What is wrong is said with file, line and key; what is right and cannot be taken yet is named.
#[test]
fn zserve_reloads_config_on_sighup() {
    let setup = Setup::new();
    let server = setup.start();
    assert_eq!(setup.heard(), "READY=1\n");
    let reload = || {
        server.signal(Signal::HUP);
        let reloading = setup.heard();
        let since = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        assert!(since.trim_end().parse::<u64>().unwrap() > 0, "{reloading}");
        assert_eq!(setup.heard(), "READY=1\n");
    };
    setup.configure("limits.idle_timeout = 5");
    reload();
    setup.configure("log = \"zput_server=much\"");
    reload();
    setup.configure("workers = 63\nlog = \"debug\"");
    reload();
    zserve::plain(&server).put("k", b"x", 1);
    // As root it could be read, if it were within reach.
    let file = setup.at("etc/zserve.toml");
    fs::rename(&file, setup.at("elsewhere.toml")).unwrap();
    symlink(setup.at("elsewhere.toml"), &file).unwrap();
    reload();
    server.signal(Signal::TERM);
    let Ran { code, stderr: log, .. } = server.end();
    assert_eq!(code, Some(0), "{log}");
    let path = file.display();
    let wrong = format!(
        "reload failed, the configuration is unchanged: {path}:3: invalid type: integer `5`, \
         expected a time with its unit, such as \"90s\" or \"2m\" in \
         `limits.idle_timeout`"
    );
    assert!(log.contains(&wrong), "{log}");
    let filter =
        "reload failed, the configuration is unchanged: --log or RUST_LOG is no log filter";
    assert!(log.contains(filter), "{log}");
    assert!(log.contains("these keys take effect at the next start keys=\"workers\""), "{log}");
    assert!(log.contains(" DEBUG "), "the log's filter was changed: {log}");
    if log.contains("sandbox: not available") {
        return skip::because("this kernel has no Landlock");
    }
    assert!(log.contains("sandbox: fully enforced") || log.contains("partially"), "{log}");
    let denied = format!("cannot read the configuration {path}: Permission denied");
    assert!(log.contains(&denied), "{log}");
}

/// By seccomp, which each thread has from the one that starts it: no thread was there before.
#[test]
fn zserve_confines_every_thread_with_seccomp() {
    let setup = Setup::new();
    let server = setup.start();
    zserve::plain(&server).put("k", b"object", 6);
    let metrics = setup.admin("/metrics");
    if metrics.contains("\nzserve_sandbox{part=\"seccomp\"} 0\n") {
        server.signal(Signal::TERM);
        let log = server.end().stderr;
        assert!(log.contains("seccomp is not available"), "{log}");
        return skip::because("seccomp is not available");
    }
    let mut threads = 0;
    for task in fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap() {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        // proc(5): "2 means SECCOMP_MODE_FILTER".
        assert!(status.contains("\nSeccomp:\t2\n"), "{status}");
        threads += 1;
    }
    assert!(threads > 4, "{threads}: workers, pools, the acceptor, the log, signals");
    server.signal(Signal::TERM);
    let Ran { code, stderr: log, .. } = server.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("sandbox: seccomp filter installed"), "{log}");
    assert!(metrics.contains("\nzserve_sandbox{part=\"seccomp\"} 1\n"), "{metrics}");
    let files = metrics.contains("\nzserve_sandbox{part=\"landlock\"} 1\n");
    assert_eq!(files, log.contains("sandbox: fully enforced"), "{log}{metrics}");
}

/// With --no-sandbox zserve says so in the log and the metrics.
#[test]
fn zserve_no_sandbox_is_logged_and_reported() {
    let setup = Setup::new();
    let mut command = setup.command();
    command.arg("--no-sandbox");
    let server = zserve::start(command);
    assert_eq!(status(&server, "NoNewPrivs:"), ["1"], "that is given up all the same");
    let metrics = setup.admin("/metrics");
    for part in ["landlock", "seccomp"] {
        let none = format!("\nzserve_sandbox{{part=\"{part}\"}} 0\n");
        assert!(metrics.contains(&none), "{metrics}");
    }
    server.signal(Signal::TERM);
    let log = server.end().stderr;
    assert!(log.contains("sandbox: disabled by the configuration"), "{log}");
    let is_warned = log.contains("running as root: name a user with fewer rights (--user NAME)");
    assert_eq!(is_warned, geteuid().is_root(), "{log}");
}

/// A socket that was made before the server, and is still there when it has ended.
#[test]
fn zserve_adopts_activated_socket() {
    let setup = Setup::new();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let start = |names: &str| {
        let mut command = Command::new(ZSERVE);
        command.arg("--store").arg(setup.at("store")).args(["--anonymous", "get"]);
        fcntl_setfd(&socket, FdFlags::empty()).unwrap();
        command.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", names);
        command.env("LISTEN_FDS_FIRST_FD", socket.as_raw_fd().to_string());
        command
    };
    let server = zserve::start(start("zput"));
    assert_eq!(server.zput(), address);
    assert_eq!(zserve::plain(&server).ask(&Request::Ping).unwrap(), Response::Pong);
    server.signal(Signal::TERM);
    let Ran { code, stderr: log, .. } = server.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(std::net::TcpStream::connect(&address).is_ok(), "it listens on");

    let refused = |mut command: Command| {
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    assert_eq!(
        refused(start("zputt")),
        "zserve: an inherited socket is named \"zputt\": set FileDescriptorName= to zput, http or \
         admin\n"
    );
    let connected = std::net::TcpStream::connect(&address).unwrap();
    fcntl_setfd(&connected, FdFlags::empty()).unwrap();
    let mut command = start("zput");
    command.env("LISTEN_FDS_FIRST_FD", connected.as_raw_fd().to_string());
    assert_eq!(
        refused(command),
        "zserve: inherited socket 1 cannot be used (it does not listen): pass listening stream \
         sockets (ListenStream=)\n"
    );
}

fn status(server: &Zserve, field: &str) -> Vec<String> {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.split_whitespace().map(str::to_owned).collect()
}

/// Started as root zserve becomes the configured user in all threads, for good.
#[test]
fn zserve_user_option_drops_root_privileges() {
    if !geteuid().is_root() {
        return skip::because("only root can become another user");
    }
    let daemon = or_skip!(daemon().ok_or("there is no user named daemon"));
    let setup = Setup::new();
    fs::create_dir(setup.at("store")).unwrap();
    for path in [setup.dir.path(), &setup.at("store")] {
        chown(path, Some(daemon), None).unwrap();
    }
    setup.configure("user = \"daemon\"");
    let server = setup.start();
    zserve::plain(&server).put("k", b"object", 6);
    let id = daemon.to_string();
    assert_eq!(status(&server, "Uid:"), [id.as_str(); 4]);
    assert!(!status(&server, "Gid:").contains(&"0".to_owned()));
    assert!(!status(&server, "Groups:").contains(&"0".to_owned()));
    for field in ["CapPrm:", "CapEff:", "CapInh:"] {
        assert_eq!(status(&server, field), ["0000000000000000"], "{field}");
    }
    assert_eq!(status(&server, "NoNewPrivs:"), ["1"]);
    // All threads are that user, not only the one that asked.
    for task in fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap() {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        assert!(status.contains(&format!("\nUid:\t{id}\t{id}\t{id}\t{id}\n")), "{status}");
    }
    server.signal(Signal::TERM);
    let Ran { code, stderr: log, .. } = server.end();
    assert_eq!(code, Some(0), "{log}");

    for (user, expected) in [
        ("no-such-user", "there is no user \"no-such-user\": make one, or name another"),
        ("root", "the user \"root\" is root: name one that may do less"),
    ] {
        let output = setup.command().args(["--user", user]).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.ends_with(&format!("zserve: {expected}\n")), "{said}");
    }
}

fn daemon() -> Option<u32> {
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let line = users.lines().find(|line| line.starts_with("daemon:"))?;
    line.split(':').nth(2)?.parse().ok()
}

/// A wrong configuration ends zserve with exit code 2 and makes no store.
#[test]
fn zserve_wrong_config_exits_2_and_makes_nothing() {
    let setup = Setup::new();
    let fresh = setup.at("fresh");
    let run = |arguments: &[&str]| {
        let output = Command::new(ZSERVE).args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let nowhere = setup.at("etc/nowhere.toml");
    fs::write(&nowhere, "[[mount]]\nstore = \"../fresh\"\n").unwrap();
    let (code, said) = run(&["--config", nowhere.to_str().unwrap()]);
    assert_eq!(code, Some(2));
    assert_eq!(
        said,
        "zserve: there is no address to listen on: give --listen HOST:PORT, or listen = \
         \"HOST:PORT\" in the file\n"
    );
    assert!(!fresh.exists());
    setup.configure("listne = []");
    let file = setup.at("etc/zserve.toml");
    let (code, said) = run(&["--config", file.to_str().unwrap()]);
    assert_eq!(code, Some(2));
    let start = format!("zserve: {}:3: unknown field `listne`, expected one of", file.display());
    assert!(said.starts_with(&start) && said.lines().count() == 1, "{said}");
}

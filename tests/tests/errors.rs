//! A failure is one line that names the thing and the next step, an exit code, and nothing else: no
//! output, no half of a file.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    fs::{self, Permissions},
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use zput_tests::{
    Machine, Pattern, Ran, ServerProcess, command_path, installed, names, or_skip, skip, until,
};

/// Changes the text of a home's key file.
fn rewrite_key_file(home: &Machine, from: &str, to: &str) {
    let text = fs::read_to_string(home.key_file()).unwrap();
    assert_eq!(text.matches(from).count(), 1, "{from}");
    fs::write(home.key_file(), text.replace(from, to)).unwrap();
}

/// A machine that is known to a server, with a blob called `secret` on it and in its directory.
fn settled() -> (Machine, ServerProcess) {
    let home = Machine::new();
    let server = ServerProcess::start(&home.path().join("store"), &[]);
    server.admit(&home);
    home.write("secret", b"the plans");
    let _stored = home.run("zput", ["secret"]).ok();
    (home, server)
}

/// The command ended with `code`, said `expected` and nothing else.
#[track_caller]
fn is_told(ran: Ran, code: i32, expected: &str) {
    let ran = ran.ended(code);
    assert_eq!(ran.stderr, format!("{expected}\n"));
    assert_eq!(ran.stdout, b"");
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Missing and already existing objects and files are reported in one line with exit 4 or 10.
#[test]
fn zblob_reports_missing_and_existing_objects() {
    let (home, server) = settled();
    let at = server.address();
    is_told(
        home.run("zget", ["nothing"]),
        4,
        &format!("zget: nothing: not found on zput://{at} (zblob ls lists what is there)"),
    );
    let ran = home.run("zget", ["--at", "7", "-o", "x", "secret"]).ended(4);
    let told = "zget: secret: it has no version 7; the newest is ";
    assert!(ran.stderr.starts_with(told), "{}", ran.stderr);
    assert_eq!(ran.stderr.lines().count(), 1);
    is_told(
        home.run("zblob stat", ["nothing"]),
        4,
        &format!("zblob stat: nothing: not found on zput://{at} (zblob ls lists what is there)"),
    );
    is_told(
        home.run("zblob rm", ["nothing"]),
        4,
        &format!("zblob rm: nothing: not found on zput://{at} (zblob ls lists what is there)"),
    );
    is_told(
        home.run("zput", ["absent"]),
        4,
        "zput: cannot read absent: No such file or directory (os error 2)",
    );
    is_told(home.run("zget", ["secret"]), 10, "zget: secret exists already (--force replaces it)");
    is_told(
        home.run("zput", ["--if-absent", "secret"]),
        10,
        &format!("zput: secret: exists already on zput://{at}"),
    );
    assert_eq!(home.read("secret"), b"the plans");
    assert_eq!(names(&home.file(".")), ["secret"]);
}

/// A refused connection and an unknown host name are reported in one line with exit 5.
#[test]
fn zblob_reports_server_that_cannot_be_reached() {
    let (home, server) = settled();
    let at = server.address().to_owned();
    assert_eq!(server.stop(), Some(0));
    let refused = format!(
        "cannot connect to zput://{at}: Connection refused (os error 111) (is the server running?)"
    );
    is_told(home.run("zget", ["-o", "x", "secret"]), 5, &format!("zget: secret: {refused}"));
    is_told(home.run("zput", ["secret"]), 5, &format!("zput: secret: {refused}"));
    is_told(home.run("zblob ls", [""; 0]), 5, &format!("zblob ls: {refused}"));

    rewrite_key_file(&home, &at, "nowhere.invalid:7460");
    let ran = home.run("zget", ["-o", "x", "secret"]).ended(5);
    // The rest is the resolver's own text.
    assert!(
        ran.stderr.starts_with("zget: secret: cannot find nowhere.invalid: "),
        "{}",
        ran.stderr
    );
    assert_eq!(ran.stderr.lines().count(), 1);
    assert_eq!(names(&home.file(".")), ["secret"]);
}

/// A missing, wrong, malformed or put-only key file is reported in one line.
#[test]
fn zblob_reports_missing_wrong_or_limited_key_file() {
    let (home, server) = settled();
    let at = server.address();
    let stranger = Machine::new();
    is_told(
        stranger.run("zget", ["secret"]),
        7,
        &format!(
            "zget: there is no key file {} (zblob key new makes one, zblob key join takes an invite)",
            stranger.key_file().display()
        ),
    );

    // Another vault's members find nothing: their keys of names are others.
    server.admit(&stranger);
    is_told(
        stranger.run("zget", ["secret"]),
        4,
        &format!("zget: secret: not found on zput://{at} (zblob ls lists what is there)"),
    );
    // The right vault with another identity.
    let secrets = (stranger.key_field("vault_secret"), home.key_field("vault_secret"));
    rewrite_key_file(&stranger, &secrets.0, &secrets.1);
    is_told(
        stranger.run("zget", ["secret"]),
        7,
        "zget: secret: the blob was not sealed for any of these identities (is this the right key file? --key PATH names another)",
    );

    // A key file that is none, and one that cannot open.
    home.write("no.zkey", b"format = 1\n");
    let ran = home.run("zget", ["--key", "no.zkey", "secret"]).ended(7);
    assert!(ran.stderr.starts_with("zget: no.zkey: "), "{}", ran.stderr);
    let _exported = home.run("zblob key", ["export", "--put-only", "-o", "put.zkey"]).ok();
    is_told(
        home.run("zget", ["--key", "put.zkey", "-o", "x", "secret"]),
        7,
        "zget: secret: this key file has the role put and cannot open blobs (use one of role full or get: --key PATH)",
    );
    // It was not invited, either.
    is_told(
        home.run("zput", ["--key", "put.zkey", "secret"]),
        6,
        &format!(
            "zput: secret: denied by zput://{at}: no account for this device (its operator gives invites \
             and scopes; zblob key join redeems an invite)"
        ),
    );
    assert_eq!(names(&stranger.file(".")), [""; 0]);
}

/// A server key that is not the pinned one is reported in one line with exit 8.
#[test]
fn zget_reports_server_key_that_is_not_the_pinned_one() {
    let (home, server) = settled();
    let at = server.address();
    let digits = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
    rewrite_key_file(&home, &home.key_field("server_key"), digits);
    is_told(
        home.run("zget", ["-o", "x", "secret"]),
        8,
        &format!(
            "zget: secret: zput://{at}: the server's key is not the one that is pinned: somebody else answers, or the \
             server was set up anew (then zblob key join takes a new invite from its operator)"
        ),
    );
}

/// A spent invite and each missing scope are reported in one line with exit 6.
#[test]
fn invite_spent_and_scope_missing_are_reported() {
    let (home, server) = settled();
    let at = server.address();
    let invite = server.invite(&["--scopes", "get"]);
    let other = Machine::new();
    let _joined = other.run_with("zblob key", ["join"], invite.as_bytes()).ok();
    let late = Machine::new();
    is_told(
        late.run_with("zblob key", ["join"], invite.as_bytes()),
        6,
        &format!(
            "zblob key join: the invite: denied by zput://{at}: the invite is unknown, used or expired (its operator gives invites and \
             scopes; zblob key join redeems an invite)"
        ),
    );
    other.write("x", b"x");
    let scope = |name: &str| {
        format!(
            "denied by zput://{at}: this device may not {name} (its operator gives invites and scopes; zblob key join \
             redeems an invite)"
        )
    };
    is_told(other.run("zput", ["x"]), 6, &format!("zput: x: {}", scope("put")));
    is_told(other.run("zblob ls", [""; 0]), 6, &format!("zblob ls: {}", scope("list")));
    is_told(other.run("zblob rm", ["x"]), 6, &format!("zblob rm: x: {}", scope("delete")));
    drop(home);
}

/// As root everything can be read: then the command runs as somebody else, in a home of theirs.
#[test]
fn zput_reports_unreadable_file_and_sets_nothing_up() {
    let nobody = 65_534;
    let home = Machine::new();
    home.write("closed", b"x");
    fs::set_permissions(home.file("closed"), Permissions::from_mode(0o000)).unwrap();
    let mut command = home.command("zput");
    if geteuid().is_root() {
        if installed("setpriv").is_none() {
            return skip::because("root reads every file, and setpriv is not installed");
        }
        for path in [home.path().to_owned(), home.path().join("work"), home.file("closed")] {
            chown(path, Some(nobody), Some(nobody)).unwrap();
        }
        let id = nobody.to_string();
        let inner = command;
        command = Command::new("setpriv");
        command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--"]);
        command.arg(inner.get_program()).current_dir(home.path().join("work")).env_clear();
        command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let may = Command::new("setpriv")
            .args(["--reuid", &id, "--regid", &id, "--clear-groups", "--"])
            .arg(command_path("zput"))
            .arg("--version")
            .output();
        if !may.is_ok_and(|output| output.status.success()) {
            return skip::because("root reads every file, and no other user may run the commands");
        }
    }
    is_told(
        Ran::from(command.arg("closed").output().unwrap()),
        1,
        "zput: cannot read closed: Permission denied (os error 13)",
    );
    assert_eq!(names(home.path()), ["work"], "nothing was set up for the sake of it");
}

/// A shell with a small file system at `$1`, which nobody else sees; then the rest of the
/// arguments.
const WITH_SMALL_DISK: &str = "mount -t tmpfs -o size=\"$2\" none \"$1\" && { [ -z \"$3\" ] || cp -a \"$3/.\" \"$1\"; } && shift 3 && exec \"$@\"";

/// The command that runs `program` with a disk of `size` at `place`, filled from `from` if that is
/// not empty.
fn with_small_disk(
    place: &Path,
    size: &str,
    from: &str,
    program: &Path,
) -> Result<Command, &'static str> {
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", WITH_SMALL_DISK, "sh"]).arg(place).args([size, from]);
    let mut probe = Command::new("unshare");
    probe.args(["-rm", "sh", "-c", WITH_SMALL_DISK, "sh"]).arg(place).args(["64k", "", "true"]);
    if !probe.output().is_ok_and(|output| output.status.success()) {
        return Err("no small file system can be mounted here");
    }
    command.arg(program);
    Ok(command)
}

/// A get onto a full disk ends with exit 9 and leaves no partial file.
#[test]
fn zget_on_full_disk_reports_it_and_leaves_no_file() {
    let (home, _server) = settled();
    let _stored = home.run_with("zput", ["--name", "large", "-"], &[7; 3_000_000]).ok();
    let disk = home.file("disk");
    fs::create_dir(&disk).unwrap();
    let mut command = or_skip!(with_small_disk(&disk, "1m", "", Path::new("sh")));
    let inner = home.command("zget");
    // What is left on the disk is listed behind the error; nobody else can see it.
    command.args(["-c", "\"$0\" \"$@\"; code=$?; ls -A disk; exit $code"]);
    command.arg(inner.get_program()).args(["-o", "disk/large", "large"]);
    command.current_dir(home.file(".")).env("HOME", home.path());
    is_told(
        Ran::from(command.output().unwrap()),
        9,
        "zget: large: cannot write disk/large: No space left on device (os error 28)",
    );
}

/// A put that fills the server's disk is refused, its space is freed, and reads go on.
#[test]
fn zserve_on_full_disk_refuses_put_and_frees_its_space() {
    let (home, server) = settled();
    let (at, store) = (server.address().to_owned(), server.store().to_owned());
    assert_eq!(server.stop(), Some(0));
    let disk = home.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let from = store.to_str().unwrap();
    let zserve = command_path("zserve");
    let command = or_skip!(with_small_disk(&disk, "24m", from, &zserve));
    let server = ServerProcess::start_by(command, &disk, &[]);
    rewrite_key_file(&home, &at, server.address());
    let at = server.address();

    let put = |length| home.run_with("zput", ["--name", "large", "-"], &vec![7; length]);
    for _ in 0..2 {
        is_told(
            put(40_000_000),
            9,
            &format!("zput: large: zput://{at} is full (its operator can make room)"),
        );
        assert_eq!(home.run("zget", ["-o", "-", "secret"]).ok().text(), "the plans");
    }
    // The space was given back, and is enough for this.
    let _stored = put(17_000_000).ok();
    assert!(home.run("zget", ["-o", "-", "large"]).ok().stdout == [7; 17_000_000]);
    let _removed = home.run("zblob rm", ["secret"]).ok();
    assert_eq!(server.stop(), Some(0));
}

/// STORE, "Suspicion".
#[test]
fn zserve_with_suspect_store_refuses_writes_and_serves_reads() {
    let (home, server) = settled();
    let at = server.address();
    fs::write(server.store().join("suspect.toml"), "").unwrap();
    let refused = format!(
        "zput://{at} takes no writes after a failed fsync: its operator has to verify the store \
         (zserve check --clear-suspect); reads work"
    );
    is_told(home.run("zput", ["secret"]), 5, &format!("zput: secret: {refused}"));
    is_told(home.run("zblob rm", ["secret"]), 5, &format!("zblob rm: secret: {refused}"));
    assert_eq!(home.run("zget", ["-o", "-", "secret"]).ok().text(), "the plans");
    let mut verify = Command::new(command_path("zserve"));
    verify.args(["check", "--clear-suspect", "--store"]).arg(server.store());
    let _cleared = Ran::from(verify.output().unwrap()).ended(0);
    let _stored = home.run("zput", ["secret"]).ok();
}

/// Objects and uploads on a server.
fn stored(server: &ServerProcess) -> (usize, usize) {
    let objects = names(&server.store().join("objects"))
        .iter()
        .map(|shard| names(&server.store().join("objects").join(shard)).len())
        .sum();
    (objects, names(&server.store().join("staging")).len())
}

/// A put that SIGINT or SIGTERM interrupts stores no object, and its upload is released.
#[test]
fn zput_interrupted_by_signal_stores_nothing() {
    let (home, server) = settled();
    for (by, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut put = home
            .command("zput")
            .args(["--name", "large", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Two parts are under way, and the third never comes.
        let mut stdin = put.stdin.take().unwrap();
        stdin.write_all(&Pattern::bytes(1, 40_000_000)).unwrap();
        let staging = server.store().join("staging");
        // STORE: 32 digits, and 64 once it is worth keeping.
        until("an upload", || names(&staging).iter().any(|name| name.len() == 64));
        signal(&put, by);
        let ran = Ran::from(put.wait_with_output().unwrap()).ended(code);
        assert_eq!((ran.text().as_str(), ran.stderr.as_str()), ("", ""));
        drop(stdin);
        // The server keeps what it has, and lets go of it.
        let [upload] = &names(&staging)[..] else { panic!("{:?}", names(&staging)) };
        let upload = staging.join(upload);
        until("the server lets go of it", || fs::File::open(&upload).unwrap().try_lock().is_ok());
        assert_eq!(stored(&server), (1, 1));
        fs::remove_file(upload).unwrap();
    }
    assert_eq!(names(&home.file(".")), ["secret"]);
}

/// An interrupted zput --exec ends its command and leaves no upload.
#[test]
fn zput_exec_interrupted_by_signal_ends_its_command() {
    let (home, server) = settled();
    for (by, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut put = home
            .command("zput")
            .args(["--exec", "--name", "large", "--", "sh", "-c", "echo $$ > pid; exec sleep 1000"])
            .spawn()
            .unwrap();
        until("the command runs", || fs::read(home.file("pid")).is_ok_and(|text| !text.is_empty()));
        let child = String::from_utf8(home.read("pid")).unwrap();
        let child = PathBuf::from(format!("/proc/{}/stat", child.trim()));
        until("the command sleeps", || {
            fs::read_to_string(&child).is_ok_and(|stat| stat.contains("(sleep)"))
        });
        signal(&put, by);
        assert_eq!(put.wait().unwrap().code(), Some(code));
        until("the command is gone", || {
            fs::read_to_string(&child).map_or(true, |stat| stat.contains(") Z "))
        });
        fs::remove_file(home.file("pid")).unwrap();
    }
    assert_eq!(stored(&server), (1, 0));
}

/// Passes `down` bytes of the server's on to one client, and then nothing more.
fn stalling_relay(server: &ServerProcess, down: u64) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let target = server.address().to_owned();
    thread::spawn(move || {
        let (client, _) = listener.accept().unwrap();
        let server = TcpStream::connect(target).unwrap();
        let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        let up = thread::spawn(move || std::io::copy(&mut from, &mut to));
        let passed = std::io::copy(&mut (&server).take(down), &mut &client);
        assert_eq!(passed.unwrap(), down);
        // Both sides stay connected until the client goes away.
        let _gone = up.join();
    });
    address
}

/// A get that a signal interrupts before its first part is whole leaves no file.
#[test]
fn zget_interrupted_before_first_part_leaves_no_file() {
    let (home, server) = settled();
    let _stored = home.run_with("zput", ["--name", "large", "-"], &[7; 50_000_000]).ok();
    let mut at = server.address().to_owned();
    for (by, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let relay = stalling_relay(&server, 10_000_000);
        rewrite_key_file(&home, &at, &relay);
        at = relay;
        let get = home
            .command("zget")
            .args(["-o", "got", "large"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        until("it has begun", || names(&home.file(".")).len() > 1);
        signal(&get, by);
        let ran = Ran::from(get.wait_with_output().unwrap()).ended(code);
        assert_eq!((ran.text().as_str(), ran.stderr.as_str()), ("", ""));
        assert_eq!(names(&home.file(".")), ["secret"]);
    }
}

/// On SIGTERM a server accepts no connection and finishes the transfer under way.
#[test]
fn zserve_finishes_transfer_before_it_stops() {
    let (home, server) = settled();
    let bytes = Pattern::bytes(1, 100_000_000);
    let _stored = home.run_with("zput", ["--name", "large", "-"], &bytes).ok();
    let mut get = home
        .command("zget")
        .args(["-o", "-", "large"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The first part has come; nobody takes the rest yet, so the server has most of it to send.
    let mut got = vec![0; 1_000_000];
    let mut stdout = get.stdout.take().unwrap();
    stdout.read_exact(&mut got).unwrap();
    let at = server.address().to_owned();
    let stopping = thread::spawn(move || server.stop());
    until("the door is shut", || TcpStream::connect(&at).is_err());
    assert!(!stopping.is_finished(), "the server did not wait");
    stdout.read_to_end(&mut got).unwrap();
    assert!(got == bytes);
    let ran = Ran::from(get.wait_with_output().unwrap()).ok();
    assert_eq!(ran.stderr, "");
    assert_eq!(stopping.join().unwrap(), Some(0));
}

/// The output of a command that fails or cannot be run is not stored.
#[test]
fn zput_exec_stores_nothing_when_its_command_fails() {
    let (home, server) = settled();
    is_told(
        home.run("zput", ["--exec", "--name", "x", "--", "sh", "-c", "echo half; exit 3"]),
        1,
        "zput: x: sh failed with exit status: 3; nothing was stored",
    );
    is_told(
        home.run("zput", ["--exec", "--name", "x", "--", "/nonexistent"]),
        1,
        "zput: cannot run /nonexistent: No such file or directory (os error 2)",
    );
    assert_eq!(stored(&server).0, 1);
    until("the upload is gone", || stored(&server) == (1, 0));
}

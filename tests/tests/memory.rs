//! Limits of memory and of threads. From the limit at which a program loads to the one at which it
//! works it ends with exit code 0 or 1, with one sentence, and with nothing half-written; never by
//! a signal.
//!
//! What happens before `main` is outside: the dynamic loader's own failure (127), and what the
//! kernel and the standard library do until then. So each sweep begins at the limit at which
//! `--version` works.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    os::unix::{fs::chown, process::CommandExt as _},
    path::Path,
    process::{Command, Stdio},
};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use zput_tests::{
    Machine, Pattern, Ran, ServerProcess, command_words, leaves_cores, names, or_skip, skip,
};

/// A mebibyte, in KiB.
const MIB: u64 = 1024;
/// Nothing takes more than this, in KiB.
const ENOUGH: u64 = 1024 * MIB;
/// Between two limits of a sweep, in KiB: no multiple of anything, so that what a program asks for
/// is met in each of its parts.
const STEP: u64 = 764;
/// The same where a part of a blob is held, and several seconds would pass.
const LARGE_STEP: u64 = 2_044;
/// More than enough: how far a sweep goes where the program works, each time by a sixth. What
/// depends on the order in which threads ask for memory fails somewhere in between.
const BEYOND: u64 = 640 * MIB;

/// How often it works before the steps grow. Of several threads that begin at once some limits have
/// room for those that were faster: so it may not work once more in between.
const TIMES: usize = 8;

const LARGE_BYTES: u64 = 40_000_000;

/// A machine with a blob that is small and one that is not, and with what was sealed of it.
fn settled() -> Machine {
    let home = Machine::new();
    home.write("small", b"small");
    home.write("large", Pattern::bytes(5, LARGE_BYTES));
    let _stored = home.run("zput", ["small", "large"]).ok();
    let _sealed = home.run("zblob seal", ["-o", "sealed", "large"]).ok();
    home
}

/// `command` in `kib` KiB of addresses, where a core may have this many blocks (`ulimit -c`).
fn within(home: &Machine, kib: u64, core: &str, command: &[&str]) -> Command {
    let script = "ulimit -c \"$1\" 2>/dev/null; ulimit -v \"$0\" || exit 99; shift; exec \"$@\"";
    let mut shell = home.program("bash");
    shell.args(["-c", script, &kib.to_string(), core]).args(command_words(command[0]));
    shell.args(&command[1..]);
    shell
}

fn run_within(home: &Machine, kib: u64, command: &[&str]) -> Ran {
    within(home, kib, "unlimited", command).output().unwrap().into()
}

/// The least memory in which the program of `command` loads, in KiB, and a little more: in between,
/// the standard library fails before `main`.
fn loads(home: &Machine, command: &str) -> u64 {
    let program = command.split(' ').next().unwrap();
    let loads = |kib| {
        let ran = within(home, kib, "0", &[program, "--version"]).output().unwrap();
        ran.status.code() == Some(0)
    };
    let (mut too_little, mut enough) = (4 * MIB, 256 * MIB);
    while enough - too_little > 32 {
        let kib = too_little.midpoint(enough);
        *if loads(kib) { &mut enough } else { &mut too_little } = kib;
    }
    let least = enough + 64;
    assert!(loads(least), "{program} does not load in {least} KiB");
    least
}

/// That it is one sentence, which says what was short. Before the arguments are parsed there is a
/// program without a verb.
fn is_sentence(ran: &Ran, command: &str, what: &str) {
    let program = command.split(' ').next().unwrap();
    let begins = |name: &str| ran.stderr.starts_with(&format!("{name}: "));
    let is_one = ran.stderr.lines().count() == 1 && (begins(command) || begins(program));
    assert!(is_one && ran.stderr.contains("not enough memory ("), "{what}: {}", ran.stderr);
}

/// Runs `command` within less and less narrow limits. Where it works, `check` looks at what it made
/// and removes it.
fn sweep(home: &Machine, command: &[&str], step: u64, check: impl Fn()) {
    let there = names(&home.file("."));
    let (mut refused, mut worked) = (0, 0);
    let mut kib = loads(home, command[0]);
    while kib < BEYOND {
        let what = format!("{command:?} in {kib} KiB");
        let ran = run_within(home, kib, command);
        assert!(matches!(ran.code, Some(0 | 1)), "{what}: {ran:?}");
        if ran.code == Some(0) {
            worked += 1;
            check();
        } else {
            refused += 1;
            is_sentence(&ran, command[0], &what);
            assert!(worked < TIMES, "{what} it does not work, and with less it did: {ran:?}");
        }
        assert_eq!(names(&home.file(".")), there, "{what}");
        kib += if worked < TIMES { step } else { kib / 6 };
    }
    assert!(
        refused > 2 && worked > TIMES,
        "{command:?}: {refused} limits were too low, {worked} not"
    );
}

/// Within any memory limit commands on small files work or fail with one sentence.
#[test]
fn memory_limit_is_an_error_of_commands_on_small_files() {
    let home = settled();
    look_for_cores(&home);
    let nothing = || {};
    sweep(&home, &["zput", "small"], STEP, nothing);
    sweep(&home, &["zblob ls"], STEP, nothing);
    sweep(&home, &["zblob stat", "small"], STEP, nothing);
    sweep(&home, &["zblob key show"], STEP, nothing);
    let output = |bytes: &'static [u8]| {
        let home = &home;
        move || {
            assert_eq!(home.read("o"), bytes);
            fs::remove_file(home.file("o")).unwrap();
        }
    };
    sweep(&home, &["zget", "--quiet", "-o", "o", "small"], STEP, output(b"small"));
    sweep(&home, &["zblob seal", "--quiet", "-o", "o", "small"], STEP, || {
        let opened = home.run("zblob open", ["-o", "-", "o"]).ok();
        assert_eq!(opened.stdout, b"small");
        fs::remove_file(home.file("o")).unwrap();
    });
    sweep(&home, &["zblob key new", "--quiet", "--key", "o"], STEP, || {
        let _shown = home.run("zblob key", ["show", "--key", "o"]).ok();
        fs::remove_file(home.file("o")).unwrap();
    });
    sweep(&home, &["zblob rm", "--quiet", "small"], STEP, || {
        let _restored = home.run("zblob restore", ["small"]).ok();
    });
    let _removed = home.run("zblob rm", ["small"]).ok();
    sweep(&home, &["zblob restore", "--quiet", "small"], STEP, || {
        let _removed = home.run("zblob rm", ["small"]).ok();
    });
}

/// Within any memory limit commands on large files work or fail with one sentence.
#[test]
fn memory_limit_is_an_error_of_commands_on_large_files() {
    let home = settled();
    look_for_cores(&home);
    let bytes = Pattern::bytes(5, LARGE_BYTES);
    let is_there = |name: &str| {
        assert!(home.read(name) == bytes, "it is not all there");
        fs::remove_file(home.file(name)).unwrap();
    };
    sweep(&home, &["zput", "--quiet", "--no-resume", "large"], LARGE_STEP, || {});
    sweep(&home, &["zget", "--quiet", "-o", "o", "large"], LARGE_STEP, || is_there("o"));
    sweep(&home, &["zblob open", "--quiet", "-o", "o", "sealed"], LARGE_STEP, || is_there("o"));
    sweep(&home, &["zblob stat", "--quiet", "--verify", "large"], LARGE_STEP, || {});
    sweep(&home, &["zblob seal", "--quiet", "-o", "o", "large"], LARGE_STEP, || {
        let _opened = home.run("zblob open", ["-o", "p", "o"]).ok();
        is_there("p");
        fs::remove_file(home.file("o")).unwrap();
    });
}

/// Argon2id of a key file's passphrase takes 64 MiB: unlocking one needs that much more.
#[test]
fn memory_limit_is_an_error_of_passphrase_derivation() {
    let home = settled();
    let shown = least(&home, &["zblob key show"]);
    let _set =
        home.run("zblob key", ["passphrase", "set", "--passphrase-command", "echo word"]).ok();
    for command in [&["zblob ls"][..], &["zblob key public"]] {
        let command = [command, &["--passphrase-command", "echo word"]].concat();
        sweep(&home, &command, LARGE_STEP, || {});
        let opening = least(&home, &command);
        assert!(opening > shown + 40 * MIB, "{command:?} works in {opening} KiB");
    }
}

/// The first limit within which `command` works, in KiB.
fn least(home: &Machine, command: &[&str]) -> u64 {
    let mut limits = (loads(home, command[0])..ENOUGH).step_by(LARGE_STEP as usize);
    limits.find(|&kib| run_within(home, kib, command).code == Some(0)).unwrap()
}

/// What the first put makes is made, or is not there.
#[test]
fn memory_limit_leaves_no_half_of_a_first_zput() {
    let mut made = 0;
    let mut kib = loads(&Machine::new(), "zput");
    while made < 4 {
        assert!(kib < ENOUGH, "there is never enough memory");
        let home = Machine::new();
        home.write("file", b"first");
        let ran = run_within(&home, kib, &["zput", "--quiet", "file"]);
        assert!(matches!(ran.code, Some(0 | 1)), "in {kib} KiB: {ran:?}");
        assert_eq!(names(&home.file(".")), ["file"]);
        let stores = home.path().join(".local/share/zput");
        let stores = if stores.exists() { names(&stores) } else { Vec::new() };
        assert!(stores.is_empty() || stores == ["store"], "in {kib} KiB: {stores:?}");
        assert_eq!(stores.is_empty(), !home.key_file().exists(), "in {kib} KiB");
        // The next put resumes from the parts that are there, if any.
        let _stored = home.run("zput", ["file"]).ok();
        assert_eq!(home.run("zget", ["-o", "-", "file"]).ok().stdout, b"first");
        made += usize::from(ran.code == Some(0));
        kib += STEP;
    }
}

/// Says so where a core would not be seen. Elsewhere the sweep sees it: it lies among the files.
fn look_for_cores(home: &Machine) {
    if let Err(reason) = leaves_cores(home) {
        skip::because(format!("no core is seen among the files: {reason}"));
    }
}

/// A server with a client, which listens on a socket of its own.
struct Served {
    home: Machine,
    store: std::path::PathBuf,
    address: String,
}

impl Served {
    fn new() -> Self {
        let home = settled();
        let store = home.path().join("store");
        let address = format!("unix:{}", home.path().join("socket").display());
        let server = ServerProcess::start(&store, &[]);
        server.admit(&home);
        assert_eq!(server.stop(), Some(0));
        home.turn_to(&address.replace("unix:", "unix://"));
        Self { home, store, address }
    }

    /// A server in so much memory, what clients came to, and how it ended; without clients where it
    /// did not begin.
    fn within(&self, kib: u64) -> (Ran, Vec<Ran>) {
        let store = self.store.to_str().unwrap();
        let command = ["zserve", "--store", store, "--listen", &self.address];
        let mut server = within(&self.home, kib, "unlimited", &command);
        server.env("RUST_LOG", "error").stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut server = server.spawn().unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(server.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let mut clients = Vec::new();
        if !line.is_empty() {
            clients = self.clients();
            kill_process(Pid::from_child(&server), Signal::TERM).unwrap();
        }
        stdout.read_to_string(&mut line).unwrap();
        (server.wait_with_output().unwrap().into(), clients)
    }

    /// Several at once, with several connections.
    fn clients(&self) -> Vec<Ran> {
        let many: Vec<String> = (0..24).map(|n| format!("many{n}")).collect();
        for name in &many {
            self.home.write(name, name.as_bytes());
        }
        let mut commands =
            [self.home.command("zget"), self.home.command("zput"), self.home.command("zput")];
        commands[0].args(["--force", "-o", "/dev/null", "large"]);
        commands[1].args(["--no-resume", "large"]);
        commands[2].args(&many);
        let children = commands
            .iter_mut()
            .map(|command| command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
        let children: Vec<_> = children.collect();
        children.into_iter().map(|child| child.wait_with_output().unwrap().into()).collect()
    }
}

/// Within any memory limit zserve serves, or fails with one sentence.
#[test]
fn memory_limit_lets_zserve_serve_or_fail_with_a_reason() {
    let served = Served::new();
    let _stored = {
        let server = ServerProcess::start(&served.store, &["--listen", &served.address]);
        let stored = served.home.run("zput", ["large"]).ok();
        assert_eq!(server.stop(), Some(0));
        stored
    };
    let (mut refused, mut worked) = (0, 0);
    let mut kib = loads(&served.home, "zserve");
    while kib < BEYOND {
        let (ran, clients) = served.within(kib);
        let what = format!("in {kib} KiB: {ran:?}");
        assert!(matches!(ran.code, Some(0 | 1)), "{what}");
        if ran.code == Some(1) {
            refused += 1;
            let last = ran.stderr.lines().last().unwrap_or_default().to_owned();
            is_sentence(&Ran { stderr: last, ..ran }, "zserve", &what);
            assert!(worked < 3, "{what}, and with less it worked");
        }
        worked += usize::from(!clients.is_empty() && clients.iter().all(|ran| ran.code == Some(0)));
        kib += if worked < 3 { STEP } else { kib / 2 };
    }
    assert!(refused > 2 && worked > 3, "{refused} limits were too low, {worked} not");
}

/// A user without other processes, as whom root may run the commands in this home: another one for
/// each run of this test, for two may go on at once.
fn alone_user() -> u32 {
    60_000 + std::process::id() % 5_000
}

/// setrlimit(2), RLIMIT_NPROC: threads of a user; it does not bind root.
#[test]
fn thread_limit_is_an_error() {
    if !geteuid().is_root() {
        return skip::because("only root can become a user who has no other processes");
    }
    let (home, user) = (settled(), alone_user());
    let alone = |threads: u32, command: &[&str]| -> Ran {
        let script = "ulimit -u \"$0\" && exec \"$@\"";
        let mut shell = home.program("bash");
        shell.args(["-c", script, &threads.to_string()]);
        shell.args(command_words(command[0])).args(&command[1..]);
        shell.uid(user).gid(user).output().unwrap().into()
    };
    give(home.path(), user);
    or_skip!(match alone(100, &["zput", "--version"]).code {
        Some(0) => Ok(()),
        _ => Err("no other user may run the commands"),
    });
    for command in [
        &["zput", "small"][..],
        &["zput", "--quiet", "--no-resume", "large"],
        &["zget", "--quiet", "--force", "-o", "o", "large"],
        &["zblob ls"],
        &["zblob open", "--quiet", "--force", "-o", "o", "sealed"],
        &["zblob seal", "--quiet", "--force", "-o", "o", "small"],
    ] {
        let (mut refused, mut worked) = (0, 0);
        for threads in 1..40 {
            let ran = alone(threads, command);
            let what = format!("{command:?} with {threads} threads: {ran:?}");
            assert!(matches!(ran.code, Some(0 | 1)), "{what}");
            worked += usize::from(ran.code == Some(0));
            if ran.code == Some(1) {
                refused += 1;
                assert_eq!(worked, 0, "{what}");
                assert_eq!(ran.stderr.lines().count(), 1, "{what}");
                assert!(ran.stderr.contains("too many threads (raise their limit"), "{what}");
            }
        }
        assert!(refused > 0 && worked > 0, "{command:?}: {refused} refused, {worked} worked");
        assert!(!home.file("core").exists());
    }
}

/// Makes all that is below `directory` that user's.
fn give(directory: &Path, user: u32) {
    chown(directory, Some(user), Some(user)).unwrap();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            give(&path, user);
        } else {
            chown(path, Some(user), Some(user)).unwrap();
        }
    }
}

//! A second process on the same store: this test program again, in one of a few roles.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    process::{ChildStdin, ChildStdout, Command, Stdio},
};

use super::*;

const ROLE: &str = "ZPUT_TEST_ROLE";
const STORE: &str = "ZPUT_TEST_STORE";
/// The prefix that tells the child's lines from those of the test harness.
const MARK: &str = "child: ";

/// A child process that runs one role on a store, driven by lines over its pipes.
pub(super) struct Child {
    process: std::process::Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Child {
    pub(super) fn start(role: &str, store: &Path) -> Self {
        let program = std::env::current_exe().unwrap();
        Self::spawn(Command::new(program), role, store).unwrap()
    }

    /// Runs the child as another user; `None` where that is not possible.
    pub(super) fn start_as(uid: u32, role: &str, store: &Path) -> Option<Self> {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.uid(uid).gid(uid);
        Self::spawn(command, role, store)
    }

    /// Runs the child under a program that takes this program's path as its last argument.
    pub(super) fn start_under(wrapper: &[&str], role: &str, store: &Path) -> Option<Self> {
        let mut command = Command::new(wrapper[0]);
        command.args(&wrapper[1..]).arg(std::env::current_exe().unwrap());
        Self::spawn(command, role, store)
    }

    fn spawn(mut command: Command, role: &str, store: &Path) -> Option<Self> {
        command
            .args(["--exact", "store::tests::child::child", "--ignored", "--nocapture"])
            .env(ROLE, role)
            .env(STORE, store)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut process = command.spawn().ok()?;
        let input = process.stdin.take().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        Some(Self { process, input, output })
    }

    /// The next line of the child's output; empty when it has ended.
    pub(super) fn line(&mut self) -> String {
        let mut line = String::new();
        while self.output.read_line(&mut line).unwrap() > 0 {
            // The harness writes the name of the test before it.
            if let Some((_, said)) = line.trim_end().split_once(MARK) {
                return said.to_owned();
            }
            line.clear();
        }
        line
    }

    pub(super) fn send_line(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
    }

    pub(super) fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Waits for a successful exit.
    pub(super) fn finish(mut self) {
        assert!(self.process.wait().unwrap().success());
    }

    /// Waits for an exit of any kind.
    pub(super) fn wait(mut self) {
        self.process.wait().unwrap();
    }
}

fn print_line(line: impl std::fmt::Display) {
    println!("{MARK}{line}");
}

fn read_line() -> String {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

/// The second process that other store tests start plays its role on the same store.
#[test]
#[ignore = "not a test: the second process that other tests start"]
fn child() {
    let role = std::env::var(ROLE).expect("started by a test");
    let path = PathBuf::from(std::env::var_os(STORE).unwrap());
    let store = Store::open(&path, Clock::system());
    match role.as_str() {
        "open" => match store {
            Ok(_) => print_line("opened"),
            Err(error) => print_line(error),
        },
        "upload" => upload(&store.unwrap()),
        "upload sealed" => {
            let _upload = resume::upload_sealed(&store.unwrap());
            print_line("uploading");
            read_line();
        }
        "race" => concurrency::race(&store.unwrap(), 0xc1),
        "count" => concurrency::count(&store.unwrap()),
        "put" => report(put(&ready(store), "a", &[b'n'; 5000], Condition::Any)),
        "put large" => report(put(&ready(store), "a", &[b'n'; 1_048_577], Condition::Any)),
        "two instants" => {
            let store = ready(store);
            let first = store.next_instant(None);
            report(first.and_then(|_| store.next_instant(None)).map(|instant| instant.0));
        }
        "put many" => instants::put_many(&store.unwrap()),
        "put one shard" => {
            print_line(format!("ok {}", group_commit::put_all_in_one_shard(&ready(store))))
        }
        "put absent" => report(put(&ready(store), "a", b"new", Condition::Absent)),
        "delete" => report(ready(store).delete(&key("a"), Condition::Any).map(|v| v.0)),
        "restore" => restore(&store.unwrap(), VersionState::Trash),
        "restore copy" => restore(&store.unwrap(), VersionState::History),
        "join" => join(&store.unwrap()),
        "clear" => clear(&store.unwrap()),
        other => panic!("no role is called {other}"),
    }
}

/// Tells the parent that the store is open and the role itself begins.
fn ready(store: Result<Store, StoreError>) -> Store {
    let store = store.unwrap();
    print_line("ready");
    store
}

fn upload(store: &Store) {
    let body = b"from the child";
    let mut upload = store.begin(&key("child's"), Kind::Plain, Condition::Any, None).unwrap();
    upload.start_slice(body.len() as u32, Digest::of(body)).unwrap();
    upload.write(&body[..5]).unwrap();
    print_line("uploading");
    assert_eq!(read_line(), "commit");
    upload.write(&body[5..]).unwrap();
    upload.end_slice().unwrap();
    upload.commit().unwrap();
    print_line("committed");
}

/// Restores the newest version of "a" in this state.
fn restore(store: &Store, state: VersionState) {
    let (versions, _, _) = store.versions(&key("a"), None, 1000).unwrap();
    let version = versions.iter().find(|version| version.state == state).unwrap().version;
    print_line("ready");
    report(store.restore(&key("a"), version).map(|version| version.0));
}

fn join(store: &Store) {
    use std::time::Duration;
    use zput_proto::{keys::DevicePublicKey, message::Scopes};
    let secret = store.create_invite(Scopes::GET, Duration::from_secs(60)).unwrap();
    print_line("ready");
    let device = DevicePublicKey::from_bytes([0xaa; 32]);
    report(store.redeem_invite(&secret, &device, "x").map(|_| 0));
}

fn clear(store: &Store) {
    print_line("ready");
    let clearing = store.clear_suspect(&mut ());
    report(clearing.map(|clearing| clearing.unwrap().cleared.into()));
}

fn report(result: Result<u64, StoreError>) {
    match result {
        Ok(version) => print_line(format!("ok {version}")),
        Err(error) => print_line(format!("{:?}: {error}", error.code())),
    }
}

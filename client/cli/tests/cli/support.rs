//! Machines and servers for the tests of the commands.

use std::{
    ffi::OsStr,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;
use zput_proto::{
    keys::{Invite, Remote},
    message::Scopes,
    mount::MountName,
};
use zput_server::{
    ListenAddress, Server, ServerHandle, ServerOptions,
    mounts::{Mounts, Policy},
    store::{Clock, Store},
};

/// A machine: an empty home, and a working directory in it.
pub(crate) struct Machine {
    root: TempDir,
}

/// The result of a command.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Ran {
    /// This result, if the command exited with `code`.
    #[track_caller]
    pub(crate) fn code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stderr: {}\nstdout: {}", self.stderr, self.text());
        self
    }

    /// This result, if the command succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        self.code(0)
    }

    /// This result, if stderr contains `what`.
    #[track_caller]
    pub(crate) fn says(self, what: &str) -> Self {
        assert!(self.stderr.contains(what), "{what:?} is not in: {}", self.stderr);
        self
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// A field of the only line of JSON on stdout.
    #[track_caller]
    pub(crate) fn json(&self, field: &str) -> serde_json::Value {
        let value: serde_json::Value = serde_json::from_slice(&self.stdout).unwrap();
        value[field].clone()
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Self { code: output.status.code(), stdout: output.stdout, stderr }
    }
}

impl Machine {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("work")).unwrap();
        Self { root }
    }

    pub(crate) fn home(&self) -> &Path {
        self.root.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join("work").join(name)
    }

    pub(crate) fn key_file(&self) -> PathBuf {
        self.home().join(".config/zput/default.zkey")
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.home().join(".local/share/zput/store")
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).unwrap();
    }

    #[track_caller]
    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// The names in the working directory, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        names(&self.path(""))
    }

    /// A program, with its verb if it has one: `zput`, `zblob ls`.
    pub(crate) fn command(&self, name: &str) -> Command {
        let mut words = name.split(' ');
        let mut command = Command::new(program(words.next().unwrap()));
        command.args(words);
        command
            .current_dir(self.path(""))
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", self.home())
            .env("ZPUT_RETRIES", "0")
            .stdin(Stdio::null());
        command
    }

    /// Runs a command line, split at spaces.
    #[track_caller]
    pub(crate) fn run(&self, line: &str) -> Ran {
        let (name, arguments) = line.split_once(' ').unwrap_or((line, ""));
        self.run_with(name, arguments.split_whitespace())
    }

    #[track_caller]
    pub(crate) fn run_with<A: AsRef<OsStr>>(
        &self,
        name: &str,
        arguments: impl IntoIterator<Item = A>,
    ) -> Ran {
        self.command(name).args(arguments).output().unwrap().into()
    }

    /// Runs a shell script with the commands on its path.
    #[track_caller]
    pub(crate) fn sh(&self, script: &str) -> Ran {
        self.by("sh", &["-c"], script)
    }

    /// The same as root in a mount namespace of its own; or the reason why that is impossible here.
    #[track_caller]
    pub(crate) fn sh_with_mounts(&self, script: &str) -> Result<Ran, String> {
        let probe =
            Command::new("unshare").args(["-m", "mount", "-t", "tmpfs", "none", "/mnt"]).output();
        match probe {
            Ok(probed) if probed.status.success() => {
                Ok(self.by("unshare", &["-m", "sh", "-e", "-c"], script))
            }
            Ok(probed) => {
                Err(format!("no mounts: {}", String::from_utf8_lossy(&probed.stderr).trim()))
            }
            Err(error) => Err(format!("unshare does not run: {error}")),
        }
    }

    fn by(&self, program: &str, arguments: &[&str], script: &str) -> Ran {
        let commands = Path::new(env!("CARGO_BIN_EXE_zput")).parent().unwrap();
        let mut command = Command::new(program);
        for (name, value) in self.command("zput").get_envs() {
            command.env(name, value.unwrap());
        }
        let path = format!("{}:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", commands.display());
        command.args(arguments).arg(script).env("PATH", path).stdin(Stdio::null());
        command.current_dir(self.path("")).output().unwrap().into()
    }

    /// Runs a command line with `input` on its stdin.
    #[track_caller]
    pub(crate) fn run_on(&self, input: &[u8], line: &str) -> Ran {
        let (name, arguments) = line.split_once(' ').unwrap_or((line, ""));
        let mut child = self
            .command(name)
            .args(arguments.split_whitespace())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                // A command that fails early does not read all of it.
                let _early = stdin.write_all(input);
            });
            child.wait_with_output().unwrap().into()
        })
    }
}

/// The names in a directory, sorted.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// All files below a directory.
pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![directory.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { left.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// Copies a directory with its contents.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
}

pub(crate) fn program(name: &str) -> &'static str {
    match name {
        "zblob" => env!("CARGO_BIN_EXE_zblob"),
        "zput" => env!("CARGO_BIN_EXE_zput"),
        "zget" => env!("CARGO_BIN_EXE_zget"),
        _ => panic!("{name} is no program"),
    }
}

/// A server in this process, on loopback.
pub(crate) struct Served {
    pub(crate) store: Store,
    pub(crate) address: std::net::SocketAddr,
    handle: Option<ServerHandle>,
    directory: TempDir,
}

impl Served {
    pub(crate) fn start() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut ServerOptions)) -> Self {
        Self::with_policy(Policy::PRIVATE, change)
    }

    /// A server whose store is open to every device, over plaintext.
    pub(crate) fn in_clear(change: impl FnOnce(&mut ServerOptions)) -> Self {
        let policy = Policy { anonymous: Scopes::ALL, allow_unsealed: true, ..Policy::PRIVATE };
        Self::with_policy(policy, change)
    }

    fn with_policy(policy: Policy, change: impl FnOnce(&mut ServerOptions)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store"), Clock::system()).unwrap();
        let listen = vec![ListenAddress::Tcp("127.0.0.1:0".to_owned())];
        let mounts = Mounts::of_store(store.clone(), policy);
        let mut options = ServerOptions::new(mounts, listen);
        change(&mut options);
        let server = Server::bind(options).unwrap();
        let address = server.addresses()[0].tcp().unwrap();
        let handle = Some(server.spawn().unwrap());
        Self { store, address, handle, directory }
    }

    pub(crate) fn stop(&mut self) {
        self.handle.take().unwrap().shutdown().unwrap();
    }

    pub(crate) fn staging(&self) -> Vec<String> {
        names(&self.directory.path().join("store/staging"))
    }

    pub(crate) fn remote(&self) -> Remote {
        Remote::Tcp {
            host: self.address.ip().to_string(),
            port: self.address.port(),
            mount: MountName::ROOT,
        }
    }

    /// The text of an invite.
    pub(crate) fn invite(&self, scopes: Scopes) -> String {
        self.invite_to(self.remote(), scopes)
    }

    pub(crate) fn invite_to(&self, address: Remote, scopes: Scopes) -> String {
        let secret = self.store.create_invite(scopes, std::time::Duration::from_secs(60)).unwrap();
        let invite = Invite { address, server_key: self.store.server_key().public_key(), secret };
        invite.to_text().to_string()
    }

    /// A machine with a key file of its own and an account.
    pub(crate) fn member(&self) -> Machine {
        let machine = Machine::new();
        machine.run_on(self.invite(Scopes::ALL).as_bytes(), "zblob key join").ok();
        machine
    }
}

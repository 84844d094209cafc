//! A `zserve` with a configuration file of the test's own, and its log.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{Home, Vitals, command_path};

/// Longest wait for a server to have done what it was told to.
const PATIENCE: Duration = Duration::from_secs(60);

/// The doors that every configuration has; the test writes what follows.
const DOORS: &str = "listen = [\"127.0.0.1:0\"]\nhttp = [\"127.0.0.1:0\"]\n";

/// A running server with both doors open. It is killed when dropped.
#[derive(Debug)]
pub struct Configured {
    child: Child,
    dir: TempDir,
    zput: String,
    http: String,
}

impl Configured {
    /// Starts `zserve` on `config` below the keys of its two doors, and waits until it is ready.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(config: &str) -> Self {
        Self::start_by(Command::new(command_path("zserve")), config)
    }

    /// As [`Configured::start`], with `zserve` or a tracer of it as `command`.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start_by(mut command: Command, config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("no temporary directory: {e}"));
        let file = dir.path().join("zserve.toml");
        write(&file, config);
        let log = File::create(dir.path().join("log")).unwrap_or_else(|e| panic!("no log: {e}"));
        let mut child = command
            .arg("--config")
            .arg(&file)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|e| panic!("zserve does not start: {e}"));
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout)
                .read_line(&mut line)
                .unwrap_or_else(|e| panic!("zserve says nothing: {e}"));
        }
        let doors = line.trim_end().strip_prefix("zserve: ready on ").and_then(|doors| {
            let (zput, http) = doors.split_once(", http ")?;
            Some((zput.to_owned(), http.to_owned()))
        });
        let Some((zput, http)) = doors else {
            let log = fs::read_to_string(dir.path().join("log")).unwrap_or_default();
            panic!("zserve's first line is {line:?}: {log}")
        };
        Self { child, dir, zput, http }
    }

    /// `127.0.0.1:PORT` of its own protocol.
    #[must_use]
    pub fn zput(&self) -> &str {
        &self.zput
    }

    /// `127.0.0.1:PORT` of its HTTP door.
    #[must_use]
    pub fn http(&self) -> &str {
        &self.http
    }

    /// Statistics of the server's process.
    #[must_use]
    pub fn vitals(&self) -> Vitals {
        Vitals::of(self.child.id())
    }

    /// The ID of the server's process.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// What it has logged.
    ///
    /// # Panics
    /// When the log cannot be read.
    #[must_use]
    pub fn log(&self) -> String {
        let log = self.dir.path().join("log");
        fs::read_to_string(log).unwrap_or_else(|e| panic!("no log: {e}"))
    }

    /// Writes another configuration, lets the server read it, and gives what it logged about that.
    ///
    /// # Panics
    /// When the server logs nothing in time.
    #[must_use]
    pub fn reload(&self, config: &str) -> String {
        write(&self.dir.path().join("zserve.toml"), config);
        let before = self.log().len();
        kill_process(self.pid(), Signal::HUP).unwrap_or_else(|e| panic!("zserve: {e}"));
        let started = Instant::now();
        loop {
            let said = self.log().split_off(before);
            let over = ["configuration reloaded", "the configuration is unchanged"];
            if said.ends_with('\n') && over.iter().any(|words| said.contains(words)) {
                return said;
            }
            assert!(started.elapsed() < PATIENCE, "no word of a reload: {said:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Makes `home` a member, with an account in `store` and a remote that names `mount`.
    ///
    /// # Panics
    /// When it is not let in.
    pub fn admit(&self, home: &Home, store: &std::path::Path, mount: &str) {
        let mut invite = Command::new(command_path("zserve"));
        invite.arg("invite").arg("--store").arg(store).args(["--address", &self.zput]);
        let output = invite.output().unwrap_or_else(|e| panic!("zserve invite: {e}"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let _joined = home.run_with("zblob key", ["join"], &output.stdout).ok();
        home.turn_to(&format!("zput://{}/{mount}", self.zput));
    }

    /// Whether it still runs.
    ///
    /// # Panics
    /// When the system does not say.
    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap_or_else(|e| panic!("zserve: {e}")).is_none()
    }

    /// Ends it with SIGTERM and waits. Gives its exit code and its log.
    ///
    /// # Panics
    /// When it cannot be signalled or waited for.
    pub fn stop(mut self) -> (Option<i32>, String) {
        let _gone_already = kill_process(self.pid(), Signal::TERM);
        let status = self.child.wait().unwrap_or_else(|e| panic!("zserve: {e}"));
        (status.code(), self.log())
    }
}

impl Drop for Configured {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _reaped_already = self.child.wait();
    }
}

fn write(file: &PathBuf, config: &str) {
    fs::write(file, format!("{DOORS}{config}")).unwrap_or_else(|e| panic!("{file:?}: {e}"));
}

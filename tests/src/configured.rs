//! A `zserve` with a configuration file of the test's own, and its log.

use std::{
    fs::{self, File},
    path::Path,
    process::Command,
};

use rustix::process::{Pid, Signal};
use tempfile::TempDir;
use zput_testkit::{Machine, Zserve, command_path, until};

use crate::Vitals;

/// The doors that every configuration has; the test writes what follows.
const DOORS: &str = "listen = [\"127.0.0.1:0\"]\nhttp = [\"127.0.0.1:0\"]\n";

/// A running server with both doors open. It is killed when dropped.
#[derive(Debug)]
pub struct Configured {
    process: Zserve,
    dir: TempDir,
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
        command.arg("--config").arg(&file).env_remove("RUST_LOG").stderr(log);
        Self { process: Zserve::start(command), dir }
    }

    /// `127.0.0.1:PORT` of its own protocol.
    #[must_use]
    pub fn zput(&self) -> &str {
        self.process.zput()
    }

    /// `127.0.0.1:PORT` of its HTTP door.
    #[must_use]
    pub fn http(&self) -> &str {
        self.process.http()
    }

    /// Statistics of the server's process.
    #[must_use]
    pub fn vitals(&self) -> Vitals {
        Vitals::of(self.process.pid())
    }

    /// The ID of the server's process.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.process.pid().cast_signed()).unwrap_or_else(|| panic!("no process"))
    }

    /// What it has logged.
    ///
    /// # Panics
    /// When the log cannot be read.
    #[must_use]
    pub fn log(&self) -> String {
        log(&self.dir)
    }

    /// Writes another configuration, lets the server read it, and gives what it logged about that.
    ///
    /// # Panics
    /// When the server logs nothing in time.
    #[must_use]
    pub fn reload(&self, config: &str) -> String {
        write(&self.dir.path().join("zserve.toml"), config);
        let before = self.log().len();
        self.process.signal(Signal::HUP);
        let said = || self.log().split_off(before);
        until("the server says what a reload did", || {
            let over = ["configuration reloaded", "the configuration is unchanged"];
            said().ends_with('\n') && over.iter().any(|words| said().contains(words))
        });
        said()
    }

    /// Makes `home` a member, with an account in `store` and a remote that names `mount`.
    ///
    /// # Panics
    /// When it is not let in.
    pub fn admit(&self, home: &Machine, store: &Path, mount: &str) {
        let mut invite = Command::new(command_path("zserve"));
        invite.arg("invite").arg("--store").arg(store).args(["--address", self.zput()]);
        let output = invite.output().unwrap_or_else(|e| panic!("zserve invite: {e}"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let _joined = home.run_with("zblob key", ["join"], &output.stdout).ok();
        home.turn_to(&format!("zput://{}/{mount}", self.zput()));
    }

    /// Whether it still runs.
    ///
    /// # Panics
    /// When the system does not say.
    pub fn is_alive(&mut self) -> bool {
        self.process.is_alive()
    }

    /// Ends it with SIGTERM and waits. Gives its exit code and its log.
    ///
    /// # Panics
    /// When it cannot be signalled or waited for.
    pub fn stop(self) -> (Option<i32>, String) {
        let Self { process, dir } = self;
        (process.stop().code, log(&dir))
    }
}

fn log(dir: &TempDir) -> String {
    fs::read_to_string(dir.path().join("log")).unwrap_or_else(|e| panic!("no log: {e}"))
}

fn write(file: &Path, config: &str) {
    fs::write(file, format!("{DOORS}{config}")).unwrap_or_else(|e| panic!("{file:?}: {e}"));
}

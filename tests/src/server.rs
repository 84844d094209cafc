//! A `zserve` process on a store.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use zput_testkit::{Machine, Zserve, command_path};

use crate::measure::memory_bytes;

/// A running server. It is killed when dropped; [`ServerProcess::stop`] ends it as an operator
/// would.
#[derive(Debug)]
pub struct ServerProcess {
    process: Zserve,
    store: PathBuf,
}

impl ServerProcess {
    /// Starts `zserve` on `store` and waits until it says that it is ready.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    #[track_caller]
    pub fn start(store: &Path, args: &[&str]) -> Self {
        Self::start_by(Command::new(command_path("zserve")), store, args)
    }

    /// As [`ServerProcess::start`], with `zserve` or a tracer of it as `command`.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    #[track_caller]
    pub fn start_by(mut command: Command, store: &Path, args: &[&str]) -> Self {
        command.arg("--store").arg(store).args(["--listen", "127.0.0.1:0"]).args(args);
        command.env("RUST_LOG", "warn");
        Self { process: Zserve::start(command), store: store.to_owned() }
    }

    /// The first address that it listens on: `127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> &str {
        self.process.zput()
    }

    /// Where it listens for HTTP.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn http(&self) -> &str {
        self.process.http()
    }

    /// The directory of its store.
    #[must_use]
    pub fn store(&self) -> &Path {
        &self.store
    }

    /// The ID of the server's process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The most memory that it has had, in bytes.
    ///
    /// # Panics
    /// When `/proc` does not say so.
    #[must_use]
    pub fn peak_memory(&self) -> u64 {
        memory_bytes(self.pid(), "VmHWM").unwrap_or_else(|e| panic!("{e}"))
    }

    /// An invite to this server.
    ///
    /// # Panics
    /// When `zserve invite` fails.
    #[must_use]
    pub fn invite(&self, args: &[&str]) -> String {
        let output = Command::new(command_path("zserve"))
            .arg("invite")
            .arg("--store")
            .arg(&self.store)
            .args(["--address", self.address()])
            .args(args)
            .output()
            .unwrap_or_else(|e| panic!("zserve invite does not start: {e}"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// Makes `home` a client of this server, with a key file of its own.
    ///
    /// # Panics
    /// When `zblob key join` fails.
    pub fn admit(&self, home: &Machine) {
        let _joined = home.run_with("zblob key", ["join"], self.invite(&[]).as_bytes()).ok();
    }

    /// Ends it with SIGKILL, waits, and starts another one on its store, at another address.
    ///
    /// # Panics
    /// When that does not start.
    pub fn restart(&mut self, args: &[&str]) {
        self.process.kill();
        *self = Self::start(&self.store.clone(), args);
    }

    /// Ends it with SIGKILL and waits.
    pub fn kill(self) {
        drop(self);
    }

    /// Ends it with SIGTERM and waits. Gives its exit code.
    ///
    /// # Panics
    /// When it does not end.
    #[track_caller]
    pub fn stop(self) -> Option<i32> {
        self.process.stop().code
    }
}

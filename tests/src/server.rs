//! A `zserve` process on loopback, with a port of the kernel's choosing.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::{Home, command_path, measure::memory_bytes};

/// A running server. It is killed when dropped; [`ServerProcess::stop`] ends it as an operator would.
#[derive(Debug)]
pub struct ServerProcess {
    child: Child,
    addresses: Vec<String>,
    store: PathBuf,
}

impl ServerProcess {
    /// Starts `zserve` on `store` and waits until it says that it is ready.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(store: &Path, args: &[&str]) -> Self {
        Self::start_by(Command::new(command_path("zserve")), store, args)
    }

    /// As [`ServerProcess::start`], with `zserve` or a tracer of it as `command`.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start_by(mut command: Command, store: &Path, args: &[&str]) -> Self {
        let mut child = command
            .arg("--store")
            .arg(store)
            .args(["--listen", "127.0.0.1:0"])
            .args(args)
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("zserve does not start: {e}"));
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout)
                .read_line(&mut line)
                .unwrap_or_else(|e| panic!("zserve says nothing: {e}"));
        }
        let addresses = line
            .trim_end()
            .strip_prefix("zserve: ready on ")
            .unwrap_or_else(|| panic!("zserve's first line is {line:?}"))
            .split(", ")
            .map(|address| address.trim_start_matches("http ").to_owned())
            .collect();
        Self { child, addresses, store: store.to_owned() }
    }

    /// The first address that it listens on: `127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.addresses[0]
    }

    /// All that it listens on: for its own protocol, then for HTTP.
    #[must_use]
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// The directory of its store.
    #[must_use]
    pub fn store(&self) -> &Path {
        &self.store
    }

    /// The ID of the server's process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
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
    pub fn admit(&self, home: &Home) {
        let _joined = home.run_with("zblob key", ["join"], self.invite(&[]).as_bytes()).ok();
    }

    /// Ends it with SIGKILL, waits, and starts another one on its store, at another address.
    ///
    /// # Panics
    /// When that does not start.
    pub fn restart(&mut self, args: &[&str]) {
        let _gone_already = self.child.kill();
        let _reaped_already = self.child.wait();
        *self = Self::start(&self.store.clone(), args);
    }

    /// Ends it with SIGKILL and waits.
    pub fn kill(self) {
        drop(self);
    }

    /// Ends it with SIGTERM and waits. Gives its exit code.
    ///
    /// # Panics
    /// When it cannot be signalled or waited for.
    pub fn stop(mut self) -> Option<i32> {
        self.terminate();
        self.child.wait().unwrap_or_else(|e| panic!("zserve: {e}")).code()
    }

    fn terminate(&self) {
        if let Some(pid) =
            i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw)
        {
            let _gone_already = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _reaped_already = self.child.wait();
    }
}

//! A `zserve` process.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStdout, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Ran, until};

/// A server that has said that it is ready. It is killed when dropped.
#[derive(Debug)]
pub struct Zserve {
    child: Child,
    stdout: BufReader<ChildStdout>,
    zput: Vec<String>,
    http: Vec<String>,
}

impl Zserve {
    /// Starts `zserve`, or a tracer of it, and waits for the line of its addresses. Standard error
    /// goes where `command` says.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    #[track_caller]
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let Some(addresses) = line.trim_end().strip_prefix("zserve: ready on ") else {
            let mut said = String::new();
            if let Some(mut stderr) = child.stderr.take() {
                stderr.read_to_string(&mut said).unwrap();
            }
            panic!("zserve's first line is {line:?}: {said}")
        };
        let of = |kind: &'static str| {
            let addresses = addresses.split(", ").filter_map(move |it| it.strip_prefix(kind));
            addresses.map(str::to_owned).collect::<Vec<_>>()
        };
        let has_kind = |it: &str| ["http ", "admin "].iter().any(|kind| it.starts_with(kind));
        let zput = of("").into_iter().filter(|it| !has_kind(it)).collect();
        let http = of("http ");
        Self { child, stdout, zput, http }
    }

    /// Where it listens for its own protocol, such as `127.0.0.1:PORT`; the first address of
    /// several.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    #[track_caller]
    pub fn zput(&self) -> &str {
        &self.zput[0]
    }

    /// All addresses for its own protocol.
    #[must_use]
    pub fn zput_addresses(&self) -> &[String] {
        &self.zput
    }

    /// Where it listens for HTTP; the first address of several.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    #[track_caller]
    pub fn http(&self) -> &str {
        &self.http[0]
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When it has ended and was waited for.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Ends it with SIGKILL and waits.
    pub fn kill(&mut self) {
        // It may have ended already.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }

    /// Whether it still runs.
    ///
    /// # Panics
    /// When the system does not say.
    #[track_caller]
    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end. Standard output is what it printed after its first line; standard error
    /// is there if it was piped.
    ///
    /// # Panics
    /// When it does not end.
    #[track_caller]
    pub fn end(mut self) -> Ran {
        until("the server ends", || !self.is_alive());
        let code = self.child.wait().unwrap().code();
        let (mut stdout, mut stderr) = (Vec::new(), String::new());
        self.stdout.read_to_end(&mut stdout).unwrap();
        if let Some(mut piped) = self.child.stderr.take() {
            piped.read_to_string(&mut stderr).unwrap();
        }
        Ran { code, stdout, stderr }
    }

    /// Ends it with SIGTERM, as an operator would, unless it has ended, and waits for its end.
    ///
    /// # Panics
    /// When it does not end.
    #[track_caller]
    pub fn stop(self) -> Ran {
        let _ended_already = kill_process(Pid::from_child(&self.child), Signal::TERM);
        self.end()
    }
}

impl Drop for Zserve {
    fn drop(&mut self) {
        self.kill();
    }
}

//! A machine, a server, and a proxy between them.

use std::{
    fs::{self, File},
    process::{Child, Stdio},
};

use zput_tests::{Cutter, Machine, Pair, Pattern, Ran, ServerProcess, Uploads, names, until};

/// Bytes of a full part, plain and sealed (FORMAT 6).
pub(crate) const PART: u64 = 16_777_216;
pub(crate) const SEALED_PART: u64 = 16_793_672;
/// Four full parts and a short one.
pub(crate) const LENGTH: u64 = 4 * PART + 1_000_000;
pub(crate) const PARTS: u64 = 5;
/// What the file is called everywhere here, and what it is put as.
pub(crate) const FILE: &str = "file";

pub(crate) struct Setting {
    pub(crate) home: Machine,
    pub(crate) server: ServerProcess,
    pub(crate) line: Cutter,
}

impl Setting {
    /// In `plaintext` mode, where a test can read what was sent.
    pub(crate) fn in_clear() -> Self {
        let Pair { home, server, line } = Pair::in_clear(&[]);
        Self { home, server, line }
    }

    /// In `tls` mode, with an account.
    pub(crate) fn over_tls() -> Self {
        let home = Machine::new();
        let server = ServerProcess::start(&home.path().join("store"), &Pair::ARGUMENTS);
        let line = Cutter::new(server.address());
        server.admit(&home);
        home.turn_to(&format!("zput://{}", line.address()));
        Self { home, server, line }
    }

    /// The file, with the bytes of `seed`.
    pub(crate) fn write(&self, seed: u64) -> Vec<u8> {
        let bytes = Pattern::bytes(seed, LENGTH);
        self.home.write(FILE, &bytes);
        bytes
    }

    pub(crate) fn zput(&self, arguments: &[&str]) -> Ran {
        self.home.run("zput", arguments)
    }

    /// Puts the file; it has to succeed. A server that has not noticed yet that somebody is gone
    /// says that it is busy.
    pub(crate) fn put(&self) -> Ran {
        self.persistently("zput", &[FILE]).ok()
    }

    /// Runs a command that tries again, as commands do unless they are told otherwise.
    pub(crate) fn persistently(&self, name: &str, arguments: &[&str]) -> Ran {
        self.home.command(name).args(arguments).env_remove("ZPUT_RETRIES").output().unwrap().into()
    }

    /// A command that runs while the test does something else.
    pub(crate) fn spawn(&self, name: &str, retries: &str, arguments: &[&str]) -> Child {
        let mut command = self.home.command(name);
        command.args(arguments).env("ZPUT_RETRIES", retries);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// What is stored under the file's name is `bytes`, as one version among `versions`, and
    /// nothing is left of any upload, here or there.
    #[track_caller]
    pub(crate) fn is_stored(&self, bytes: &[u8], versions: usize) {
        self.line.plan([]);
        let got = self.home.run("zget", ["-o", "-", FILE]).ok();
        assert!(got.stdout == bytes, "{} bytes came back, and not those", got.stdout.len());
        let listed = self.home.run("zblob stat", ["--versions", FILE]).ok();
        assert_eq!(listed.text().lines().count(), versions, "{}", listed.text());
        until("staging is empty", || names(&self.server.store().join("staging")).is_empty());
        assert_eq!(self.journals(), [""; 0]);
    }

    /// Waits until the server has closed the lost connection: its upload is kept and not in flight.
    pub(crate) fn nobody_uploads(&self) {
        let staging = self.server.store().join("staging");
        until("no upload is worked on", || {
            let free = |name: &String| {
                File::open(staging.join(name)).is_ok_and(|file| file.try_lock().is_ok())
            };
            names(&staging).iter().all(free)
        });
    }

    /// Waits until the server has this many parts of an upload.
    pub(crate) fn has_received(&self, parts: u64) {
        until("the server has them", || {
            let staging = self.server.store().join("staging");
            // STORE, "Kept uploads": a resume name has 64 digits, and is given behind the first
            // whole slice.
            names(&staging).iter().any(|name| {
                let length = fs::metadata(staging.join(name)).map_or(0, |m| m.len());
                name.len() == 64 && length >= parts * SEALED_PART
            })
        });
    }

    /// The names of the journals on the machine.
    pub(crate) fn journals(&self) -> Vec<String> {
        let puts = self.home.path().join(".local/state/zput/puts");
        if !puts.exists() {
            return Vec::new();
        }
        names(&puts).iter().flat_map(|vault| names(&puts.join(vault))).collect()
    }

    /// Where the slices of an undisturbed put of such a file end in the client's stream, and how
    /// long both streams are.
    pub(crate) fn ends(&self) -> (Vec<u64>, u64, u64) {
        self.write(0);
        let _drained = self.line.talks();
        let _stored = self.put();
        let talk = self.line.talks().remove(0);
        let ends = Uploads::of(&talk).slices.iter().map(|slice| slice.end).collect();
        let _removed = self.home.run("zblob rm", [FILE]).ok();
        self.forget();
        (ends, talk.up.len() as u64, talk.down.len() as u64)
    }

    /// Removes every version from the store, and what the line has written down.
    pub(crate) fn forget(&self) {
        for shelf in ["objects", "history", "trash"] {
            for shard in names(&self.server.store().join(shelf)) {
                let shard = self.server.store().join(shelf).join(shard);
                for name in names(&shard) {
                    fs::remove_file(shard.join(name)).unwrap();
                }
            }
        }
        let _forgotten = self.line.talks();
    }

    /// Starts the server anew on its store, and leads the line to it.
    pub(crate) fn restart(&mut self) {
        self.server.restart(&Pair::ARGUMENTS);
        self.line.lead_to(self.server.address());
    }
}

/// The message of a put that resumes behind this many bytes.
pub(crate) fn goes_on(command: &str, held: u64) -> String {
    format!("{command}: {FILE}: resuming: {} MiB of {} MiB are done\n", held >> 20, LENGTH >> 20)
}

//! A machine as far as the commands can tell: a home directory and nothing else.

use std::{
    ffi::OsStr,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;

use crate::command_words;

/// An empty home with a working directory in it. It is removed when dropped.
#[derive(Debug)]
pub struct Home {
    root: TempDir,
}

/// What a command left behind.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// The bytes of standard output.
    pub stdout: Vec<u8>,
    /// Standard error, as text.
    pub stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ran {
    /// Standard output as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// This, if the command ended with `code`.
    ///
    /// # Panics
    /// When it ended otherwise.
    #[track_caller]
    #[must_use]
    pub fn ended(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stderr: {}\nstdout: {}", self.stderr, self.text());
        self
    }

    /// This, if the command succeeded.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    #[must_use]
    pub fn ok(self) -> Self {
        self.ended(0)
    }
}

impl Default for Home {
    fn default() -> Self {
        Self::new()
    }
}

impl Home {
    /// A new machine.
    ///
    /// # Panics
    /// When no temporary directory can be made.
    #[must_use]
    pub fn new() -> Self {
        Self::new_in(&std::env::temp_dir())
    }

    /// A new machine whose disk is the one that `directory` is on.
    ///
    /// # Panics
    /// When no temporary directory can be made.
    #[must_use]
    pub fn new_in(directory: &Path) -> Self {
        let root = tempfile::tempdir_in(directory)
            .unwrap_or_else(|e| panic!("no temporary directory: {e}"));
        std::fs::create_dir(root.path().join("work"))
            .unwrap_or_else(|e| panic!("no working directory: {e}"));
        Self { root }
    }

    /// The path of the home directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.root.path()
    }

    /// A file in the working directory of the commands.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.root.path().join("work").join(name)
    }

    /// Writes a file into the working directory.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.file(name), bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
    }

    /// The bytes of a file in the working directory.
    ///
    /// # Panics
    /// When it cannot be read.
    #[must_use]
    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.file(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// The path of the default key file.
    #[must_use]
    pub fn key_file(&self) -> PathBuf {
        self.root.path().join(".config/zput/default.zkey")
    }

    /// What the key file says of `field`, a string.
    ///
    /// # Panics
    /// When the key file has no such field.
    #[must_use]
    pub fn key_field(&self, field: &str) -> String {
        let path = self.key_file();
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
        let begins = format!("{field} = \"");
        let value = text.lines().find_map(|line| line.strip_prefix(&begins)?.strip_suffix('"'));
        value.unwrap_or_else(|| panic!("{path:?} has no {field}")).to_owned()
    }

    /// Makes its key file name another remote, as with an editor.
    ///
    /// # Panics
    /// When there is no key file with a remote.
    pub fn turn_to(&self, remote: &str) {
        self.set_key_field("remote", remote);
    }

    /// Writes another string for `field` into the key file, or adds it.
    ///
    /// # Panics
    /// When there is no key file.
    pub fn set_key_field(&self, field: &str, value: &str) {
        let path = self.key_file();
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
        let begins = format!("{field} = ");
        let others = text.lines().filter(|line| !line.starts_with(&begins));
        let text = format!("{begins}\"{value}\"\n{}\n", others.collect::<Vec<_>>().join("\n"));
        std::fs::write(&path, text).unwrap_or_else(|e| panic!("{path:?}: {e}"));
    }

    /// A program of the workspace, with its verb if it has one, as this machine would run it:
    /// `zput`, `zblob ls`.
    #[must_use]
    pub fn command(&self, name: &str) -> Command {
        let mut words = command_words(name);
        let mut command = self.program(words.next().unwrap_or_default());
        command.args(words);
        command
    }

    /// A program as this machine would run it: in an environment with nothing but a path and this home. What
    /// fails is not tried again, unless the test says so: a failure is what most tests want to see.
    #[must_use]
    pub fn program(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.root.path().join("work"))
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", self.root.path())
            .env("ZPUT_RETRIES", "0")
            .stdin(Stdio::null());
        command
    }

    /// Runs `name` to its end.
    ///
    /// # Panics
    /// When it does not start.
    pub fn run<A: AsRef<OsStr>>(&self, name: &str, args: impl IntoIterator<Item = A>) -> Ran {
        self.command(name)
            .args(args)
            .output()
            .unwrap_or_else(|e| panic!("{name} does not start: {e}"))
            .into()
    }

    /// Runs `name` with `input` on its standard input.
    ///
    /// # Panics
    /// When it does not start.
    pub fn run_with<A: AsRef<OsStr>>(
        &self,
        name: &str,
        args: impl IntoIterator<Item = A>,
        input: &[u8],
    ) -> Ran {
        let mut child = self
            .command(name)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{name} does not start: {e}"));
        let stdin = child.stdin.take();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                if let Some(mut stdin) = stdin {
                    // A command that fails early closes its input: that is its answer, not our failure.
                    let _closed_early = stdin.write_all(input);
                }
            });
            child.wait_with_output().unwrap_or_else(|e| panic!("{name}: {e}")).into()
        })
    }
}

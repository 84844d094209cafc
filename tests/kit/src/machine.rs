//! A machine as far as the commands can tell: a home directory and nothing else.

use std::{
    ffi::OsStr,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use tempfile::TempDir;

use crate::{Ran, command_path, command_words, names};

/// Where programs of the system are.
const SYSTEM_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// An empty home with a working directory in it. It is removed when dropped.
#[derive(Debug)]
pub struct Machine {
    root: TempDir,
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

impl Machine {
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
        let root = tempfile::tempdir_in(directory).unwrap();
        fs::create_dir(root.path().join("work")).unwrap();
        Self { root }
    }

    /// The home directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.root.path()
    }

    /// A file in the working directory of the commands.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.root.path().join("work").join(name)
    }

    /// Where its store is unless its key file or its environment name another.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.root.path().join(".local/share/zput/store")
    }

    /// The names in the working directory, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        names(&self.file(""))
    }

    /// Writes a file into the working directory.
    ///
    /// # Panics
    /// When it cannot be written.
    #[track_caller]
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.file(name), bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
    }

    /// The bytes of a file in the working directory.
    ///
    /// # Panics
    /// When it cannot be read.
    #[must_use]
    #[track_caller]
    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.file(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// Where its key file is unless a command names another.
    #[must_use]
    pub fn key_file(&self) -> PathBuf {
        self.root.path().join(".config/zput/default.zkey")
    }

    #[track_caller]
    fn key_text(&self) -> String {
        let path = self.key_file();
        fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"))
    }

    /// The value of `field` in the key file, a string.
    ///
    /// # Panics
    /// When the key file has no such field.
    #[must_use]
    #[track_caller]
    pub fn key_field(&self, field: &str) -> String {
        let text = self.key_text();
        let begins = format!("{field} = \"");
        let value = text.lines().find_map(|line| line.strip_prefix(&begins)?.strip_suffix('"'));
        value.unwrap_or_else(|| panic!("the key file has no {field}")).to_owned()
    }

    /// Makes its key file name another remote, as an editor would.
    ///
    /// # Panics
    /// When there is no key file.
    #[track_caller]
    pub fn turn_to(&self, remote: &str) {
        self.set_key_field("remote", remote);
    }

    /// Writes another string for `field` into the key file, or adds it.
    ///
    /// # Panics
    /// When there is no key file.
    #[track_caller]
    pub fn set_key_field(&self, field: &str, value: &str) {
        let text = self.key_text();
        let begins = format!("{field} = ");
        let others = text.lines().filter(|line| !line.starts_with(&begins));
        let text = format!("{begins}\"{value}\"\n{}\n", others.collect::<Vec<_>>().join("\n"));
        fs::write(self.key_file(), text).unwrap();
    }

    /// A program of the workspace, with its verb if it has one, as this machine would run it:
    /// `zput`, `zblob ls`.
    #[must_use]
    pub fn command(&self, name: &str) -> Command {
        let mut words = command_words(name);
        let mut command = self.program(words.next().unwrap());
        command.args(words);
        command
    }

    /// A program as this machine would run it: in an environment with nothing but a path and this
    /// home. A failure is not tried again, unless the test asks for it: most tests want to see it.
    #[must_use]
    pub fn program(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.file(""))
            .env_clear()
            .env("PATH", SYSTEM_PATH)
            .env("HOME", self.root.path())
            .env("ZPUT_RETRIES", "0")
            .stdin(Stdio::null());
        command
    }

    /// Runs `name` to its end.
    ///
    /// # Panics
    /// When it does not start.
    #[track_caller]
    pub fn run<A: AsRef<OsStr>>(&self, name: &str, args: impl IntoIterator<Item = A>) -> Ran {
        let output = self.command(name).args(args).output();
        output.unwrap_or_else(|e| panic!("{name} does not start: {e}")).into()
    }

    /// Runs `name` with `input` on its standard input.
    ///
    /// # Panics
    /// When it does not start.
    #[track_caller]
    pub fn run_with<A: AsRef<OsStr>>(
        &self,
        name: &str,
        args: impl IntoIterator<Item = A>,
        input: &[u8],
    ) -> Ran {
        let mut command = self.command(name);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{name} does not start: {e}"));
        let mut stdin = child.stdin.take().unwrap();
        thread::scope(|scope| {
            scope.spawn(move || {
                // A command that fails early does not read all of it.
                let _closed_early = stdin.write_all(input);
            });
            child.wait_with_output().unwrap().into()
        })
    }

    /// Runs a command line, split at spaces: a program and its arguments, the verb among them.
    ///
    /// # Panics
    /// When it does not start.
    #[track_caller]
    pub fn run_line(&self, line: &str) -> Ran {
        let (name, arguments) = line.split_once(' ').unwrap_or((line, ""));
        self.run(name, arguments.split_whitespace())
    }

    /// Runs a command line with `input` on its standard input.
    ///
    /// # Panics
    /// When it does not start.
    #[track_caller]
    pub fn run_line_on(&self, input: &[u8], line: &str) -> Ran {
        let (name, arguments) = line.split_once(' ').unwrap_or((line, ""));
        self.run_with(name, arguments.split_whitespace(), input)
    }

    /// Runs a shell script with the commands on its path.
    ///
    /// # Panics
    /// When the shell does not start.
    #[track_caller]
    pub fn sh(&self, script: &str) -> Ran {
        self.by("sh", &["-c"], script)
    }

    /// The same as root in a mount namespace of its own.
    ///
    /// # Errors
    /// The reason why that is impossible here.
    ///
    /// # Panics
    /// When the shell does not start.
    #[track_caller]
    pub fn sh_with_mounts(&self, script: &str) -> Result<Ran, String> {
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

    #[track_caller]
    fn by(&self, program: &str, arguments: &[&str], script: &str) -> Ran {
        let commands = command_path("zput");
        let commands = commands.parent().unwrap().display();
        let mut command = self.program(program);
        let path = format!("{commands}:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.args(arguments).arg(script).env("PATH", path).output().unwrap().into()
    }
}

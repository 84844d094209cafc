//! The output of a command as a source, which is stored only if the command succeeds.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::fd::OwnedFd,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use super::{error::SourceError, file::read_stream, interface::Source};
use crate::{
    cleanup::{ChildGuard, terminate_tree},
    io::attributes::Attributes,
};

/// The output of a command.
#[derive(Debug)]
pub struct CommandSource {
    child: Child,
    guard: Option<ChildGuard>,
    output: File,
    /// Bytes that were read and belong to the next part.
    ahead: Vec<u8>,
    command: OsString,
    /// Whether the command has printed anything.
    has_output: bool,
    may_be_empty: bool,
}

impl CommandSource {
    /// Starts `command` with `arguments` without a shell. It inherits this process's stdin and
    /// stderr.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start<S: AsRef<OsStr>>(command: &OsStr, arguments: &[S]) -> Result<Self, SourceError> {
        let failed = |source| SourceError::Start { command: command.to_owned(), source };
        let mut process = Command::new(command);
        process.args(arguments).stdout(Stdio::piped());
        let (mut child, guard) = ChildGuard::spawn(&mut process).map_err(failed)?;
        let guard = Some(guard);
        let Some(output) = child.stdout.take() else {
            return Err(failed(io::Error::from(io::ErrorKind::BrokenPipe)));
        };
        Ok(Self {
            child,
            guard,
            output: File::from(OwnedFd::from(output)),
            ahead: Vec::new(),
            command: command.to_owned(),
            has_output: false,
            may_be_empty: false,
        })
    }

    /// Whether the command may succeed without printing a byte, which most often means that a dump
    /// has failed.
    #[must_use]
    pub fn allow_empty(mut self, may_be_empty: bool) -> Self {
        self.may_be_empty = may_be_empty;
        self
    }

    fn failed(&self, source: io::Error) -> SourceError {
        SourceError::Read { path: PathBuf::from(&self.command), source }
    }
}

impl Source for CommandSource {
    fn read_part(&mut self, part: &mut Vec<u8>, part_size: usize) -> Result<(), SourceError> {
        let read = read_stream(&self.output, &mut self.ahead, part, part_size);
        self.has_output |= !part.is_empty();
        read.map_err(|error| self.failed(error))
    }

    fn finish(&mut self) -> Result<(), SourceError> {
        // The command has closed its output and is about to exit. Until it has, a signal to this
        // process ends it too.
        if let Some(guard) = self.guard.take() {
            guard.wait_for_exit();
        }
        let status = self.child.wait().map_err(|error| self.failed(error))?;
        if !status.success() {
            return Err(SourceError::Failed { command: self.command.clone(), status });
        }
        if !self.has_output && !self.may_be_empty {
            return Err(SourceError::Empty(PathBuf::from(&self.command)));
        }
        Ok(())
    }

    fn length(&self) -> Option<u64> {
        None
    }

    fn attributes(&self) -> Attributes {
        Attributes::of_stream()
    }
}

impl Drop for CommandSource {
    /// Ends the command of a put that was given up, since its output is not read any more.
    fn drop(&mut self) {
        if self.guard.take().is_some() {
            terminate_tree(self.child.id());
            let _ended = self.child.kill();
            let _reaped = self.child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        path::Path,
        thread,
        time::{Duration, Instant},
    };

    use super::*;
    use crate::io::source::interface::tests::read_all;

    /// The output of a command that succeeds is a source.
    #[test]
    fn command_source_reads_output_of_a_successful_command() {
        let mut source = CommandSource::start(OsStr::new("printf"), &["%s", "hello"]).unwrap();
        assert_eq!(read_all(&mut source, 100), [b"hello"]);
        source.finish().unwrap();
    }

    /// The output of a command that fails or cannot start is an error.
    #[test]
    fn command_source_refuses_output_of_a_failed_command() {
        let mut source =
            CommandSource::start(OsStr::new("sh"), &["-c", "printf half; exit 3"]).unwrap();
        assert_eq!(read_all(&mut source, 100), [b"half"]);
        let error = source.finish().unwrap_err();
        assert_eq!(error.to_string(), "sh failed with exit status: 3; nothing was stored");
        assert!(matches!(
            CommandSource::start(OsStr::new("/nonexistent"), &[] as &[&str]),
            Err(SourceError::Start { .. })
        ));
    }

    /// A command that prints nothing is an error unless an empty blob is allowed.
    #[test]
    fn command_source_refuses_empty_output_unless_allowed() {
        let start = || CommandSource::start(OsStr::new("true"), &[] as &[&str]).unwrap();
        let mut source = start();
        assert_eq!(read_all(&mut source, 100), [b""]);
        let error = source.finish().unwrap_err();
        assert_eq!(error.to_string(), "true gave no data; nothing was stored");
        let mut source = start().allow_empty(true);
        assert_eq!(read_all(&mut source, 100), [b""]);
        source.finish().unwrap();
    }

    /// Dropping a command source ends its command.
    #[test]
    fn command_source_drop_ends_the_command() {
        let source = CommandSource::start(OsStr::new("sleep"), &["1000"]).unwrap();
        let id = source.child.id();
        drop(source);
        assert!(!Path::new(&format!("/proc/{id}")).exists());
    }

    /// Dropping a command source ends the background processes of its command too.
    #[test]
    fn command_source_drop_ends_processes_the_command_started() {
        let started = Instant::now();
        let until = |what: &str, is: &dyn Fn() -> bool| {
            while !is() {
                assert!(started.elapsed() < Duration::from_secs(60), "not within a minute: {what}");
                thread::sleep(Duration::from_millis(5));
            }
        };
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let script = format!("sleep 600 & echo $! > {}; wait", file.display());
        let source = CommandSource::start(OsStr::new("sh"), &["-c", &script]).unwrap();
        let pid = || fs::read_to_string(&file).unwrap_or_default();
        until("it has begun", &|| pid().ends_with('\n'));
        drop(source);
        let stat = format!("/proc/{}/stat", pid().trim());
        until("it has ended", &|| {
            fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "))
        });
    }
}

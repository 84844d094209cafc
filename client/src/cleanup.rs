//! What must not outlive the process: temporary files, children, a terminal without echo.
//!
//! [`on_signals`] starts a thread that, on SIGINT or SIGTERM, ends the children, removes the files, gives
//! the echo back and leaves with 130 or 143. A file that somebody can go on with stays, and is told of. Whatever it would have to see to is made under the lock
//! that it takes, so no signal falls between making and noting. A SIGKILL or a power cut can leave a temporary file; its name begins with
//! `.zput-` and ends in `.tmp`, and it is never the target itself.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use rustix::{
    process::{Pid, Signal, kill_process},
    termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr},
};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

static LEFT_BEHIND: Mutex<LeftBehind> =
    Mutex::new(LeftBehind { files: BTreeMap::new(), children: BTreeMap::new(), terminal: None });

struct LeftBehind {
    /// Those that stay come with what is said of them.
    files: BTreeMap<PathBuf, Option<String>>,
    children: BTreeMap<u32, Pid>,
    /// One without echo, and what it was before.
    terminal: Option<(Arc<File>, Termios)>,
}

fn left_behind() -> MutexGuard<'static, LeftBehind> {
    LEFT_BEHIND.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file that a signal removes, unless it is to be kept, for as long as this guard lives.
#[derive(Debug)]
pub struct FileGuard(PathBuf);

impl FileGuard {
    /// Makes an empty temporary file of mode 0600 in `directory`, with a name that says whose it is,
    /// and watches over it.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn make(directory: &Path) -> io::Result<(tempfile::NamedTempFile, Self)> {
        let mut left = left_behind();
        // The library's own errors name the temporary file, which nobody has asked for.
        let mut refused = None;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        let file = tempfile::Builder::new()
            .prefix(".zput-")
            .suffix(".tmp")
            .make_in(directory, |path| {
                options.open(path).inspect_err(|error| refused = error.raw_os_error())
            })
            .map_err(|error| refused.map_or(error, io::Error::from_raw_os_error))?;
        left.files.insert(file.path().to_owned(), None);
        let guard = Self(file.path().to_owned());
        Ok((file, guard))
    }

    /// Watches over a file that is there already.
    #[must_use]
    pub fn over(path: &Path) -> Self {
        left_behind().files.insert(path.to_owned(), None);
        Self(path.to_owned())
    }

    /// From now on the file stays: a signal ends the process with this line on stderr. Without one it goes again.
    pub fn keep(&self, line: Option<String>) {
        left_behind().files.insert(self.0.clone(), line);
    }
}

impl Drop for FileGuard {
    fn drop(&mut self) {
        left_behind().files.remove(&self.0);
    }
}

/// A child that a signal ends for as long as this guard lives. Drop it before the child is waited
/// for: afterwards its number may be another process's.
#[derive(Debug)]
pub struct ChildGuard(u32);

impl ChildGuard {
    /// Starts `command` and watches over it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(command: &mut Command) -> io::Result<(Child, Self)> {
        let mut left = left_behind();
        let child = command.spawn()?;
        let id = child.id();
        if let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) {
            left.children.insert(id, pid);
        }
        Ok((child, Self(id)))
    }
}

impl Drop for ChildGuard {
    fn drop(&mut self) {
        left_behind().children.remove(&self.0);
    }
}

/// A terminal that shows nothing of what is typed for as long as this guard lives.
#[derive(Debug)]
pub struct EchoGuard(());

impl EchoGuard {
    /// Turns the echo off, and forgets what was typed before.
    ///
    /// # Errors
    /// When this is no terminal.
    pub fn hide(terminal: &Arc<File>) -> io::Result<Self> {
        let mut left = left_behind();
        let shown = tcgetattr(terminal)?;
        let mut hidden = shown.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(terminal, OptionalActions::Flush, &hidden)?;
        left.terminal = Some((Arc::clone(terminal), shown));
        Ok(Self(()))
    }
}

impl Drop for EchoGuard {
    fn drop(&mut self) {
        show(&mut left_behind());
    }
}

/// Gives a terminal its echo back.
fn show(left: &mut LeftBehind) {
    if let Some((terminal, shown)) = left.terminal.take() {
        // A terminal that went away shows nothing any more.
        let _shown = tcsetattr(&*terminal, OptionalActions::Now, &shown);
    }
}

/// Begins to watch for SIGINT and SIGTERM.
///
/// # Errors
/// When the handlers or the thread cannot be installed.
pub fn on_signals() -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        if let Some(signal) = signals.forever().next() {
            // The lock is kept until the end, so that nothing is added behind the sweep.
            let mut left = left_behind();
            if let Some(line) = crate::progress::interrupted() {
                // There is nobody left to be told that stderr is gone.
                let _told = writeln!(io::stderr(), "{line}");
            }
            sweep(&mut left);
            crate::throwaway::end();
            std::process::exit(128 + signal);
        }
    })?;
    Ok(())
}

/// Ends the children and removes the files that are there still: the command gives up, and threads that
/// would have done it may be stuck in a read.
pub fn give_up() {
    sweep(&mut left_behind());
}

fn sweep(left: &mut LeftBehind) {
    show(left);
    for pid in left.children.values() {
        // One that has ended already is what was wanted.
        let _ended = kill_process(*pid, Signal::TERM);
    }
    for (file, line) in &left.files {
        match line {
            // There is nobody left to be told that stderr is gone.
            Some(line) => drop(writeln!(io::stderr(), "{line}")),
            None => drop(std::fs::remove_file(file)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guards_are_forgotten_when_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let (file, guard) = FileGuard::make(directory.path()).unwrap();
        assert!(left_behind().files.contains_key(file.path()));
        drop(guard);
        assert!(!left_behind().files.contains_key(file.path()));
    }
}

//! What must not outlive the process: temporary files and children.
//!
//! [`on_signals`] starts a thread that, on SIGINT or SIGTERM, ends the children, removes the files and
//! leaves with 130 or 143. A SIGKILL or a power cut can leave a temporary file; its name begins with
//! `.zput-` and ends in `.tmp`, and it is never the target itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
};

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

static LEFT_BEHIND: Mutex<LeftBehind> =
    Mutex::new(LeftBehind { files: BTreeSet::new(), children: BTreeMap::new() });

struct LeftBehind {
    files: BTreeSet<PathBuf>,
    children: BTreeMap<u32, Pid>,
}

fn left_behind() -> MutexGuard<'static, LeftBehind> {
    LEFT_BEHIND.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file that a signal removes for as long as this guard lives.
#[derive(Debug)]
pub struct FileGuard(PathBuf);

impl FileGuard {
    /// Watches over the file at `path`.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        left_behind().files.insert(path.to_owned());
        Self(path.to_owned())
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
    /// Watches over the child with this process id.
    #[must_use]
    pub fn new(id: u32) -> Self {
        if let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) {
            left_behind().children.insert(id, pid);
        }
        Self(id)
    }
}

impl Drop for ChildGuard {
    fn drop(&mut self) {
        left_behind().children.remove(&self.0);
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
            let left = left_behind();
            sweep(&left);
            std::process::exit(128 + signal);
        }
    })?;
    Ok(())
}

/// Ends the children and removes the files that are there still: the command gives up, and threads that
/// would have done it may be stuck in a read.
pub fn give_up() {
    sweep(&left_behind());
}

fn sweep(left: &LeftBehind) {
    for pid in left.children.values() {
        // One that has ended already is what was wanted.
        let _ended = kill_process(*pid, Signal::TERM);
    }
    for file in &left.files {
        let _gone = std::fs::remove_file(file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guards_are_forgotten_when_dropped() {
        let path = Path::new("/nonexistent/guarded");
        let guard = FileGuard::new(path);
        assert!(left_behind().files.contains(path));
        drop(guard);
        assert!(!left_behind().files.contains(path));
    }
}

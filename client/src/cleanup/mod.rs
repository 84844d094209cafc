//! Temporary files and child processes that must not outlive the process: for a program that
//! handles signals.
//!
//! The library removes a temporary file and ends a child process itself, when the value that owns
//! it is dropped. A program that ends otherwise, by a signal, asks this registry what there is:
//! it takes the registry's lock ([`lock`]) and calls [`Registry::clean`]. Each resource is created
//! and registered under that lock, so none can be created unseen. Nothing here handles a signal.
//!
//! A SIGKILL or a power cut can leave a temporary file, whose name begins with `.zput-` and ends in
//! `.tmp`; it is never the target itself.

mod process_tree;

use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use zput_os::memory;

static REGISTRY: Mutex<Registry> =
    Mutex::new(Registry { files: BTreeMap::new(), children: BTreeMap::new() });

/// The temporary files and children of this process.
#[derive(Debug)]
pub struct Registry {
    /// Files to remove; one with a note is kept, for a later get to resume from.
    files: BTreeMap<PathBuf, Option<String>>,
    children: BTreeMap<u32, Pid>,
}

/// The registry. While the guard lives nothing is created, registered or forgotten.
pub fn lock() -> MutexGuard<'static, Registry> {
    memory::stop_if_short();
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Registry {
    /// Asks the children and their descendants to end, and removes the files that are not kept.
    /// `kept` is called with the note of each file that is.
    pub fn clean(&self, mut kept: impl FnMut(&str)) {
        for pid in self.children.values() {
            process_tree::terminate(*pid);
        }
        for (file, note) in &self.files {
            match note {
                Some(note) => kept(note),
                None => drop(std::fs::remove_file(file)),
            }
        }
    }
}

/// A file that a signal removes, unless it is kept, while this guard lives.
#[derive(Debug)]
pub struct FileGuard(PathBuf);

impl FileGuard {
    /// Creates an empty temporary file of mode 0600 in `directory` and registers it.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn create(directory: &Path) -> io::Result<(tempfile::NamedTempFile, Self)> {
        let mut registry = lock();
        // The crate's own error names the temporary file, which the user does not know.
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
        registry.files.insert(file.path().to_owned(), None);
        let guard = Self(file.path().to_owned());
        Ok((file, guard))
    }

    /// Registers an existing file.
    #[must_use]
    pub(crate) fn adopt(path: &Path) -> Self {
        lock().files.insert(path.to_owned(), None);
        Self(path.to_owned())
    }

    /// With a note, the file outlives the process. With `None` it does not.
    pub fn keep(&self, note: Option<String>) {
        lock().files.insert(self.0.clone(), note);
    }
}

impl Drop for FileGuard {
    fn drop(&mut self) {
        lock().files.remove(&self.0);
    }
}

/// A child process that a signal ends while this guard lives. Drop it before waiting for the child:
/// afterwards its id may belong to another process.
#[derive(Debug)]
pub struct ChildGuard(u32);

impl ChildGuard {
    /// Starts `command` and registers it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(command: &mut Command) -> io::Result<(Child, Self)> {
        let mut registry = lock();
        let child = command.spawn()?;
        let id = child.id();
        if let Some(pid) = pid_of(id) {
            registry.children.insert(id, pid);
        }
        Ok((child, Self(id)))
    }

    /// Waits until the child has exited, without reaping it; until then a signal ends it.
    pub(crate) fn wait_for_exit(self) {
        let Some(pid) = pid_of(self.0) else { return };
        // Any other error occurs again when the child is waited for.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(pid), options) {}
    }
}

fn pid_of(id: u32) -> Option<Pid> {
    i32::try_from(id).ok().and_then(Pid::from_raw)
}

/// Asks a child that was not reaped, and its descendants, to end.
pub(crate) fn terminate_tree(id: u32) {
    if let Some(pid) = pid_of(id) {
        process_tree::terminate(pid);
    }
}

impl Drop for ChildGuard {
    fn drop(&mut self) {
        lock().children.remove(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file guard registers its file and removes it from the registry when dropped.
    #[test]
    fn file_guard_is_unregistered_when_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let (file, guard) = FileGuard::create(directory.path()).unwrap();
        assert!(lock().files.contains_key(file.path()));
        drop(guard);
        assert!(!lock().files.contains_key(file.path()));
    }
}

//! Cleanup of what must not outlive the process: temporary files, child processes, and a terminal
//! without echo.
//!
//! [`watch_signals`] starts a thread that handles terminating signals: it ends the children and their
//! descendants, removes the files, restores the echo and exits with 128 plus the signal's number. A
//! file that a later command can resume from stays, and a line about it is printed. Each resource
//! is created and registered under the lock that the signal thread takes, so no signal can arrive
//! in between. Lack of memory wakes the thread like a signal, with exit code 1
//! ([`zput_server::memory`]).
//!
//! SIGHUP is not handled if it is ignored, as under nohup(1). SIGXFSZ terminates nothing: the write
//! fails with EFBIG, and the command names the file. A SIGKILL or a power cut can leave a temporary
//! file, whose name begins with `.zput-` and ends in `.tmp`; it is never the target itself.

mod process_tree;

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, atomic::AtomicBool},
    thread,
};

use rustix::{
    process::{Pid, WaitId, WaitIdOptions, waitid},
    termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr},
};
use signal_hook::{
    consts::{
        SIGALRM, SIGHUP, SIGINT, SIGPROF, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGVTALRM, SIGXCPU,
        SIGXFSZ,
    },
    flag,
    iterator::{Handle, Signals},
};
use zput_server::{memory, threads};

use crate::ExitCode;

/// signal(7): signals that terminate a process, can be caught, and do not indicate a programming
/// error. SIGHUP is added if it is not ignored.
const TERMINATING_SIGNALS: [i32; 9] =
    [SIGINT, SIGTERM, SIGQUIT, SIGALRM, SIGUSR1, SIGUSR2, SIGXCPU, SIGVTALRM, SIGPROF];

static REGISTRY: Mutex<Registry> = Mutex::new(Registry {
    files: BTreeMap::new(),
    children: BTreeMap::new(),
    terminal: None,
    exit_message: None,
});

/// Wakes the signal thread without a signal.
static WAKER: OnceLock<Handle> = OnceLock::new();

struct Registry {
    /// Files to remove; one with a line is kept, and the line is printed.
    files: BTreeMap<PathBuf, Option<String>>,
    children: BTreeMap<u32, Pid>,
    /// A terminal whose echo is off, and its original settings.
    terminal: Option<(Arc<File>, Termios)>,
    /// Gives the line to print when a signal ends the process.
    exit_message: Option<ExitMessage>,
}

type ExitMessage = Box<dyn Fn() -> Option<String> + Send>;

fn registry() -> MutexGuard<'static, Registry> {
    memory::stop_if_short();
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
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
        let mut registry = registry();
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
    pub fn adopt(path: &Path) -> Self {
        registry().files.insert(path.to_owned(), None);
        Self(path.to_owned())
    }

    /// With a line, a signal keeps the file and prints the line to stderr. With `None` it removes
    /// the file.
    pub fn keep(&self, line: Option<String>) {
        registry().files.insert(self.0.clone(), line);
    }
}

impl Drop for FileGuard {
    fn drop(&mut self) {
        registry().files.remove(&self.0);
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
        let mut registry = registry();
        let child = command.spawn()?;
        let id = child.id();
        if let Some(pid) = pid_of(id) {
            registry.children.insert(id, pid);
        }
        Ok((child, Self(id)))
    }
}

impl ChildGuard {
    /// Waits until the child has exited, without reaping it; until then a signal ends it.
    pub fn wait_for_exit(self) {
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
        registry().children.remove(&self.0);
    }
}

/// A terminal whose echo is off while this guard lives.
#[derive(Debug)]
pub struct EchoGuard(());

impl EchoGuard {
    /// Turns the echo off and discards input that was typed before.
    ///
    /// # Errors
    /// When this is not a terminal.
    pub fn hide(terminal: &Arc<File>) -> io::Result<Self> {
        let mut registry = registry();
        let shown = tcgetattr(terminal)?;
        let mut hidden = shown.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(terminal, OptionalActions::Flush, &hidden)?;
        registry.terminal = Some((Arc::clone(terminal), shown));
        Ok(Self(()))
    }
}

impl Drop for EchoGuard {
    fn drop(&mut self) {
        restore_echo(&mut registry());
    }
}

/// Restores the echo of a terminal.
fn restore_echo(registry: &mut Registry) {
    if let Some((terminal, shown)) = registry.terminal.take() {
        // A terminal that is gone needs no echo.
        let _shown = tcsetattr(&*terminal, OptionalActions::Now, &shown);
    }
}

/// A line that is printed when a signal ends the process, while this guard lives.
#[derive(Debug)]
pub struct ExitMessageGuard(());

impl ExitMessageGuard {
    /// `message` gives the line at that moment, if there is one.
    pub fn set(message: impl Fn() -> Option<String> + Send + 'static) -> Self {
        registry().exit_message = Some(Box::new(message));
        Self(())
    }
}

impl Drop for ExitMessageGuard {
    fn drop(&mut self) {
        registry().exit_message = None;
    }
}

/// Starts the thread that handles terminating signals and lack of memory. `program` is the
/// command's name in messages.
///
/// # Errors
/// When the handlers or the thread cannot be installed.
pub fn watch_signals(program: &'static str) -> io::Result<()> {
    let hangup = (is_ignored(SIGHUP) == Some(false)).then_some(SIGHUP);
    let mut signals = Signals::new(TERMINATING_SIGNALS.into_iter().chain(hangup))?;
    flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
    let waker = signals.handle();
    let _thread = threads::begin("signals", move || {
        // Set only once there is a thread to wake.
        let _once = WAKER.set(waker);
        memory::when_short(wake);
        let signal = signals.forever().next();
        let bar = crate::progress::take_interrupted();
        if signal.is_none() {
            memory::tell(program);
        }
        // The lock is held until the process exits, so that nothing is registered after the
        // cleanup.
        let mut registry = registry();
        if let Some(line) = registry.exit_message.take().and_then(|message| message()).or(bar) {
            // If stderr is gone, nothing else could report it.
            let _unwritable = writeln!(io::stderr(), "{line}");
        }
        clean(&mut registry);
        crate::ephemeral_state::remove();
        std::process::exit(signal.map_or(ExitCode::Other as i32, |signal| 128 + signal));
    })?;
    Ok(())
}

/// Called when memory is short: makes the signal thread end the process. Takes no lock and
/// allocates nothing.
fn wake() {
    if let Some(waker) = WAKER.get() {
        waker.close();
    }
}

/// Blocks until the process has ended if memory is short: the result of the command is unreliable
/// then.
pub fn wait_if_out_of_memory() {
    while memory::is_short() {
        thread::park();
    }
}

/// Whether this process was started with `signal` ignored; `None` if the system does not tell.
fn is_ignored(signal: i32) -> Option<bool> {
    is_ignored_in(&std::fs::read_to_string("/proc/self/status").ok()?, signal)
}

/// proc_pid_status(5): a mask in hexadecimal; the lowest bit is signal 1.
fn is_ignored_in(status: &str, signal: i32) -> Option<bool> {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    let mask = u64::from_str_radix(mask.trim(), 16).ok()?;
    Some(mask >> u32::try_from(signal).ok()?.checked_sub(1)? & 1 == 1)
}

/// Ends the registered children and removes the registered files after the command has failed; the
/// threads that own them may be blocked in a read.
pub fn clean_up() {
    clean(&mut registry());
}

fn clean(registry: &mut Registry) {
    restore_echo(registry);
    for pid in registry.children.values() {
        process_tree::terminate(*pid);
    }
    for (file, line) in &registry.files {
        match line {
            // If stderr is gone, nothing else could report it.
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
        let (file, guard) = FileGuard::create(directory.path()).unwrap();
        assert!(registry().files.contains_key(file.path()));
        drop(guard);
        assert!(!registry().files.contains_key(file.path()));
    }

    #[test]
    fn an_ignored_signal_is_found_in_the_mask() {
        let status = "Name:\tzget\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000000\n";
        assert_eq!(is_ignored_in(status, SIGHUP), Some(true));
        assert_eq!(is_ignored_in(status, SIGINT), Some(false));
        assert_eq!(is_ignored_in("Name:\tzget\n", SIGHUP), None);
        assert_eq!(is_ignored_in("SigIgn:\tnone\n", SIGHUP), None);
    }
}

//! What must not outlive the process: temporary files, children, a terminal without echo.
//!
//! [`on_signals`] starts a thread that, on a signal that ends a process, ends the children and what they
//! have started, removes the files, gives the echo back and leaves with 128 and the number of the signal.
//! A file that a later command can go on with stays, and is told of. Whatever the thread would have to
//! see to is made under the lock that it takes, so no signal falls between making and noting. Want of
//! memory wakes it as a signal does, and is exit code 1 ([`zput_server::memory`]).
//!
//! SIGHUP is left alone where it is ignored, as under nohup(1). SIGXFSZ ends nothing: the write fails with
//! EFBIG, and the command says which file it was. A SIGKILL or a power cut can leave a temporary file; its
//! name begins with `.zput-` and ends in `.tmp`, and it is never the target itself.

#[path = "cleanup/process_tree.rs"]
mod family;

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

/// signal(7): those that end a process, can be caught, and say nothing of an error in the program. SIGHUP is
/// added where it is not ignored.
const ENDING: [i32; 9] =
    [SIGINT, SIGTERM, SIGQUIT, SIGALRM, SIGUSR1, SIGUSR2, SIGXCPU, SIGVTALRM, SIGPROF];

static LEFT_BEHIND: Mutex<LeftBehind> = Mutex::new(LeftBehind {
    files: BTreeMap::new(),
    children: BTreeMap::new(),
    terminal: None,
    last_words: None,
});

/// What wakes the thread that waits for signals, without one.
static WAKER: OnceLock<Handle> = OnceLock::new();

struct LeftBehind {
    /// Those that stay come with what is said of them.
    files: BTreeMap<PathBuf, Option<String>>,
    children: BTreeMap<u32, Pid>,
    /// One without echo, and what it was before.
    terminal: Option<(Arc<File>, Termios)>,
    /// What a signal lets the process say.
    last_words: Option<LastWords>,
}

type LastWords = Box<dyn Fn() -> Option<String> + Send>;

fn left_behind() -> MutexGuard<'static, LeftBehind> {
    memory::stop_if_short();
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
        if let Some(pid) = raw(id) {
            left.children.insert(id, pid);
        }
        Ok((child, Self(id)))
    }
}

impl ChildGuard {
    /// Waits until the child has ended, without taking its status: until then a signal ends it.
    pub fn until_it_ended(self) {
        let Some(pid) = raw(self.0) else { return };
        // Any other error would come again when the child is waited for.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(pid), options) {}
    }
}

fn raw(id: u32) -> Option<Pid> {
    i32::try_from(id).ok().and_then(Pid::from_raw)
}

/// Asks a child that was not waited for, and what it has started, to end.
pub(crate) fn end_family(id: u32) {
    if let Some(pid) = raw(id) {
        family::end(pid);
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

/// What is said when a signal ends the process, for as long as this guard lives.
#[derive(Debug)]
pub struct WordsGuard(());

impl WordsGuard {
    /// `words` gives the line at that moment, if there is one.
    pub fn say(words: impl Fn() -> Option<String> + Send + 'static) -> Self {
        left_behind().last_words = Some(Box::new(words));
        Self(())
    }
}

impl Drop for WordsGuard {
    fn drop(&mut self) {
        left_behind().last_words = None;
    }
}

/// Begins to watch for the signals that end a process, and for want of memory, of which `program` tells.
///
/// # Errors
/// When the handlers or the thread cannot be installed.
pub fn on_signals(program: &'static str) -> io::Result<()> {
    let hangup = (is_ignored(SIGHUP) == Some(false)).then_some(SIGHUP);
    let mut signals = Signals::new(ENDING.into_iter().chain(hangup))?;
    flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
    let waker = signals.handle();
    let _thread = threads::begin("signals", move || {
        // Not before there is a thread that is woken.
        let _once = WAKER.set(waker);
        memory::when_short(wake);
        let signal = signals.forever().next();
        let bar = crate::progress::interrupted();
        if signal.is_none() {
            memory::tell(program);
        }
        // The lock is kept until the end, so that nothing is added behind the sweep.
        let mut left = left_behind();
        if let Some(line) = left.last_words.take().and_then(|words| words()).or(bar) {
            // There is nobody left to be told that stderr is gone.
            let _told = writeln!(io::stderr(), "{line}");
        }
        sweep(&mut left);
        crate::throwaway::end();
        std::process::exit(signal.map_or(ExitCode::Other as i32, |signal| 128 + signal));
    })?;
    Ok(())
}

/// Memory is short: the thread that waits for signals ends the process. Takes no lock and no memory.
fn wake() {
    if let Some(waker) = WAKER.get() {
        waker.close();
    }
}

/// Waits for the end of the process, if memory is short: what a command came to is not known then.
pub fn wait_if_ending() {
    while memory::is_short() {
        thread::park();
    }
}

/// Whether this process was started with `signal` ignored; none where the system does not say.
fn is_ignored(signal: i32) -> Option<bool> {
    is_ignored_in(&std::fs::read_to_string("/proc/self/status").ok()?, signal)
}

/// proc_pid_status(5): a mask in hex, whose lowest bit is signal 1.
fn is_ignored_in(status: &str, signal: i32) -> Option<bool> {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    let mask = u64::from_str_radix(mask.trim(), 16).ok()?;
    Some(mask >> u32::try_from(signal).ok()?.checked_sub(1)? & 1 == 1)
}

/// Ends the children and removes the files that are there still: the command gives up, and threads that
/// would have done it may be stuck in a read.
pub fn give_up() {
    sweep(&mut left_behind());
}

fn sweep(left: &mut LeftBehind) {
    show(left);
    for pid in left.children.values() {
        family::end(*pid);
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

    #[test]
    fn an_ignored_signal_is_found_in_the_mask() {
        let status = "Name:\tzget\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000000\n";
        assert_eq!(is_ignored_in(status, SIGHUP), Some(true));
        assert_eq!(is_ignored_in(status, SIGINT), Some(false));
        assert_eq!(is_ignored_in("Name:\tzget\n", SIGHUP), None);
        assert_eq!(is_ignored_in("SigIgn:\tnone\n", SIGHUP), None);
    }
}

//! Terminating signals: cleanup of what must not outlive the process.
//!
//! [`watch_signals`] starts a thread that handles terminating signals: it ends the children and
//! their descendants, removes the files ([`zput::cleanup`]), restores the echo and exits with 128
//! plus the signal's number. A file that a later command can resume from stays, and a line about it
//! is printed. Each resource is created and registered under a lock that the signal thread takes,
//! so no signal can arrive in between. Lack of memory wakes the thread like a signal, with exit
//! code 1 ([`zput_os::memory`]).
//!
//! SIGHUP is not handled if it is ignored, as under nohup(1). SIGXFSZ terminates nothing: the write
//! fails with EFBIG, and the command names the file.

use std::{
    fs::File,
    io::{self, Write as _},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, atomic::AtomicBool},
    thread,
};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use signal_hook::{
    consts::{
        SIGALRM, SIGHUP, SIGINT, SIGPROF, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGVTALRM, SIGXCPU,
        SIGXFSZ,
    },
    flag,
    iterator::{Handle, Signals},
};
use zput::cleanup;
use zput_os::{memory, threads};

use crate::{bar, ephemeral_state, exit_code::ExitCode};

/// signal(7): signals that terminate a process, can be caught, and do not indicate a programming
/// error. SIGHUP is added if it is not ignored.
const TERMINATING_SIGNALS: [i32; 9] =
    [SIGINT, SIGTERM, SIGQUIT, SIGALRM, SIGUSR1, SIGUSR2, SIGXCPU, SIGVTALRM, SIGPROF];

static REGISTRY: Mutex<Registry> = Mutex::new(Registry { terminal: None, exit_message: None });

/// Wakes the signal thread without a signal.
static WAKER: OnceLock<Handle> = OnceLock::new();

/// What a program holds that must not outlive it, beside what the library does.
struct Registry {
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
    let _thread = threads::spawn("signals", move || {
        // Set only once there is a thread to wake.
        let _once = WAKER.set(waker);
        memory::when_short(wake);
        let signal = signals.forever().next();
        let bar = bar::take_interrupted();
        if signal.is_none() {
            memory::tell(program);
        }
        // The locks are held until the process exits, so that nothing is registered after the
        // cleanup.
        let mut registry = registry();
        if let Some(line) = registry.exit_message.take().and_then(|message| message()).or(bar) {
            print_line(&line);
        }
        restore_echo(&mut registry);
        let resources = cleanup::lock();
        resources.clean(print_line);
        ephemeral_state::remove();
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

/// Ends the children and removes the temporary files after the command has failed; the threads that
/// own them may be blocked in a read.
pub fn clean_up() {
    restore_echo(&mut registry());
    cleanup::lock().clean(print_line);
}

fn print_line(line: &str) {
    // If stderr is gone, nothing else could report it.
    let _unwritable = writeln!(io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ignored signal is found in the SigIgn mask of /proc/self/status.
    #[test]
    fn ignored_signal_is_read_from_proc_status() {
        let status = "Name:\tzget\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000000\n";
        assert_eq!(is_ignored_in(status, SIGHUP), Some(true));
        assert_eq!(is_ignored_in(status, SIGINT), Some(false));
        assert_eq!(is_ignored_in("Name:\tzget\n", SIGHUP), None);
        assert_eq!(is_ignored_in("SigIgn:\tnone\n", SIGHUP), None);
    }
}

//! Notifications to the service manager (sd_notify(3)). Does nothing when not started by one.
//!
//! The socket is connected before the sandbox is entered, which denies new sockets.

use std::{
    env,
    fmt::Write as _,
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use sd_notify::NotifyState;
use tracing::{error, warn};

use crate::{admin::Health, sys::threads};

/// The socket that is connected to the service manager; unset without one.
static MANAGER: OnceLock<UnixDatagram> = OnceLock::new();

/// How long sending a message may block: a manager that reads none must not delay the handling of a
/// signal.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// Connects to the service manager that `NOTIFY_SOCKET` names, if it is set. Must be called once,
/// before the other functions of this module.
pub fn connect() {
    let Some(name) = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else { return };
    let connected = (|| {
        // "If the first character is "@", the string is understood as Linux abstract namespace
        // socket".
        let address = match name.as_bytes().strip_prefix(b"@") {
            Some(abstract_name) => SocketAddr::from_abstract_name(abstract_name)?,
            None => SocketAddr::from_pathname(&name)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        socket.set_write_timeout(Some(SEND_TIMEOUT))?;
        Ok::<_, io::Error>(socket)
    })();
    match connected {
        // A second call keeps the first socket.
        Ok(socket) => drop(MANAGER.set(socket)),
        Err(failure) => warn!(error = %failure, ?name, "cannot reach the service manager"),
    }
}

/// Tells the manager that the server is ready.
pub fn ready() {
    notify(&[NotifyState::Ready]);
}

/// Tells the manager that the server reloads its configuration; [`ready`] ends the reload.
pub fn reloading() {
    // "a monotonic timestamp in µs" of the reload's begin, by which systemd tells this reload from
    // the one before (sd_notify(3), MONOTONIC_USEC=).
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(failure) => warn!(error = %failure, "cannot read the monotonic clock"),
    }
}

/// Tells the manager that the server drains its connections and stops.
pub fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Starts a thread that keeps the service manager's watchdog alive while the workers run, if a
/// watchdog is configured. It is also kept alive while the server drains, when workers end one by
/// one.
///
/// # Errors
/// When the thread cannot be started.
pub fn start_watchdog(health: Health) -> io::Result<()> {
    let Some(patience) = sd_notify::watchdog_enabled().filter(|time| !time.is_zero()) else {
        return Ok(());
    };
    // sd_watchdog_enabled(3): "it is recommended that a daemon sends a keep-alive notification
    // message to the service manager every half of the time returned here".
    let run = move || run_watchdog(&health, patience / 2);
    threads::spawn("watchdog", run).map(drop)
}

fn run_watchdog(health: &Health, interval: Duration) {
    loop {
        match health.stalled(Instant::now()) {
            None => notify(&[NotifyState::Watchdog]),
            Some(stalled) => error!(%stalled, "a worker is stalled: the watchdog is not notified"),
        }
        thread::sleep(interval);
    }
}

fn notify(states: &[NotifyState<'_>]) {
    let Some(manager) = MANAGER.get() else { return };
    let text = states.iter().fold(String::new(), |mut text, state| {
        // Writing to a string cannot fail.
        let _written = writeln!(text, "{state}");
        text
    });
    if let Err(failure) = manager.send(text.as_bytes()) {
        warn!(error = %failure, "cannot notify the service manager");
    }
}

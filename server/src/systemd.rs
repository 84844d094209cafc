//! What a service manager is told (sd_notify(3)). Without one, nothing is said to nobody.
//!
//! The socket is connected before the sandbox, which lets none be made any more, and stays so.

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

use crate::{admin::Condition, sys::threads};

/// The way to it.
static MANAGER: OnceLock<UnixDatagram> = OnceLock::new();

/// How long a message may take to be taken: a manager that takes none must not hold up a signal.
const PATIENCE: Duration = Duration::from_secs(1);

/// Connects to the service manager that `NOTIFY_SOCKET` names, if there is one. To be called once, before
/// anything else here.
pub fn connect() {
    let Some(name) = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else { return };
    let connected = (|| {
        // "If the first character is "@", the string is understood as Linux abstract namespace socket".
        let address = match name.as_bytes().strip_prefix(b"@") {
            Some(abstract_name) => SocketAddr::from_abstract_name(abstract_name)?,
            None => SocketAddr::from_pathname(&name)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok::<_, io::Error>(socket)
    })();
    match connected {
        // A second call has nothing to add.
        Ok(socket) => drop(MANAGER.set(socket)),
        Err(failure) => warn!(%failure, ?name, "cannot reach the service manager"),
    }
}

/// The server serves.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The server reads its configuration again; [`ready`] says when it has.
pub fn reloading() {
    // "a monotonic timestamp in µs" of when it began, so that systemd tells this reload from the one
    // before (sd_notify(3), MONOTONIC_USEC=).
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(failure) => warn!(%failure, "there is no monotonic clock"),
    }
}

/// The server drains.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Keeps a watchdog quiet from now on, if there is one: as long as the workers turn. A server that
/// drains is left alone too: its workers end one by one.
///
/// # Errors
/// When there is no thread to be had.
pub fn keep_watchdog(condition: Condition) -> io::Result<()> {
    let Some(patience) = sd_notify::watchdog_enabled().filter(|time| !time.is_zero()) else {
        return Ok(());
    };
    // sd_watchdog_enabled(3): "it is recommended that a daemon sends a keep-alive notification
    // message to the service manager every half of the time returned here".
    let keep = move || keep(&condition, patience / 2);
    threads::begin("watchdog", keep).map(drop)
}

fn keep(condition: &Condition, interval: Duration) {
    loop {
        match condition.stalled(Instant::now()) {
            None => tell(&[NotifyState::Watchdog]),
            Some(stalled) => error!(%stalled, "the watchdog is not told that all is well"),
        }
        thread::sleep(interval);
    }
}

fn tell(states: &[NotifyState<'_>]) {
    let Some(manager) = MANAGER.get() else { return };
    let text = states.iter().fold(String::new(), |mut text, state| {
        // A text in memory takes everything.
        let _written = writeln!(text, "{state}");
        text
    });
    if let Err(failure) = manager.send(text.as_bytes()) {
        warn!(%failure, "cannot tell the service manager");
    }
}

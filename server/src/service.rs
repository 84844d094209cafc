//! What a service manager is told (sd_notify(3)). Without one, nothing is said to nobody.

use std::{
    io, thread,
    time::{Duration, Instant},
};

use sd_notify::NotifyState;
use tracing::{error, warn};

use crate::admin::Condition;

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
    thread::Builder::new().name("watchdog".to_owned()).spawn(keep).map(drop)
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
    if let Err(failure) = sd_notify::notify(states) {
        warn!(%failure, "cannot tell the service manager");
    }
}

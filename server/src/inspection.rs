//! `zserve scrub` and `zserve check`: a store looked at, and what was found said to people and to scripts.
//!
//! The store's files are the database, so both work beside a running server. What was found goes to standard output, line by line as
//! it is found, and to the log.

use std::{
    io::{self, Write as _},
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};
use thiserror::Error;
use tracing::{error, info};

use crate::{
    config::{CheckArgs, ScrubArgs},
    standard,
    store::{
        CheckReport, Clearing, Damage, ReadFrom, ScrubOptions, Share, Store, StoreError, Suspicion,
        Watcher,
    },
};

/// What a script is told when damage was found or a store is suspect, as clients are when a blob does not hold.
const EXIT_DAMAGE: u8 = 8;

/// How often the log hears how far a scrub has come.
const TOLD_EVERY: Duration = Duration::from_secs(30);

/// Longest sleep for the sake of a rate: a signal is heard within it.
const NAP_MAX: Duration = Duration::from_millis(200);

/// The signal that wants this to stop; 0 for none.
pub type StopSignal = Arc<AtomicUsize>;

/// Why an inspection ended before its end.
#[derive(Debug, Error)]
pub enum InspectionError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nobody reads what is said.
    #[error("cannot say what was found: {0}")]
    Output(#[from] io::Error),
}

/// How an inspection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was found.
    Sound,
    /// Something was.
    Damaged,
    /// This signal stopped it.
    Stopped(u8),
}

impl Outcome {
    /// What the process ends with: 0, 8, or 128 and the signal's number.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Sound => 0,
            Self::Damaged => EXIT_DAMAGE,
            Self::Stopped(signal) => 128 + signal,
        }
    }

    fn of(damaged: bool, stopped: bool, stop: &StopSignal) -> Self {
        match (damaged, stopped) {
            (true, _) => Self::Damaged,
            (false, true) => Self::Stopped(u8::try_from(stop.load(Ordering::Relaxed)).unwrap_or(0)),
            (false, false) => Self::Sound,
        }
    }
}

/// Takes SIGINT and SIGTERM: an inspection stops at them and says so.
///
/// # Errors
/// When they cannot be taken.
pub fn stop_signals() -> io::Result<StopSignal> {
    let stop = StopSignal::default();
    for signal in [SIGINT, SIGTERM] {
        let number = usize::try_from(signal).unwrap_or(0);
        signal_hook::flag::register_usize(signal, Arc::clone(&stop), number)?;
    }
    Ok(stop)
}

/// Scrubs `store` and says what came of it.
///
/// # Errors
/// When the store or standard output fail.
pub fn scrub(
    store: &Store,
    args: &ScrubArgs,
    stop: &StopSignal,
) -> Result<Outcome, InspectionError> {
    let from = if args.from_disk { ReadFrom::Disk } else { ReadFrom::PageCache };
    let options = ScrubOptions { share: args.share.unwrap_or(Share::ALL), from };
    let mut teller = Teller::new(args.json, args.rate, stop);
    let report = store.scrub(options, &mut teller)?;
    teller.failed()?;
    let seconds = teller.began.elapsed().as_secs_f64();
    let damaged = report.damaged.len();
    if args.json {
        say(&json!({
            "event": "scrubbed",
            "files": report.files,
            "bytes": report.bytes,
            "damaged": damaged,
            "seconds": seconds,
            "whole_store": report.pass.is_some(),
            "stopped": report.stopped,
            "read_only": report.read_only,
        }))?;
    } else {
        let how_far = match (report.stopped, report.pass) {
            _ if report.read_only => {
                "the store is read-only: nothing was set aside, and scrub.toml does not say how far this run came"
            }
            (true, _) => "stopped; the next run goes on here",
            (false, Some(_)) => "that was the end of the store",
            (false, None) => "the next run goes on here",
        };
        say(&format_args!(
            "{} files with {} bytes in {seconds:.1} s, {damaged} of them damaged; {how_far}",
            report.files, report.bytes
        ))?;
    }
    info!(files = report.files, bytes = report.bytes, damaged, "scrubbed");
    Ok(Outcome::of(damaged > 0, report.stopped, stop))
}

/// Checks `store` and says what came of it; clears a suspicion if that is asked for and can be done.
///
/// # Errors
/// When the store or standard output fail.
pub fn check(
    store: &Store,
    args: &CheckArgs,
    stop: &StopSignal,
) -> Result<Outcome, InspectionError> {
    let suspicion = store.suspicion()?;
    if let Some(suspicion) = &suspicion {
        tell_suspicion(suspicion, args.json)?;
    }
    let mut teller = Teller::new(args.json, None, stop);
    let clears = args.clear_suspect && suspicion.is_some();
    let clearing = if clears { store.clear_suspicion(&mut teller)? } else { None };
    let (report, cleared, from_disk) = match clearing {
        Some(Clearing { report, cleared }) => (report, cleared, true),
        None => (store.check(&mut teller)?, false, false),
    };
    teller.failed()?;
    let suspect = store.suspicion()?.is_some();
    let (left, damaged) = (report.leftovers, report.damaged.len());
    if args.json {
        say(&json!({
            "event": "checked",
            "current": report.current,
            "history": report.history,
            "trash": report.trash,
            "bytes": report.bytes,
            "damaged": damaged,
            "uploads": left.uploads,
            "upload_bytes": left.upload_bytes,
            "temporary": left.temporary,
            "quarantined": left.quarantined,
            "stopped": report.stopped,
            "from_disk": from_disk,
            "suspect": suspect,
            "cleared": cleared,
        }))?;
    } else {
        say(&format_args!(
            "{} current versions, {} earlier and {} deleted ones, {} bytes in all; {damaged} of them damaged",
            report.current, report.history, report.trash, report.bytes
        ))?;
        say(&format_args!(
            "{} uploads under way or kept ({} bytes), {} temporary files, {} files in quarantine",
            left.uploads, left.upload_bytes, left.temporary, left.quarantined
        ))?;
        if let Some(end) = verdict(args.clear_suspect, from_disk, suspect, &report) {
            say(&end)?;
        }
    }
    info!(damaged, quarantined = left.quarantined, from_disk, suspect, cleared, "checked");
    // A verification that was stopped has found nothing yet.
    let found = damaged > 0 || (suspect && !(from_disk && report.stopped));
    Ok(Outcome::of(found, report.stopped, stop))
}

fn tell_suspicion(Suspicion { since, doing }: &Suspicion, json: bool) -> io::Result<()> {
    let since = since.map(|since| humantime::format_rfc3339_seconds(since).to_string());
    if json {
        return say(&json!({ "event": "suspect", "since": since, "doing": doing }));
    }
    let since = since.as_deref().unwrap_or("a time that is not known");
    say(&format_args!("suspect since {since}, when it could not {}", doing.escape_debug()))
}

/// What a person is told at the end, where there is more to say than numbers.
fn verdict(
    asked_to_clear: bool,
    from_disk: bool,
    suspect: bool,
    report: &CheckReport,
) -> Option<&'static str> {
    Some(match (from_disk, suspect) {
        (true, false) => "all of it was read from the disk: it takes writes again",
        (true, true) if report.stopped => "stopped: it takes no writes",
        (true, true) if !report.damaged.is_empty() => {
            "it takes no writes: run this again when nothing damaged is left where it was"
        }
        (true, true) => "another sync failed meanwhile: it takes no writes",
        (false, true) => "it takes no writes until zserve check --clear-suspect has read all of it",
        (false, false) if asked_to_clear => "it is not suspect: there is nothing to clear",
        (false, false) => return None,
    })
}

fn say(line: &impl std::fmt::Display) -> io::Result<()> {
    writeln!(standard::stdout()?, "{line}")
}

/// Tells of what is found, keeps to a rate, and listens for signals.
struct Teller<'a> {
    json: bool,
    /// Bytes a second.
    rate: Option<u64>,
    stop: &'a StopSignal,
    began: Instant,
    bytes: u64,
    told: Instant,
    /// What could not be said.
    failure: Option<io::Error>,
}

impl<'a> Teller<'a> {
    fn new(json: bool, rate: Option<u64>, stop: &'a StopSignal) -> Self {
        let now = Instant::now();
        Self { json, rate, stop, began: now, bytes: 0, told: now, failure: None }
    }

    fn failed(&mut self) -> io::Result<()> {
        self.failure.take().map_or(Ok(()), Err)
    }

    fn wants_to_stop(&self) -> bool {
        self.failure.is_some() || self.stop.load(Ordering::Relaxed) > 0
    }
}

impl Watcher for Teller<'_> {
    fn read(&mut self, bytes: u64) -> ControlFlow<()> {
        self.bytes += bytes;
        if self.told.elapsed() >= TOLD_EVERY {
            self.told = Instant::now();
            info!(bytes = self.bytes, "reading the store");
        }
        while let Some(wait) = ahead(self.bytes, self.rate, self.began.elapsed())
            && !self.wants_to_stop()
        {
            thread::sleep(wait.min(NAP_MAX));
        }
        if self.wants_to_stop() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn found(&mut self, damage: &Damage) {
        let Damage { file, key, what, quarantined } = damage;
        error!(file, key, what, quarantined, "damage was found");
        let said = if self.json {
            say(&json!({
                "event": "damage",
                "file": file,
                "key": key,
                "what": what,
                "quarantined": quarantined,
            }))
        } else {
            let key = key.as_ref().map(|key| format!(" (key {key})")).unwrap_or_default();
            let aside = match quarantined {
                Some(path) => format!("; set aside as {}", path.escape_debug()),
                None => "; left where it is".to_owned(),
            };
            say(&format_args!("{}{key}: {what}{aside}", file.escape_debug()))
        };
        if let Err(error) = said {
            self.failure.get_or_insert(error);
        }
    }
}

/// How long to wait for `bytes` not to be too many in the time that has `passed`.
fn ahead(bytes: u64, rate: Option<u64>, passed: Duration) -> Option<Duration> {
    let due = Duration::try_from_secs_f64(bytes as f64 / rate? as f64).unwrap_or(Duration::MAX);
    due.checked_sub(passed).filter(|wait| !wait.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_kept_by_waiting() {
        let second = Duration::from_secs(1);
        assert_eq!(ahead(300, Some(100), second), Some(2 * second));
        assert_eq!(ahead(100, Some(100), second), None);
        assert_eq!(ahead(u64::MAX, None, second), None);
    }

    #[test]
    fn damage_goes_before_a_signal() {
        let stop = StopSignal::new(AtomicUsize::new(15));
        assert_eq!(Outcome::of(true, true, &stop).exit_code(), 8);
        assert_eq!(Outcome::of(false, true, &stop).exit_code(), 143);
        assert_eq!(Outcome::of(false, false, &stop).exit_code(), 0);
    }
}

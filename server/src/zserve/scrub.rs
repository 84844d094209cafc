//! `zserve scrub` and `zserve check`: inspecting a store, with output for people and for scripts.
//!
//! The store's files are the database, so both work beside a running server. Findings are written
//! to standard output, one line each as they are found, and to the log.

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
    store::{
        CheckReport, ClearReport, Damage, Fraction, FsyncFailure, Observer, ReadFrom, ScrubOptions,
        Store, StoreError,
    },
    sys::stdio,
    zserve::config::{CheckArgs, ScrubArgs},
};

/// The exit code when damage was found or a store is suspect: the one that clients use for a
/// damaged blob.
const EXIT_DAMAGE: u8 = 8;

/// How often the progress of a scrub is logged.
const LOG_EVERY: Duration = Duration::from_secs(30);

/// Longest sleep to keep a rate, after which signals are checked.
const SLEEP_MAX: Duration = Duration::from_millis(200);

/// The number of the signal that requested a stop; 0 for none.
pub type StopSignal = Arc<AtomicUsize>;

/// Why an inspection did not complete.
#[derive(Debug, Error)]
pub enum InspectionError {
    /// The store could not be read, or its state not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The result could not be written to standard output.
    #[error("cannot write the result: {0}")]
    Output(#[from] io::Error),
}

/// The result of an inspection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No damage was found.
    Clean,
    /// Damage was found, or the store is suspect.
    Damaged,
    /// A signal with this number stopped it.
    Stopped(u8),
}

impl Outcome {
    /// The exit code of the process: 0, 8, or 128 plus the signal's number.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::Damaged => EXIT_DAMAGE,
            Self::Stopped(signal) => 128 + signal,
        }
    }

    fn new(damaged: bool, stopped: bool, stop: &StopSignal) -> Self {
        match (damaged, stopped) {
            (true, _) => Self::Damaged,
            (false, true) => Self::Stopped(u8::try_from(stop.load(Ordering::Relaxed)).unwrap_or(0)),
            (false, false) => Self::Clean,
        }
    }
}

/// Handles SIGINT and SIGTERM: an inspection then stops and reports that it was stopped.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn stop_signals() -> io::Result<StopSignal> {
    let stop = StopSignal::default();
    for signal in [SIGINT, SIGTERM] {
        let number = usize::try_from(signal).unwrap_or(0);
        signal_hook::flag::register_usize(signal, Arc::clone(&stop), number)?;
    }
    Ok(stop)
}

/// Scrubs `store` and prints the result.
///
/// # Errors
/// When the store or standard output fails.
pub fn scrub(
    store: &Store,
    args: &ScrubArgs,
    stop: &StopSignal,
) -> Result<Outcome, InspectionError> {
    let from = if args.from_disk { ReadFrom::Disk } else { ReadFrom::PageCache };
    let options = ScrubOptions { fraction: args.fraction.unwrap_or(Fraction::ALL), from };
    let mut reporter = Reporter::new(args.json, args.rate, stop);
    let report = store.scrub(options, &mut reporter)?;
    reporter.take_failure()?;
    let seconds = reporter.began.elapsed().as_secs_f64();
    let damaged = report.damaged.len();
    if args.json {
        print_line(&json!({
            "event": "scrub_summary",
            "files": report.files,
            "bytes": report.bytes,
            "damaged": damaged,
            "seconds": seconds,
            "pass_complete": report.pass.is_some(),
            "stopped": report.stopped,
            "read_only": report.read_only,
        }))?;
    } else {
        let how_far = match (report.stopped, report.pass) {
            _ if report.read_only => {
                "the store is read-only: nothing was quarantined, and the position was not recorded"
            }
            (true, _) => "stopped; the next run continues here",
            (false, Some(_)) => "complete: the end of the store was reached",
            (false, None) => "the next run continues here",
        };
        print_line(&format_args!(
            "{} files with {} bytes in {seconds:.1} s, {damaged} of them damaged; {how_far}",
            report.files, report.bytes
        ))?;
    }
    info!(files = report.files, bytes = report.bytes, damaged, "scrubbed");
    Ok(Outcome::new(damaged > 0, report.stopped, stop))
}

/// Checks `store` and prints the result. Clears a suspect store if `args` ask for it and no damage
/// is found.
///
/// # Errors
/// When the store or standard output fails.
pub fn check(
    store: &Store,
    args: &CheckArgs,
    stop: &StopSignal,
) -> Result<Outcome, InspectionError> {
    let failure = store.fsync_failure()?;
    if let Some(failure) = &failure {
        print_fsync_failure(failure, args.json)?;
    }
    let mut reporter = Reporter::new(args.json, None, stop);
    let clears = args.clear_suspect && failure.is_some();
    let cleared_report = if clears { store.clear_suspect(&mut reporter)? } else { None };
    let (report, cleared, from_disk) = match cleared_report {
        Some(ClearReport { report, cleared }) => (report, cleared, true),
        None => (store.check(&mut reporter)?, false, false),
    };
    reporter.take_failure()?;
    let suspect = store.fsync_failure()?.is_some();
    let (left, damaged) = (report.leftovers, report.damaged.len());
    if args.json {
        print_line(&json!({
            "event": "check_summary",
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
        print_line(&format_args!(
            "{} current versions, {} earlier and {} deleted ones, {} bytes in all; {damaged} of \
             them damaged",
            report.current, report.history, report.trash, report.bytes
        ))?;
        print_line(&format_args!(
            "{} uploads in progress or kept ({} bytes), {} temporary files, {} files in quarantine",
            left.uploads, left.upload_bytes, left.temporary, left.quarantined
        ))?;
        if let Some(end) = closing_line(args.clear_suspect, from_disk, suspect, &report) {
            print_line(&end)?;
        }
    }
    info!(damaged, quarantined = left.quarantined, from_disk, suspect, cleared, "checked");
    // A verification that was stopped has not found damage yet.
    let found = damaged > 0 || (suspect && !(from_disk && report.stopped));
    Ok(Outcome::new(found, report.stopped, stop))
}

fn print_fsync_failure(FsyncFailure { since, doing }: &FsyncFailure, json: bool) -> io::Result<()> {
    let since = since.map(|since| humantime::format_rfc3339_seconds(since).to_string());
    if json {
        return print_line(&json!({ "event": "suspect", "since": since, "operation": doing }));
    }
    let since = since.as_deref().unwrap_or("an unknown time");
    print_line(&format_args!("suspect since {since}, when it could not {}", doing.escape_debug()))
}

/// The last line for people, where there is more to say than numbers.
fn closing_line(
    asked_to_clear: bool,
    from_disk: bool,
    suspect: bool,
    report: &CheckReport,
) -> Option<&'static str> {
    Some(match (from_disk, suspect) {
        (true, false) => "all of it was read from the disk: the store takes writes again",
        (true, true) if report.stopped => "stopped: the store takes no writes",
        (true, true) if !report.damaged.is_empty() => {
            "the store takes no writes: run this again when no damaged file is left in its place"
        }
        (true, true) => "another fsync failed meanwhile: the store takes no writes",
        (false, true) => {
            "the store takes no writes until zserve check --clear-suspect has read all of it"
        }
        (false, false) if asked_to_clear => "the store is not suspect: there is nothing to clear",
        (false, false) => return None,
    })
}

fn print_line(line: &impl std::fmt::Display) -> io::Result<()> {
    writeln!(stdio::stdout()?, "{line}")
}

/// Prints and logs findings, limits the rate, and checks for signals.
struct Reporter<'a> {
    json: bool,
    /// Bytes a second; `None` for no limit.
    rate: Option<u64>,
    stop: &'a StopSignal,
    began: Instant,
    bytes: u64,
    logged_at: Instant,
    /// The first error of standard output.
    failure: Option<io::Error>,
}

impl<'a> Reporter<'a> {
    fn new(json: bool, rate: Option<u64>, stop: &'a StopSignal) -> Self {
        let now = Instant::now();
        Self { json, rate, stop, began: now, bytes: 0, logged_at: now, failure: None }
    }

    fn take_failure(&mut self) -> io::Result<()> {
        self.failure.take().map_or(Ok(()), Err)
    }

    fn should_stop(&self) -> bool {
        self.failure.is_some() || self.stop.load(Ordering::Relaxed) > 0
    }
}

impl Observer for Reporter<'_> {
    fn on_read(&mut self, bytes: u64) -> ControlFlow<()> {
        self.bytes += bytes;
        if self.logged_at.elapsed() >= LOG_EVERY {
            self.logged_at = Instant::now();
            info!(bytes = self.bytes, "reading the store");
        }
        while let Some(wait) = rate_delay(self.bytes, self.rate, self.began.elapsed())
            && !self.should_stop()
        {
            thread::sleep(wait.min(SLEEP_MAX));
        }
        if self.should_stop() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn on_damage(&mut self, damage: &Damage) {
        let Damage { file, key, what, quarantined } = damage;
        error!(file, key, what, quarantined, "damage was found");
        let printed = if self.json {
            print_line(&json!({
                "event": "damage",
                "file": file,
                "key": key,
                "error": what,
                "quarantined": quarantined,
            }))
        } else {
            let key = key.as_ref().map(|key| format!(" (key {key})")).unwrap_or_default();
            let destination = match quarantined {
                Some(path) => format!("; quarantined as {}", path.escape_debug()),
                None => "; left in place".to_owned(),
            };
            print_line(&format_args!("{}{key}: {what}{destination}", file.escape_debug()))
        };
        if let Err(error) = printed {
            self.failure.get_or_insert(error);
        }
    }
}

/// How long to wait so that `bytes` do not exceed the rate in the time that has `passed`; `None`
/// for no wait.
fn rate_delay(bytes: u64, rate: Option<u64>, passed: Duration) -> Option<Duration> {
    let due = Duration::try_from_secs_f64(bytes as f64 / rate? as f64).unwrap_or(Duration::MAX);
    due.checked_sub(passed).filter(|wait| !wait.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The scrub waits as long as the bytes read exceed the configured rate.
    #[test]
    fn scrub_rate_delay_holds_configured_rate() {
        let second = Duration::from_secs(1);
        assert_eq!(rate_delay(300, Some(100), second), Some(2 * second));
        assert_eq!(rate_delay(100, Some(100), second), None);
        assert_eq!(rate_delay(u64::MAX, None, second), None);
    }

    /// The exit code for damage, 8, takes precedence over that of a signal.
    #[test]
    fn inspection_exit_code_of_damage_precedes_signal() {
        let stop = StopSignal::new(AtomicUsize::new(15));
        assert_eq!(Outcome::new(true, true, &stop).exit_code(), 8);
        assert_eq!(Outcome::new(false, true, &stop).exit_code(), 143);
        assert_eq!(Outcome::new(false, false, &stop).exit_code(), 0);
    }
}

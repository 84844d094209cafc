//! The log: lines of text or JSON on stderr.
//!
//! Only the thread that writes to stderr waits for it (`outlet`), and no thread ends because of it:
//! lines that cannot be written are dropped and counted. `limit` bounds the lines that peers can
//! cause.

mod limit;
mod outlet;

use std::{
    io::{self, IsTerminal as _},
    panic::{self, PanicHookInfo},
    sync::LazyLock,
    thread,
    time::Duration,
};

use clap::ValueEnum;
use serde::Deserialize;
use thiserror::Error;
use tracing::error;
use tracing_subscriber::{
    EnvFilter, Layer as _, filter::ParseError, fmt, layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::metrics::program;
use limit::Limit;
use outlet::Outlet;

/// Everything that this process writes to stderr.
static STDERR: LazyLock<Outlet> = LazyLock::new(Outlet::default);

const DEFAULT_FILTER: &str = "info";

/// The format of the lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One line of text, with colours on a terminal.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Why the log cannot be started or changed.
#[derive(Debug, Error)]
pub enum LogError {
    /// The filter cannot be parsed.
    #[error(
        "--log or RUST_LOG is no log filter ({0}): write, for example, info or zput_server=debug"
    )]
    Filter(#[from] ParseError),
    /// The filter cannot be replaced.
    #[error("what is logged cannot be changed: {0}")]
    Change(#[from] tracing_subscriber::reload::Error),
    /// This process has a log already.
    #[error("this program logs already")]
    Twice,
}

/// Replaces the filter of the running log.
pub struct Filtering(Box<Reload>);

type Reload = dyn Fn(EnvFilter) -> Result<(), tracing_subscriber::reload::Error> + Send;

impl Filtering {
    /// Uses `filter` from now on; see [`start`].
    ///
    /// # Errors
    /// [`LogError::Filter`] and [`LogError::Change`]; the previous filter stays in use.
    pub fn change(&self, filter: Option<&str>) -> Result<(), LogError> {
        Ok((self.0)(parse(filter)?)?)
    }
}

/// The kind of program that logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgramKind {
    /// A server: the lines that its peers can cause are bounded.
    Server,
    /// A command that ends by itself: every line is written.
    Command,
}

/// Starts the log. Lines are kept in memory until [`start_writing`] is called. `filter` takes
/// precedence over `RUST_LOG`, and that over `info`. Messages of panics go to the log too.
///
/// # Errors
/// [`LogError::Filter`]; [`LogError::Twice`].
pub fn start(
    kind: ProgramKind,
    format: LogFormat,
    filter: Option<&str>,
) -> Result<Filtering, LogError> {
    let (filter, handle) = tracing_subscriber::reload::Layer::new(parse(filter)?);
    let lines = fmt::layer()
        // Colours are for a terminal, not for a journal.
        .with_ansi(io::stderr().is_terminal())
        // The outlet accepts every line: the layer could not report an error.
        .with_writer(|| &*STDERR);
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    let limit = (kind == ProgramKind::Server).then(Limit::default);
    let registry = tracing_subscriber::registry().with(filter).with(lines).with(limit);
    registry.try_init().map_err(|_| LogError::Twice)?;
    panic::set_hook(Box::new(log_panic));
    program::set_dropped_log_lines(dropped_lines);
    Ok(Filtering(Box::new(move |filter| handle.reload(filter))))
}

/// Starts the thread that writes lines to stderr, including those from before. Must be called after
/// everything that has to be done while the process has one thread.
///
/// # Errors
/// When the thread cannot be started.
pub fn start_writing() -> io::Result<()> {
    STDERR.start(io::stderr())
}

/// Writes one line to stderr that is no line of the log.
pub fn print_line(line: &str) {
    STDERR.push(format!("{line}\n").as_bytes());
}

/// Waits until all lines are written, for at most `patience`: stderr may be a pipe without a
/// reader. If the writing thread cannot be started, the calling thread writes.
pub fn finish(patience: Duration) {
    match start_writing() {
        Ok(()) => STDERR.flush(patience),
        Err(_) => STDERR.write_out(&io::stderr(), patience),
    }
}

/// Number of lines that could not be written, and of lines beyond the rate limit, since the process
/// started.
#[must_use]
pub fn dropped_lines() -> (u64, u64) {
    (STDERR.dropped(), limit::suppressed_lines())
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let thread = thread::current();
    let thread = thread.name().unwrap_or("without a name");
    let message = panic.payload_as_str().unwrap_or("without a message");
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    error!(thread, place, message, "a thread panicked");
}

fn parse(filter: Option<&str>) -> Result<EnvFilter, LogError> {
    let from_environment = std::env::var(EnvFilter::DEFAULT_ENV).ok();
    let filter = filter.or(from_environment.as_deref()).unwrap_or(DEFAULT_FILTER);
    Ok(EnvFilter::try_new(filter)?)
}

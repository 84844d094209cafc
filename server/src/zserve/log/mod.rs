//! Logs: to stderr, as text or JSON.
//!
//! No thread ever waits for stderr but the one that writes to it (`outlet`), and none ends because of
//! it: what cannot be written is lost and counted. `limit` keeps what peers cause within bounds.

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

/// All that this process says on stderr.
static STDERR: LazyLock<Outlet> = LazyLock::new(Outlet::default);

/// What is logged when nobody says otherwise.
const DEFAULT_FILTER: &str = "info";

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Why there is no log.
#[derive(Debug, Error)]
pub enum LogError {
    /// A filter that is none.
    #[error(
        "--log or RUST_LOG is no log filter ({0}): write, for example, info or zput_server=debug"
    )]
    Filter(#[from] ParseError),
    /// The filter cannot be changed.
    #[error("what is logged cannot be changed: {0}")]
    Change(#[from] tracing_subscriber::reload::Error),
    /// This program logs already.
    #[error("this program logs already")]
    Twice,
}

/// Changes what is logged while it is.
pub struct Filtering(Box<Reload>);

type Reload = dyn Fn(EnvFilter) -> Result<(), tracing_subscriber::reload::Error> + Send;

impl Filtering {
    /// Logs what `filter` says from now on; see [`start`].
    ///
    /// # Errors
    /// For a filter that cannot be read; then all stays as it is.
    pub fn change(&self, filter: Option<&str>) -> Result<(), LogError> {
        Ok((self.0)(parse(filter)?)?)
    }
}

/// Whose log it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Author {
    /// A server: what its peers cause is bounded.
    Server,
    /// A command that ends by itself: each line counts.
    Command,
}

/// Takes lines for stderr from now on; [`begin`] begins to write them. `filter` goes before `RUST_LOG`,
/// and that before `info`. What a panic says goes there too.
///
/// # Errors
/// For a filter that cannot be read, and when called twice.
pub fn start(
    author: Author,
    format: LogFormat,
    filter: Option<&str>,
) -> Result<Filtering, LogError> {
    let (filter, handle) = tracing_subscriber::reload::Layer::new(parse(filter)?);
    let lines = fmt::layer()
        // Colours are for people in front of it, not for a journal.
        .with_ansi(io::stderr().is_terminal())
        // Which takes every line, whatever becomes of it: the layer has no error to tell of by itself.
        .with_writer(|| &*STDERR);
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    let limit = (author == Author::Server).then(Limit::default);
    let registry = tracing_subscriber::registry().with(filter).with(lines).with(limit);
    registry.try_init().map_err(|_| LogError::Twice)?;
    panic::set_hook(Box::new(tell_panic));
    program::set_lost_log_lines(lost);
    Ok(Filtering(Box::new(move |filter| handle.reload(filter))))
}

/// Begins to write what was and is said, on a thread of its own: after whatever has to be done while
/// there is but one.
///
/// # Errors
/// When there is no thread to be had.
pub fn begin() -> io::Result<()> {
    STDERR.start(io::stderr())
}

/// Says one line on stderr that is no line of the log.
pub fn say(line: &str) {
    STDERR.push(format!("{line}\n").as_bytes());
}

/// Waits until all was written that was said; for `patience` at most, since nobody may read it. Where there is no thread to be
/// had this one writes.
pub fn finish(patience: Duration) {
    match begin() {
        Ok(()) => STDERR.flush(patience),
        Err(_) => STDERR.write_out(&io::stderr(), patience),
    }
}

/// Lines that could not be written, and lines that were left out because there were too many like them.
#[must_use]
pub fn lost() -> (u64, u64) {
    (STDERR.lost(), limit::left_out())
}

fn tell_panic(panic: &PanicHookInfo<'_>) {
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

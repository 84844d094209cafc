//! Logs: to stderr, as text or JSON.

use std::io::{self, IsTerminal as _};

use clap::ValueEnum;
use serde::Deserialize;
use thiserror::Error;
use tracing_subscriber::{EnvFilter, filter::ParseError, fmt};

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
    /// This program logs already.
    #[error("this program logs already")]
    Twice,
}

/// Logs to stderr from now on. `filter` goes before `RUST_LOG`, and that before `info`.
///
/// # Errors
/// For a filter that cannot be read, and when called twice.
pub fn start(format: LogFormat, filter: Option<&str>) -> Result<(), LogError> {
    let from_environment = std::env::var(EnvFilter::DEFAULT_ENV).ok();
    let filter = filter.or(from_environment.as_deref()).unwrap_or(DEFAULT_FILTER);
    let lines = fmt()
        .with_env_filter(EnvFilter::try_new(filter)?)
        // Colours are for people in front of it, not for a journal.
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr);
    match format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().try_init(),
    }
    .map_err(|_| LogError::Twice)
}

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

/// Logs to stderr from now on. `filter` goes before `RUST_LOG`, and that before `info`.
///
/// # Errors
/// For a filter that cannot be read, and when called twice.
pub fn start(format: LogFormat, filter: Option<&str>) -> Result<Filtering, LogError> {
    let lines = fmt()
        .with_env_filter(parse(filter)?)
        // Colours are for people in front of it, not for a journal.
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr);
    let (reload, started): (Box<Reload>, _) = match format {
        LogFormat::Text => {
            let lines = lines.with_filter_reloading();
            let handle = lines.reload_handle();
            (Box::new(move |filter| handle.reload(filter)), lines.try_init())
        }
        LogFormat::Json => {
            let lines = lines.json().with_filter_reloading();
            let handle = lines.reload_handle();
            (Box::new(move |filter| handle.reload(filter)), lines.try_init())
        }
    };
    started.map_err(|_| LogError::Twice)?;
    Ok(Filtering(reload))
}

fn parse(filter: Option<&str>) -> Result<EnvFilter, LogError> {
    let from_environment = std::env::var(EnvFilter::DEFAULT_ENV).ok();
    let filter = filter.or(from_environment.as_deref()).unwrap_or(DEFAULT_FILTER);
    Ok(EnvFilter::try_new(filter)?)
}

//! The verbs, one module each, and the programs that run them.
//!
//! Data and JSON go to stdout, everything else to stderr. A failure is one line that names the
//! subject, what happened and what to do next, and an exit code
//! ([`ExitCode`](crate::exit_code::ExitCode)).

pub mod completions;
pub mod get;
pub mod key;
pub mod ls;
pub mod man;
pub mod open;
pub mod put;
pub mod restore;
pub mod rm;
pub mod seal;
pub mod stat;

mod arguments;
mod command_line;
mod common_arguments;
mod console;
mod failure;
mod foreign_options;
mod format;
mod interrupted;
mod program;
mod run;
mod select;
mod tree;
mod verb;

#[cfg(test)]
pub(crate) use self::arguments::parse_arguments;
pub use self::{
    arguments::{KeyArguments, RetryArguments},
    common_arguments::{COMMAND_LINE_ONLY, environment_variable},
    console::{Console, Verbosity},
    failure::Failure,
    program::Program,
    run::run,
};
pub(crate) use self::{
    arguments::{blob_name, directories, if_exists, open_key_file, utf8, warn_if_exposed},
    console::Summary,
    failure::{Context, local, usage},
};

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

mod command_line;
mod console;
mod failure;
mod foreign_options;
mod format;
mod global_options;
mod interrupted;
mod program;
mod run;
mod select;
mod shared_arguments;
mod tree;
mod verb;

#[cfg(test)]
pub(crate) use self::shared_arguments::parse_arguments;
pub(crate) use self::{
    console::Summary,
    failure::{Context, local, usage},
    shared_arguments::{blob_name, directories, if_exists, open_key_file, utf8, warn_if_exposed},
};
pub use self::{
    console::{Console, Verbosity},
    failure::Failure,
    global_options::{COMMAND_LINE_ONLY, environment_variable},
    program::Program,
    run::run,
    shared_arguments::{KeyArguments, RetryArguments},
};

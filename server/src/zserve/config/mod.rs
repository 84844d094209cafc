//! How `zserve` is set up: what its command line and its file come to.
//!
//! [`cli`] reads the one and `file` the other; what both say is told apart here: a flag goes before
//! the file, and the file before the defaults. The result is plain values. Nothing is opened, so that
//! a file can be checked without serving it, and read again while it is served.

pub mod cli;
mod error;
mod file;
mod load;
mod settings;
mod values;

pub use cli::{
    CheckArgs, Cli, Command, CompletionsArgs, InviteArgs, ManArgs, ScrubArgs, ServeArgs,
};
pub use error::ConfigError;
pub use file::parse;
pub use load::Directories;
pub use settings::{
    CONFIG_FILE_MAX_BYTES, Config, DEFAULT_LISTEN, DEFAULT_STAT_VALIDITY, Limits, MOUNTS_MAX,
    MountConfig, MountPrefix, MountSource,
};

#[cfg(test)]
mod tests;

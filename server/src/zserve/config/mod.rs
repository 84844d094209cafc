//! The configuration of `zserve`, from its command line and its file.
//!
//! [`cli`] parses the one and `file` the other. A flag takes precedence over the file, and the file
//! over the defaults. The result is plain values. Nothing is opened, so a file can be checked
//! without serving it, and read again while it is served.

pub mod cli;
mod error;
mod file;
mod load;
mod settings;
mod values;

pub use crate::runtime::options::Limits;
pub use cli::{
    CheckArgs, Cli, Command, CompletionsArgs, InviteArgs, ManArgs, ScrubArgs, ServeArgs,
};
pub use error::ConfigError;
pub use file::parse;
pub use load::Directories;
pub use settings::{
    CONFIG_FILE_MAX_BYTES, Config, DEFAULT_LISTEN, DEFAULT_REVALIDATE_AFTER, MOUNTS_MAX,
    MountConfig, MountPrefix, MountSource,
};

#[cfg(test)]
mod tests;

//! Sources of plaintext: a file, stdin, bytes in memory, or the output of a command.
//!
//! A source is opened once and read part by part, into buffers that are reused. At its end it
//! states whether what was read can be trusted: nothing is committed from a file that was rewritten
//! meanwhile or a command that failed.

mod command;
mod error;
mod file;
mod interface;
mod reader;

pub(crate) use self::reader::ReaderSource;
pub use self::{
    command::CommandSource,
    error::SourceError,
    file::{FileSource, check_readable},
    interface::Source,
};

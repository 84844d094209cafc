//! Sinks of plaintext: a file that appears complete or not at all, or a stream.

mod error;
mod file;
mod interface;
mod output;
mod stream;
mod writer;

pub(crate) use self::writer::WriterSink;
pub use self::{error::SinkError, file::AttributeWarning, interface::Sink, output::Output};

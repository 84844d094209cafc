//! Any writer as a sink.

use std::{
    fmt,
    io::Write,
    path::{Path, PathBuf},
};

use super::{error::SinkError, interface::Sink};

/// Passes plaintext on to a writer, part by part as it is verified.
pub(crate) struct WriterSink<'a>(&'a mut (dyn Write + Send));

impl<'a> WriterSink<'a> {
    pub(crate) fn new(writer: &'a mut (dyn Write + Send)) -> Self {
        Self(writer)
    }

    /// Flushes the writer.
    ///
    /// # Errors
    /// When it cannot be flushed.
    pub(crate) fn finish(self) -> Result<(), SinkError> {
        self.0.flush().map_err(|source| SinkError::Write { path: Self::path(), source })
    }

    fn path() -> PathBuf {
        Path::new("the writer").to_owned()
    }
}

impl Sink for WriterSink<'_> {
    fn write(&mut self, plaintext: &[u8]) -> Result<(), SinkError> {
        let written = self.0.write_all(plaintext);
        written.map_err(|source| SinkError::Write { path: Self::path(), source })
    }
}

impl fmt::Debug for WriterSink<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WriterSink")
    }
}

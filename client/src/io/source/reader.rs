//! Anything that can be read once, as a source.

use std::{
    fmt,
    io::Read,
    path::{Path, PathBuf},
};

use super::{error::SourceError, interface::Source};
use crate::io::attributes::Attributes;

/// A reader. Its end is the end of the blob; a reader that fails stores nothing.
pub(crate) struct ReaderSource(Box<dyn Read + Send>);

impl ReaderSource {
    /// Reads `reader` to its end.
    pub(crate) fn new(reader: Box<dyn Read + Send>) -> Self {
        Self(reader)
    }

    fn path() -> &'static Path {
        Path::new("the reader")
    }
}

impl Source for ReaderSource {
    fn read_part(&mut self, part: &mut Vec<u8>, part_size: usize) -> Result<(), SourceError> {
        part.clear();
        let read = (&mut self.0).take(part_size as u64).read_to_end(part);
        let failed = |source| SourceError::Read { path: PathBuf::from(Self::path()), source };
        read.map(drop).map_err(failed)
    }

    fn finish(&mut self) -> Result<(), SourceError> {
        Ok(())
    }

    fn length(&self) -> Option<u64> {
        None
    }

    fn attributes(&self) -> Attributes {
        Attributes::of_stream()
    }
}

impl fmt::Debug for ReaderSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReaderSource")
    }
}

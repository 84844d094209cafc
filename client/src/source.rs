//! What a put can read: bytes, files, and readers.

use std::{
    ffi::OsStr,
    fmt,
    io::{Cursor, Read},
    path::{Path, PathBuf},
};

use crate::{
    error::Error,
    io::source::{CommandSource, FileSource, ReaderSource, Source},
};

/// The contents of a put.
pub struct PutSource(Contents);

enum Contents {
    Bytes(Vec<u8>),
    File(PathBuf),
    Once(Box<dyn Source>),
}

/// Bytes in memory.
#[must_use]
pub fn bytes(bytes: impl Into<Vec<u8>>) -> PutSource {
    PutSource(Contents::Bytes(bytes.into()))
}

/// The file at `path`. It is opened when the put is sent, and nothing is stored if it changes while
/// it is read. A put of a large file that was interrupted is resumed by the next one.
#[must_use]
pub fn file(path: impl Into<PathBuf>) -> PutSource {
    PutSource(Contents::File(path.into()))
}

/// Everything that `reader` gives. It is read once and in parts of 16 MiB, so a connection that
/// breaks can be resumed only while the server keeps what it has.
#[must_use]
pub fn reader(reader: impl Read + Send + 'static) -> PutSource {
    PutSource(Contents::Once(Box::new(ReaderSource::new(Box::new(reader)))))
}

/// What `command` prints; nothing is stored if it fails, or prints nothing.
///
/// # Errors
/// When it cannot be started.
pub fn command<S: AsRef<OsStr>>(
    command: impl AsRef<OsStr>,
    arguments: &[S],
) -> Result<PutSource, Error> {
    let source = CommandSource::start(command.as_ref(), arguments)?;
    Ok(PutSource(Contents::Once(Box::new(source))))
}

impl PutSource {
    /// Opens it.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub(crate) fn open(self) -> Result<Box<dyn Source>, Error> {
        Ok(match self.0 {
            Contents::Bytes(bytes) => Box::new(Cursor::new(bytes)),
            Contents::File(path) => Box::new(FileSource::open(&path)?.allow_empty(true)),
            Contents::Once(source) => source,
        })
    }
}

impl From<&[u8]> for PutSource {
    fn from(contents: &[u8]) -> Self {
        bytes(contents)
    }
}

impl<const N: usize> From<&[u8; N]> for PutSource {
    fn from(contents: &[u8; N]) -> Self {
        bytes(&contents[..])
    }
}

impl From<Vec<u8>> for PutSource {
    fn from(contents: Vec<u8>) -> Self {
        bytes(contents)
    }
}

impl From<&Path> for PutSource {
    fn from(path: &Path) -> Self {
        file(path)
    }
}

impl From<&PathBuf> for PutSource {
    fn from(path: &PathBuf) -> Self {
        file(path)
    }
}

impl From<PathBuf> for PutSource {
    fn from(path: PathBuf) -> Self {
        file(path)
    }
}

impl fmt::Debug for PutSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Contents::Bytes(_) => "PutSource(bytes)",
            Contents::File(_) => "PutSource(file)",
            Contents::Once(_) => "PutSource(stream)",
        })
    }
}

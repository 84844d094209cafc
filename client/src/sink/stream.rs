//! Something that takes bytes as they come.

use std::{
    fs::File,
    io::{self, IsTerminal as _, Write as _},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{OFlags, fcntl_getfl},
    io::Errno,
};

use super::SinkError;
use crate::{
    destination::Descriptor,
    naming,
    standard_streams::{self, Stream},
    standing::is_another_users,
};

/// A pipe, a device, a descriptor.
#[derive(Debug)]
pub struct StreamSink {
    stream: Stream,
    path: PathBuf,
    is_sparing: bool,
}

impl StreamSink {
    pub(super) fn stdout() -> Result<Self, SinkError> {
        let path = PathBuf::from("stdout");
        match standard_streams::stdout() {
            Ok(stream) => Self::over(stream.into_file(), &path),
            Err(error) => Err(SinkError::Write { path, error }),
        }
    }

    /// What `descriptor` is open to. This process was given its own by whoever started it; another's may lead to another
    /// user.
    pub(super) fn descriptor(
        descriptor: &Descriptor,
        path: &Path,
        force: bool,
    ) -> Result<Self, SinkError> {
        if descriptor.is_stdout() {
            return Self::stdout();
        }
        let failed = |error| SinkError::Write { path: path.to_owned(), error };
        let file = descriptor.duplicate().map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        let owner = metadata.uid();
        if descriptor.is_of_another_process() && !force && is_another_users(owner) {
            return Err(SinkError::Foreign { path: path.to_owned(), owner });
        }
        Self::over(file, path)
    }

    /// # Errors
    /// When `file` is not open for writing.
    pub(super) fn over(file: File, path: &Path) -> Result<Self, SinkError> {
        let failed = |error| SinkError::Write { path: path.to_owned(), error };
        let flags = fcntl_getfl(&file).map_err(|error| failed(error.into()))?;
        if flags & OFlags::RWMODE == OFlags::RDONLY {
            return Err(failed(Errno::BADF.into()));
        }
        Ok(Self { stream: Stream::over(file), path: path.to_owned(), is_sparing: false })
    }

    pub(super) fn is_terminal(&self) -> bool {
        self.stream.file().is_terminal()
    }

    pub(super) fn spare_terminal(self) -> Self {
        Self { is_sparing: self.is_terminal(), ..self }
    }

    pub(super) fn write(&mut self, plaintext: &[u8]) -> Result<(), SinkError> {
        if self.is_sparing && is_binary(plaintext) {
            return Err(SinkError::Terminal);
        }
        let written = self.stream.write_all(plaintext);
        written.map_err(|error| self.failed(error))
    }

    /// What can be synced is.
    pub(super) fn commit(self) -> Result<(), SinkError> {
        let metadata = self.stream.file().metadata().map_err(|error| self.failed(error))?;
        if metadata.is_file() || metadata.file_type().is_block_device() {
            naming::sync(self.stream.file()).map_err(|error| self.failed(error))?;
        }
        Ok(())
    }

    fn failed(&self, error: io::Error) -> SinkError {
        SinkError::Write { path: self.path.clone(), error }
    }
}

/// Bytes of which one at the beginning is enough to see that something is no text.
const LOOKED_AT_BYTES: usize = 4096;

/// Whether a terminal would act upon it: text has no control characters but those that space it.
fn is_binary(bytes: &[u8]) -> bool {
    let bytes = bytes.get(..LOOKED_AT_BYTES).unwrap_or(bytes);
    let text = match str::from_utf8(bytes) {
        Ok(text) => text,
        // A character that is cut off at the end says nothing.
        Err(error) if error.error_len().is_none() => {
            str::from_utf8(bytes.get(..error.valid_up_to()).unwrap_or_default()).unwrap_or_default()
        }
        Err(_) => return true,
    };
    text.chars().any(|c| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\x0c'))
}

#[cfg(test)]
mod tests {
    use super::is_binary;

    #[test]
    fn text_is_told_from_what_is_none() {
        for text in [&b""[..], b"a\tb\r\n", "Gr\u{fc}\u{df}e".as_bytes(), b"cut \xe6\x97"] {
            assert!(!is_binary(text), "{text:?}");
        }
        for binary in [&b"a\0"[..], b"\x1b[2J", b"\xff\xfe", b"caf\xe9 ", b"\x7fELF"] {
            assert!(is_binary(binary), "{binary:?}");
        }
    }
}

//! A sink that is written directly: a pipe, a device or a descriptor.

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

use super::error::SinkError;
use crate::files::{
    destination::Descriptor,
    existing_target::is_other_user,
    install::{self, IfExists},
    standard_streams::{self, BlockingStream},
};

/// A pipe, a device, a socket or a descriptor.
#[derive(Debug)]
pub struct StreamSink {
    stream: BlockingStream,
    path: PathBuf,
    is_text_only: bool,
}

impl StreamSink {
    pub(super) fn stdout() -> Result<Self, SinkError> {
        let path = PathBuf::from("stdout");
        match standard_streams::stdout() {
            Ok(stream) => Self::new(stream.into_file(), &path),
            Err(source) => Err(SinkError::Write { path, source }),
        }
    }

    /// The file behind `descriptor`. A descriptor of this process was inherited on purpose; one of
    /// another process may lead to another user.
    pub(super) fn descriptor(
        descriptor: &Descriptor,
        path: &Path,
        if_exists: IfExists,
    ) -> Result<Self, SinkError> {
        if descriptor.is_stdout() {
            return Self::stdout();
        }
        let failed = |source| SinkError::Write { path: path.to_owned(), source };
        let file = descriptor.duplicate().map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        let owner = metadata.uid();
        let may_write = if_exists == IfExists::Replace || !descriptor.is_of_another_process();
        if !may_write && is_other_user(owner) {
            return Err(SinkError::OtherOwner { path: path.to_owned(), owner });
        }
        Self::new(file, path)
    }

    /// A sink for `file`.
    ///
    /// # Errors
    /// When `file` is not open for writing.
    pub(super) fn new(file: File, path: &Path) -> Result<Self, SinkError> {
        let failed = |source| SinkError::Write { path: path.to_owned(), source };
        let flags = fcntl_getfl(&file).map_err(|error| failed(error.into()))?;
        if flags & OFlags::RWMODE == OFlags::RDONLY {
            return Err(failed(Errno::BADF.into()));
        }
        Ok(Self { stream: BlockingStream::new(file), path: path.to_owned(), is_text_only: false })
    }

    pub(super) fn is_terminal(&self) -> bool {
        self.stream.file().is_terminal()
    }

    pub(super) fn text_only_on_terminal(self) -> Self {
        Self { is_text_only: self.is_terminal(), ..self }
    }

    pub(super) fn write(&mut self, plaintext: &[u8]) -> Result<(), SinkError> {
        if self.is_text_only && is_binary(plaintext) {
            return Err(SinkError::Terminal);
        }
        let written = self.stream.write_all(plaintext);
        written.map_err(|error| self.failed(error))
    }

    /// Syncs what can be synced: files and block devices.
    pub(super) fn commit(self) -> Result<(), SinkError> {
        let metadata = self.stream.file().metadata().map_err(|error| self.failed(error))?;
        if metadata.is_file() || metadata.file_type().is_block_device() {
            install::sync(self.stream.file()).map_err(|error| self.failed(error))?;
        }
        Ok(())
    }

    fn failed(&self, source: io::Error) -> SinkError {
        SinkError::Write { path: self.path.clone(), source }
    }
}

/// Bytes at the beginning that are inspected to tell binary data from text.
const INSPECTED_BYTES: usize = 4096;

/// Whether a terminal would act upon the bytes: text has no control characters except whitespace.
fn is_binary(bytes: &[u8]) -> bool {
    let bytes = bytes.get(..INSPECTED_BYTES).unwrap_or(bytes);
    let text = match str::from_utf8(bytes) {
        Ok(text) => text,
        // A character that is cut off at the end is not an error.
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

    /// Text, also cut within a character, is told from bytes that are not text.
    #[test]
    fn is_binary_tells_text_from_binary() {
        for text in [&b""[..], b"a\tb\r\n", "Gr\u{fc}\u{df}e".as_bytes(), b"cut \xe6\x97"] {
            assert!(!is_binary(text), "{text:?}");
        }
        for binary in [&b"a\0"[..], b"\x1b[2J", b"\xff\xfe", b"caf\xe9 ", b"\x7fELF"] {
            assert!(is_binary(binary), "{binary:?}");
        }
    }
}

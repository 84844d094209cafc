//! An output: a path, or stdout.
//!
//! [`Output::at`] decides by what its path leads to: descriptors, pipes, devices and sockets are
//! written directly, and anything else is a file that is written beside its final name.

use std::{
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use zput_seal::blob::open::Trusted;

use super::{
    error::SinkError,
    file::{AttributeWarning, FileSink},
    interface::Sink,
    stream::StreamSink,
};
use crate::{
    files::{
        destination::{self, Destination},
        existing_target::ExistingTarget,
        install::IfExists,
    },
    io::attributes::Attributes,
    state::partial::PartialDownloads,
};

/// An output: a path, or stdout.
#[derive(Debug)]
pub enum Output {
    /// A regular file, written beside its target and renamed by [`Output::commit`].
    File(Box<FileSink>),
    /// Stdout, a pipe, a device or a socket, written directly.
    Stream(StreamSink),
}

impl Output {
    /// Stdout.
    ///
    /// # Errors
    /// When stdout is closed or not open for writing.
    pub fn stdout() -> Result<Self, SinkError> {
        StreamSink::stdout().map(Self::Stream)
    }

    /// The output at `path`. Descriptors, devices, pipes and sockets are written directly; anything
    /// else becomes a new file where the path leads, which replaces an existing one only with
    /// [`IfExists::Replace`].
    ///
    /// # Errors
    /// With [`IfExists::Keep`]: [`SinkError::Exists`] before anything is written, so that no
    /// transfer is wasted; [`SinkError::OtherOwner`] for a stream that another user would read; and
    /// [`SinkError::BlockDevice`].
    pub fn at(path: &Path, if_exists: IfExists) -> Result<Self, SinkError> {
        Self::open(path, if_exists, None)
    }

    /// The same for a get that a later one can resume once a whole part was written. Resumes from
    /// what an earlier get left. If a signal ends the process, `line` is printed about the file
    /// that stays.
    ///
    /// # Errors
    /// As of [`at`](Self::at).
    pub fn resumable(
        path: &Path,
        if_exists: IfExists,
        partial_downloads: &PartialDownloads,
        line: String,
    ) -> Result<Self, SinkError> {
        Self::open(path, if_exists, Some((partial_downloads, line)))
    }

    /// The same for streams only; `None` if the path leads to a file or to nothing.
    ///
    /// # Errors
    /// As of [`at`](Self::at), except for [`SinkError::Exists`].
    pub fn stream_at(path: &Path, if_exists: IfExists) -> Result<Option<Self>, SinkError> {
        match OutputPath::resolve(path, if_exists)? {
            OutputPath::Stream(stream) => Ok(Some(Self::Stream(stream))),
            OutputPath::File { .. } => Ok(None),
        }
    }

    fn open(
        path: &Path,
        if_exists: IfExists,
        resumable: Option<(&PartialDownloads, String)>,
    ) -> Result<Self, SinkError> {
        let (target, existing) = match OutputPath::resolve(path, if_exists)? {
            OutputPath::Stream(stream) => return Ok(Self::Stream(stream)),
            OutputPath::File { target, existing } => (target, existing),
        };
        // A dangling link has the name too.
        if if_exists == IfExists::Keep && (existing.is_some() || target != path) {
            return Err(SinkError::Exists(path.to_owned()));
        }
        let file = FileSink::new(path, &target, existing, if_exists, resumable)?;
        Ok(Self::File(Box::new(file)))
    }

    /// Whether an incomplete file stays for a later get to resume.
    #[must_use]
    pub fn is_resumable(&self) -> bool {
        match self {
            Self::File(file) => file.has_partial(),
            Self::Stream(_) => false,
        }
    }

    /// Whether this is a terminal.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Stream(stream) if stream.is_terminal())
    }

    /// Refuses data that is not text, before any of it is written, if this is a terminal.
    #[must_use]
    pub fn text_only_on_terminal(self) -> Self {
        match self {
            Self::Stream(stream) => Self::Stream(stream.text_only_on_terminal()),
            file @ Self::File(_) => file,
        }
    }

    /// Completes the output after everything was verified. A file is synced and moved to its name;
    /// a stream is synced if possible. Returns which attributes could not be set or kept.
    ///
    /// # Errors
    /// When the bytes may not be on the disk. The target is then unchanged, unless the error says
    /// otherwise.
    pub fn commit(
        self,
        attributes: Option<Attributes>,
    ) -> Result<Vec<AttributeWarning>, SinkError> {
        match self {
            Self::File(file) => file.commit(attributes),
            Self::Stream(stream) => stream.commit().map(|()| Vec::new()),
        }
    }
}

/// What a path leads to.
enum OutputPath {
    Stream(StreamSink),
    /// A name that a regular file has, or nothing yet.
    File {
        target: PathBuf,
        existing: Option<ExistingTarget>,
    },
}

impl OutputPath {
    fn resolve(path: &Path, if_exists: IfExists) -> Result<Self, SinkError> {
        let failed = |source| SinkError::Write { path: path.to_owned(), source };
        let target = match destination::resolve(path).map_err(failed)? {
            Destination::Descriptor(descriptor) => {
                return StreamSink::descriptor(&descriptor, path, if_exists).map(Self::Stream);
            }
            Destination::Name(name) => name,
        };
        let Some(existing) = ExistingTarget::lookup(&target).map_err(failed)? else {
            return Ok(Self::File { target, existing: None });
        };
        let kind = existing.metadata().file_type();
        if kind.is_dir() {
            return Err(SinkError::Directory(path.to_owned()));
        }
        if kind.is_file() {
            return Ok(Self::File { target, existing: Some(existing) });
        }
        if kind.is_block_device() && if_exists == IfExists::Keep {
            return Err(SinkError::BlockDevice(path.to_owned()));
        }
        if if_exists == IfExists::Keep && existing.belongs_to_other_user() {
            let owner = existing.metadata().uid();
            return Err(SinkError::OtherOwner { path: path.to_owned(), owner });
        }
        // It was inspected without opening it, so check that it is still the same.
        let file = existing.open().map_err(failed)?;
        StreamSink::new(file, path).map(Self::Stream)
    }
}

impl Sink for Output {
    fn write(&mut self, plaintext: &[u8]) -> Result<(), SinkError> {
        match self {
            Self::File(file) => file.write(plaintext),
            Self::Stream(stream) => stream.write(plaintext),
        }
    }

    fn has_partial(&self) -> bool {
        match self {
            Self::File(file) => file.has_partial(),
            Self::Stream(_) => false,
        }
    }

    fn begin(&mut self, blob: &Trusted) -> Result<u64, SinkError> {
        match self {
            Self::File(file) => file.begin(blob),
            Self::Stream(_) => Ok(0),
        }
    }
}

#[cfg(test)]
mod tests;

//! Where plaintext goes: a file that appears complete or not at all, or a stream.
//!
//! What a path leads to decides which ([`Output::at`]): a descriptor, a pipe, a device and a socket are written as they are, and
//! everything else is a file that is made beside its name.

mod file;
mod stream;

use std::{
    io,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use thiserror::Error;
use zput_common::blob::open::Trusted;

pub use self::{
    file::{FileSink, Shortfall},
    stream::StreamSink,
};
use crate::{
    atomic::Existing,
    destination::{Destination, destination},
    partial::Partials,
    standing::Standing,
};

/// Takes verified plaintext, in order.
pub trait Sink: Send {
    /// Appends `plaintext`.
    ///
    /// # Errors
    /// When it cannot be written; the transfer ends.
    fn write(&mut self, plaintext: &[u8]) -> Result<(), SinkError>;

    /// Whether an earlier get may have left something here that this one can go on with.
    fn may_hold(&self) -> bool {
        false
    }

    /// A whole blob comes: gives how many of its first parts are here already, verified. What follows is written
    /// part by part.
    ///
    /// # Errors
    /// When what is here cannot be read or cut off.
    fn begin(&mut self, _blob: &Trusted) -> Result<u64, SinkError> {
        Ok(0)
    }
}

/// Why an output could not be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SinkError {
    /// Something has this name, and nobody said that it may go.
    #[error("{} exists already (--force replaces it)", .0.display())]
    Exists(PathBuf),
    /// A block device was named without `--force`.
    #[error("{} is a block device (--force writes over it)", .0.display())]
    BlockDevice(PathBuf),
    /// A directory stands where the file should go.
    #[error("{} is a directory", .0.display())]
    Directory(PathBuf),
    /// A pipe, a device or a socket that is another user's.
    #[error(
        "{} is another user's (number {owner}), who would get what is written to it (--force writes all the same)",
        path.display()
    )]
    Foreign {
        /// What was to be written.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// What comes is no text, and nobody said that a terminal is to get it.
    #[error("what comes is no text and nothing for a terminal (-o PATH, or --force if you insist)")]
    Terminal,
    /// The file system refused.
    #[error("cannot write {}: {error}", path.display())]
    Write {
        /// What was written.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

impl SinkError {
    /// Whether the disk or a quota is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Write { error, .. } if matches!(
            error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }

    /// Whether the reader of a pipe has gone away: it has what it wanted.
    #[must_use]
    pub fn is_unread(&self) -> bool {
        matches!(self, Self::Write { error, .. } if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// What a file output takes from its blob's metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits; only `0o777` of them are used, and none that the reader's umask keeps back.
    pub mode: u32,
    /// Modification time: seconds since 1970.
    pub mtime_s: i64,
    /// Nanoseconds of that second.
    pub mtime_ns: u32,
}

impl Attributes {
    /// The modification time, where this machine's clock can express it.
    fn modified(&self) -> Option<SystemTime> {
        let seconds = Duration::from_secs(self.mtime_s.unsigned_abs());
        let whole = if self.mtime_s >= 0 {
            SystemTime::UNIX_EPOCH.checked_add(seconds)?
        } else {
            SystemTime::UNIX_EPOCH.checked_sub(seconds)?
        };
        whole.checked_add(Duration::from_nanos(u64::from(self.mtime_ns)))
    }
}

/// Plaintext into memory.
impl Sink for Vec<u8> {
    fn write(&mut self, plaintext: &[u8]) -> Result<(), SinkError> {
        self.extend_from_slice(plaintext);
        Ok(())
    }
}

/// An output named by a path, or stdout.
#[derive(Debug)]
pub enum Output {
    /// A regular file: written beside its target, renamed by [`Output::commit`].
    File(Box<FileSink>),
    /// Stdout, a pipe, a device: written as it comes.
    Stream(StreamSink),
}

impl Output {
    /// Stdout.
    ///
    /// # Errors
    /// When stdout is closed, or is not open for writing.
    pub fn stdout() -> Result<Self, SinkError> {
        StreamSink::stdout().map(Self::Stream)
    }

    /// The output of this path. Descriptors, devices, pipes and sockets are written as they are; anything else
    /// becomes a new file where the path leads to, and with `force` it may take the place of one.
    ///
    /// # Errors
    /// [`SinkError::Exists`] before anything is written, so that nobody waits for a transfer in vain;
    /// [`SinkError::Foreign`] for what another user would read, unless `force` says that they shall.
    pub fn at(path: &Path, force: bool) -> Result<Self, SinkError> {
        Self::open(path, force, None)
    }

    /// The same; a get into a file can be gone on with, if it is interrupted after a whole part. This takes up what an
    /// earlier one has left, and should a signal end the process, `line` tells of what this one leaves.
    ///
    /// # Errors
    /// As of [`at`](Self::at).
    pub fn resumable(
        path: &Path,
        force: bool,
        partials: &Partials,
        line: String,
    ) -> Result<Self, SinkError> {
        Self::open(path, force, Some((partials, line)))
    }

    /// The same, if it is no file that is, or would be, there: then none.
    ///
    /// # Errors
    /// As of [`at`](Self::at), but for [`SinkError::Exists`].
    pub fn stream_at(path: &Path, force: bool) -> Result<Option<Self>, SinkError> {
        match Led::to(path, force)? {
            Led::Stream(stream) => Ok(Some(Self::Stream(stream))),
            Led::File { .. } => Ok(None),
        }
    }

    fn open(
        path: &Path,
        force: bool,
        resumable: Option<(&Partials, String)>,
    ) -> Result<Self, SinkError> {
        let (target, standing) = match Led::to(path, force)? {
            Led::Stream(stream) => return Ok(Self::Stream(stream)),
            Led::File { target, standing } => (target, standing),
        };
        // A link that leads to nothing has the name all the same.
        if !force && (standing.is_some() || target != path) {
            return Err(SinkError::Exists(path.to_owned()));
        }
        let existing = if force { Existing::Replace } else { Existing::Keep };
        let file = FileSink::new(path, &target, standing, existing, resumable)?;
        Ok(Self::File(Box::new(file)))
    }

    /// Whether what has come stays behind, although it is not complete.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        match self {
            Self::File(file) => file.may_hold(),
            Self::Stream(_) => false,
        }
    }

    /// Whether this is a terminal.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Stream(stream) if stream.is_terminal())
    }

    /// A terminal gets only text: what is none is refused before any of it is written.
    #[must_use]
    pub fn spare_terminal(self) -> Self {
        match self {
            Self::Stream(stream) => Self::Stream(stream.spare_terminal()),
            file @ Self::File(_) => file,
        }
    }

    /// All is verified: a file is synced and gets its name, and what was written elsewhere is synced where that can be.
    /// Gives what of a file could not be set or kept.
    ///
    /// # Errors
    /// When the bytes are not there for certain; a target is then as it was, unless the error says otherwise.
    pub fn commit(self, attributes: Option<Attributes>) -> Result<Vec<Shortfall>, SinkError> {
        match self {
            Self::File(file) => file.commit(attributes),
            Self::Stream(stream) => stream.commit().map(|()| Vec::new()),
        }
    }
}

/// What a path leads to.
enum Led {
    Stream(StreamSink),
    /// To a name; a regular file has it, or nothing yet.
    File {
        target: PathBuf,
        standing: Option<Standing>,
    },
}

impl Led {
    fn to(path: &Path, force: bool) -> Result<Self, SinkError> {
        let failed = |error| SinkError::Write { path: path.to_owned(), error };
        let target = match destination(path).map_err(failed)? {
            Destination::Descriptor(descriptor) => {
                return StreamSink::descriptor(&descriptor, path, force).map(Self::Stream);
            }
            Destination::Name(name) => name,
        };
        let Some(standing) = Standing::at(&target).map_err(failed)? else {
            return Ok(Self::File { target, standing: None });
        };
        let kind = standing.metadata().file_type();
        if kind.is_dir() {
            return Err(SinkError::Directory(path.to_owned()));
        }
        if kind.is_file() {
            return Ok(Self::File { target, standing: Some(standing) });
        }
        if kind.is_block_device() && !force {
            return Err(SinkError::BlockDevice(path.to_owned()));
        }
        if !force && standing.is_foreign() {
            let owner = standing.metadata().uid();
            return Err(SinkError::Foreign { path: path.to_owned(), owner });
        }
        // It was looked at without opening it.
        let file = standing.open().map_err(failed)?;
        StreamSink::over(file, path).map(Self::Stream)
    }
}

impl Sink for Output {
    fn write(&mut self, plaintext: &[u8]) -> Result<(), SinkError> {
        match self {
            Self::File(file) => file.write(plaintext),
            Self::Stream(stream) => stream.write(plaintext),
        }
    }

    fn may_hold(&self) -> bool {
        match self {
            Self::File(file) => file.may_hold(),
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

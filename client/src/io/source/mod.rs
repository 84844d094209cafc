//! Sources of plaintext: a file, stdin, or the output of a command.
//!
//! A source is opened once and read part by part, into buffers that are reused. At its end it
//! states whether what was read can be trusted: nothing is committed from a file that was rewritten
//! meanwhile or a command that failed.

mod command;
mod file;

use std::{
    ffi::{OsStr, OsString},
    io::{self, Read},
    path::{Path, PathBuf},
    process::ExitStatus,
    time::{SystemTime, UNIX_EPOCH},
};

use rustix::fs::{Access, AtFlags, CWD, accessat};
use thiserror::Error;
use zput_common::{digest::Digest, name::BlobName};

pub use self::{command::CommandSource, file::FileSource};
use crate::{sink::Attributes, state::FileIdentity};

/// Provides plaintext, in order.
pub trait Source: Send {
    /// Clears `part` and fills it with the next `part_size` bytes; with fewer only at the end.
    ///
    /// # Errors
    /// When the source cannot be read.
    fn read_part(&mut self, part: &mut Vec<u8>, part_size: usize) -> Result<(), SourceError>;

    /// Confirms after the last part that what was read is consistent.
    ///
    /// # Errors
    /// [`SourceError::Changed`], [`SourceError::Failed`] or [`SourceError::Empty`].
    fn finish(&mut self) -> Result<(), SourceError>;

    /// The length in bytes if it is known in advance. Only a hint: the source may give more or
    /// less.
    fn length(&self) -> Option<u64>;

    /// The attributes that the blob's metadata record.
    fn attributes(&self) -> Attributes;

    /// BLAKE3 of the part that was read last; `None` if the source does not compute it.
    fn part_digest(&self) -> Option<Digest> {
        None
    }

    /// The same source from its start; `None` if it can be read only once.
    ///
    /// # Errors
    /// When it cannot be opened again.
    fn reopen(&self) -> Result<Option<Box<dyn Source>>, SourceError> {
        Ok(None)
    }

    /// The file's identity, for resuming; `None` if the source is not a regular file.
    fn identity(&self) -> Option<FileIdentity> {
        None
    }
}

impl Source for Box<dyn Source> {
    fn read_part(&mut self, part: &mut Vec<u8>, part_size: usize) -> Result<(), SourceError> {
        (**self).read_part(part, part_size)
    }

    fn finish(&mut self) -> Result<(), SourceError> {
        (**self).finish()
    }

    fn length(&self) -> Option<u64> {
        (**self).length()
    }

    fn attributes(&self) -> Attributes {
        (**self).attributes()
    }

    fn part_digest(&self) -> Option<Digest> {
        (**self).part_digest()
    }

    fn reopen(&self) -> Result<Option<Box<dyn Source>>, SourceError> {
        (**self).reopen()
    }

    fn identity(&self) -> Option<FileIdentity> {
        (**self).identity()
    }
}

/// Why a source gave nothing that can be stored.
#[derive(Debug, Error)]
pub enum SourceError {
    /// The source could not be opened or read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// Its path.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// The path is a directory.
    #[error("{} is a directory (tar c {} | zput --name {} -)", .0.display(), quoted(.0), archive(.0))]
    Directory(PathBuf),
    /// The file was rewritten or truncated while it was read. A file that only grew is stored as it
    /// was at first.
    #[error(
        "{} changed while it was read; nothing was stored (try again once nothing rewrites it, or put \
         a copy or a snapshot of it)",
        .0.display()
    )]
    Changed(PathBuf),
    /// A pipe or a command ended without a byte.
    #[error("{} gave no byte; nothing was stored (--allow-empty stores an empty blob)", .0.display())]
    Empty(PathBuf),
    /// The command could not be started.
    #[error("cannot run {}: {error}", command.to_string_lossy())]
    Start {
        /// The command.
        command: OsString,
        /// The system's error.
        error: io::Error,
    },
    /// The command ended with a failure.
    #[error("{} failed with {status}; nothing was stored", command.to_string_lossy())]
    Failed {
        /// The command.
        command: OsString,
        /// Its exit status.
        status: ExitStatus,
    },
}

impl SourceError {
    /// The path or command that could not be read.
    #[must_use]
    pub fn subject(&self) -> &OsStr {
        match self {
            Self::Read { path, .. }
            | Self::Directory(path)
            | Self::Changed(path)
            | Self::Empty(path) => path.as_os_str(),
            Self::Start { command, .. } | Self::Failed { command, .. } => command,
        }
    }
}

/// Bytes in memory.
impl Source for io::Cursor<Vec<u8>> {
    fn read_part(&mut self, part: &mut Vec<u8>, part_size: usize) -> Result<(), SourceError> {
        part.clear();
        self.by_ref()
            .take(part_size as u64)
            .read_to_end(part)
            .map_err(|error| SourceError::Read { path: PathBuf::from("memory"), error })?;
        Ok(())
    }

    fn finish(&mut self) -> Result<(), SourceError> {
        Ok(())
    }

    fn length(&self) -> Option<u64> {
        Some(self.get_ref().len() as u64)
    }

    fn attributes(&self) -> Attributes {
        stream_attributes()
    }
}

/// Attributes of a stream, which has none of its own: the current time, and mode 0600.
fn stream_attributes() -> Attributes {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Attributes {
        mode: 0o600,
        mtime_s: i64::try_from(now.as_secs()).unwrap_or(i64::MAX),
        mtime_ns: now.subsec_nanos(),
    }
}

/// Whether the file at `path` exists and can be read, without opening it.
///
/// # Errors
/// As of [`FileSource::open`].
pub fn check_readable(path: &Path) -> Result<(), SourceError> {
    let failed = |error| SourceError::Read { path: path.to_owned(), error };
    let metadata = path.metadata().map_err(failed)?;
    if metadata.is_dir() {
        return Err(SourceError::Directory(path.to_owned()));
    }
    accessat(CWD, path, Access::READ_OK, AtFlags::EACCESS).map_err(|error| failed(error.into()))
}

/// `path` quoted as a word of a shell command.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%,=".contains(c);
    if !text.is_empty() && !text.starts_with('-') && text.chars().all(is_plain) {
        return text;
    }
    let dash = if text.starts_with('-') { "./" } else { "" };
    format!("'{dash}{}'", text.replace('\'', "'\\''"))
}

/// A blob name for an archive of the directory at `path`.
fn archive(path: &Path) -> String {
    let name = path.file_name().and_then(|name| name.to_str()).map(|name| format!("{name}.tar"));
    let is_name = |name: &String| !name.starts_with('-') && BlobName::parse(name).is_ok();
    match name.filter(is_name) {
        Some(name) => quoted(Path::new(&name)),
        None => "NAME.tar".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parts of `source`, up to the first short one.
    pub(super) fn read_all(source: &mut dyn Source, part_size: usize) -> Vec<Vec<u8>> {
        let mut parts = Vec::new();
        let mut part = Vec::new();
        loop {
            source.read_part(&mut part, part_size).unwrap();
            parts.push(part.clone());
            if part.len() < part_size {
                return parts;
            }
        }
    }

    #[test]
    fn a_directory_comes_with_the_command_that_stores_it() {
        let told = |path: &str| SourceError::Directory(path.into()).to_string();
        assert_eq!(
            told("some/photos"),
            "some/photos is a directory (tar c some/photos | zput --name photos.tar -)"
        );
        assert_eq!(
            told("photos/"),
            "photos/ is a directory (tar c photos/ | zput --name photos.tar -)"
        );
        assert_eq!(told(".."), ".. is a directory (tar c .. | zput --name NAME.tar -)");
        assert_eq!(told("/"), "/ is a directory (tar c / | zput --name NAME.tar -)");
        assert_eq!(
            told("it's mine"),
            r"it's mine is a directory (tar c 'it'\''s mine' | zput --name 'it'\''s mine.tar' -)"
        );
        assert_eq!(told("-d"), "-d is a directory (tar c './-d' | zput --name NAME.tar -)");
    }
}

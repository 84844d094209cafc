//! A file as a source: a regular file, or anything else that a path or stdin leads to.
//!
//! A path is opened once: opening and closing a named pipe discards its writer's bytes, and opening
//! a terminal or a tape has side effects too. A second read uses the same descriptor (pread(2)), so
//! it needs no `/proc` and reads the same file whatever has the name by then.
//!
//! Whether a regular file was consistent is decided by its contents and times, not only by the size
//! that the system reported:
//!
//! | when all was read | what is stored |
//! |---|---|
//! | as many bytes as it had, and it is as it was | all of it |
//! | it has grown, and its beginning still is what was read | as many bytes as it had at first |
//! | fewer or more bytes, and its times are as they were | what was read: the size is no size (sysfs, FUSE) |
//! | anything else | nothing: [`SourceError::Changed`] |
//!
//! A file of size 0 that has bytes nevertheless (procfs) is read once, like a pipe.

use std::{
    fs::{File, Metadata},
    io::{self, Read},
    os::{
        fd::AsFd,
        unix::fs::{FileExt, FileTypeExt, MetadataExt},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    buffer::spare_capacity,
    event::PollFlags,
    fs::{Access, AtFlags, CWD, SeekFrom, accessat, seek},
    io::{pread, read},
};
use zput_proto::digest::{Digest, Hasher};

use super::{error::SourceError, interface::Source};
use crate::{
    files::standard_streams::{self, retry_until_ready},
    io::attributes::Attributes,
    memory::reserve_more,
    state::FileIdentity,
};

/// Bytes of the first buffer when the length is unknown; it grows up to the part size.
const FIRST_BUFFER_BYTES: usize = 64 * 1024;
/// Bytes that are read from a file of size 0 to see whether it is empty.
const AHEAD_BYTES: usize = 4096;
/// Bytes per read when a file that has grown is read again.
const REREAD_BYTES: usize = 1024 * 1024;

/// A file, or stdin.
#[derive(Debug)]
pub struct FileSource {
    file: Arc<File>,
    path: PathBuf,
    attributes: Attributes,
    kind: Kind,
    /// Bytes that were read so far.
    bytes_read: u64,
    /// BLAKE3 of the part that was read last.
    digest: Option<Digest>,
    may_be_empty: bool,
}

#[derive(Debug)]
enum Kind {
    /// A file that supports pread(2) and can be read again.
    Regular(Box<Regular>),
    /// Anything else, read once; `ahead` holds bytes that were read already.
    Stream { ahead: Vec<u8> },
}

/// A regular file.
#[derive(Debug)]
struct Regular {
    /// Its metadata when it was opened.
    before: Metadata,
    /// Number of bytes to read; `None` to read to the end because the reported size is not the
    /// length.
    bound: Option<u64>,
    /// BLAKE3 of each part that was read; all parts but the last have `part_size` bytes.
    digests: Vec<Digest>,
    part_size: usize,
}

impl FileSource {
    /// Opens the file at `path`. Waits until a named pipe has a writer.
    ///
    /// # Errors
    /// When it cannot be opened, or is a directory or a socket.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let failed = |source| SourceError::Read { path: path.to_owned(), source };
        let file = match File::open(path) {
            Ok(file) => file,
            // open(2): ENXIO, "the file is a UNIX domain socket".
            Err(error) => {
                let is_socket = path.metadata().is_ok_and(|found| found.file_type().is_socket());
                let error = if is_socket { io::Error::other("it is a socket") } else { error };
                return Err(failed(error));
            }
        };
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(SourceError::Directory(path.to_owned()));
        }
        let attributes =
            if metadata.is_file() { file_attributes(&metadata) } else { Attributes::of_stream() };
        // lseek(2): ESPIPE, "fd is associated with a pipe, socket, or FIFO"; some FUSE files cannot
        // seek either.
        let is_regular = metadata.is_file() && seek(&file, SeekFrom::Current(0)).is_ok();
        let mut ahead = Vec::new();
        if is_regular && metadata.len() == 0 {
            ahead.reserve_exact(AHEAD_BYTES);
            next(&file, &mut ahead).map_err(failed)?;
        }
        let may_be_empty = !has_writer(&metadata);
        let kind = if is_regular && ahead.is_empty() {
            Kind::Regular(Box::new(Regular::new(metadata)))
        } else {
            Kind::Stream { ahead }
        };
        Ok(Self::new(file.into(), path, attributes, kind).allow_empty(may_be_empty))
    }

    /// Stdin, from its current position.
    ///
    /// # Errors
    /// When it is closed, or a directory.
    pub fn stdin() -> Result<Self, SourceError> {
        let path = Path::new("stdin");
        let failed = |source| SourceError::Read { path: path.to_owned(), source };
        let file = standard_streams::stdin().map_err(failed)?.into_file();
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(failed(io::Error::from(io::ErrorKind::IsADirectory)));
        }
        let kind = Kind::Stream { ahead: Vec::new() };
        let source = Self::new(file.into(), path, Attributes::of_stream(), kind);
        Ok(source.allow_empty(!has_writer(&metadata)))
    }

    fn new(file: Arc<File>, path: &Path, attributes: Attributes, kind: Kind) -> Self {
        let path = path.to_owned();
        Self { file, path, attributes, kind, bytes_read: 0, digest: None, may_be_empty: false }
    }

    /// Whether a pipe may end without a byte, which most often means that its writer has failed.
    /// Files and devices may always be empty, since the user named them.
    #[must_use]
    pub fn allow_empty(self, may_be_empty: bool) -> Self {
        Self { may_be_empty: self.may_be_empty || may_be_empty, ..self }
    }

    /// Whether it is a regular file, which can be read at any offset.
    #[must_use]
    pub fn is_regular(&self) -> bool {
        matches!(self.kind, Kind::Regular(_))
    }

    /// The open file. Anything but a regular file has to be read through [`Read`].
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Whether both are the same file.
    #[must_use]
    pub fn is_same_file(&self, other: &impl AsFd) -> bool {
        let identity = |fd| rustix::fs::fstat(fd).map(|stat| (stat.st_dev, stat.st_ino));
        let (ours, others) = (identity(self.file.as_fd()), identity(other.as_fd()));
        matches!((ours, others), (Ok(ours), Ok(others)) if ours == others)
    }

    fn failed(&self, source: io::Error) -> SourceError {
        SourceError::Read { path: self.path.clone(), source }
    }
}

impl Source for FileSource {
    fn read_part(&mut self, part: &mut Vec<u8>, part_size: usize) -> Result<(), SourceError> {
        let read = match &mut self.kind {
            Kind::Regular(regular) => {
                regular.read_part(&self.file, self.bytes_read, part, part_size)
            }
            Kind::Stream { ahead } => read_stream(&self.file, ahead, part, part_size),
        };
        read.map_err(|error| self.failed(error))?;
        self.bytes_read += part.len() as u64;
        self.digest = match &self.kind {
            Kind::Regular(regular) => regular.digests.last().copied(),
            Kind::Stream { .. } => None,
        };
        Ok(())
    }

    fn finish(&mut self) -> Result<(), SourceError> {
        if self.bytes_read == 0 && !self.may_be_empty {
            return Err(SourceError::Empty(self.path.clone()));
        }
        let Kind::Regular(regular) = &self.kind else { return Ok(()) };
        match regular.is_consistent(&self.file, self.bytes_read) {
            Ok(true) => Ok(()),
            Ok(false) => Err(SourceError::Changed(self.path.clone())),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn length(&self) -> Option<u64> {
        match &self.kind {
            Kind::Regular(regular) => Some(regular.before.len()),
            Kind::Stream { .. } => None,
        }
    }

    fn attributes(&self) -> Attributes {
        self.attributes
    }

    fn part_digest(&self) -> Option<Digest> {
        self.digest
    }

    /// A file that has only grown counts as it was at first, so that a put of it can be resumed.
    fn reopen(&self) -> Result<Option<Box<dyn Source>>, SourceError> {
        let Kind::Regular(regular) = &self.kind else { return Ok(None) };
        let now = self.file.metadata().map_err(|error| self.failed(error))?;
        let before = if now.len() > regular.before.len() { regular.before.clone() } else { now };
        let attributes = file_attributes(&before);
        let kind = Kind::Regular(Box::new(Regular::new(before)));
        let again = Self::new(Arc::clone(&self.file), &self.path, attributes, kind);
        Ok(Some(Box::new(again.allow_empty(true))))
    }

    fn identity(&self) -> Option<FileIdentity> {
        let Kind::Regular(regular) = &self.kind else { return None };
        let Attributes { mode, mtime_s, mtime_ns } = file_attributes(&regular.before);
        let (device, inode) = (regular.before.dev(), regular.before.ino());
        let size = regular.before.len();
        Some(FileIdentity { device, inode, size, mtime_s, mtime_ns, mode })
    }
}

/// Reads a file that can be read only once.
impl Read for FileSource {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Kind::Stream { ahead } = &mut self.kind
            && !ahead.is_empty()
        {
            let most = ahead.len().min(buffer.len());
            for (to, from) in buffer.iter_mut().zip(ahead.drain(..most)) {
                *to = from;
            }
            return Ok(most);
        }
        retry_until_ready(&self.file, PollFlags::IN, || (&*self.file).read(buffer))
    }
}

impl Regular {
    fn new(before: Metadata) -> Self {
        let bound = Some(before.len());
        Self { before, bound, digests: Vec::new(), part_size: 0 }
    }

    /// Reads the part at offset `at`.
    fn read_part(
        &mut self,
        file: &File,
        at: u64,
        part: &mut Vec<u8>,
        part_size: usize,
    ) -> io::Result<()> {
        self.part_size = part_size;
        let left = |bound: Option<u64>| match bound {
            Some(bound) => usize::try_from(bound.saturating_sub(at)).unwrap_or(part_size),
            None => part_size,
        };
        clear(part, left(self.bound).min(part_size))?;
        loop {
            let most = left(self.bound).min(part_size);
            let is_over = fill(part, most, |part| {
                let offset = at + part.len() as u64;
                retry_until_ready(file, PollFlags::IN, || {
                    Ok(pread(file, spare_capacity(part), offset)?)
                })
            })?;
            // The buffer may have more capacity than was reserved.
            part.truncate(most);
            let end = at + part.len() as u64;
            if is_over || part.len() == part_size || !self.has_late_bytes(file, end)? {
                break;
            }
        }
        self.digests.push(Digest::of(part));
        Ok(())
    }

    /// Whether bytes after `end` belong to the file as it was opened. If its times are unchanged,
    /// its reported size was wrong and reading continues.
    fn has_late_bytes(&mut self, file: &File, end: u64) -> io::Result<bool> {
        if !has_more(file, end)? {
            return Ok(false);
        }
        let now = file.metadata()?;
        if times(&now) != times(&self.before) {
            return Ok(false);
        }
        self.bound = (now.len() > end).then_some(now.len());
        self.before = now;
        Ok(true)
    }

    /// Whether the bytes that were read were the file's contents, or their beginning, at one point
    /// in time.
    fn is_consistent(&self, file: &File, bytes_read: u64) -> io::Result<bool> {
        let Some(bound) = self.bound else { return Ok(true) };
        let now = file.metadata()?;
        let is_same = now.len() == self.before.len()
            && (now.mtime(), now.mtime_nsec()) == (self.before.mtime(), self.before.mtime_nsec());
        if bytes_read < bound {
            // A file that was truncated and extended again has more bytes here; one whose reported
            // size is wrong has not.
            return Ok(is_same && !has_more(file, bytes_read)?);
        }
        Ok(is_same || (now.len() > bound && self.matches_second_read(file, bound)?))
    }

    /// Reads the first `bound` bytes again and compares their digests. Bytes that are equal in both
    /// reads were also in the file between them, so they were its beginning at that time.
    fn matches_second_read(&self, file: &File, bound: u64) -> io::Result<bool> {
        let mut block = vec![0; REREAD_BYTES.min(self.part_size.max(1))];
        let mut at = 0;
        for digest in &self.digests {
            let end = bound.min(at + self.part_size as u64);
            let mut hasher = Hasher::new();
            while at < end {
                let most = usize::try_from(end - at).map_or(block.len(), |n| n.min(block.len()));
                let piece = block.get_mut(..most).unwrap_or_default();
                match file.read_exact_at(piece, at) {
                    Ok(()) => hasher.update(piece),
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
                    Err(error) => return Err(error),
                }
                at += most as u64;
            }
            if hasher.finish() != *digest {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Whether the file at `path` exists and can be read, without opening it.
///
/// # Errors
/// As of [`FileSource::open`].
pub fn check_readable(path: &Path) -> Result<(), SourceError> {
    let failed = |source| SourceError::Read { path: path.to_owned(), source };
    let metadata = path.metadata().map_err(failed)?;
    if metadata.is_dir() {
        return Err(SourceError::Directory(path.to_owned()));
    }
    accessat(CWD, path, Access::READ_OK, AtFlags::EACCESS).map_err(|error| failed(error.into()))
}

/// Whether the bytes come from another process through a pipe or a socket.
fn has_writer(metadata: &Metadata) -> bool {
    metadata.file_type().is_fifo() || metadata.file_type().is_socket()
}

/// Modification and change time. No program can set the change time.
fn times(metadata: &Metadata) -> [i64; 4] {
    [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()]
}

fn file_attributes(metadata: &Metadata) -> Attributes {
    Attributes {
        mode: metadata.mode() & 0o777,
        mtime_s: metadata.mtime(),
        mtime_ns: u32::try_from(metadata.mtime_nsec()).unwrap_or(0),
    }
}

fn has_more(file: &File, at: u64) -> io::Result<bool> {
    retry_until_ready(file, PollFlags::IN, || Ok(pread(file, &mut [0; 1], at)? > 0))
}

/// Appends what comes next, up to the spare capacity of `part`.
fn next(file: &File, part: &mut Vec<u8>) -> io::Result<usize> {
    retry_until_ready(file, PollFlags::IN, || Ok(read(file, spare_capacity(part))?))
}

/// Clears `part` and fills it with the next `part_size` bytes of a stream.
pub(super) fn read_stream(
    file: &File,
    ahead: &mut Vec<u8>,
    part: &mut Vec<u8>,
    part_size: usize,
) -> io::Result<()> {
    clear(part, FIRST_BUFFER_BYTES.min(part_size))?;
    let most = ahead.len().min(part.capacity());
    part.extend(ahead.drain(..most));
    fill(part, part_size, |part| next(file, part))?;
    // The buffer may have more capacity than was reserved.
    if part.len() > part_size {
        *ahead = part.split_off(part_size);
    }
    Ok(())
}

/// Empties `part` and reserves at least `bytes`.
fn clear(part: &mut Vec<u8>, bytes: usize) -> io::Result<()> {
    part.clear();
    reserve_more(part, bytes)
}

/// Reads until `part` has `most` bytes, directly into its spare capacity, so nothing is zeroed or
/// copied. Returns whether the end came first.
fn fill(
    part: &mut Vec<u8>,
    most: usize,
    mut read: impl FnMut(&mut Vec<u8>) -> io::Result<usize>,
) -> io::Result<bool> {
    while part.len() < most {
        if part.len() == part.capacity() {
            let more = part.len().max(FIRST_BUFFER_BYTES).min(most - part.len());
            reserve_more(part, more)?;
        }
        if read(part)? == 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests;

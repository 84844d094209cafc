//! A file as a source: a regular one, or whatever else a path or stdin leads to.
//!
//! A path is opened once, for good: opening and closing a named pipe takes its writer's bytes away, and
//! a terminal or a tape has such effects as well. What is read twice is read from the same descriptor
//! (pread(2)), so no `/proc` is needed, and it is the same file whatever has its name by then.
//!
//! How a regular file ends is decided by what is read, not by what the system said of its size alone:
//!
//! | when all was read | what is stored |
//! |---|---|
//! | as many bytes as it had, and it is as it was | all of it |
//! | it has grown, and its beginning still is what was read | as many bytes as it had at first |
//! | fewer or more bytes, and its times are as they were | what was read: the size is no size (sysfs, FUSE) |
//! | anything else | nothing: [`SourceError::Changed`] |
//!
//! A file of size 0 that has bytes all the same (procfs) is read once, like a pipe.

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
    fs::{SeekFrom, seek},
    io::{pread, read},
};
use zput_common::digest::{Digest, Hasher};

use super::{Identity, Source, SourceError, of_a_stream};
use crate::{
    memory::reserve_more,
    sink::Attributes,
    standard_streams::{self, patiently},
};

/// A first buffer when the length is not known, in bytes; it grows up to the part size.
const FIRST_BUFFER_BYTES: usize = 64 * 1024;
/// Bytes that are asked of a file of size 0, to see whether it is empty.
const AHEAD_BYTES: usize = 4096;
/// Bytes of a file that has grown, read again at once.
const AGAIN_BYTES: usize = 1024 * 1024;

/// A file, or stdin.
#[derive(Debug)]
pub struct FileSource {
    file: Arc<File>,
    path: PathBuf,
    attributes: Attributes,
    kind: Kind,
    /// Bytes that were given.
    given: u64,
    /// Of the part that was given last.
    digest: Option<Digest>,
    may_be_empty: bool,
}

#[derive(Debug)]
enum Kind {
    /// It can be read anywhere, and again.
    Regular(Box<Regular>),
    /// It is read once. The bytes that were read already come first.
    Stream { ahead: Vec<u8> },
}

/// A regular file.
#[derive(Debug)]
struct Regular {
    /// What it was when it was opened.
    before: Metadata,
    /// How many bytes are read; none when its size turned out to be none, and it is read to its end.
    bound: Option<u64>,
    /// Of the parts that were read, each of `part_size` bytes but the last.
    digests: Vec<Digest>,
    part_size: usize,
}

impl FileSource {
    /// Opens the file at `path`. A named pipe is waited for until it has a writer.
    ///
    /// # Errors
    /// When it cannot be opened, or is a directory or a socket.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let failed = |error| SourceError::Read { path: path.to_owned(), error };
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
        let attributes = if metadata.is_file() { of(&metadata) } else { of_a_stream() };
        // lseek(2): ESPIPE, "fd is associated with a pipe, socket, or FIFO", and some files of FUSE.
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

    /// Stdin, from where it stands: others may have read some of it.
    ///
    /// # Errors
    /// When it is closed, or a directory.
    pub fn stdin() -> Result<Self, SourceError> {
        let path = Path::new("stdin");
        let failed = |error| SourceError::Read { path: path.to_owned(), error };
        let file = standard_streams::stdin().map_err(failed)?.into_file();
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(failed(io::Error::from(io::ErrorKind::IsADirectory)));
        }
        let kind = Kind::Stream { ahead: Vec::new() };
        let source = Self::new(file.into(), path, of_a_stream(), kind);
        Ok(source.allow_empty(!has_writer(&metadata)))
    }

    fn new(file: Arc<File>, path: &Path, attributes: Attributes, kind: Kind) -> Self {
        let path = path.to_owned();
        Self { file, path, attributes, kind, given: 0, digest: None, may_be_empty: false }
    }

    /// Whether a pipe may end without having given a byte: most often its writer has failed. Files and devices
    /// may, for those were named: `/dev/null` is empty.
    #[must_use]
    pub fn allow_empty(self, may_be_empty: bool) -> Self {
        Self { may_be_empty: self.may_be_empty || may_be_empty, ..self }
    }

    /// Whether it is a regular file, which can be read anywhere.
    #[must_use]
    pub fn is_regular(&self) -> bool {
        matches!(self.kind, Kind::Regular(_))
    }

    /// The open file. What is no regular one is read by [`Read`].
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Whether it is `other`, as files.
    #[must_use]
    pub fn is_same_file(&self, other: &impl AsFd) -> bool {
        let identity = |fd| rustix::fs::fstat(fd).map(|stat| (stat.st_dev, stat.st_ino));
        let (ours, others) = (identity(self.file.as_fd()), identity(other.as_fd()));
        matches!((ours, others), (Ok(ours), Ok(others)) if ours == others)
    }

    fn failed(&self, error: io::Error) -> SourceError {
        SourceError::Read { path: self.path.clone(), error }
    }
}

impl Source for FileSource {
    fn read_part(&mut self, part: &mut Vec<u8>, part_size: usize) -> Result<(), SourceError> {
        let read = match &mut self.kind {
            Kind::Regular(regular) => regular.read_part(&self.file, self.given, part, part_size),
            Kind::Stream { ahead } => read_stream(&self.file, ahead, part, part_size),
        };
        read.map_err(|error| self.failed(error))?;
        self.given += part.len() as u64;
        self.digest = match &self.kind {
            Kind::Regular(regular) => regular.digests.last().copied(),
            Kind::Stream { .. } => None,
        };
        Ok(())
    }

    fn finish(&mut self) -> Result<(), SourceError> {
        if self.given == 0 && !self.may_be_empty {
            return Err(SourceError::Empty(self.path.clone()));
        }
        let Kind::Regular(regular) = &self.kind else { return Ok(()) };
        match regular.holds(&self.file, self.given) {
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

    /// A file that has only grown counts as it was at first, so that a put of it can go on.
    fn again(&self) -> Result<Option<Box<dyn Source>>, SourceError> {
        let Kind::Regular(regular) = &self.kind else { return Ok(None) };
        let now = self.file.metadata().map_err(|error| self.failed(error))?;
        let before = if now.len() > regular.before.len() { regular.before.clone() } else { now };
        let attributes = of(&before);
        let kind = Kind::Regular(Box::new(Regular::new(before)));
        let again = Self::new(Arc::clone(&self.file), &self.path, attributes, kind);
        Ok(Some(Box::new(again.allow_empty(true))))
    }

    fn identity(&self) -> Option<Identity> {
        let Kind::Regular(regular) = &self.kind else { return None };
        let Attributes { mode, mtime_s, mtime_ns } = of(&regular.before);
        let (device, inode) = (regular.before.dev(), regular.before.ino());
        let size = regular.before.len();
        Some(Identity { device, inode, size, mtime_s, mtime_ns, mode })
    }
}

/// What is read only once, in order.
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
        patiently(&self.file, PollFlags::IN, || (&*self.file).read(buffer))
    }
}

impl Regular {
    fn new(before: Metadata) -> Self {
        let bound = Some(before.len());
        Self { before, bound, digests: Vec::new(), part_size: 0 }
    }

    /// The part at `at`.
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
                patiently(file, PollFlags::IN, || Ok(pread(file, spare_capacity(part), offset)?))
            })?;
            // A buffer may have more room than it was asked for.
            part.truncate(most);
            let end = at + part.len() as u64;
            if is_over || part.len() == part_size || !self.may_go_on(file, end)? {
                break;
            }
        }
        self.digests.push(Digest::of(part));
        Ok(())
    }

    /// Whether there is more behind `end`, as far as it was to be read, that belongs to the file as it
    /// was opened: its size was no size.
    fn may_go_on(&mut self, file: &File, end: u64) -> io::Result<bool> {
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

    /// Whether the `given` bytes are what the file was, or began with, at one moment.
    fn holds(&self, file: &File, given: u64) -> io::Result<bool> {
        let Some(bound) = self.bound else { return Ok(true) };
        let now = file.metadata()?;
        let is_same = now.len() == self.before.len()
            && (now.mtime(), now.mtime_nsec()) == (self.before.mtime(), self.before.mtime_nsec());
        if given < bound {
            // One that was cut short and is as long as before again has more; a size that is no size has not.
            return Ok(is_same && !has_more(file, given)?);
        }
        Ok(is_same || (now.len() > bound && self.is_read_again(file, bound)?))
    }

    /// Reads the first `bound` bytes again, and compares them with what was read: a byte that was the same both
    /// times was so in between, and so these bytes were the file's beginning at that moment.
    fn is_read_again(&self, file: &File, bound: u64) -> io::Result<bool> {
        let mut block = vec![0; AGAIN_BYTES.min(self.part_size.max(1))];
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

/// Whether what is read was written by another process into a pipe or a socket.
fn has_writer(metadata: &Metadata) -> bool {
    metadata.file_type().is_fifo() || metadata.file_type().is_socket()
}

/// When it was last written, and when anything about it last changed, which nobody can set.
fn times(metadata: &Metadata) -> [i64; 4] {
    [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()]
}

fn of(metadata: &Metadata) -> Attributes {
    Attributes {
        mode: metadata.mode() & 0o777,
        mtime_s: metadata.mtime(),
        mtime_ns: u32::try_from(metadata.mtime_nsec()).unwrap_or(0),
    }
}

fn has_more(file: &File, at: u64) -> io::Result<bool> {
    patiently(file, PollFlags::IN, || Ok(pread(file, &mut [0; 1], at)? > 0))
}

/// Appends what comes next, at most what `part` has room for.
fn next(file: &File, part: &mut Vec<u8>) -> io::Result<usize> {
    patiently(file, PollFlags::IN, || Ok(read(file, spare_capacity(part))?))
}

/// Clears `part` and fills it with the next `part_size` bytes of what is read once.
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
    // A buffer may have more room than it was asked for.
    if part.len() > part_size {
        *ahead = part.split_off(part_size);
    }
    Ok(())
}

/// An empty `part` with room for at least `bytes`.
fn clear(part: &mut Vec<u8>, bytes: usize) -> io::Result<()> {
    part.clear();
    reserve_more(part, bytes)
}

/// Reads until there are `most` bytes in `part`, straight into its spare capacity: no zeros, no copy. Gives
/// whether it came to the end before that.
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

//! Where plaintext comes from: a file, stdin, or the output of a command.
//!
//! A source is read once, part by part, into buffers that are used again. At its end it says whether
//! what was read can be stood by: a file that changed meanwhile and a command that failed cannot, and
//! then nothing is committed.

use std::{
    ffi::{OsStr, OsString},
    fs::{File, Metadata},
    io::{self, Read},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{SystemTime, UNIX_EPOCH},
};

use thiserror::Error;

use crate::{cleanup::ChildGuard, sink::Attributes, standard_streams};

/// A first buffer when the length is not known, in bytes; it grows up to the part size.
const FIRST_BUFFER_BYTES: usize = 64 * 1024;

/// Gives plaintext, in order.
pub trait Source: Send {
    /// Clears `part` and fills it with the next `part_size` bytes, with fewer only at the end.
    ///
    /// # Errors
    /// When the source cannot be read.
    fn read_part(&mut self, part: &mut Vec<u8>, part_size: usize) -> Result<(), SourceError>;

    /// Says that everything was read, and whether it holds.
    ///
    /// # Errors
    /// [`SourceError::Changed`] or [`SourceError::Failed`].
    fn finish(&mut self) -> Result<(), SourceError>;

    /// The length, where it is known beforehand; a hint.
    fn length(&self) -> Option<u64>;

    /// What the blob's metadata says of it.
    fn attributes(&self) -> Attributes;

    /// The same source once more, from its start; none of what can be read only once.
    ///
    /// # Errors
    /// When it cannot be opened again.
    fn again(&self) -> Result<Option<Box<dyn Source>>, SourceError> {
        Ok(None)
    }

    /// What tells it from other files, and from itself when it has changed; none of what is no file.
    fn identity(&self) -> Option<Identity> {
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

    fn again(&self) -> Result<Option<Box<dyn Source>>, SourceError> {
        (**self).again()
    }

    fn identity(&self) -> Option<Identity> {
        (**self).identity()
    }
}

/// What a file was when it was opened. One that was changed since has another time of modification, as far as
/// the file system's clock tells; what it tells is not enough, and contents are compared besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Device and inode.
    pub device: u64,
    /// See `device`.
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// Modification time: seconds since 1970.
    pub mtime_s: i64,
    /// Nanoseconds of that second.
    pub mtime_ns: u32,
    /// Permission bits: they are sealed with the file.
    pub mode: u32,
}

/// Why a source gave nothing that can be stored.
#[derive(Debug, Error)]
pub enum SourceError {
    /// It could not be opened or read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// What.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// Size or modification time were others at the end.
    #[error("{} changed while it was read; nothing was stored (try again)", .0.display())]
    Changed(PathBuf),
    /// The command could not be started.
    #[error("cannot run {}: {error}", command.to_string_lossy())]
    Start {
        /// Which.
        command: OsString,
        /// Why not.
        error: io::Error,
    },
    /// The command ended in failure.
    #[error("{} failed with {status}; nothing was stored", command.to_string_lossy())]
    Failed {
        /// Which.
        command: OsString,
        /// How.
        status: ExitStatus,
    },
}

/// A file, or stdin.
#[derive(Debug)]
pub struct FileSource {
    file: File,
    path: PathBuf,
    /// What a regular file was when it was opened.
    before: Option<Metadata>,
    read: u64,
}

impl FileSource {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// When it cannot be opened, or is a directory.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let failed = |error| SourceError::Read { path: path.to_owned(), error };
        let file = File::open(path).map_err(failed)?;
        Self::over(file, path)
    }

    /// Stdin.
    ///
    /// # Errors
    /// When it is closed.
    pub fn stdin() -> Result<Self, SourceError> {
        let path = Path::new("stdin");
        let stdin = standard_streams::stdin()
            .map_err(|error| SourceError::Read { path: path.to_owned(), error })?;
        let mut source = Self::over(stdin.into_file(), path)?;
        // Stdin may stand anywhere in a file that others read and write.
        source.before = None;
        Ok(source)
    }

    fn over(file: File, path: &Path) -> Result<Self, SourceError> {
        let failed = |error| SourceError::Read { path: path.to_owned(), error };
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(failed(io::Error::from(io::ErrorKind::IsADirectory)));
        }
        let before = metadata.is_file().then_some(metadata);
        Ok(Self { file, path: path.to_owned(), before, read: 0 })
    }

    /// Whether it is a regular file, which can be read anywhere.
    #[must_use]
    pub fn is_regular(&self) -> bool {
        self.before.is_some()
    }

    /// The open file.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }
}

impl Source for FileSource {
    fn read_part(&mut self, part: &mut Vec<u8>, part_size: usize) -> Result<(), SourceError> {
        let expected = self.length().map(|length| length.saturating_sub(self.read));
        let read = fill(&self.file, part, part_size, expected);
        self.read += part.len() as u64;
        read.map_err(|error| SourceError::Read { path: self.path.clone(), error })
    }

    fn finish(&mut self) -> Result<(), SourceError> {
        let Some(before) = &self.before else { return Ok(()) };
        let after = self
            .file
            .metadata()
            .map_err(|error| SourceError::Read { path: self.path.clone(), error })?;
        let same = self.read == before.len()
            && after.len() == before.len()
            && (after.mtime(), after.mtime_nsec()) == (before.mtime(), before.mtime_nsec());
        if same { Ok(()) } else { Err(SourceError::Changed(self.path.clone())) }
    }

    fn length(&self) -> Option<u64> {
        self.before.as_ref().map(Metadata::len)
    }

    fn attributes(&self) -> Attributes {
        match &self.before {
            Some(metadata) => Attributes {
                mode: metadata.mode() & 0o777,
                mtime_s: metadata.mtime(),
                mtime_ns: u32::try_from(metadata.mtime_nsec()).unwrap_or(0),
            },
            None => of_a_stream(),
        }
    }

    /// proc(5): opened by way of the descriptor, it is the same file whatever has its name by now, and is read from
    /// its start.
    fn again(&self) -> Result<Option<Box<dyn Source>>, SourceError> {
        if self.before.is_none() {
            return Ok(None);
        }
        let failed = |error| SourceError::Read { path: self.path.clone(), error };
        let descriptor = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let file = File::open(descriptor).map_err(failed)?;
        Ok(Some(Box::new(Self::over(file, &self.path)?)))
    }

    fn identity(&self) -> Option<Identity> {
        self.before.as_ref().map(|metadata| Identity {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            mtime_s: metadata.mtime(),
            mtime_ns: u32::try_from(metadata.mtime_nsec()).unwrap_or(0),
            mode: metadata.mode() & 0o777,
        })
    }
}

/// The output of a command. It is stored only when the command ends well.
#[derive(Debug)]
pub struct CommandSource {
    child: Child,
    guard: Option<ChildGuard>,
    output: File,
    command: OsString,
}

impl CommandSource {
    /// Runs `command` with `arguments`, by itself and not by a shell; its stdin and stderr are this
    /// process's.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start<S: AsRef<OsStr>>(command: &OsStr, arguments: &[S]) -> Result<Self, SourceError> {
        let failed = |error| SourceError::Start { command: command.to_owned(), error };
        let mut process = Command::new(command);
        process.args(arguments).stdout(Stdio::piped());
        let (mut child, guard) = ChildGuard::spawn(&mut process).map_err(failed)?;
        let guard = Some(guard);
        let Some(output) = child.stdout.take() else {
            return Err(failed(io::Error::from(io::ErrorKind::BrokenPipe)));
        };
        Ok(Self {
            child,
            guard,
            output: File::from(OwnedFd::from(output)),
            command: command.to_owned(),
        })
    }
}

impl Source for CommandSource {
    fn read_part(&mut self, part: &mut Vec<u8>, part_size: usize) -> Result<(), SourceError> {
        let read = fill(&self.output, part, part_size, None);
        read.map_err(|error| SourceError::Read { path: PathBuf::from(&self.command), error })
    }

    fn finish(&mut self) -> Result<(), SourceError> {
        // It closed its output, so it is about to end. A signal that comes while it is waited for
        // ends this process, and the child's next write with it.
        self.guard = None;
        let status = self
            .child
            .wait()
            .map_err(|error| SourceError::Read { path: PathBuf::from(&self.command), error })?;
        if status.success() {
            return Ok(());
        }
        Err(SourceError::Failed { command: self.command.clone(), status })
    }

    fn length(&self) -> Option<u64> {
        None
    }

    fn attributes(&self) -> Attributes {
        of_a_stream()
    }
}

impl Drop for CommandSource {
    /// Somebody gave up: the command is not left running with nobody to read it.
    fn drop(&mut self) {
        if self.guard.take().is_some() {
            let _ended = self.child.kill();
            let _reaped = self.child.wait();
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
        of_a_stream()
    }
}

/// Fills `part` straight into its spare capacity: no zeros, no copy.
fn fill(
    file: &File,
    part: &mut Vec<u8>,
    part_size: usize,
    expected: Option<u64>,
) -> io::Result<()> {
    part.clear();
    let first = expected.map_or(FIRST_BUFFER_BYTES, |e| usize::try_from(e).unwrap_or(part_size));
    part.reserve_exact(first.min(part_size));
    file.take(part_size as u64).read_to_end(part)?;
    Ok(())
}

/// A stream has no file's attributes: it is of now, and its user's alone.
fn of_a_stream() -> Attributes {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Attributes {
        mode: 0o600,
        mtime_s: i64::try_from(now.as_secs()).unwrap_or(i64::MAX),
        mtime_ns: now.subsec_nanos(),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write};

    use super::*;

    fn read_all(source: &mut dyn Source, part_size: usize) -> Vec<Vec<u8>> {
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
    fn a_file_comes_in_parts_and_the_last_is_short() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, b"abcdefgh").unwrap();
        let mut source = FileSource::open(&path).unwrap();
        assert_eq!(source.length(), Some(8));
        assert_eq!(read_all(&mut source, 4), [&b"abcd"[..], b"efgh", b""]);
        source.finish().unwrap();
        let mut source = FileSource::open(&path).unwrap();
        assert_eq!(read_all(&mut source, 3), [&b"abc"[..], b"def", b"gh"]);
    }

    #[test]
    fn a_file_that_grows_or_is_touched_is_not_stood_by() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, b"abcdefgh").unwrap();
        let mut source = FileSource::open(&path).unwrap();
        let mut part = Vec::new();
        source.read_part(&mut part, 4).unwrap();
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"i").unwrap();
        source.read_part(&mut part, 8).unwrap();
        assert!(matches!(source.finish(), Err(SourceError::Changed(_))));

        let mut source = FileSource::open(&path).unwrap();
        source.read_part(&mut part, 100).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(UNIX_EPOCH).unwrap();
        assert!(matches!(source.finish(), Err(SourceError::Changed(_))));
    }

    #[test]
    fn a_file_cut_short_and_restored_in_size_is_not_stood_by() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, b"abcdefgh").unwrap();
        let mut source = FileSource::open(&path).unwrap();
        let mtime = source.before.as_ref().unwrap().modified().unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.set_len(4).unwrap();
        let mut part = Vec::new();
        source.read_part(&mut part, 100).unwrap();
        assert_eq!(part, b"abcd");
        file.set_len(8).unwrap();
        file.set_modified(mtime).unwrap();
        assert!(matches!(source.finish(), Err(SourceError::Changed(_))));
    }

    #[test]
    fn a_directory_is_no_source() {
        let error = FileSource::open(Path::new("/")).unwrap_err();
        assert_eq!(error.to_string(), "cannot read /: is a directory");
    }

    #[test]
    fn a_command_that_ends_well_is_stood_by() {
        let mut source = CommandSource::start(OsStr::new("printf"), &["%s", "hello"]).unwrap();
        assert_eq!(read_all(&mut source, 100), [b"hello"]);
        source.finish().unwrap();
    }

    #[test]
    fn a_command_that_fails_is_not_stood_by() {
        let mut source =
            CommandSource::start(OsStr::new("sh"), &["-c", "printf half; exit 3"]).unwrap();
        assert_eq!(read_all(&mut source, 100), [b"half"]);
        let error = source.finish().unwrap_err();
        assert_eq!(error.to_string(), "sh failed with exit status: 3; nothing was stored");
        assert!(matches!(
            CommandSource::start(OsStr::new("/nonexistent"), &[] as &[&str]),
            Err(SourceError::Start { .. })
        ));
    }

    #[test]
    fn a_command_that_nobody_reads_is_ended() {
        let source = CommandSource::start(OsStr::new("sleep"), &["1000"]).unwrap();
        let id = source.child.id();
        drop(source);
        assert!(!Path::new(&format!("/proc/{id}")).exists());
    }

    #[test]
    fn buffers_are_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, vec![7; 10_000]).unwrap();
        let mut source = FileSource::open(&path).unwrap();
        let mut part = Vec::new();
        source.read_part(&mut part, 4096).unwrap();
        let (address, capacity) = (part.as_ptr(), part.capacity());
        source.read_part(&mut part, 4096).unwrap();
        assert_eq!((part.as_ptr(), part.capacity()), (address, capacity));
        source.read_part(&mut part, 4096).unwrap();
        assert_eq!(part.len(), 10_000 - 8192);
    }
}

//! Where plaintext goes: a file that appears complete or not at all, or a stream.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, IsTerminal, Seek, SeekFrom, Write},
    os::{
        fd::AsFd,
        unix::fs::{FileTypeExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use thiserror::Error;
use zput_common::blob::open::Trusted;

use crate::{
    atomic::{directory_of, is_taken, sync_directory},
    cleanup::FileGuard,
    partial::{PartialRecord, Partials},
};

/// Where the system does not say its umask: a file is its owner's alone.
const UMASK_UNKNOWN: u32 = 0o077;

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
    File(FileSink),
    /// Stdout, a pipe, a device: written as it comes.
    Stream(StreamSink),
}

impl Output {
    /// Stdout.
    ///
    /// # Errors
    /// When stdout is closed.
    pub fn stdout() -> Result<Self, SinkError> {
        let path = PathBuf::from("stdout");
        match io::stdout().as_fd().try_clone_to_owned() {
            Ok(fd) => Ok(Self::Stream(StreamSink { file: File::from(fd), path })),
            Err(error) => Err(SinkError::Write { path, error }),
        }
    }

    /// The output of this path. Devices, pipes and sockets are opened as they are; anything else
    /// becomes a new file, and with `force` it may take the place of one (of a link, if it is one).
    ///
    /// # Errors
    /// [`SinkError::Exists`] before anything is written, so that nobody waits for a transfer in vain.
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

    fn open(
        path: &Path,
        force: bool,
        resumable: Option<(&Partials, String)>,
    ) -> Result<Self, SinkError> {
        let failed = |error| SinkError::Write { path: path.to_owned(), error };
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => return Err(SinkError::Directory(path.to_owned())),
            Ok(metadata) if metadata.file_type().is_block_device() && !force => {
                return Err(SinkError::BlockDevice(path.to_owned()));
            }
            Ok(metadata) if !metadata.is_file() => {
                let file = OpenOptions::new().write(true).open(path).map_err(failed)?;
                return Ok(Self::Stream(StreamSink { file, path: path.to_owned() }));
            }
            Ok(_) | Err(_) => {}
        }
        if !force && is_taken(path).map_err(failed)? {
            return Err(SinkError::Exists(path.to_owned()));
        }
        match resumable {
            None => FileSink::beside(path, force).map(Self::File),
            Some((partials, line)) => {
                FileSink::resumable(path, force, partials, line).map(Self::File)
            }
        }
    }

    /// Nothing stays behind.
    pub fn give_up(&mut self) {
        if let Self::File(file) = self {
            file.give_up();
        }
    }

    /// The file that stays behind although it is not complete.
    #[must_use]
    pub fn partial(&self) -> Option<&Path> {
        match self {
            Self::File(file) => file.may_hold().then(|| file.temp.path()),
            Self::Stream(_) => None,
        }
    }

    /// Whether this is a terminal.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Stream(stream) if stream.file.is_terminal())
    }

    /// All is verified: a file is synced and gets its name.
    ///
    /// # Errors
    /// When that fails; the target is then as it was.
    pub fn commit(self, attributes: Option<Attributes>) -> Result<(), SinkError> {
        match self {
            Self::File(file) => file.commit(attributes),
            Self::Stream(_) => Ok(()),
        }
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

/// A file under way beside its target. Dropped, it vanishes, unless a get can go on with it.
#[derive(Debug)]
pub struct FileSink {
    temp: tempfile::NamedTempFile,
    guard: FileGuard,
    target: PathBuf,
    force: bool,
    resuming: Option<Box<Resuming>>,
}

/// What it takes to go on with a file.
#[derive(Debug)]
struct Resuming {
    partials: Partials,
    /// What is said of it should a signal end the process.
    line: String,
    record: Option<PartialRecord>,
    /// Whole parts in the file, and in the record.
    parts: u64,
    is_kept: bool,
}

impl FileSink {
    fn beside(target: &Path, force: bool) -> Result<Self, SinkError> {
        let (temp, guard) = FileGuard::make(directory_of(target))
            .map_err(|error| SinkError::Write { path: target.to_owned(), error })?;
        Ok(Self { temp, guard, target: target.to_owned(), force, resuming: None })
    }

    fn resumable(
        target: &Path,
        force: bool,
        partials: &Partials,
        line: String,
    ) -> Result<Self, SinkError> {
        let record = partials.existing(target);
        let left = record.as_ref().and_then(PartialRecord::partial);
        let partials = partials.clone();
        let resuming = Box::new(Resuming { partials, line, record, parts: 0, is_kept: false });
        let Some((file, path)) = left else {
            return Ok(Self { resuming: Some(resuming), ..Self::beside(target, force)? });
        };
        let guard = FileGuard::over(&path);
        let path = tempfile::TempPath::try_from_path(path)
            .map_err(|error| SinkError::Write { path: target.to_owned(), error })?;
        let temp = tempfile::NamedTempFile::from_parts(file, path);
        let (target, resuming) = (target.to_owned(), Some(resuming));
        let mut sink = Self { temp, guard, target, force, resuming };
        sink.keep(true);
        Ok(sink)
    }

    fn may_hold(&self) -> bool {
        self.resuming.as_ref().is_some_and(|resuming| resuming.is_kept)
    }

    fn give_up(&mut self) {
        self.keep(false);
        if let Some(record) = self.resuming.as_mut().and_then(|resuming| resuming.record.take()) {
            record.discard();
        }
    }

    /// Whether an error or a signal leaves the file where it is.
    fn keep(&mut self, is_kept: bool) {
        let Some(resuming) = &mut self.resuming else { return };
        resuming.is_kept = is_kept;
        self.temp.disable_cleanup(is_kept);
        self.guard.keep(is_kept.then(|| resuming.line.clone()));
    }

    fn begin(&mut self, blob: &Trusted) -> Result<u64, SinkError> {
        let Some(resuming) = &mut self.resuming else { return Ok(0) };
        let (transcript, layout) = (&blob.seen().transcript, blob.layout());
        let failed = |error| SinkError::Write { path: self.target.clone(), error };
        let file = self.temp.as_file_mut();
        if let Some(record) = &mut resuming.record {
            let part_bytes = layout.part_size().bytes();
            resuming.parts = record.go_on(file, transcript, part_bytes).map_err(failed)?;
            if resuming.parts > 0 {
                return Ok(resuming.parts);
            }
        }
        file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).map_err(failed)?;
        if layout.parts() > 1 {
            // Where no record can be kept the get starts over if it is interrupted.
            resuming.record =
                resuming.record.take().or_else(|| resuming.partials.make(&self.target));
            if let Some(record) = &mut resuming.record
                && record.begin(transcript, self.temp.path(), self.temp.as_file()).is_err()
            {
                resuming.record = None;
            }
        } else if let Some(record) = resuming.record.take() {
            record.discard();
        }
        self.keep(false);
        Ok(0)
    }

    fn write(&mut self, plaintext: &[u8]) -> Result<(), SinkError> {
        let written = self.temp.as_file_mut().write_all(plaintext);
        written.map_err(|error| SinkError::Write { path: self.target.clone(), error })?;
        if let Some(resuming) = &mut self.resuming
            && let Some(record) = &resuming.record
        {
            if record.note(resuming.parts, plaintext).is_err() {
                // What was noted before can be gone on with.
                resuming.record = None;
            } else {
                resuming.parts += 1;
                if resuming.parts == 1 {
                    self.keep(true);
                }
            }
        }
        Ok(())
    }

    fn commit(self, attributes: Option<Attributes>) -> Result<(), SinkError> {
        let Self { temp, guard, target, force, resuming } = self;
        let failed = |error| SinkError::Write { path: target.clone(), error };
        if let Some(attributes) = attributes {
            let file = temp.as_file();
            file.set_permissions(Permissions::from_mode(attributes.mode & 0o777 & !umask()))
                .map_err(failed)?;
            // A time that this machine cannot express is left at now.
            if let Some(modified) = attributes.modified() {
                file.set_modified(modified).map_err(failed)?;
            }
        }
        temp.as_file().sync_all().map_err(failed)?;
        let named = if force { temp.persist(&target) } else { temp.persist_noclobber(&target) };
        match named {
            Ok(_file) => {}
            Err(e) if !force && e.error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(SinkError::Exists(target));
            }
            Err(e) => return Err(failed(e.error)),
        }
        drop(guard);
        if let Some(record) = resuming.and_then(|resuming| resuming.record) {
            record.discard();
        }
        sync_directory(directory_of(&target)).map_err(failed)
    }
}

/// What this process keeps back from every file's mode. An author's bits are not obeyed further than
/// the reader's own programs would go (`tar` without `-p` does the same). proc(5): reading it there
/// disturbs no other thread, which umask(2) does.
fn umask() -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    umask_in(&status).unwrap_or(UMASK_UNKNOWN)
}

fn umask_in(status: &str) -> Option<u32> {
    let text = status.lines().find_map(|line| line.strip_prefix("Umask:"))?;
    u32::from_str_radix(text.trim(), 8).ok()
}

/// Something that takes bytes as they come.
#[derive(Debug)]
pub struct StreamSink {
    file: File,
    path: PathBuf,
}

impl StreamSink {
    fn write(&mut self, plaintext: &[u8]) -> Result<(), SinkError> {
        let written = self.file.write_all(plaintext);
        written.map_err(|error| SinkError::Write { path: self.path.clone(), error })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(dir)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_appears_only_when_committed() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        let mut output = Output::at(&target, false).unwrap();
        output.write(b"hello ").unwrap();
        output.write(b"world").unwrap();
        assert!(!target.exists());
        let attributes = Attributes { mode: 0o4751, mtime_s: 1_000_000_000, mtime_ns: 5 };
        output.commit(Some(attributes)).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"hello world");
        let metadata = fs::metadata(&target).unwrap();
        assert_eq!(metadata.mode() & 0o7777, 0o751);
        assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (1_000_000_000, 5));
        assert_eq!(names(dir.path()), ["out"]);
    }

    #[test]
    fn the_umask_is_read_from_proc() {
        let status = "Name:\tzget\nUmask:\t0027\nState:\tR (running)\n";
        assert_eq!(umask_in(status), Some(0o027));
        assert_eq!(umask_in("Name:\tzget\n"), None);
        assert_eq!(umask_in("Umask:\tnine\n"), None);
    }

    #[test]
    fn times_before_1970_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        let attributes = Attributes { mode: 0o600, mtime_s: -2, mtime_ns: 500_000_000 };
        Output::at(&target, false).unwrap().commit(Some(attributes)).unwrap();
        let metadata = fs::metadata(&target).unwrap();
        assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (-2, 500_000_000));
    }

    #[test]
    fn what_is_dropped_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut output = Output::at(&dir.path().join("out"), false).unwrap();
        output.write(b"half").unwrap();
        assert_eq!(names(dir.path()).len(), 1);
        drop(output);
        assert_eq!(names(dir.path()), [""; 0]);
    }

    #[test]
    fn nothing_is_overwritten_without_force() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        fs::write(&target, "old").unwrap();
        assert!(matches!(Output::at(&target, false), Err(SinkError::Exists(_))));
        let mut output = Output::at(&target, true).unwrap();
        output.write(b"new").unwrap();
        output.commit(None).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
    }

    #[test]
    fn a_file_that_appears_meanwhile_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        let output = Output::at(&target, false).unwrap();
        fs::write(&target, "other's").unwrap();
        assert!(matches!(output.commit(None), Err(SinkError::Exists(_))));
        assert_eq!(fs::read(&target).unwrap(), b"other's");
        assert_eq!(names(dir.path()), ["out"]);
    }

    #[test]
    fn a_dangling_link_exists_and_is_replaced_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (link, elsewhere) = (dir.path().join("link"), dir.path().join("elsewhere"));
        std::os::unix::fs::symlink(&elsewhere, &link).unwrap();
        assert!(matches!(Output::at(&link, false), Err(SinkError::Exists(_))));
        Output::at(&link, true).unwrap().commit(None).unwrap();
        assert!(!elsewhere.exists());
        assert!(fs::symlink_metadata(&link).unwrap().is_file());
    }

    #[test]
    fn devices_are_written_as_they_are() {
        let mut output = Output::at(Path::new("/dev/null"), false).unwrap();
        assert!(matches!(output, Output::Stream(_)));
        output.write(b"x").unwrap();
        output.commit(None).unwrap();
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    }

    #[test]
    fn a_full_disk_is_told_apart() {
        let mut output = Output::at(Path::new("/dev/full"), false).unwrap();
        let error = output.write(b"x").unwrap_err();
        assert!(error.is_full(), "{error}");
    }

    #[test]
    fn a_directory_is_no_output() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Output::at(dir.path(), true), Err(SinkError::Directory(_))));
    }
}

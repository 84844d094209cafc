//! A file that is written beside its name, or apart from it, and gets it when all of it is there.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use thiserror::Error;
use zput_common::blob::open::Trusted;

use super::{Attributes, SinkError};
use crate::{
    atomic::{Existing, directory_of, sync_directory},
    cleanup::FileGuard,
    naming,
    partial::{PartialRecord, Partials},
    standing::{Standing, set_mode},
};

/// Where neither the system nor a file says what the umask is: a file is its owner's alone.
const UMASK_UNKNOWN: u32 = 0o077;

/// What could not be set on a file, or kept of the one that it replaces. The file is there, and complete.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Shortfall {
    /// Its permissions.
    #[error("the mode of {} could not be set: {error}", path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// Its time of modification.
    #[error("the time of {} could not be set: {error}", path.display())]
    Time {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// Owner, group, access list or attributes of the file that was there.
    #[error("{} is there, but not all of what the replaced file had could be kept (owner, access list): {error}", path.display())]
    Kept {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

/// A file under way. Dropped, it vanishes, unless a get can go on with it.
#[derive(Debug)]
pub struct FileSink {
    temp: tempfile::NamedTempFile,
    guard: FileGuard,
    /// As it was asked for.
    path: PathBuf,
    /// Where that leads.
    target: PathBuf,
    /// What is there, if it is to be replaced.
    standing: Option<Standing>,
    existing: Existing,
    /// No file can be made beside the target, so the target is written over once all is verified.
    is_apart: bool,
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
    /// A file for `target`, in the place of `standing` or, by [`Existing::Replace`], of whatever is there by then.
    pub(super) fn new(
        path: &Path,
        target: &Path,
        standing: Option<Standing>,
        existing: Existing,
        resumable: Option<(&Partials, String)>,
    ) -> Result<Self, SinkError> {
        let failed = |error| SinkError::Write { path: path.to_owned(), error };
        let mut resuming = resumable.map(|(partials, line)| {
            let record = partials.existing(target);
            let partials = partials.clone();
            Box::new(Resuming { partials, line, record, parts: 0, is_kept: false })
        });
        let record = resuming.as_ref().and_then(|resuming| resuming.record.as_ref());
        let left = record.and_then(PartialRecord::partial);
        let is_left = left.is_some();
        let (temp, guard, is_apart) = match left {
            Some((file, left)) => {
                let guard = FileGuard::over(&left);
                let left = tempfile::TempPath::try_from_path(left).map_err(failed)?;
                (tempfile::NamedTempFile::from_parts(file, left), guard, false)
            }
            None => match FileGuard::make(directory_of(target)) {
                Ok((temp, guard)) => (temp, guard, false),
                // What is there may be written, and its directory not (a file that is mounted into a read-only tree).
                Err(error) if standing.as_ref().is_some_and(Standing::is_writable) => {
                    let (temp, guard) =
                        FileGuard::make(&std::env::temp_dir()).map_err(|_| failed(error))?;
                    resuming = None;
                    (temp, guard, true)
                }
                Err(error) => return Err(failed(error)),
            },
        };
        let (path, target) = (path.to_owned(), target.to_owned());
        let mut sink = Self { temp, guard, path, target, standing, existing, is_apart, resuming };
        if is_left {
            sink.keep(true);
        }
        Ok(sink)
    }

    pub(super) fn may_hold(&self) -> bool {
        self.resuming.as_ref().is_some_and(|resuming| resuming.is_kept)
    }

    /// Whether an error or a signal leaves the file where it is.
    fn keep(&mut self, is_kept: bool) {
        let Some(resuming) = &mut self.resuming else { return };
        resuming.is_kept = is_kept;
        self.temp.disable_cleanup(is_kept);
        self.guard.keep(is_kept.then(|| resuming.line.clone()));
    }

    pub(super) fn begin(&mut self, blob: &Trusted) -> Result<u64, SinkError> {
        let Some(resuming) = &mut self.resuming else { return Ok(0) };
        let (transcript, layout) = (&blob.seen().transcript, blob.layout());
        let failed = |error| SinkError::Write { path: self.path.clone(), error };
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

    pub(super) fn write(&mut self, plaintext: &[u8]) -> Result<(), SinkError> {
        let written = self.temp.as_file_mut().write_all(plaintext);
        written.map_err(|error| SinkError::Write { path: self.path.clone(), error })?;
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

    pub(super) fn commit(
        mut self,
        attributes: Option<Attributes>,
    ) -> Result<Vec<Shortfall>, SinkError> {
        let mut shortfalls = Vec::new();
        let path = self.path.clone();
        let failed = |error| SinkError::Write { path: path.clone(), error };
        if self.is_apart {
            self.write_over(attributes, &mut shortfalls).map_err(failed)?;
            return Ok(shortfalls);
        }
        self.dress(attributes, &mut shortfalls).map_err(failed)?;
        let Self { temp, guard, target, existing, resuming, .. } = self;
        naming::sync(temp.as_file()).map_err(failed)?;
        match naming::give(temp, &target, existing) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(SinkError::Exists(path));
            }
            Err(error) => return Err(failed(error)),
        }
        drop(guard);
        if let Some(record) = resuming.and_then(|resuming| resuming.record) {
            record.discard();
        }
        sync_directory(directory_of(&target)).map_err(failed)?;
        Ok(shortfalls)
    }

    /// Gives the file what its blob says of it, and what the one has that it replaces.
    fn dress(
        &self,
        attributes: Option<Attributes>,
        shortfalls: &mut Vec<Shortfall>,
    ) -> io::Result<()> {
        let file = self.temp.as_file();
        if let Some(standing) = &self.standing
            && let Err(error) = standing.bequeath(file)
        {
            shortfalls.push(Shortfall::Kept { path: self.path.clone(), error });
        }
        let wanted = attributes.map(|attributes| attributes.mode & 0o777 & !self.umask());
        let mode = match &self.standing {
            Some(standing) => Some(standing.mode(wanted, &file.metadata()?)),
            None => wanted,
        };
        if let Some(Err(error)) = mode.map(|mode| set_mode(file, mode)) {
            shortfalls.push(Shortfall::Mode { path: self.path.clone(), error });
        }
        self.date(file, attributes, shortfalls);
        Ok(())
    }

    /// A time that this machine cannot express is left at now.
    fn date(&self, file: &File, attributes: Option<Attributes>, shortfalls: &mut Vec<Shortfall>) {
        let modified = attributes.and_then(|attributes| attributes.modified());
        if let Some(Err(error)) = modified.map(|modified| file.set_modified(modified)) {
            shortfalls.push(Shortfall::Time { path: self.path.clone(), error });
        }
    }

    /// Writes what is verified into what is there, which keeps all that it has but its contents.
    fn write_over(
        &mut self,
        attributes: Option<Attributes>,
        shortfalls: &mut Vec<Shortfall>,
    ) -> io::Result<()> {
        let Some(standing) = &self.standing else { return Err(io::ErrorKind::NotFound.into()) };
        naming::copy_into(self.temp.as_file_mut(), &self.target, standing.metadata())?;
        let file = OpenOptions::new().write(true).open(&self.target)?;
        self.date(&file, attributes, shortfalls);
        Ok(())
    }

    /// What this process keeps back from every file's mode. An author's bits are not obeyed further than
    /// the reader's own programs would go (`tar` without `-p` does the same). proc(5): reading it there
    /// disturbs no other thread, which umask(2) does. Where there is no /proc, an empty file shows what open(2) leaves.
    fn umask(&self) -> u32 {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        umask_in(&status).or_else(|| umask_by(&self.target)).unwrap_or(UMASK_UNKNOWN)
    }
}

fn umask_in(status: &str) -> Option<u32> {
    let text = status.lines().find_map(|line| line.strip_prefix("Umask:"))?;
    u32::from_str_radix(text.trim(), 8).ok()
}

/// The bits that a file beside `target` loses when it is made.
fn umask_by(target: &Path) -> Option<u32> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o777);
    let mut builder = tempfile::Builder::new();
    builder.prefix(".zput-").suffix(".tmp");
    let probe = builder.make_in(directory_of(target), |path| options.open(path)).ok()?;
    Some(0o777 & !probe.as_file().metadata().ok()?.mode())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_umask_is_read_from_proc() {
        let status = "Name:\tzget\nUmask:\t0027\nState:\tR (running)\n";
        assert_eq!(umask_in(status), Some(0o027));
        assert_eq!(umask_in("Name:\tzget\n"), None);
        assert_eq!(umask_in("Umask:\tnine\n"), None);
    }

    #[test]
    fn the_umask_is_seen_by_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let status = fs::read_to_string("/proc/self/status").unwrap();
        assert_eq!(umask_by(&dir.path().join("x")), umask_in(&status));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

//! A file that is written beside its final name, or in the temporary directory, and moved there
//! when it is complete.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use thiserror::Error;
use zput_seal::blob::open::Trusted;

use super::error::SinkError;
use crate::{
    cleanup::FileGuard,
    files::{
        create::sync_directory,
        existing_target::{ExistingTarget, set_mode},
        install::{self, IfExists},
        path::directory_of,
    },
    io::attributes::Attributes,
    state::partial::{PartialDownload, PartialDownloads},
};

/// Umask to assume where neither /proc nor a probe file reveals it: files are private.
const UMASK_UNKNOWN: u32 = 0o077;

/// An attribute that could not be set, or kept from the replaced file. The file itself is complete.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AttributeWarning {
    /// The permissions could not be set.
    #[error("the mode of {} could not be set", path.display())]
    Mode {
        /// The file's path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The modification time could not be set.
    #[error("the time of {} could not be set", path.display())]
    Time {
        /// The file's path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Owner, group, access list or extended attributes of the replaced file could not be kept.
    #[error(
        "{} was written, but the owner or the access list of the replaced file could not be kept",
        path.display()
    )]
    Kept {
        /// The file's path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// A file that is being written. Dropping it removes it, unless a later get can resume from it.
#[derive(Debug)]
pub struct FileSink {
    temp: tempfile::NamedTempFile,
    guard: FileGuard,
    /// The path that the caller gave.
    path: PathBuf,
    /// Where that path leads.
    target: PathBuf,
    /// The file that is to be replaced, if there is one.
    existing: Option<ExistingTarget>,
    if_exists: IfExists,
    /// Whether the target is overwritten in place after verification, because no file can be
    /// created beside it.
    overwrites_target: bool,
    resume: Option<Box<ResumeState>>,
}

/// What a later get needs to resume.
#[derive(Debug)]
struct ResumeState {
    partial_downloads: PartialDownloads,
    /// Printed if a signal ends the process and the file stays.
    line: String,
    record: Option<PartialDownload>,
    /// Number of whole parts that are in the file and recorded.
    parts: u64,
    is_kept: bool,
}

impl FileSink {
    /// Creates a file for `target`, to replace `existing` or, with [`IfExists::Replace`], whatever
    /// has the name by then.
    pub(super) fn new(
        path: &Path,
        target: &Path,
        existing: Option<ExistingTarget>,
        if_exists: IfExists,
        resumable: Option<(&PartialDownloads, String)>,
    ) -> Result<Self, SinkError> {
        let failed = |source| SinkError::Write { path: path.to_owned(), source };
        let mut resume = resumable.map(|(partial_downloads, line)| {
            let record = partial_downloads.existing(target);
            let partial_downloads = partial_downloads.clone();
            Box::new(ResumeState { partial_downloads, line, record, parts: 0, is_kept: false })
        });
        let record = resume.as_ref().and_then(|resume| resume.record.as_ref());
        let previous = record.and_then(PartialDownload::partial);
        let is_resumed = previous.is_some();
        let (temp, guard, overwrites_target) = match previous {
            Some((file, previous)) => {
                let guard = FileGuard::adopt(&previous);
                let previous = tempfile::TempPath::try_from_path(previous).map_err(failed)?;
                (tempfile::NamedTempFile::from_parts(file, previous), guard, false)
            }
            None => match FileGuard::create(directory_of(target)) {
                Ok((temp, guard)) => (temp, guard, false),
                // The existing file is writable but its directory is not (a file that is mounted
                // into a read-only tree).
                Err(error) if existing.as_ref().is_some_and(ExistingTarget::is_writable) => {
                    let (temp, guard) =
                        FileGuard::create(&std::env::temp_dir()).map_err(|_| failed(error))?;
                    resume = None;
                    (temp, guard, true)
                }
                Err(error) => return Err(failed(error)),
            },
        };
        let (path, target) = (path.to_owned(), target.to_owned());
        let mut sink =
            Self { temp, guard, path, target, existing, if_exists, overwrites_target, resume };
        if is_resumed {
            sink.set_kept(true);
        }
        Ok(sink)
    }

    pub(super) fn has_partial(&self) -> bool {
        self.resume.as_ref().is_some_and(|resume| resume.is_kept)
    }

    /// Sets whether an error or a signal leaves the file where it is.
    fn set_kept(&mut self, is_kept: bool) {
        let Some(resume) = &mut self.resume else { return };
        resume.is_kept = is_kept;
        self.temp.disable_cleanup(is_kept);
        self.guard.keep(is_kept.then(|| resume.line.clone()));
    }

    pub(super) fn begin(&mut self, blob: &Trusted) -> Result<u64, SinkError> {
        let Some(resume) = &mut self.resume else { return Ok(0) };
        let (transcript, layout) = (&blob.seen().transcript, blob.layout());
        let failed = |source| SinkError::Write { path: self.path.clone(), source };
        let file = self.temp.as_file_mut();
        if let Some(record) = &mut resume.record {
            let part_bytes = layout.part_size().bytes();
            resume.parts = record.resume(file, transcript, part_bytes).map_err(failed)?;
            if resume.parts > 0 {
                return Ok(resume.parts);
            }
        }
        file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).map_err(failed)?;
        if layout.parts() > 1 {
            // Without a state file the get starts over if it is interrupted.
            resume.record =
                resume.record.take().or_else(|| resume.partial_downloads.create(&self.target));
            if let Some(record) = &mut resume.record
                && record.begin(transcript, self.temp.path(), self.temp.as_file()).is_err()
            {
                resume.record = None;
            }
        } else if let Some(record) = resume.record.take() {
            record.discard();
        }
        self.set_kept(false);
        Ok(0)
    }

    pub(super) fn write(&mut self, plaintext: &[u8]) -> Result<(), SinkError> {
        let written = self.temp.as_file_mut().write_all(plaintext);
        written.map_err(|source| SinkError::Write { path: self.path.clone(), source })?;
        if let Some(resume) = &mut self.resume
            && let Some(record) = &resume.record
        {
            if record.append(resume.parts, plaintext).is_err() {
                // The rows that were recorded before can still be resumed from.
                resume.record = None;
            } else {
                resume.parts += 1;
                if resume.parts == 1 {
                    self.set_kept(true);
                }
            }
        }
        Ok(())
    }

    pub(super) fn commit(
        mut self,
        attributes: Option<Attributes>,
    ) -> Result<Vec<AttributeWarning>, SinkError> {
        let mut warnings = Vec::new();
        let path = self.path.clone();
        let failed = |source| SinkError::Write { path: path.clone(), source };
        if self.overwrites_target {
            self.overwrite_target(attributes, &mut warnings).map_err(failed)?;
            return Ok(warnings);
        }
        self.apply_attributes(attributes, &mut warnings).map_err(failed)?;
        let Self { temp, guard, target, if_exists, resume, .. } = self;
        install::sync(temp.as_file()).map_err(failed)?;
        match install::rename_or_copy(temp, &target, if_exists) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(SinkError::Exists(path));
            }
            Err(error) => return Err(failed(error)),
        }
        drop(guard);
        if let Some(record) = resume.and_then(|resume| resume.record) {
            record.discard();
        }
        sync_directory(directory_of(&target)).map_err(failed)?;
        Ok(warnings)
    }

    /// Sets the blob's attributes, and those of the replaced file.
    fn apply_attributes(
        &self,
        attributes: Option<Attributes>,
        warnings: &mut Vec<AttributeWarning>,
    ) -> io::Result<()> {
        let file = self.temp.as_file();
        if let Some(existing) = &self.existing
            && let Err(error) = existing.copy_attributes_to(file)
        {
            warnings.push(AttributeWarning::Kept { path: self.path.clone(), source: error });
        }
        let wanted = attributes.map(|attributes| attributes.mode & 0o777 & !self.umask());
        let mode = match &self.existing {
            Some(existing) => Some(existing.allowed_mode(wanted, &file.metadata()?)),
            None => wanted,
        };
        if let Some(Err(error)) = mode.map(|mode| set_mode(file, mode)) {
            warnings.push(AttributeWarning::Mode { path: self.path.clone(), source: error });
        }
        self.set_mtime(file, attributes, warnings);
        Ok(())
    }

    /// Sets the modification time; one that the system cannot represent is ignored.
    fn set_mtime(
        &self,
        file: &File,
        attributes: Option<Attributes>,
        warnings: &mut Vec<AttributeWarning>,
    ) {
        let modified = attributes.and_then(|attributes| attributes.modified());
        if let Some(Err(error)) = modified.map(|modified| file.set_modified(modified)) {
            warnings.push(AttributeWarning::Time { path: self.path.clone(), source: error });
        }
    }

    /// Copies the verified file into the existing one, which keeps its attributes.
    fn overwrite_target(
        &mut self,
        attributes: Option<Attributes>,
        warnings: &mut Vec<AttributeWarning>,
    ) -> io::Result<()> {
        let Some(existing) = &self.existing else { return Err(io::ErrorKind::NotFound.into()) };
        install::copy_into(self.temp.as_file_mut(), &self.target, existing.metadata())?;
        let file = OpenOptions::new().write(true).open(&self.target)?;
        self.set_mtime(&file, attributes, warnings);
        Ok(())
    }

    /// The umask of this process. An author's permission bits are limited by it, as by `tar`
    /// without `-p`. proc(5): reading it there does not affect other threads, as umask(2) would.
    /// Without /proc, a probe file shows which bits open(2) clears.
    fn umask(&self) -> u32 {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        parse_umask(&status).or_else(|| probe_umask(&self.target)).unwrap_or(UMASK_UNKNOWN)
    }
}

fn parse_umask(status: &str) -> Option<u32> {
    let text = status.lines().find_map(|line| line.strip_prefix("Umask:"))?;
    u32::from_str_radix(text.trim(), 8).ok()
}

/// The permission bits that a new file beside `target` loses.
fn probe_umask(target: &Path) -> Option<u32> {
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

    /// The umask is parsed from the text of /proc/self/status.
    #[test]
    fn parse_umask_reads_proc_status() {
        let status = "Name:\tzget\nUmask:\t0027\nState:\tR (running)\n";
        assert_eq!(parse_umask(status), Some(0o027));
        assert_eq!(parse_umask("Name:\tzget\n"), None);
        assert_eq!(parse_umask("Umask:\tnine\n"), None);
    }

    /// The umask found by creating a file equals the one of /proc/self/status.
    #[test]
    fn probe_umask_matches_proc_status() {
        let dir = tempfile::tempdir().unwrap();
        let status = fs::read_to_string("/proc/self/status").unwrap();
        assert_eq!(probe_umask(&dir.path().join("x")), parse_umask(&status));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

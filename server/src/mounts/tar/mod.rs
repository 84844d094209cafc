//! A mount of one archive, whose members are sent from where they lie in it.

mod bounds;
pub(super) mod error;
mod header;
mod index;
mod pax;
mod reader;

#[cfg(test)]
mod tests;

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::Path,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use tracing::{error, info, warn};

use self::reader::ReadAt;
use super::{
    MountError,
    error::Context,
    file::{Fingerprint, FoundFile, ListedFile},
    page::{self, Page, PageBuilder},
    path::RelativePath,
    path_watch::PathWatch,
};
use crate::sys::{
    fs::EntryKind,
    tree::{self, FileState},
};

pub use bounds::{EXTENSION_MAX_BYTES, MEMBERS_MAX, NAMES_MAX_BYTES};
pub use error::{ArchiveError, ArchiveErrorKind, Compression, ReadError};
pub use index::{Extent, Index, SkippedMembers};

/// How many members that are not served are logged by name; all are logged by number.
const LOGGED_MEMBERS_MAX: usize = 10;

/// One uncompressed archive in the formats v7, ustar, GNU and PAX.
///
/// A mount holds a descriptor of the archive and checks from time to time whether its path still
/// leads to that file. A file that was renamed to the path is indexed by the first thread that
/// notices it, and served from then on. The bytes of an archive must not change while it is served;
/// a change of size or mtime is noticed, and nothing more of it is served. A mount can be shared
/// between threads.
#[derive(Debug)]
pub struct TarMount {
    watch: PathWatch,
    /// The state of the last file at the path that could not be indexed. It is not tried again
    /// while it stays there.
    refused: Mutex<Option<FileState>>,
    strip_prefix: Option<String>,
    current: RwLock<Arc<Archive>>,
}

/// An archive, and its state when it was indexed.
#[derive(Debug)]
struct Archive {
    file: Arc<File>,
    state: FileState,
    index: Index,
}

impl TarMount {
    /// Indexes the archive at `path`. Links in the path are the operator's own. With
    /// `strip_prefix`, only the members below that directory are served, by their paths below it.
    ///
    /// # Errors
    /// [`MountError::Archive`] says what is wrong with the archive, and where;
    /// [`MountError::Compressed`].
    pub fn open(path: &Path, strip_prefix: Option<&str>) -> Result<Self, MountError> {
        let strip_prefix = strip_prefix.map(|prefix| prefix.strip_suffix('/').unwrap_or(prefix));
        if let Some(prefix) = strip_prefix {
            RelativePath::parse(prefix).map_err(MountError::Prefix)?;
        }
        let watch = PathWatch::new(path);
        let archive = Archive::open(path, strip_prefix)?;
        Ok(Self {
            watch,
            refused: Mutex::default(),
            strip_prefix: strip_prefix.map(str::to_owned),
            current: RwLock::new(Arc::new(archive)),
        })
    }

    /// Opens and indexes the file at the archive's path, and serves it from now on. When that
    /// fails, the previous archive is still served. Returns the number of files.
    ///
    /// # Errors
    /// Those of [`TarMount::open`].
    pub fn reindex(&self) -> Result<usize, MountError> {
        let archive = Archive::open(self.watch.path(), self.strip_prefix.as_deref())?;
        let files = archive.index.len();
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(archive);
        Ok(files)
    }

    /// Sets how often to check whether the archive's path leads to another file. Zero: each time.
    #[must_use]
    pub fn check_every(mut self, every: Duration) -> Self {
        self.watch.every(every);
        self
    }

    /// Serves an archive that was renamed to the path, if a check is due. One of several concurrent
    /// callers indexes it; the others are served from the old one.
    fn check_replaced(&self) {
        let Ok(mut refused) = self.refused.try_lock() else { return };
        if !self.watch.is_due() {
            return;
        }
        // Between two renames there is no file at the path for a moment. An archive that is written
        // in place is not detected: its operator has to signal when it is complete.
        let Ok(found) = self.watch.stat() else { return };
        if found.inode == self.current().state.inode || *refused == Some(found) {
            return;
        }
        let path = self.watch.path().display();
        match self.reindex() {
            Ok(files) => {
                *refused = None;
                self.watch.clear_reported();
                info!(%path, files, "the archive was replaced: the new one is served from now on");
            }
            Err(error) => {
                *refused = Some(found);
                if self.watch.is_first_report() {
                    error!(
                        %path,
                        %error,
                        "the archive was replaced by one that cannot be served: the previous one is \
                         still served"
                    );
                }
            }
        }
    }

    /// Whether the served archive is the one at the path, or no check is due. Does not wait for a
    /// disk.
    fn is_current(&self) -> bool {
        if !self.watch.is_due() {
            return true;
        }
        let is_current = self.watch.stat_cached().is_ok_and(|found| {
            // A file that another thread is indexing counts as changed until that ends.
            let refused = self.refused.try_lock();
            found.inode == self.current().state.inode
                || refused.is_ok_and(|refused| *refused == Some(found))
        });
        if !is_current {
            self.watch.force_check();
        }
        is_current
    }

    /// Finds a file by its path in the archive.
    ///
    /// # Errors
    /// [`MountError::NotFound`]; [`MountError::Unavailable`] for a member that is not one range;
    /// [`MountError::ArchiveChanged`], [`MountError::Path`].
    pub fn find(&self, path: &str) -> Result<FoundFile, MountError> {
        self.check_replaced();
        self.find_in_current(path)
    }

    fn find_in_current(&self, path: &str) -> Result<FoundFile, MountError> {
        let path = RelativePath::parse(path)?.as_str();
        let archive = self.current();
        let Extent { offset, length, modified } =
            archive.index.find(path)?.ok_or(MountError::NotFound)?;
        archive.check_unchanged()?;
        let fingerprint = Fingerprint::of_member(&archive.state, offset, length);
        Ok(FoundFile { file: archive.file.clone(), offset, length, modified, fingerprint })
    }

    /// Whether `path` still stands for this member. Does not wait for a disk.
    #[must_use]
    pub fn is_unchanged(&self, path: &str, fingerprint: Fingerprint) -> bool {
        self.is_current()
            && self.find_in_current(path).is_ok_and(|found| found.fingerprint == fingerprint)
    }

    /// A page of all files in the order of the bytes of their paths. It holds at most `limit` and
    /// 1,000 entries and fits into a frame. Members that [`TarMount::find`] does not return are
    /// left out.
    ///
    /// # Errors
    /// [`MountError::Cursor`] when `after` is longer than any page's cursor.
    pub fn list(&self, after: Option<&[u8]>, limit: u32) -> Result<Page, MountError> {
        page::check_cursor(after)?;
        self.check_replaced();
        let archive = self.current();
        archive.check_unchanged()?;
        let mut page = PageBuilder::new(limit);
        let mut cursor = after.unwrap_or_default().to_vec();
        for (path, Extent { offset, length, modified }) in
            archive.index.files_after(&cursor.clone())
        {
            if !page.has_space(path.len()) {
                return Ok(page.finish(Some(cursor)));
            }
            cursor = path.as_bytes().to_vec();
            let fingerprint = Fingerprint::of_member(&archive.state, offset, length);
            page.add(ListedFile { path: path.to_owned(), length, modified, fingerprint });
        }
        Ok(page.finish(None))
    }

    fn current(&self) -> Arc<Archive> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Archive {
    fn open(path: &Path, strip_prefix: Option<&str>) -> Result<Self, MountError> {
        let file = tree::open_named(path).context("open the archive")?;
        let state = tree::stat(&file).context("look at the archive")?;
        if state.kind != EntryKind::File {
            return Err(MountError::NotAnArchiveFile);
        }
        let bytes = FileBytes { file: &file, length: state.length };
        let index = match Index::read(&bytes, strip_prefix) {
            Err(ReadError::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(MountError::ArchiveChanged);
            }
            read => read?,
        };
        let archive = Self { file: Arc::new(file), state, index };
        archive.check_unchanged()?;
        archive.log_summary();
        Ok(archive)
    }

    /// Compares size and mtime. The ctime is not compared: it changes with the file's names, and so
    /// when another archive is renamed to its place.
    fn check_unchanged(&self) -> Result<(), MountError> {
        let now = tree::stat(&self.file).context("look at the archive")?;
        if (now.length, now.modified) == (self.state.length, self.state.modified) {
            return Ok(());
        }
        Err(MountError::ArchiveChanged)
    }

    fn log_summary(&self) {
        let (files, memory_bytes) = (self.index.len(), self.index.memory_bytes());
        info!(files, memory_bytes, "indexed an archive");
        for (member, why) in self.index.unavailable().iter().take(LOGGED_MEMBERS_MAX) {
            warn!(?member, error = %why, "a member of the archive cannot be served");
        }
        let skipped = self.index.skipped();
        if skipped != SkippedMembers::default() {
            warn!(?skipped, "members of the archive are not served");
        }
    }
}

impl From<ReadError> for MountError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Archive(error) => Self::Archive(error),
            ReadError::Compressed(compression) => Self::Compressed(compression),
            ReadError::Io(source) => Self::Io { doing: "read the archive", source },
        }
    }
}

/// An archive's file, with its length when it was opened.
struct FileBytes<'a> {
    file: &'a File,
    length: u64,
}

impl ReadAt for FileBytes<'_> {
    fn length(&self) -> u64 {
        self.length
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
}

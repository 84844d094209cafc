//! A mount of one archive: its members are sent from where they lie in it.

#[path = "error.rs"]
mod flaw;
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

use thiserror::Error;
use tracing::{error, info, warn};

use self::reader::Source;
use super::{
    MountError,
    error::Doing,
    found::{Found, Identity, Listed},
    page::{self, Filling, Page},
    path::MemberPath,
    watch::Watch,
};
use crate::sys::{
    fs::EntryKind,
    tree::{self, State},
};

pub use flaw::{ArchiveError, ArchiveFlaw, Compression};
pub use index::{Index, LeftOut, Stretch};

/// Most members of an archive, directories included. Each takes 48 bytes and its name while the archive is indexed (and
/// up to twice that while the table grows), and 32 bytes and its name from then on.
pub const MEMBERS_MAX: usize = 16 * 1024 * 1024;
/// Most bytes of all names together: what 32 bits can count.
pub const NAMES_MAX_BYTES: usize = u32::MAX as usize;
/// Longest PAX header, or long name of GNU tar.
pub const EXTENSION_MAX_BYTES: usize = 1024 * 1024;

/// How many members that are not served the log names; of the others it has the number.
const TOLD_MAX: usize = 10;

/// One uncompressed archive in the formats v7, ustar, GNU and PAX.
///
/// It holds a descriptor of the archive, and looks now and then whether its path leads to that file still: one that was renamed to
/// its place is indexed by whoever finds out, and then served. The bytes must not change meanwhile; a change of size or mtime is noticed, and nothing more is served.
/// It can be shared between threads.
#[derive(Debug)]
pub struct TarMount {
    watch: Watch,
    /// What could not be indexed: as long as that is at the path, nobody tries again.
    refused: Mutex<Option<State>>,
    strip_prefix: Option<String>,
    current: RwLock<Arc<Archive>>,
}

/// An archive as it was when it was indexed.
#[derive(Debug)]
struct Archive {
    file: Arc<File>,
    state: State,
    index: Index,
}

/// Why an archive has no index.
#[derive(Debug, Error)]
pub enum ReadError {
    /// It breaks the format, or could be read in two ways.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// It is compressed.
    #[error("it is compressed with {0}")]
    Compressed(Compression),
    /// It cannot be read, or became shorter.
    #[error("cannot read it: {0}")]
    Io(#[from] io::Error),
}

impl TarMount {
    /// Indexes the archive at `path`. Links in the path are the operator's own. With `strip_prefix`, only the members
    /// below that directory are served, and by their paths below it.
    ///
    /// # Errors
    /// [`MountError::Archive`] says what is wrong with it, and where; [`MountError::Compressed`].
    pub fn open(path: &Path, strip_prefix: Option<&str>) -> Result<Self, MountError> {
        let strip_prefix = strip_prefix.map(|prefix| prefix.strip_suffix('/').unwrap_or(prefix));
        if let Some(prefix) = strip_prefix {
            MemberPath::parse(prefix).map_err(MountError::Prefix)?;
        }
        let watch = Watch::of(path);
        let archive = Archive::open(path, strip_prefix)?;
        Ok(Self {
            watch,
            refused: Mutex::default(),
            strip_prefix: strip_prefix.map(str::to_owned),
            current: RwLock::new(Arc::new(archive)),
        })
    }

    /// Opens and indexes what is at the archive's path now, and serves it from here on. When that fails, the archive that was
    /// served still is. Returns the number of files.
    ///
    /// # Errors
    /// As [`TarMount::open`].
    pub fn reindex(&self) -> Result<usize, MountError> {
        let archive = Archive::open(self.watch.path(), self.strip_prefix.as_deref())?;
        let files = archive.index.len();
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(archive);
        Ok(files)
    }

    /// Looks so often whether the archive's path leads to another file; each time for zero.
    #[must_use]
    pub fn looked_at_every(mut self, every: Duration) -> Self {
        self.watch.every(every);
        self
    }

    /// Serves the archive that was renamed to the path, if it is time to look for one. Of those who come at once one indexes it,
    /// and the others are served from the old one.
    fn look_again(&self) {
        let Ok(mut refused) = self.refused.try_lock() else { return };
        if !self.watch.is_due() {
            return;
        }
        // Between two renames there is nothing, for a moment; and whoever writes to an archive in place has to say when it is done.
        let Ok(found) = self.watch.look() else { return };
        if found.inode == self.current().state.inode || *refused == Some(found) {
            return;
        }
        let path = self.watch.path().display();
        match self.reindex() {
            Ok(files) => {
                *refused = None;
                self.watch.well();
                info!(%path, files, "another archive is at this path: it is served");
            }
            Err(error) => {
                *refused = Some(found);
                if self.watch.first_told() {
                    error!(%path, %error, "what is at this path now cannot be served: the archive before it is");
                }
            }
        }
    }

    /// Whether nobody has to look for another archive. Waits for no disk.
    fn is_current(&self) -> bool {
        if !self.watch.is_due() {
            return true;
        }
        let is = self.watch.look_in_memory().is_ok_and(|found| {
            // One that is being indexed by somebody else counts as refused until that ends.
            let refused = self.refused.try_lock();
            found.inode == self.current().state.inode
                || refused.is_ok_and(|refused| *refused == Some(found))
        });
        if !is {
            self.watch.distrust();
        }
        is
    }

    /// Finds a file by its path in the archive.
    ///
    /// # Errors
    /// [`MountError::NotFound`]; [`MountError::Unavailable`] for a member that is not in one piece;
    /// [`MountError::ArchiveChanged`], [`MountError::Path`].
    pub fn find(&self, path: &str) -> Result<Found, MountError> {
        self.look_again();
        self.find_now(path)
    }

    fn find_now(&self, path: &str) -> Result<Found, MountError> {
        let path = MemberPath::parse(path)?.as_str();
        let archive = self.current();
        let Stretch { offset, length, modified } =
            archive.index.find(path)?.ok_or(MountError::NotFound)?;
        archive.check_unchanged()?;
        let identity = Identity::of_member(&archive.state, offset, length);
        Ok(Found { file: archive.file.clone(), offset, length, modified, identity })
    }

    /// Whether `path` is this member still. Waits for no disk.
    #[must_use]
    pub fn is_still(&self, path: &str, identity: Identity) -> bool {
        self.is_current() && self.find_now(path).is_ok_and(|found| found.identity == identity)
    }

    /// A page of all files in the order of the bytes of their paths, and the cursor that the next one begins after. It holds
    /// at most `limit` and 1,000 entries and fits into a frame.
    ///
    /// What [`TarMount::find`] does not give is left out.
    ///
    /// # Errors
    /// [`MountError::Cursor`] when `after` is too long for a path, which no page's cursor is.
    pub fn list(&self, after: Option<&[u8]>, limit: u32) -> Result<Page, MountError> {
        page::check_cursor(after)?;
        self.look_again();
        let archive = self.current();
        archive.check_unchanged()?;
        let mut page = Filling::new(limit);
        let mut cursor = after.unwrap_or_default().to_vec();
        for (path, Stretch { offset, length, modified }) in
            archive.index.files_after(&cursor.clone())
        {
            if !page.has_room(path.len()) {
                return Ok(page.finish(Some(cursor)));
            }
            cursor = path.as_bytes().to_vec();
            let identity = Identity::of_member(&archive.state, offset, length);
            page.add(Listed { path: path.to_owned(), length, modified, identity });
        }
        Ok(page.finish(None))
    }

    fn current(&self) -> Arc<Archive> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Archive {
    fn open(path: &Path, strip_prefix: Option<&str>) -> Result<Self, MountError> {
        let file = tree::open_named(path).doing("open the archive")?;
        let state = tree::state(&file).doing("look at the archive")?;
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
        archive.tell();
        Ok(archive)
    }

    /// By size and mtime: the ctime changes with the archive's names, and another archive that was renamed to
    /// its name took this one away from it.
    fn check_unchanged(&self) -> Result<(), MountError> {
        let now = tree::state(&self.file).doing("look at the archive")?;
        if (now.length, now.modified) == (self.state.length, self.state.modified) {
            return Ok(());
        }
        Err(MountError::ArchiveChanged)
    }

    fn tell(&self) {
        let (files, memory_bytes) = (self.index.len(), self.index.memory_bytes());
        info!(files, memory_bytes, "indexed an archive");
        for (member, why) in self.index.unavailable().iter().take(TOLD_MAX) {
            warn!(?member, %why, "a member of the archive cannot be served");
        }
        let left_out = self.index.left_out();
        if left_out != LeftOut::default() {
            warn!(?left_out, "members of the archive are not served");
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

/// An archive's file, as long as it was when it was opened.
struct FileBytes<'a> {
    file: &'a File,
    length: u64,
}

impl Source for FileBytes<'_> {
    fn length(&self) -> u64 {
        self.length
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
}

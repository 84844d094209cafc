//! A page of a listing.

use zput_proto::limits::{
    CURSOR_MAX_BYTES, FRAME_MAX_BYTES, OBJECT_KEY_MAX_BYTES, PAGE_MAX_ENTRIES,
};

use super::{MountError, file::ListedFile};

/// A cursor is a path.
const _: () = assert!(OBJECT_KEY_MAX_BYTES <= CURSOR_MAX_BYTES);

/// Bytes that an entry takes in a frame beyond its path: the same as in a page of the store.
const ENTRY_OVERHEAD_BYTES: usize = 38;
/// Bytes that a page takes in a frame beyond its entries: the variant, a length of 3, an option, a
/// length of 2 and the cursor, and a count of 5.
const PAGE_OVERHEAD_BYTES: usize = 12 + CURSOR_MAX_BYTES;

/// A page of a listing: files in the order of the bytes of their paths.
///
/// A page may hold fewer entries than were requested, even none, without being the last. It can be
/// cut after any entry: the path of the last entry that is kept is then its cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The files. They fit into one frame without their headers.
    pub entries: Vec<ListedFile>,
    /// The cursor after which the next page begins; `None` on the last page. A listing contains the
    /// files whose paths come after the bytes of its cursor.
    pub next: Option<Vec<u8>>,
    /// Number of files and directories that belong on this page and cannot be read, for another
    /// reason than permissions.
    pub unreadable: u32,
}

/// A page that is being filled.
pub(super) struct PageBuilder {
    entries: Vec<ListedFile>,
    bytes: usize,
    examined: usize,
    limit: usize,
    unreadable: u32,
}

impl PageBuilder {
    /// An empty page for at most `limit` and 1,000 entries.
    pub(super) fn new(limit: u32) -> Self {
        let limit = limit.clamp(1, PAGE_MAX_ENTRIES) as usize;
        Self { entries: Vec::new(), bytes: PAGE_OVERHEAD_BYTES, examined: 0, limit, unreadable: 0 }
    }

    /// Whether an entry with a path of `path_bytes` may be examined and added. The first one always
    /// may, whatever its length, so that every page makes progress.
    pub(super) fn has_space(&self, path_bytes: usize) -> bool {
        self.examined < self.limit
            && self.bytes + ENTRY_OVERHEAD_BYTES + path_bytes <= FRAME_MAX_BYTES
    }

    /// Counts a directory entry that is not listed. Examining it takes time, so it uses up the
    /// place of one that is.
    pub(super) fn count_skipped(&mut self) {
        self.examined += 1;
    }

    /// Counts a file or directory that exists and cannot be read.
    pub(super) fn count_unreadable(&mut self) {
        self.unreadable += 1;
    }

    pub(super) fn add(&mut self, entry: ListedFile) {
        self.examined += 1;
        self.bytes += ENTRY_OVERHEAD_BYTES + entry.path.len();
        self.entries.push(entry);
    }

    pub(super) fn finish(self, next: Option<Vec<u8>>) -> Page {
        Page { entries: self.entries, next, unreadable: self.unreadable }
    }
}

/// Whether these bytes can be a cursor. Any bytes can that are not too long: they mark a position
/// among all paths.
pub(super) fn check_cursor(after: Option<&[u8]>) -> Result<(), MountError> {
    if after.is_some_and(|bytes| bytes.len() > CURSOR_MAX_BYTES) {
        return Err(MountError::Cursor);
    }
    Ok(())
}

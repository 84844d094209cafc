//! A page of a listing.

use zput_common::limits::{
    CURSOR_MAX_BYTES, FRAME_MAX_BYTES, OBJECT_KEY_MAX_BYTES, PAGE_MAX_ENTRIES,
};

use super::{MountError, found::Listed};

/// A cursor is a path.
const _: () = assert!(OBJECT_KEY_MAX_BYTES <= CURSOR_MAX_BYTES);

/// What an entry takes in a frame beyond its path: the same as in a page of the store.
const ENTRY_OVERHEAD_BYTES: usize = 38;
/// What a page takes in a frame beyond its entries: the variant, a length of 3, an option, a length of 2 and the cursor,
/// and a count of 5.
const PAGE_OVERHEAD_BYTES: usize = 12 + CURSOR_MAX_BYTES;

/// A page of a listing: files in the order of the bytes of their paths.
///
/// It may hold fewer entries than were asked for, even none, without being the last. It can be cut after any
/// entry: the path of the last one that is kept is then its cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Its files. They fit into one frame without their headers.
    pub entries: Vec<Listed>,
    /// The cursor that the next page begins after; absent on the last page. Whoever asks gets the files
    /// whose paths come after these bytes.
    pub next: Option<Vec<u8>>,
    /// How many files and directories that belong on it are there and cannot be read, for another reason than permissions.
    pub unreadable: u32,
}

/// A page that is being filled.
pub(super) struct Filling {
    entries: Vec<Listed>,
    bytes: usize,
    looked_at: usize,
    most: usize,
    unreadable: u32,
}

impl Filling {
    /// For at most `limit` and 1,000 entries.
    pub(super) fn new(limit: u32) -> Self {
        let most = limit.clamp(1, PAGE_MAX_ENTRIES) as usize;
        Self { entries: Vec::new(), bytes: PAGE_OVERHEAD_BYTES, looked_at: 0, most, unreadable: 0 }
    }

    /// Whether something with a path of `path_bytes` may be looked at, and be added. Of whatever length, the first
    /// may: a page gets on.
    pub(super) fn has_room(&self, path_bytes: usize) -> bool {
        self.looked_at < self.most
            && self.bytes + ENTRY_OVERHEAD_BYTES + path_bytes <= FRAME_MAX_BYTES
    }

    /// Counts something that is no file: it costs time, so it takes the place of one.
    pub(super) fn looked(&mut self) {
        self.looked_at += 1;
    }

    /// Counts something that is there and cannot be read.
    pub(super) fn unreadable(&mut self) {
        self.unreadable += 1;
    }

    pub(super) fn add(&mut self, entry: Listed) {
        self.looked_at += 1;
        self.bytes += ENTRY_OVERHEAD_BYTES + entry.path.len();
        self.entries.push(entry);
    }

    pub(super) fn finish(self, next: Option<Vec<u8>>) -> Page {
        Page { entries: self.entries, next, unreadable: self.unreadable }
    }
}

/// Whether these bytes can be a cursor. Any place among paths can.
pub(super) fn check_cursor(after: Option<&[u8]>) -> Result<(), MountError> {
    if after.is_some_and(|bytes| bytes.len() > CURSOR_MAX_BYTES) {
        return Err(MountError::Cursor);
    }
    Ok(())
}

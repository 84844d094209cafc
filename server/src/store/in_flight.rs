//! The uploads in progress in this process, by their resume names, including those too small to be
//! kept.

use std::{
    collections::HashMap,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use zput_proto::{
    limits::{HEADER_MAX_BYTES, PARTS_MAX},
    message::HeaderSlice,
};

use super::{
    error::{Context, FormatViolation, StoreError},
    lease::{Lease, WeakLease},
    record::SliceTable,
    staging::Staged,
};
use crate::{limits::Permit, sys::fs};

/// Most slices of an object: one for each part, and some for header and footer. It bounds the
/// memory of an upload to 9.5 MB.
pub(super) const SLICES_MAX: u32 = PARTS_MAX as u32 + 256;

/// Slices of any length that an upload may have: header, footer, a short last part, small objects
/// (PROTOCOL 9).
const FREE_SLICES: u64 = 64;

/// Bytes received for each slice beyond those (PROTOCOL 9); every part but the last is longer. So
/// memory grows with the bytes that a peer sends, 36 bytes for each of these units, and not with
/// the number of slices that it cuts them into.
const BYTES_PER_SLICE: u64 = 65_536;

/// Received bytes after which the kernel is asked to start writing, before the commit does. A
/// smaller object is written once, by the commit.
const WRITE_BACK_BYTES: u64 = 1024 * 1024;

/// Bytes at the end of an upload that stay in the page cache. What comes before them, except for
/// the header, is dropped as soon as it is on the disk, so that a long put neither evicts what
/// other clients are being served nor waits for fresh pages.
const CACHED_BYTES: u64 = 64 * 1024 * 1024;

/// Fewest bytes in whole slices for which an interrupted upload is kept. Sending less again is
/// faster than asking what is there.
pub(super) const RESUMABLE_MIN_BYTES: u64 = 1024 * 1024;

/// The uploads of a store that are in progress, at most as many as may be open; and those that are
/// about to begin, at most one for each connection.
#[derive(Clone, Debug, Default)]
pub(super) struct InFlight(Arc<Mutex<HashMap<String, Entry>>>);

/// The uploads in progress with one name.
#[derive(Debug)]
struct Entry {
    /// Number of uploads with the name.
    count: usize,
    /// The lease of the one that began last.
    lease: WeakLease<Received>,
}

/// Registers one upload; it counts as in progress as long as this value lives.
#[derive(Debug)]
pub(crate) struct InFlightGuard {
    all: InFlight,
    name: String,
}

/// A connection that is not older has the upload.
#[derive(Debug)]
pub(super) struct NotNewer;

/// The slices that were received and verified.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) staged: Staged<Arc<OwnedFd>>,
    pub(super) table: SliceTable,
    /// Bytes received and verified; a slice counts when its digest matched.
    pub(super) length: u64,
    /// End of the range that the kernel was asked to write.
    written_to: u64,
    /// The range from the longest header's end to here was dropped from the page cache.
    cached_from: u64,
    /// The length of a resumed upload's file, as long as its bytes beyond `length` may be claimed.
    pub(super) claimable_to: Option<u64>,
    /// Held until the end of the commit.
    pub(super) in_flight: Option<InFlightGuard>,
    pub(super) permit: Permit,
}

impl Received {
    /// An empty new file.
    pub(super) fn empty(staged: Staged<Arc<OwnedFd>>, permit: Permit) -> Self {
        Self {
            staged,
            table: SliceTable::default(),
            length: 0,
            written_to: 0,
            cached_from: HEADER_MAX_BYTES as u64,
            claimable_to: None,
            in_flight: None,
            permit,
        }
    }

    /// The header, at the beginning of a file of `file_length` bytes.
    pub(super) fn with_header(
        staged: Staged<Arc<OwnedFd>>,
        permit: Permit,
        header: &HeaderSlice,
        file_length: u64,
    ) -> Self {
        let mut received = Self::empty(staged, permit);
        // At most 65,536 bytes (PROTOCOL 5).
        received.length = header.bytes.len() as u64;
        received.table.push(header.bytes.len() as u32, &header.digest);
        received.claimable_to = Some(file_length);
        received
    }

    /// Discards the bytes of the file that were not claimed.
    pub(super) fn discard_unclaimed(&mut self) -> Result<(), StoreError> {
        if self.claimable_to.take().is_none() {
            return Ok(());
        }
        if self.length < RESUMABLE_MIN_BYTES {
            self.staged.remove_on_drop();
        }
        self.staged.file().set_len(self.length).context("cut an upload")
    }

    /// Checks that one more slice is allowed.
    pub(super) fn check_count(&self) -> Result<(), StoreError> {
        if u64::from(self.table.count()) < slices_allowed(self.length) {
            Ok(())
        } else {
            Err(FormatViolation::SliceCount.into())
        }
    }

    /// After a complete slice: asks the kernel to start writing new data, and to drop what was
    /// written long ago.
    pub(super) fn write_back(&mut self) {
        let waiting = self.length - self.written_to;
        if waiting < WRITE_BACK_BYTES {
            return;
        }
        fs::start_write_back(self.staged.file(), self.written_to, waiting);
        self.written_to = self.length;
        let cached_from = self.length.saturating_sub(CACHED_BYTES);
        if cached_from > self.cached_from {
            fs::drop_cached(self.staged.file(), self.cached_from, cached_from - self.cached_from);
            self.cached_from = cached_from;
        }
    }
}

impl InFlight {
    /// Registers an upload. Two with the same header are counted apart: the name is free once both
    /// have ended.
    pub(super) fn insert(&self, name: &str) -> InFlightGuard {
        let mut names = self.names();
        let new = || Entry { count: 0, lease: WeakLease::new() };
        names.entry(name.to_owned()).or_insert_with(new).count += 1;
        InFlightGuard { all: self.clone(), name: name.to_owned() }
    }

    /// Whether an upload with this name is in progress.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.names().contains_key(name)
    }

    /// The lease of the upload with this name, while it receives.
    pub(super) fn lease(&self, name: &str) -> Option<Lease<Received>> {
        self.names().get(name)?.lease.upgrade()
    }

    /// Makes `lease` that of a registered upload. Returns the lease of an older connection, which
    /// the caller must revoke.
    ///
    /// # Errors
    /// [`NotNewer`] when a newer connection has the upload.
    pub(super) fn set_lease(
        &self,
        name: &str,
        lease: &Lease<Received>,
    ) -> Result<Option<Lease<Received>>, NotNewer> {
        let older = {
            let mut names = self.names();
            let Some(entry) = names.get_mut(name) else { return Ok(None) };
            let older = entry.lease.upgrade();
            if older.as_ref().is_none_or(|older| older.holder() <= lease.holder()) {
                entry.lease = lease.downgrade();
            }
            // Dropped after the lock is released: it may be the last reference to an upload, whose
            // guard takes the lock.
            older
        };
        match older {
            Some(older) if older.holder() > lease.holder() => Err(NotNewer),
            older => Ok(older.filter(|older| older.holder() < lease.holder())),
        }
    }

    fn names(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        let mut names = self.all.names();
        if let Some(entry) = names.get_mut(&self.name) {
            entry.count -= 1;
            if entry.count == 0 {
                names.remove(&self.name);
            }
        }
    }
}

/// Number of slices that are allowed where `received` bytes are held.
fn slices_allowed(received: u64) -> u64 {
    (FREE_SLICES + received / BYTES_PER_SLICE).min(SLICES_MAX.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// InFlight contains a name until the last guard of that name is dropped.
    #[test]
    fn in_flight_name_is_held_until_last_guard_drops() {
        let all = InFlight::default();
        let (first, second) = (all.insert("a"), all.insert("a"));
        assert!(all.contains("a") && !all.contains("b"));
        drop(first);
        assert!(all.contains("a"));
        drop(second);
        assert!(!all.contains("a") && all.names().is_empty());
    }

    /// The number of allowed slices grows with the bytes received, from 64 to 262,400.
    #[test]
    fn slices_allowed_grows_with_bytes_received() {
        for (received, allowed) in [
            (0, 64),
            (65_535, 64),
            (65_536, 65),
            (16 * 1024 * 1024, 320),
            (17_192_452_095, 262_399),
            (17_192_452_096, 262_400),
            (u64::MAX, 262_400),
        ] {
            assert_eq!(slices_allowed(received), allowed, "{received}");
        }
    }
}

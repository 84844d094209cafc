//! An upload under way: slices, each verified against its digest before it counts (STORE, "Put" 1 and 2).

use std::os::{fd::OwnedFd, unix::fs::FileExt};
use std::sync::Arc;

use zput_common::{
    blob::envelope,
    digest::{Digest, Hasher},
    keys::public::DevicePublicKey,
    limits::{HEADER_MAX_BYTES, PARTS_MAX, SLICE_MAX_BYTES},
    name::ObjectKey,
    proto::message::{Condition, Kind},
};

use super::{
    Store,
    error::{Doing, Flaw, StoreError},
    record::SliceTable,
    staging::Staged,
};
use crate::{permits::Permit, sys::fs};

/// Most slices of an object: a slice for each part, and some for header and footer. It bounds the memory of an
/// upload to 9.5 MB.
pub(super) const SLICES_MAX: u32 = PARTS_MAX as u32 + 256;

/// Slices of any length that an upload may have: header, footer, a short last part, small objects (PROTOCOL 9).
const FREE_SLICES: u64 = 64;

/// Bytes received for each slice beyond those (PROTOCOL 9): every part but the last is longer. So memory grows
/// with what a peer sends, 36 bytes for each of these, and not with how finely it cuts it.
const BYTES_PER_SLICE: u64 = 65_536;

/// Bytes of an upload's end that stay in the page cache. What lies before them, but for the header, is dropped as soon
/// as it is on the disk, so that a long put neither evicts what others are being served nor waits for fresh pages.
const CACHED_BYTES: u64 = 64 * 1024 * 1024;

/// How many slices there may be where `received` bytes are held.
fn slices_allowed(received: u64) -> u64 {
    (FREE_SLICES + received / BYTES_PER_SLICE).min(SLICES_MAX.into())
}

/// An object on its way in. Dropping it, or any error, removes what was received and gives the space back.
#[derive(Debug)]
pub struct Upload {
    pub(super) store: Store,
    pub(super) target: Target,
    /// `None` once a call has failed.
    received: Option<Received>,
    slice: Option<Slice>,
    _permit: Permit,
}

/// What the object is to become.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) key: ObjectKey,
    pub(super) kind: Kind,
    pub(super) condition: Condition,
    pub(super) client: Option<DevicePublicKey>,
}

/// The slices that hold.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) staged: Staged<Arc<OwnedFd>>,
    pub(super) table: SliceTable,
    /// Bytes in the file.
    pub(super) length: u64,
    /// What lies between the longest header and here was dropped from the page cache.
    pub(super) cached_from: u64,
}

impl Received {
    /// The slice that begins at `begin` is complete: the kernel begins to write it, and drops what it wrote long ago.
    fn write_back(&mut self, begin: u64) {
        fs::start_write_back(self.staged.file(), begin, self.length - begin);
        let cached_from = self.length.saturating_sub(CACHED_BYTES);
        if cached_from > self.cached_from {
            fs::drop_cached(self.staged.file(), self.cached_from, cached_from - self.cached_from);
            self.cached_from = cached_from;
        }
    }
}

/// The slice that is being received.
#[derive(Debug)]
struct Slice {
    begin: u64,
    length: u32,
    digest: Digest,
    hasher: Hasher,
}

impl Upload {
    pub(super) fn begin(store: Store, target: Target) -> Result<Self, StoreError> {
        let permit = store.0.uploads.permit().ok_or(StoreError::Crowded)?;
        let staged = Staged::create(store.staging(), "")?;
        let received = Received {
            staged,
            table: SliceTable::default(),
            length: 0,
            cached_from: HEADER_MAX_BYTES as u64,
        };
        Ok(Self { store, target, received: Some(received), slice: None, _permit: permit })
    }

    /// The header of a sealed object, its first slice.
    ///
    /// # Errors
    /// [`StoreError::Malformed`] when `bytes` are not one whole header, or name another object; [`StoreError::Digest`].
    pub fn write_header(&mut self, bytes: &[u8], digest: Digest) -> Result<(), StoreError> {
        let stated = envelope::header_length(bytes).map_err(Flaw::from)?;
        if stated as usize != bytes.len() {
            return Err(Flaw::HeaderLength { stated, found: bytes.len() }.into());
        }
        if envelope::object_key(bytes).map_err(Flaw::from)? != self.target.key.as_bytes() {
            return Err(Flaw::OtherKey.into());
        }
        self.start_slice(stated, digest)?;
        self.write(bytes)?;
        self.end_slice()
    }

    /// Announces the next slice: how many bytes, and their digest.
    ///
    /// # Errors
    /// [`StoreError::Malformed`] when it is longer than [`SLICE_MAX_BYTES`], when there are too many, or when the
    /// slice before has not ended. Here as below: an error ends the upload, and what comes after is
    /// [`StoreError::UploadGone`].
    pub fn start_slice(&mut self, length: u32, digest: Digest) -> Result<(), StoreError> {
        self.step(|received, slice| {
            if slice.is_some() {
                return Err(Flaw::SliceFraming.into());
            }
            if length > SLICE_MAX_BYTES {
                return Err(Flaw::SliceLength(length).into());
            }
            if u64::from(received.table.count()) >= slices_allowed(received.length) {
                return Err(Flaw::SliceCount.into());
            }
            let begin = received.length;
            *slice = Some(Slice { begin, length, digest, hasher: Hasher::new() });
            Ok(())
        })
    }

    /// Appends bytes of the slice; any split will do, and big ones are faster.
    ///
    /// # Errors
    /// [`StoreError::Malformed`] when there are more than were announced, [`StoreError::Io`] (whose code is Full when the disk is).
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.step(|received, slice| {
            let slice = slice.as_mut().ok_or(Flaw::SliceFraming)?;
            let end = received.length + bytes.len() as u64;
            if end - slice.begin > u64::from(slice.length) {
                return Err(Flaw::SliceFraming.into());
            }
            received.staged.file().write_all_at(bytes, received.length).doing("write")?;
            slice.hasher.update(bytes);
            received.length = end;
            Ok(())
        })
    }

    /// Ends the slice: it is complete and matches its digest. The kernel begins to write it to the disk.
    ///
    /// # Errors
    /// [`StoreError::Digest`]; [`StoreError::Malformed`] when bytes are missing.
    pub fn end_slice(&mut self) -> Result<(), StoreError> {
        self.step(|received, slice| {
            let slice = slice.take().ok_or(Flaw::SliceFraming)?;
            if received.length - slice.begin != u64::from(slice.length) {
                return Err(Flaw::SliceFraming.into());
            }
            if slice.hasher.finish() != slice.digest {
                return Err(StoreError::Digest);
            }
            received.table.push(slice.length, &slice.digest);
            received.write_back(slice.begin);
            Ok(())
        })
    }

    /// Bytes received.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.received.as_ref().map_or(0, |received| received.length)
    }

    /// What was received, all of it in whole slices.
    pub(super) fn into_received(mut self) -> Result<(Store, Target, Received), StoreError> {
        self.step(
            |_, slice| if slice.is_some() { Err(Flaw::SliceFraming.into()) } else { Ok(()) },
        )?;
        let received = self.received.take().ok_or(StoreError::UploadGone)?;
        Ok((self.store, self.target, received))
    }

    /// Does one step; when it fails, the upload is over and the file goes at once.
    fn step(
        &mut self,
        step: impl FnOnce(&mut Received, &mut Option<Slice>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let received = self.received.as_mut().ok_or(StoreError::UploadGone)?;
        let result = step(received, &mut self.slice);
        if result.is_err() {
            self.received = None;
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slices_allowed_grow_with_the_bytes_received_up_to_a_bound() {
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

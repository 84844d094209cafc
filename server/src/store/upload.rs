//! An upload in progress: slices, each verified against its digest before it counts (STORE, "Put" 1
//! and 2).

use std::{
    os::{fd::OwnedFd, unix::fs::FileExt},
    sync::Arc,
    time::Duration,
};

use zput_common::{
    blob::envelope::HeaderFields,
    digest::{Digest, Hasher},
    keys::public::DevicePublicKey,
    limits::{HEADER_MAX_BYTES, PARTS_MAX, SLICE_MAX_BYTES},
    name::ObjectKey,
    proto::message::{Condition, HeaderSlice, Kind},
};

use super::{
    Store,
    error::{Context, FormatViolation, StoreError},
    generation,
    in_flight::{InFlightGuard, NotNewer},
    layout::{STAGING, resume_name},
    lease::{Lease, LeaseLost, RevokeTimeouts},
    record::SliceTable,
    resume::RESUMABLE_MIN_BYTES,
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

/// How long a connection waits that replaces an older connection's upload by a new one: for a call
/// that writes one buffer or reads one slice. Only an overloaded disk takes longer, and then the
/// client retries.
pub(super) const REPLACE_TIMEOUTS: RevokeTimeouts = RevokeTimeouts {
    quiet: Duration::ZERO,
    quiet_wait_max: Duration::ZERO,
    call_wait_max: Duration::from_secs(1),
};

/// How long a connection waits that takes an upload over: data that had arrived before the line
/// died is written first. Between two buffers of a slice that has arrived there is less than half a
/// second.
pub(super) const TAKE_OVER_TIMEOUTS: RevokeTimeouts = RevokeTimeouts {
    quiet: Duration::from_millis(500),
    quiet_wait_max: Duration::from_secs(2),
    ..REPLACE_TIMEOUTS
};

/// Number of slices that are allowed where `received` bytes are held.
fn slices_allowed(received: u64) -> u64 {
    (FREE_SLICES + received / BYTES_PER_SLICE).min(SLICES_MAX.into())
}

/// An upload. Any error but a wrong digest discards what was received and frees the space. So does
/// dropping it, unless the upload can be resumed (STORE, "Put").
#[derive(Debug)]
pub struct Upload {
    pub(super) store: Store,
    pub(super) target: Target,
    /// Of what was received. It is lost once a call has failed, or a newer connection has taken the
    /// upload over.
    lease: Lease<Received>,
    slice: Option<Slice>,
    /// The name under which the upload is kept; only an upload that began with a header has one.
    resume_name: Option<String>,
}

/// What the upload is to become.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) key: ObjectKey,
    pub(super) kind: Kind,
    pub(super) condition: Condition,
    pub(super) client: Option<DevicePublicKey>,
}

/// The slices that were received and verified.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) staged: Staged<Arc<OwnedFd>>,
    pub(super) table: SliceTable,
    /// Bytes received.
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
    fn empty(staged: Staged<Arc<OwnedFd>>, permit: Permit) -> Self {
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

/// The slice that is being received.
#[derive(Debug)]
struct Slice {
    begin: u64,
    length: u32,
    digest: Digest,
    hasher: Hasher,
}

impl Upload {
    pub(super) fn begin(store: Store, target: Target, connection: u64) -> Result<Self, StoreError> {
        let permit = store.0.uploads.try_acquire().ok_or(StoreError::TooManyUploads)?;
        let received = Received::empty(Staged::create(&store.staging()?, STAGING, "")?, permit);
        let lease = Lease::new(received, connection);
        Ok(Self { store, target, lease, slice: None, resume_name: None })
    }

    /// A resumed upload, which is kept under `name`.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when a newer connection has taken the upload meanwhile.
    pub(super) fn resume(
        store: Store,
        target: Target,
        mut received: Received,
        name: String,
        connection: u64,
    ) -> Result<Self, StoreError> {
        received.in_flight = Some(store.0.in_flight.insert(&name));
        let lease = Lease::new(received, connection);
        let upload = Self { store, target, lease, slice: None, resume_name: Some(name) };
        upload.revoke_older()?;
        Ok(upload)
    }

    /// Receives the header of a sealed object, its first slice. An upload with the same header on
    /// an older connection of the same writer ends as if that connection had closed.
    ///
    /// # Errors
    /// [`StoreError::Malformed`] when `bytes` are not exactly one header, or name another object;
    /// [`StoreError::Digest`]; [`StoreError::Older`] and [`StoreError::Ahead`], as far as they are
    /// certain already; [`StoreError::InUse`] when a newer connection has the upload.
    pub fn write_header(&mut self, bytes: &[u8], digest: Digest) -> Result<(), StoreError> {
        let length = check_header(bytes, &self.target.key)?.length();
        generation::check_early(&self.store, &self.target.key, bytes)?;
        let name = resume_name(self.target.client.as_ref(), &digest);
        let guard = self.store.0.in_flight.insert(&name);
        self.step(|received, _| {
            received.in_flight = Some(guard);
            Ok(())
        })?;
        self.start_slice(length, digest)?;
        self.write(bytes)?;
        self.end_slice()?;
        self.resume_name = Some(name);
        self.revoke_older().inspect_err(|_| self.discard())
    }

    /// Ends the upload that an older connection has under this name. Knowing its whole header
    /// proves that this is the same client.
    fn revoke_older(&self) -> Result<(), StoreError> {
        let Some(name) = &self.resume_name else { return Ok(()) };
        let older = self.store.0.in_flight.set_lease(name, &self.lease);
        if let Some(older) = older.map_err(|NotNewer| StoreError::InUse)? {
            // The value is dropped here; its file is kept if it can be resumed.
            older.revoke(REPLACE_TIMEOUTS);
        }
        Ok(())
    }

    /// Announces the next slice: its length in bytes and its digest.
    ///
    /// # Errors
    /// [`StoreError::Malformed`] when it is empty or longer than [`SLICE_MAX_BYTES`], when there
    /// are too many, or when the previous slice has not ended. As for the methods below, an error
    /// ends the upload, and later calls fail with [`StoreError::UploadGone`].
    pub fn start_slice(&mut self, length: u32, digest: Digest) -> Result<(), StoreError> {
        let writable = self.store.check_writable();
        self.step(|received, slice| {
            writable?;
            if slice.is_some() {
                return Err(FormatViolation::SliceFraming.into());
            }
            if length == 0 || length > SLICE_MAX_BYTES {
                return Err(FormatViolation::SliceLength(length).into());
            }
            received.check_count()?;
            received.discard_unclaimed()?;
            let begin = received.length;
            *slice = Some(Slice { begin, length, digest, hasher: Hasher::new() });
            Ok(())
        })
    }

    /// Appends bytes of the slice. They may be split in any way; large pieces are faster.
    ///
    /// # Errors
    /// [`StoreError::Malformed`] when there are more than were announced, [`StoreError::Io`] (with
    /// the code Full when the disk is full).
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.step(|received, slice| {
            let slice = slice.as_mut().ok_or(FormatViolation::SliceFraming)?;
            let end = received.length + bytes.len() as u64;
            if end - slice.begin > u64::from(slice.length) {
                return Err(FormatViolation::SliceFraming.into());
            }
            received.staged.file().write_all_at(bytes, received.length).context("write")?;
            slice.hasher.update(bytes);
            received.length = end;
            Ok(())
        })
    }

    /// Ends the slice: it must be complete and match its digest. The kernel starts writing it to
    /// the disk. With 1 MiB or more in whole slices the upload can be resumed.
    ///
    /// # Errors
    /// [`StoreError::Digest`] when bytes were changed on their way: the previous slices are kept as
    /// if the connection had ended before this one. [`StoreError::Malformed`] when bytes are
    /// missing.
    pub fn end_slice(&mut self) -> Result<(), StoreError> {
        let name = self.resume_name.take().filter(|_| self.store.keeps_uploads());
        let ended = self.step(|received, slice| {
            let slice = slice.take().ok_or(FormatViolation::SliceFraming)?;
            if received.length - slice.begin != u64::from(slice.length) {
                return Err(FormatViolation::SliceFraming.into());
            }
            if slice.hasher.finish() != slice.digest {
                received.staged.file().set_len(slice.begin).context("cut an upload")?;
                return Err(StoreError::Digest);
            }
            received.table.push(slice.length, &slice.digest);
            received.write_back();
            match &name {
                Some(name) if received.length >= RESUMABLE_MIN_BYTES => {
                    received.staged.name_for_resume(name)
                }
                _ => Ok(()),
            }
        });
        self.resume_name = name;
        ended
    }

    /// Discards the upload: nothing of it is kept.
    pub fn abort(mut self) {
        self.discard();
    }

    /// The key of the object that is being uploaded.
    #[must_use]
    pub(crate) fn key(&self) -> &ObjectKey {
        &self.target.key
    }

    /// Bytes received; 0 once the upload has ended.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.lease.peek(|received| received.length).unwrap_or(0)
    }

    /// The received slices, which must be complete.
    pub(super) fn into_received(mut self) -> Result<(Store, Target, Received), StoreError> {
        let writable = self.store.check_writable();
        self.between_slices(|received| writable.and_then(|()| received.discard_unclaimed()))?;
        let mut received = self.lease.take()?;
        // A commit that fails discards the upload, as any other error does.
        received.staged.remove_on_drop();
        Ok((self.store, self.target, received))
    }

    /// Runs `step` while no slice is in progress.
    pub(super) fn between_slices<T>(
        &mut self,
        step: impl FnOnce(&mut Received) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.step(|received, slice| match slice {
            Some(_) => Err(FormatViolation::SliceFraming.into()),
            None => step(received),
        })
    }

    /// Runs `step`; a failure ends the upload. The file is removed at once, unless the failure is a
    /// wrong digest.
    fn step<T>(
        &mut self,
        step: impl FnOnce(&mut Received, &mut Option<Slice>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let slice = &mut self.slice;
        let result = self.lease.with(|received| step(received, slice))?;
        match &result {
            Ok(_) => {}
            Err(StoreError::Digest) => drop(self.lease.take()),
            Err(_) => self.discard(),
        }
        result
    }

    fn discard(&mut self) {
        if let Ok(mut received) = self.lease.take() {
            received.staged.remove_on_drop();
        }
    }
}

impl From<LeaseLost> for StoreError {
    fn from(ended: LeaseLost) -> Self {
        match ended {
            LeaseLost::Taken => Self::UploadGone,
            LeaseLost::Revoked => Self::TakenOver,
        }
    }
}

/// Checks that `bytes` are exactly one header of the object `key`, as far as that can be told
/// without the file key.
pub(super) fn check_header(bytes: &[u8], key: &ObjectKey) -> Result<HeaderFields, StoreError> {
    let header = HeaderFields::parse(bytes).map_err(FormatViolation::from)?;
    if header.object_key() != Some(key) {
        return Err(FormatViolation::OtherKey.into());
    }
    Ok(header)
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

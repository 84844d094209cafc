//! An upload under way: slices, each verified against its digest before it counts (STORE, "Put" 1 and 2).

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
    error::{Doing, Flaw, StoreError},
    generation,
    kept::KEPT_MIN_BYTES,
    layout::{STAGING, resume_name},
    lease::{Ended, Lease, Patience},
    record::SliceTable,
    staging::Staged,
    under_way::{Entered, NotNewer},
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

/// Bytes worth asking the kernel to write before the commit does: a small object is written once.
const WRITE_BACK_BYTES: u64 = 1024 * 1024;

/// Bytes of an upload's end that stay in the page cache. What lies before them, but for the header, is dropped as soon
/// as it is on the disk, so that a long put neither evicts what others are being served nor waits for fresh pages.
const CACHED_BYTES: u64 = 64 * 1024 * 1024;

/// How long a connection waits that ends an older one's upload and begins another: for a call that writes one buffer or
/// reads one slice. Longer takes a disk that is overloaded, and then the client comes back.
pub(super) const TO_REPLACE: Patience =
    Patience { rest: Duration::ZERO, for_rest: Duration::ZERO, for_call: Duration::from_secs(1) };

/// And one that goes on with it: what had arrived before the line died is written first. Between two buffers of a slice
/// that is here already there is less than half a second.
pub(super) const TO_TAKE_OVER: Patience =
    Patience { rest: Duration::from_millis(500), for_rest: Duration::from_secs(2), ..TO_REPLACE };

/// How many slices there may be where `received` bytes are held.
fn slices_allowed(received: u64) -> u64 {
    (FREE_SLICES + received / BYTES_PER_SLICE).min(SLICES_MAX.into())
}

/// An object on its way in. Any error but a wrong digest removes what was received and gives the space back. Dropping it
/// does so too, unless it is worth keeping (STORE, "Put").
#[derive(Debug)]
pub struct Upload {
    pub(super) store: Store,
    pub(super) target: Target,
    /// Of what was received; it has ended once a call has failed, or a newer connection has taken the upload over.
    lease: Lease<Received>,
    slice: Option<Slice>,
    /// What it is called when it is kept; only what began with a header can be.
    resume_name: Option<String>,
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
    /// Up to where the kernel was asked to write.
    written_to: u64,
    /// What lies between the longest header and here was dropped from the page cache.
    cached_from: u64,
    /// How long the file was when it was found, as long as what it holds beyond `length` may be claimed.
    pub(super) found: Option<u64>,
    /// Until the end of its commit.
    pub(super) under_way: Option<Entered>,
    pub(super) permit: Permit,
}

impl Received {
    /// Nothing of a new file.
    fn nothing(staged: Staged<Arc<OwnedFd>>, permit: Permit) -> Self {
        Self {
            staged,
            table: SliceTable::default(),
            length: 0,
            written_to: 0,
            cached_from: HEADER_MAX_BYTES as u64,
            found: None,
            under_way: None,
            permit,
        }
    }

    /// The header, which begins a file of `found` bytes.
    pub(super) fn header_of(
        staged: Staged<Arc<OwnedFd>>,
        permit: Permit,
        header: &HeaderSlice,
        found: u64,
    ) -> Self {
        let mut received = Self::nothing(staged, permit);
        // At most 65,536 bytes (PROTOCOL 5).
        received.length = header.bytes.len() as u64;
        received.table.push(header.bytes.len() as u32, &header.digest);
        received.found = Some(found);
        received
    }

    /// Throws away what the file holds and nobody has claimed.
    pub(super) fn forget_unclaimed(&mut self) -> Result<(), StoreError> {
        if self.found.take().is_none() {
            return Ok(());
        }
        if self.length < KEPT_MIN_BYTES {
            self.staged.goes();
        }
        self.staged.file().set_len(self.length).doing("cut an upload")
    }

    /// Whether there may be one more slice.
    pub(super) fn check_count(&self) -> Result<(), StoreError> {
        if u64::from(self.table.count()) < slices_allowed(self.length) {
            Ok(())
        } else {
            Err(Flaw::SliceCount.into())
        }
    }

    /// A slice is complete: the kernel begins to write what has come, and drops what it wrote long ago.
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
        let permit = store.0.uploads.permit().ok_or(StoreError::Crowded)?;
        let received = Received::nothing(Staged::create(&store.staging()?, STAGING, "")?, permit);
        let lease = Lease::new(received, connection);
        Ok(Self { store, target, lease, slice: None, resume_name: None })
    }

    /// An upload that goes on, and is called `name` when it is kept.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when a newer connection has come for it meanwhile.
    pub(super) fn again(
        store: Store,
        target: Target,
        mut received: Received,
        name: String,
        connection: u64,
    ) -> Result<Self, StoreError> {
        received.under_way = Some(store.0.under_way.enter(&name));
        let lease = Lease::new(received, connection);
        let upload = Self { store, target, lease, slice: None, resume_name: Some(name) };
        upload.supersede()?;
        Ok(upload)
    }

    /// The header of a sealed object, its first slice. An upload with the same header that an older connection of the
    /// same writer has ends as if that connection had.
    ///
    /// # Errors
    /// [`StoreError::Malformed`] when `bytes` are not one whole header, or name another object; [`StoreError::Digest`];
    /// [`StoreError::Older`] and [`StoreError::Ahead`], as far as they are certain already; [`StoreError::InUse`] when a
    /// newer connection has the upload.
    pub fn write_header(&mut self, bytes: &[u8], digest: Digest) -> Result<(), StoreError> {
        let length = check_header(bytes, &self.target.key)?.length();
        generation::refuse_hopeless(&self.store, &self.target.key, bytes)?;
        let name = resume_name(self.target.client.as_ref(), &digest);
        let entered = self.store.0.under_way.enter(&name);
        self.step(|received, _| {
            received.under_way = Some(entered);
            Ok(())
        })?;
        self.start_slice(length, digest)?;
        self.write(bytes)?;
        self.end_slice()?;
        self.resume_name = Some(name);
        self.supersede().inspect_err(|_| self.give_up())
    }

    /// Ends the upload that an older connection has by this name: whoever knows its whole header has proved that it is
    /// the same one.
    fn supersede(&self) -> Result<(), StoreError> {
        let Some(name) = &self.resume_name else { return Ok(()) };
        let older = self.store.0.under_way.install(name, &self.lease);
        if let Some(older) = older.map_err(|NotNewer| StoreError::InUse)? {
            // Whatever it gives is dropped, and stays if it is worth it.
            older.revoke(TO_REPLACE);
        }
        Ok(())
    }

    /// Announces the next slice: how many bytes, and their digest.
    ///
    /// # Errors
    /// [`StoreError::Malformed`] when it is longer than [`SLICE_MAX_BYTES`], when there are too many, or when the
    /// slice before has not ended. Here as below: an error ends the upload, and what comes after is
    /// [`StoreError::UploadGone`].
    pub fn start_slice(&mut self, length: u32, digest: Digest) -> Result<(), StoreError> {
        let trusted = self.store.check_trusted();
        self.step(|received, slice| {
            trusted?;
            if slice.is_some() {
                return Err(Flaw::SliceFraming.into());
            }
            if length == 0 || length > SLICE_MAX_BYTES {
                return Err(Flaw::SliceLength(length).into());
            }
            received.check_count()?;
            received.forget_unclaimed()?;
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

    /// Ends the slice: it is complete and matches its digest. The kernel begins to write it to the disk. From
    /// 1 MiB in whole slices on the upload is worth keeping.
    ///
    /// # Errors
    /// [`StoreError::Digest`], which says that the bytes were changed on their way: the slices before this one are worth
    /// as much as if the connection had ended here. [`StoreError::Malformed`] when bytes are missing.
    pub fn end_slice(&mut self) -> Result<(), StoreError> {
        let name = self.resume_name.take().filter(|_| self.store.keeps_uploads());
        let ended = self.step(|received, slice| {
            let slice = slice.take().ok_or(Flaw::SliceFraming)?;
            if received.length - slice.begin != u64::from(slice.length) {
                return Err(Flaw::SliceFraming.into());
            }
            if slice.hasher.finish() != slice.digest {
                received.staged.file().set_len(slice.begin).doing("cut an upload")?;
                return Err(StoreError::Digest);
            }
            received.table.push(slice.length, &slice.digest);
            received.write_back();
            match &name {
                Some(name) if received.length >= KEPT_MIN_BYTES => received.staged.settle(name),
                _ => Ok(()),
            }
        });
        self.resume_name = name;
        ended
    }

    /// Gives it up: nothing of it is kept.
    pub fn abort(mut self) {
        self.give_up();
    }

    /// Of which object.
    #[must_use]
    pub(crate) fn key(&self) -> &ObjectKey {
        &self.target.key
    }

    /// Bytes received.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.lease.look(|received| received.length).unwrap_or(0)
    }

    /// What was received, all of it in whole slices.
    pub(super) fn into_received(mut self) -> Result<(Store, Target, Received), StoreError> {
        let trusted = self.store.check_trusted();
        self.between_slices(|received| trusted.and_then(|()| received.forget_unclaimed()))?;
        let mut received = self.lease.end()?;
        // A commit that fails is an error like any other.
        received.staged.goes();
        Ok((self.store, self.target, received))
    }

    /// Does one step where no slice is under way.
    pub(super) fn between_slices<T>(
        &mut self,
        step: impl FnOnce(&mut Received) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.step(|received, slice| match slice {
            Some(_) => Err(Flaw::SliceFraming.into()),
            None => step(received),
        })
    }

    /// Does one step; when it fails, the upload is over. Its file goes at once, unless it was the line that failed.
    fn step<T>(
        &mut self,
        step: impl FnOnce(&mut Received, &mut Option<Slice>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let slice = &mut self.slice;
        let result = self.lease.work(|received| step(received, slice))?;
        match &result {
            Ok(_) => {}
            Err(StoreError::Digest) => drop(self.lease.end()),
            Err(_) => self.give_up(),
        }
        result
    }

    fn give_up(&mut self) {
        if let Ok(mut received) = self.lease.end() {
            received.staged.goes();
        }
    }
}

impl From<Ended> for StoreError {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Gone => Self::UploadGone,
            Ended::Revoked => Self::TakenOver,
        }
    }
}

/// Checks that `bytes` are one whole header of the object `key`, as far as that can be told without its file key.
pub(super) fn check_header(bytes: &[u8], key: &ObjectKey) -> Result<HeaderFields, StoreError> {
    let header = HeaderFields::parse(bytes).map_err(Flaw::from)?;
    if header.object_key() != Some(key) {
        return Err(Flaw::OtherKey.into());
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

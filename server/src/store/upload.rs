//! An upload in progress: slices, each verified against its digest before it counts (STORE, "Put" 1
//! and 2).

use std::os::unix::fs::FileExt;

use zput_proto::{
    digest::{Digest, Hasher},
    envelope::HeaderFields,
    keys::DevicePublicKey,
    limits::SLICE_MAX_BYTES,
    message::{Condition, ErrorCode, Kind},
    name::ObjectKey,
};

use super::{
    error::{Context, FormatViolation, StoreError},
    generation,
    in_flight::{NotNewer, RESUMABLE_MIN_BYTES, Received},
    layout::{STAGING, resume_name},
    lease::{Lease, LeaseLost},
    open_store::Store,
    staging::Staged,
};

/// An upload. Any error but a wrong digest and those with the code Busy discards what was received
/// and frees the space. So does dropping it, unless the upload can be resumed (STORE, "Put").
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
            // Its file is kept if it can be resumed. A call that writes to it ends first.
            older.end();
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
        let received = self.lease.take()?;
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
    /// wrong digest or Busy.
    fn step<T>(
        &mut self,
        step: impl FnOnce(&mut Received, &mut Option<Slice>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let slice = &mut self.slice;
        let result = self.lease.with(|received| step(received, slice))?;
        match &result {
            Ok(_) => {}
            Err(error) if matches!(error.code(), ErrorCode::Digest | ErrorCode::Busy) => {
                drop(self.lease.take());
            }
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

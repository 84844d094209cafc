//! Interrupted uploads that are kept to be resumed (PROTOCOL 5, "Resume").
//!
//! The store remembers only the file. Its name tells whose upload it is and with which header it
//! began. The file's contents count only after the client has claimed them and they were read
//! again.

use std::{
    cmp::Reverse,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::FileExt,
    },
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use zput_proto::{
    digest::{Digest, Hasher},
    keys::DevicePublicKey,
    message::{ClaimedSlice, Condition, HeaderSlice, Kind, Version},
    name::ObjectKey,
};

use super::{
    commit,
    error::{Context, StoreError},
    generation,
    in_flight::{InFlightGuard, Received},
    layout::{Area, ObjectName, STAGING, is_resume_name, resume_name},
    lease::{Revocation, Revoking},
    lock::{Lock, LockName},
    look::{Current, Look, Wanted},
    object::Object,
    open_store::Store,
    shard_dirs::{LOOKS, ShardDirs},
    staging::{self, Staged},
    upload::{Target, Upload, check_header},
    writer::Writer,
};
use crate::limits::Permit;

/// Most versions that are no longer current which [`Store::committed`] searches.
const VERSIONS_SEARCHED_MAX: usize = 64;

/// Bytes of a claimed slice that are read at a time.
const READ_BYTES: usize = 256 * 1024;

impl Store {
    /// Resumes an upload of `writer` that began with `header` and was interrupted, or that an older
    /// connection of the same writer still has. The older connection's upload ends once the data
    /// that had arrived for it is written. The header counts as received; the slices that follow
    /// can be [claimed](Upload::claim).
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when no such upload is kept; [`StoreError::InUse`] while it is
    /// being committed, or while another process, or a connection that is not older, has it;
    /// [`StoreError::TooManyUploads`]; [`StoreError::Exists`] as for [`Store::begin`];
    /// [`StoreError::Malformed`] and [`StoreError::Digest`] as for [`Upload::write_header`];
    /// [`StoreError::Suspect`].
    pub fn resume(
        &self,
        key: &ObjectKey,
        condition: Condition,
        writer: impl Into<Writer>,
        header: &HeaderSlice,
    ) -> Result<Upload, StoreError> {
        match self.begin_resume(key, condition, writer, header)? {
            ResumeStep::Resumed(upload) => Ok(*upload),
            ResumeStep::Waits(take_over) => {
                let TakeOver { resume, older, guard: _guard, permit: _permit } = *take_over;
                resume.with_revoked(older.take_blocking())
            }
        }
    }

    /// As [`Self::resume`], up to the wait for the older connection.
    pub(crate) fn begin_resume(
        &self,
        key: &ObjectKey,
        condition: Condition,
        writer: impl Into<Writer>,
        header: &HeaderSlice,
    ) -> Result<ResumeStep, StoreError> {
        check_header(&header.bytes, key)?;
        if Digest::of(&header.bytes) != header.digest {
            return Err(StoreError::Digest);
        }
        let Writer { device: client, connection } = writer.into();
        let target = Target { key: key.clone(), kind: Kind::Sealed, condition, client };
        self.check_writable()?;
        self.check_clock()?;
        let name = resume_name(target.client.as_ref(), &header.digest);
        let older_lease = match self.0.in_flight.lease(&name) {
            Some(lease) if lease.holder() < connection => Some(lease),
            Some(_) => return Err(StoreError::InUse),
            // The upload is about to begin, or is being committed.
            None if self.0.in_flight.contains(&name) => return Err(StoreError::InUse),
            None => None,
        };
        commit::check_early(self, &target)?;
        let resume =
            Resume { store: self.clone(), target, header: header.clone(), name, connection };
        match older_lease {
            Some(lease) => {
                // Meanwhile a third connection is told that the upload is in use, rather than not
                // found.
                let guard = self.0.in_flight.insert(&resume.name);
                let permit = self.0.take_overs.try_acquire().ok_or(StoreError::InUse)?;
                let older = lease.revoke(self.0.take_over_timeouts, Instant::now());
                Ok(ResumeStep::Waits(Box::new(TakeOver { resume, older, guard, permit })))
            }
            None => {
                let permit = self.0.uploads.try_acquire().ok_or(StoreError::TooManyUploads)?;
                let staged = Staged::reopen(&self.staging()?, &resume.name)?;
                resume
                    .with_file(staged.ok_or(StoreError::NotFound)?, permit)
                    .map(|upload| ResumeStep::Resumed(Box::new(upload)))
            }
        }
    }

    /// The version that an upload of `client` with this `header` became, if it was committed,
    /// whatever happened to that version since. A client asks this when the answer to its commit
    /// may have been lost. The version is durable when this returns it. Only the current version
    /// and the newest 64 that were replaced or deleted are searched.
    ///
    /// # Errors
    /// Those of [`Store::lookup`]; [`StoreError::Suspect`].
    pub fn committed(
        &self,
        key: &ObjectKey,
        client: Option<DevicePublicKey>,
        header: &HeaderSlice,
    ) -> Result<Option<Version>, StoreError> {
        // A commit in progress succeeds or fails before this caller has the lock.
        let lock = self.lock_blocking(LockName::of_object(key))?;
        self.committed_with(lock, key, client, header)
    }

    /// As [`Self::committed`], with the lock of the object's shard.
    pub(crate) fn committed_with(
        &self,
        lock: Lock,
        key: &ObjectKey,
        client: Option<DevicePublicKey>,
        header: &HeaderSlice,
    ) -> Result<Option<Version>, StoreError> {
        let is_this_upload = |object: &Object| -> Result<bool, StoreError> {
            Ok(object.trailer().client == client
                && object.read_header()?.as_ref() == Some(&header.bytes))
        };
        let shard = ObjectName::for_key(key).shard();
        // What a commit made stays, so the search needs no lock.
        drop(lock);
        self.check_writable()?;
        let dirs = ShardDirs::open(self.fsync(), shard)?;
        let (wanted, mut looks) = (Wanted { after: None, most: VERSIONS_SEARCHED_MAX }, LOOKS);
        loop {
            let look = dirs.look(key, wanted, &mut looks)?;
            match search(&dirs, key, look, is_this_upload)? {
                // A writer moves a version after its new name is durable.
                Search::Found(version, area) => {
                    dirs.sync(area)?;
                    return Ok(Some(version));
                }
                Search::Absent => return Ok(None),
                Search::Moved => {}
            }
        }
    }

    /// Removes uploads that are not locked and whose file was last modified at least as long ago as
    /// uploads are kept, by the store's clock. Returns how many were removed.
    ///
    /// # Errors
    /// When the directory cannot be read, or a file cannot be removed.
    pub fn expire_uploads(&self) -> Result<usize, StoreError> {
        if self.is_read_only() {
            return Ok(0);
        }
        let keep_ns = self.0.keep_uploads_ns.load(Ordering::Relaxed);
        let now_ns = self.clock().now_ns();
        staging::remove_abandoned(self.staging()?.as_fd(), STAGING, |name, file| {
            is_resume_name(name) && now_ns.saturating_sub(file.modified_ns) >= keep_ns
        })
    }
}

/// What became of a Resume.
pub(crate) enum ResumeStep {
    /// The upload goes on.
    Resumed(Box<Upload>),
    /// An older connection has the upload, and may still write what had arrived for it.
    Waits(Box<TakeOver>),
}

/// A Resume that waits for the lease of an older connection. Dropping it gives up.
#[derive(Debug)]
pub(crate) struct TakeOver {
    resume: Resume,
    older: Revoking<Received>,
    /// Registers the upload until the new connection has it.
    guard: InFlightGuard,
    /// One of the take-overs that a store has at once.
    permit: Permit,
}

impl TakeOver {
    /// Whether [`Self::finish`] need not wait any longer.
    pub(crate) fn is_ready(&mut self, now: Instant) -> bool {
        self.older.is_ready(now)
    }

    /// Takes the upload over.
    ///
    /// # Errors
    /// Those of [`Store::resume`].
    pub(crate) fn finish(self) -> Result<Upload, StoreError> {
        let Self { resume, older, guard, permit } = self;
        let resumed = resume.with_revoked(older.take());
        drop((guard, permit));
        resumed
    }
}

/// A Resume that was checked.
#[derive(Debug)]
struct Resume {
    store: Store,
    target: Target,
    header: HeaderSlice,
    name: String,
    connection: u64,
}

impl Resume {
    fn with_revoked(self, older: Revocation<Received>) -> Result<Upload, StoreError> {
        match older {
            Revocation::Taken(Received { staged, permit, .. }) => self.with_file(staged, permit),
            Revocation::Released | Revocation::Busy => Err(StoreError::InUse),
        }
    }

    /// Goes on with the upload's file.
    fn with_file(
        self,
        mut staged: Staged<Arc<OwnedFd>>,
        permit: Permit,
    ) -> Result<Upload, StoreError> {
        let Self { store, target, header, name, connection } = self;
        if let Err(error) = generation::check_early(&store, &target.key, &header.bytes) {
            if matches!(error, StoreError::Older { .. }) {
                // It can never be committed any more.
                staged.remove_on_drop();
            }
            return Err(error);
        }
        let file_length = staged.stat()?.length;
        if !begins_with(&staged, file_length, &header.bytes)? {
            // The system went down before the header was written.
            staged.remove_on_drop();
            return Err(StoreError::NotFound);
        }
        let received = Received::with_header(staged, permit, &header, file_length);
        Upload::resume(store, target, received, name, connection)
    }
}

impl Upload {
    /// Compares the next slices of a resumed upload with the contents of its file. Returns how many
    /// of them, counted from the first, are there and match; these count as received. After the
    /// first that does not match, and after a slice was begun, nothing more can be claimed and the
    /// rest of the file is discarded.
    ///
    /// # Errors
    /// [`StoreError::Malformed`] when there are too many slices or one is in progress,
    /// [`StoreError::Io`]; [`StoreError::TooManyClaims`], which leaves the upload as it was.
    pub fn claim(&mut self, slices: &[ClaimedSlice]) -> Result<u32, StoreError> {
        let store = self.store.clone();
        let _permit = store.0.claims.try_acquire().ok_or(StoreError::TooManyClaims)?;
        let mut held = 0;
        for slice in slices {
            // One slice at a time, so that a connection that takes the upload over waits for at
            // most one.
            let is_held = self.between_slices(|received| {
                let is_held = received.claim(slice)?;
                if !is_held {
                    received.discard_unclaimed()?;
                }
                Ok(is_held)
            })?;
            if !is_held {
                break;
            }
            held += 1;
        }
        Ok(held)
    }
}

impl Received {
    /// Takes the next slice as received, if the file contains it. Returns whether it does.
    fn claim(&mut self, slice: &ClaimedSlice) -> Result<bool, StoreError> {
        let (begin, end) = (self.length, self.length + u64::from(slice.length));
        if self.claimable_to.is_none_or(|claimable_to| end > claimable_to) {
            return Ok(false);
        }
        self.check_count()?;
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; READ_BYTES.min(slice.length as usize)];
        let mut offset = begin;
        while offset < end {
            let piece = (end - offset).min(READ_BYTES as u64);
            let piece = &mut buffer[..piece as usize];
            self.staged.file().read_exact_at(piece, offset).context("read an upload")?;
            hasher.update(piece);
            offset += piece.len() as u64;
        }
        if hasher.finish() != slice.digest {
            return Ok(false);
        }
        self.table.push(slice.length, &slice.digest);
        self.length = end;
        self.write_back();
        Ok(true)
    }
}

/// What a search among an object's versions came to.
enum Search {
    /// This version, in this area.
    Found(Version, Area),
    /// None of them.
    Absent,
    /// The file of one of them was moved before it was looked at.
    Moved,
}

/// Searches the versions of a look for one that `is_wanted`.
fn search(
    dirs: &ShardDirs,
    key: &ObjectKey,
    look: Look,
    is_wanted: impl Fn(&Object) -> Result<bool, StoreError>,
) -> Result<Search, StoreError> {
    match look.current {
        Current::Absent => {}
        Current::Present(current) => {
            if is_wanted(&current)? {
                return Ok(Search::Found(current.version(), Area::Objects));
            }
        }
        Current::Unreadable(error) => return Err(error),
    }
    for (Reverse(version), area) in look.noncurrent.wanted {
        match dirs.noncurrent(area, key, version) {
            Ok(Some(object)) if is_wanted(&object)? => return Ok(Search::Found(version, area)),
            Ok(None) => return Ok(Search::Moved),
            // A corrupt version is not an answer, and does not end the search.
            Ok(Some(_)) | Err(_) => {}
        }
    }
    Ok(Search::Absent)
}

/// Whether a file of `file_length` bytes begins with `bytes`.
fn begins_with<D: AsFd>(
    staged: &Staged<D>,
    file_length: u64,
    bytes: &[u8],
) -> Result<bool, StoreError> {
    if file_length < bytes.len() as u64 {
        return Ok(false);
    }
    let mut beginning = vec![0; bytes.len()];
    staged.file().read_exact_at(&mut beginning, 0).context("read an upload")?;
    Ok(beginning == bytes)
}

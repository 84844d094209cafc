//! Uploads that were cut off, kept to be resumed (PROTOCOL 5, "Resume").
//!
//! Nothing is remembered of them but their file: its name says whose they are and which header they began with, and what
//! the file holds counts for nothing until the client has named it and it was read again.

use std::{
    cmp::Reverse,
    os::{fd::AsFd, unix::fs::FileExt},
    sync::atomic::Ordering,
    time::Duration,
};

use zput_common::{
    digest::{Digest, Hasher},
    keys::public::DevicePublicKey,
    name::ObjectKey,
    proto::message::{ClaimedSlice, Condition, HeaderSlice, Kind, Version},
};

use super::{
    Store, Writer, commit,
    error::{Doing, StoreError},
    generation,
    layout::{ObjectName, STAGING, Shelf, is_resume_name, resume_name},
    lease::Revoked,
    object::Object,
    shard::LockedShard,
    staging::{self, Staged},
    upload::{Received, Target, Upload, check_header},
};

/// Fewest bytes in whole slices for which an upload that was cut off is kept: less is sent again sooner than asked for.
pub(super) const KEPT_MIN_BYTES: u64 = 1024 * 1024;

/// For how long an upload is kept, unless told otherwise: over a weekend.
pub const DEFAULT_KEEP_UPLOADS: Duration = Duration::from_secs(72 * 60 * 60);

/// How many versions that are current no more are looked at for one of which nobody has heard.
const VERSIONS_LOOKED_AT: usize = 64;

/// How much of a slice is read at a time.
const READ_BYTES: usize = 256 * 1024;

impl Store {
    /// Goes on with an upload of `writer` that began with `header` and was cut off, or that an older connection of the
    /// same writer has still: that one's is over then, once what had arrived of it is written. The header is held; what follows can be [claimed](Upload::claim).
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when nothing of it was kept; [`StoreError::InUse`] while it is committed, or a connection
    /// that is not older or another process works on it; [`StoreError::Crowded`] while there are too many uploads;
    /// [`StoreError::Exists`] as for [`Store::begin`]; [`StoreError::Malformed`] and
    /// [`StoreError::Digest`] as for [`Upload::write_header`]; [`StoreError::Suspect`].
    pub fn resume(
        &self,
        key: &ObjectKey,
        condition: Condition,
        writer: impl Into<Writer>,
        header: &HeaderSlice,
    ) -> Result<Upload, StoreError> {
        check_header(&header.bytes, key)?;
        if Digest::of(&header.bytes) != header.digest {
            return Err(StoreError::Digest);
        }
        let Writer { device: client, connection } = writer.into();
        let target = Target { key: key.clone(), kind: Kind::Sealed, condition, client };
        self.check_trusted()?;
        let name = resume_name(target.client.as_ref(), &header.digest);
        let older = match self.0.under_way.lease(&name) {
            Some(lease) if lease.holder() < connection => Some(lease),
            Some(_) => return Err(StoreError::InUse),
            // It is about to begin, or is being committed.
            None if self.0.under_way.has(&name) => return Err(StoreError::InUse),
            None => None,
        };
        commit::refuse_hopeless(self, &target)?;
        let (mut staged, permit, _entered) = match older {
            Some(lease) => {
                // Nobody is told meanwhile that there is nothing.
                let entered = self.0.under_way.enter(&name);
                let _turn = self.0.take_overs.permit().ok_or(StoreError::InUse)?;
                match lease.revoke(self.0.to_take_over) {
                    Revoked::Taken(Received { staged, permit, .. }) => {
                        (staged, permit, Some(entered))
                    }
                    Revoked::Gone | Revoked::AtWork => return Err(StoreError::InUse),
                }
            }
            None => {
                let permit = self.0.uploads.permit().ok_or(StoreError::Crowded)?;
                let staged = Staged::reopen(&self.staging()?, &name)?;
                (staged.ok_or(StoreError::NotFound)?, permit, None)
            }
        };
        if let Err(error) = generation::refuse_hopeless(self, key, &header.bytes) {
            if matches!(error, StoreError::Older { .. }) {
                // It cannot be committed any more.
                staged.goes();
            }
            return Err(error);
        }
        let found = staged.identity()?.length;
        if !begins_with(&staged, found, &header.bytes)? {
            // The system went down before it was written.
            staged.goes();
            return Err(StoreError::NotFound);
        }
        let received = Received::header_of(staged, permit, header, found);
        Upload::again(self.clone(), target, received, name, connection)
    }

    /// The version that an upload of `client` that began with `header` became, if it was committed, whatever became of
    /// that version since: whoever asks may not have heard of it. The version is durable when this returns it.
    /// Only the newest 64 that were replaced or deleted are looked at.
    ///
    /// # Errors
    /// As of [`Store::lookup`]; [`StoreError::Suspect`].
    pub fn committed(
        &self,
        key: &ObjectKey,
        client: Option<DevicePublicKey>,
        header: &HeaderSlice,
    ) -> Result<Option<Version>, StoreError> {
        let is_it = |object: &Object| -> Result<bool, StoreError> {
            Ok(object.trailer().client == client
                && object.read_header()?.as_ref() == Some(&header.bytes))
        };
        let name = ObjectName::of(key);
        // Whoever is about to make it current has done so by then, or has failed to.
        let shard = LockedShard::to_change(self.syncs(), name.shard())?;
        if let Some(current) = shard.current(key)?
            && is_it(&current)?
        {
            // As of "already there": who renamed it may have been killed before that was durable.
            shard.sync(Shelf::Objects)?;
            return Ok(Some(current.version()));
        }
        let mut shelved = Vec::new();
        for shelf in [Shelf::History, Shelf::Trash] {
            for version in shard.versions(shelf, name)? {
                shelved.push((version?, shelf));
            }
        }
        shelved.sort_unstable_by_key(|(version, _)| Reverse(*version));
        for (version, shelf) in shelved.into_iter().take(VERSIONS_LOOKED_AT) {
            // One that has rotted is no answer, and no reason for none.
            if let Ok(Some(object)) = shard.shelved(shelf, key, version)
                && is_it(&object)?
            {
                shard.sync(shelf)?;
                return Ok(Some(version));
            }
        }
        Ok(None)
    }

    /// Keeps uploads that are cut off for so long from now on; for no time at all, none is kept.
    pub fn keep_uploads(&self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.0.keep_uploads_ns.store(ns, Ordering::Relaxed);
    }

    /// Whether uploads are kept at all.
    pub(super) fn keeps_uploads(&self) -> bool {
        self.0.keep_uploads_ns.load(Ordering::Relaxed) > 0
    }

    /// Removes uploads whose time is over: which nobody works on, and nobody has added anything to for as long as
    /// they are kept, by the store's clock. Returns how many.
    ///
    /// # Errors
    /// When the directory cannot be read, or something cannot be removed.
    pub fn expire_uploads(&self) -> Result<usize, StoreError> {
        if self.is_read_only() {
            return Ok(0);
        }
        let keep_ns = self.0.keep_uploads_ns.load(Ordering::Relaxed);
        let now_ns = self.clock().now_ns();
        staging::sweep(self.staging()?.as_fd(), STAGING, |name, file| {
            is_resume_name(name) && now_ns.saturating_sub(file.modified_ns) >= keep_ns
        })
    }
}

impl Upload {
    /// Compares the next slices of a resumed upload with what the file holds, and returns how many of them, counted from the
    /// first, are there and match. They are held from now on. Once one is not, and once a slice was begun, nothing more can be
    /// claimed: the rest of the file is thrown away.
    ///
    /// # Errors
    /// [`StoreError::Malformed`] when there are too many slices or one is under way, [`StoreError::Io`];
    /// [`StoreError::CrowdedClaims`] while too many others claim, and then the upload is as it was.
    pub fn claim(&mut self, slices: &[ClaimedSlice]) -> Result<u32, StoreError> {
        let store = self.store.clone();
        let _permit = store.0.claims.permit().ok_or(StoreError::CrowdedClaims)?;
        let mut held = 0;
        for slice in slices {
            // One at a time: whoever takes the upload over waits for no more than one.
            let is_held = self.between_slices(|received| {
                let is_held = received.claim(slice)?;
                if !is_held {
                    received.forget_unclaimed()?;
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
    /// Holds the next slice, if the file has it.
    fn claim(&mut self, slice: &ClaimedSlice) -> Result<bool, StoreError> {
        let (begin, end) = (self.length, self.length + u64::from(slice.length));
        if self.found.is_none_or(|found| end > found) {
            return Ok(false);
        }
        self.check_count()?;
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; READ_BYTES.min(slice.length as usize)];
        let mut offset = begin;
        while offset < end {
            let piece = (end - offset).min(READ_BYTES as u64);
            let piece = &mut buffer[..piece as usize];
            self.staged.file().read_exact_at(piece, offset).doing("read an upload")?;
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

/// Whether a file of `found` bytes begins with these.
fn begins_with<D: AsFd>(staged: &Staged<D>, found: u64, bytes: &[u8]) -> Result<bool, StoreError> {
    if found < bytes.len() as u64 {
        return Ok(false);
    }
    let mut beginning = vec![0; bytes.len()];
    staged.file().read_exact_at(&mut beginning, 0).doing("read an upload")?;
    Ok(beginning == bytes)
}

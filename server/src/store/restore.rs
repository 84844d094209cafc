//! Restoring a version (STORE, "Restore"): back from the trash, or by a verified copy.

use std::os::unix::fs::FileExt;

use zput_proto::{
    message::{Condition, Version},
    name::ObjectKey,
};

use super::{
    Store,
    commit::PendingCommit,
    error::{Context, Corruption, StoreError, WithFile as _},
    layout::{Area, ObjectName},
    lock::{Lock, LockName},
    object::Object,
    record::SliceTable,
    shard::LockedShard,
    upload::{Target, Upload},
};

/// Bytes of a slice that are copied at a time.
const COPY_BYTES: usize = 256 * 1024;

/// What became of a restore that had its lock.
pub(crate) enum RestoreStep {
    /// The version is current, and durable.
    Restored(Version),
    /// It was copied, without the lock. The copy has to be committed.
    Copied(Box<PendingCommit>),
}

impl Store {
    /// Makes an earlier or deleted version the current one and returns the number it has then. That
    /// is its own number if it returns from the trash to a key without a current version, or is the
    /// current version already; a copy gets a new number.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Corrupt`] when the copy finds a damaged slice;
    /// [`StoreError::Suspect`].
    pub fn restore(&self, key: &ObjectKey, version: Version) -> Result<Version, StoreError> {
        let lock = self.lock_blocking(LockName::of_object(key))?;
        match self.restore_with(lock, key, version)? {
            RestoreStep::Restored(version) => Ok(version),
            RestoreStep::Copied(copy) => copy.commit_blocking(),
        }
    }

    /// As [`Self::restore`], with the lock of the object's shard.
    pub(crate) fn restore_with(
        &self,
        lock: Lock,
        key: &ObjectKey,
        version: Version,
    ) -> Result<RestoreStep, StoreError> {
        match self.restore_in_place(lock, key, version)? {
            None => Ok(RestoreStep::Restored(version)),
            Some(old) => self.copy(&old).map(RestoreStep::Copied),
        }
    }

    /// Restores a version that needs no copy; returns a version that does need one.
    fn restore_in_place(
        &self,
        lock: Lock,
        key: &ObjectKey,
        version: Version,
    ) -> Result<Option<Object>, StoreError> {
        let name = ObjectName::for_key(key);
        let shard = LockedShard::for_write(self.fsync(), name, lock)?;
        let current = shard.current(key)?;
        if current.as_ref().is_some_and(|current| current.version() == version) {
            shard.sync(Area::Objects)?;
            return Ok(None);
        }
        let Some(trashed) = shard.noncurrent(Area::Trash, key, version)? else {
            let old = shard.noncurrent(Area::History, key, version)?;
            return old.ok_or(StoreError::NotFound).map(Some);
        };
        if current.is_some() {
            return Ok(Some(trashed));
        }
        shard.link_as_current(&trashed)?;
        shard.sync(Area::Objects)?;
        shard.unlink(Area::Trash, &name.version_file(version))?;
        shard.sync(Area::Trash)?;
        Ok(None)
    }

    /// Puts a version's bytes again, in the same slices and for the same device, and verifies them
    /// while copying. The copy lacks its commit.
    fn copy(&self, old: &Object) -> Result<Box<PendingCommit>, StoreError> {
        let trailer = old.trailer();
        let version_name = ObjectName::for_key(&trailer.key).version_file(old.version());
        let table = SliceTable::read(old.file(), trailer).with_file(&version_name)?;
        let target = Target {
            key: trailer.key.clone(),
            kind: trailer.kind,
            condition: Condition::Any,
            client: trailer.client,
        };
        let mut upload = Upload::begin(self.clone(), target, 0)?;
        let mut buffer = vec![0; COPY_BYTES];
        for (index, (length, digest)) in (0..).zip(table.rows()) {
            let begin = upload.length();
            let end = begin + u64::from(length);
            upload.start_slice(length, digest)?;
            while upload.length() < end {
                let piece = (end - upload.length()).min(COPY_BYTES as u64) as usize;
                let piece = &mut buffer[..piece];
                let read = old.file().read_exact_at(piece, upload.length());
                read.context_read("read an object", &version_name)?;
                upload.write(piece)?;
            }
            upload.end_slice().map_err(|error| match error {
                StoreError::Digest => Corruption::Slice(index).into(),
                other => other,
            })?;
        }
        upload.prepare_copy()
    }
}

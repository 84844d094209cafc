//! Deleting and restoring (STORE, "Delete" and "Restore"): nothing is ever thrown away.

use std::os::unix::fs::FileExt;

use zput_common::{
    name::ObjectKey,
    proto::message::{Condition, Version},
};

use super::{
    Store,
    commit::check_condition,
    error::{Doing, OfFile as _, Rot, StoreError},
    layout::{ObjectName, Shelf},
    object::Object,
    record::SliceTable,
    shard::LockedShard,
    upload::{Target, Upload},
};

/// How much of a slice is copied at a time.
const COPY_BYTES: usize = 256 * 1024;

impl Store {
    /// Moves the current version to the trash and returns its number.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none, whatever the condition; [`StoreError::Exists`] when there is one and the condition
    /// does not hold; [`StoreError::Suspect`].
    pub fn delete(&self, key: &ObjectKey, condition: Condition) -> Result<Version, StoreError> {
        let name = ObjectName::of(key);
        let shard = LockedShard::to_change(self.syncs(), name.shard())?;
        let Some(current) = shard.current(key)? else {
            // An earlier delete may have been killed before it made this durable.
            shard.sync(Shelf::Objects)?;
            return Err(StoreError::NotFound);
        };
        check_condition(condition, &shard, Some(&current))?;
        shard.link_current_to(Shelf::Trash, &current)?;
        shard.sync(Shelf::Trash)?;
        shard.unlink(Shelf::Objects, &name.to_string())?;
        shard.sync(Shelf::Objects)?;
        Ok(current.version())
    }

    /// Makes an earlier or a deleted version the current one, and returns the number that it has then: its own
    /// when it comes back from the trash to a key without a current version or is the current one anyway; a new one
    /// when it is copied.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Corrupt`] when the copy finds a slice that has rotted; [`StoreError::Suspect`].
    pub fn restore(&self, key: &ObjectKey, version: Version) -> Result<Version, StoreError> {
        match self.restore_in_place(key, version)? {
            None => Ok(version),
            Some(old) => self.copy_to_current(&old),
        }
    }

    /// Restores what needs no copy; gives back the version that does.
    fn restore_in_place(
        &self,
        key: &ObjectKey,
        version: Version,
    ) -> Result<Option<Object>, StoreError> {
        let name = ObjectName::of(key);
        let shard = LockedShard::to_change(self.syncs(), name.shard())?;
        let current = shard.current(key)?;
        if current.as_ref().is_some_and(|current| current.version() == version) {
            shard.sync(Shelf::Objects)?;
            return Ok(None);
        }
        let Some(trashed) = shard.shelved(Shelf::Trash, key, version)? else {
            let old = shard.shelved(Shelf::History, key, version)?;
            return old.ok_or(StoreError::NotFound).map(Some);
        };
        if current.is_some() {
            return Ok(Some(trashed));
        }
        shard.link_back(&trashed)?;
        shard.sync(Shelf::Objects)?;
        shard.unlink(Shelf::Trash, &name.version_file(version))?;
        shard.sync(Shelf::Trash)?;
        Ok(None)
    }

    /// Puts a version's bytes once more, as they were written by whom, and verifies them on their way.
    fn copy_to_current(&self, old: &Object) -> Result<Version, StoreError> {
        let trailer = old.trailer();
        let kept = ObjectName::of(&trailer.key).version_file(old.version());
        let table = SliceTable::read(old.file(), trailer).of_file(&kept)?;
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
                read.reading("read an object", &kept)?;
                upload.write(piece)?;
            }
            upload.end_slice().map_err(|error| match error {
                StoreError::Digest => Rot::Slice(index).into(),
                other => other,
            })?;
        }
        upload.commit_copy()
    }
}

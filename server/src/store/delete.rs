//! Deleting (STORE, "Delete"). No version is ever discarded.

use zput_proto::{
    message::{Condition, Version},
    name::ObjectKey,
};

use super::{
    Store,
    commit::check_condition,
    error::StoreError,
    layout::{Area, ObjectName},
    lock::{Lock, LockName},
    shard::LockedShard,
};

impl Store {
    /// Moves the current version to the trash and returns its number.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no current version, whatever the condition;
    /// [`StoreError::Exists`] when there is one and the condition does not hold;
    /// [`StoreError::Suspect`]; [`StoreError::Locked`].
    pub fn delete(&self, key: &ObjectKey, condition: Condition) -> Result<Version, StoreError> {
        let lock = self.lock_blocking(LockName::of_object(key))?;
        self.delete_with(lock, key, condition)
    }

    /// As [`Self::delete`], with the lock of the object's shard.
    pub(crate) fn delete_with(
        &self,
        lock: Lock,
        key: &ObjectKey,
        condition: Condition,
    ) -> Result<Version, StoreError> {
        let name = ObjectName::for_key(key);
        let shard = LockedShard::for_write(self.fsync(), name, lock)?;
        let Some(current) = shard.current(key)? else {
            // An earlier delete may have been killed before it made the unlink durable.
            shard.sync(Area::Objects)?;
            return Err(StoreError::NotFound);
        };
        check_condition(condition, &shard, Some(&current))?;
        shard.link_current_to(Area::Trash, &current)?;
        shard.sync(Area::Trash)?;
        shard.unlink(Area::Objects, &name.to_string())?;
        shard.sync(Area::Objects)?;
        Ok(current.version())
    }
}

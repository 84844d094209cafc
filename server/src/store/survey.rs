//! What a commit learns from directories, before it has the shard's lock.
//!
//! A commit needs the newest version of its object that is not current: its number and generation
//! must be above that one's. Only reading two directories finds it, and they have the names of all
//! objects of the shard. So the commit reads them first, and under the lock it only makes sure that
//! what it read still holds.

use std::sync::Arc;

use zput_proto::message::Version;

use super::{
    change_count::ChangeCount,
    error::StoreError,
    fsync::Fsync,
    layout::{Area, ObjectName},
    shard::LockedShard,
    shard_dirs::ShardDirs,
};

/// The newest version of an object apart from the current one, and its area.
pub(super) type NewestNoncurrent = Result<Option<(Version, Area)>, StoreError>;

/// What was found before the lock.
#[derive(Debug)]
pub(super) struct Survey {
    count: ChangeCount,
    /// The inode of the current version.
    current: Option<(u64, u64)>,
    /// The newest version apart from the current one.
    pub(super) newest: NewestNoncurrent,
}

impl Survey {
    /// Looks at the directories now.
    pub(super) fn of(fsync: &Arc<Fsync>, name: ObjectName) -> Result<Self, StoreError> {
        let dirs = ShardDirs::open(fsync, name.shard())?;
        let count = dirs.change_count()?;
        let current = dirs.current_inode(name);
        Ok(Self { count, current, newest: dirs.newest_noncurrent(name) })
    }

    /// Whether the newest version is still the same, now that no other writer has the shard.
    pub(super) fn holds(&self, shard: &LockedShard, name: ObjectName) -> Result<bool, StoreError> {
        if shard.current_inode(name) != self.current {
            return Ok(false);
        }
        let now = shard.change_count()?;
        // A version that is still current did not return to its place: it stayed there, and no
        // other version of the object was moved. Where there is no current version, one may have
        // come and gone.
        Ok(now == self.count || (self.current.is_some() && now.has_no_return_since(self.count)))
    }
}

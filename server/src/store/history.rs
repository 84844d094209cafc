//! The versions of one object.

use std::{cmp::Reverse, collections::BTreeMap};

use zput_proto::{
    limits::PAGE_MAX_ENTRIES,
    message::{Version, VersionInfo, VersionState},
    name::ObjectKey,
};

use super::{
    Store,
    error::{Context, StoreError},
    layout::{Area, ObjectName},
    object::{Object, open_object},
    shard::LockedShard,
};
use crate::sys::fs;

/// The path of the file that was an object's current version, with its device and inode numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CurrentFile {
    path: String,
    inode: (u64, u64),
}

impl Store {
    /// Opens the current version of an object, and returns which file that is.
    pub(crate) fn open_current(
        &self,
        key: &ObjectKey,
    ) -> Result<(Object, CurrentFile), StoreError> {
        let path = ObjectName::for_key(key).current_path();
        let object = open_object(self.root(), &path, &path, key)?.ok_or(StoreError::NotFound)?;
        let inode = fs::stat(object.file()).context("look at an object")?.inode;
        Ok((object, CurrentFile { path, inode }))
    }

    /// Whether the same file is still at this path. The bytes of a version never change, so it is
    /// then still the current version. This does not wait for the disk as long as the file is open
    /// in this process: its name is then in the kernel's dentry cache, and so is that of a file
    /// that replaced it.
    pub(crate) fn is_current(&self, current_file: &CurrentFile) -> bool {
        fs::stat_at(self.root(), &current_file.path)
            .is_ok_and(|found| found.inode == current_file.inode)
    }

    /// Opens a version of an object: the current one when `version` is absent; otherwise any that
    /// [`Store::versions`] lists, deleted ones included.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Corrupt`] when the file's record does not hold.
    pub fn lookup(&self, key: &ObjectKey, version: Option<Version>) -> Result<Object, StoreError> {
        let name = ObjectName::for_key(key);
        let path = name.current_path();
        let current = open_object(self.root(), &path, &path, key);
        let Some(version) = version else {
            return current?.ok_or(StoreError::NotFound);
        };
        if let Ok(Some(object)) = current
            && object.version() == version
        {
            return Ok(object);
        }
        // A writer may be moving the version from one area to another right now, so look again
        // under the lock.
        let shard = LockedShard::shared(self.fsync(), name.shard())?;
        for area in [Area::History, Area::Trash] {
            if let Some(object) = shard.noncurrent(area, key, version)? {
                return Ok(object);
            }
        }
        match shard.current(key)? {
            Some(object) if object.version() == version => Ok(object),
            _ => Err(StoreError::NotFound),
        }
    }

    /// A page of an object's versions, newest first; the cursor of the next page (absent on the
    /// last); and how many versions of this page cannot be read, which are logged and left out. A
    /// page holds at most `limit` and 1,000 versions.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the object has no version at all.
    pub fn versions(
        &self,
        key: &ObjectKey,
        after: Option<Version>,
        limit: u32,
    ) -> Result<(Vec<VersionInfo>, Option<Version>, u32), StoreError> {
        let limit = limit.clamp(1, PAGE_MAX_ENTRIES) as usize;
        let name = ObjectName::for_key(key);
        let shard = LockedShard::shared(self.fsync(), name.shard())?;
        let mut unreadable = 0;
        let mut page =
            NewestVersions { after, most: limit + 1, found: BTreeMap::new(), exists: false };
        // A crash may leave one version in two places (STORE, "Put"); the place that is offered
        // last wins.
        for version in shard.versions(Area::History, name)? {
            page.insert(version?, VersionState::History);
        }
        for version in shard.versions(Area::Trash, name)? {
            page.insert(version?, VersionState::Trash);
        }
        match shard.current(key) {
            Ok(Some(current)) => page.insert(current.version(), VersionState::Current),
            Ok(None) => {}
            Err(error) if error.is_unreadable_file() => {
                page.exists = true;
                unreadable += u32::from(after.is_none());
                let file = name.current_path();
                tracing::warn!(file, %error, "a current version cannot be read and is not listed");
            }
            Err(error) => return Err(error),
        }
        if !page.exists {
            return Err(StoreError::NotFound);
        }
        let next = page.found.keys().nth(limit - 1).map(|version| version.0);
        let next = next.filter(|_| page.found.len() > limit);
        let mut versions = Vec::new();
        for (Reverse(version), state) in page.found.into_iter().take(limit) {
            let object = match state {
                VersionState::Current => shard.current(key),
                VersionState::History => shard.noncurrent(Area::History, key, version),
                VersionState::Trash => shard.noncurrent(Area::Trash, key, version),
            };
            match object {
                Ok(Some(object)) => {
                    let info = object.info();
                    let (kind, length) = (info.kind, info.length);
                    versions.push(VersionInfo { version, kind, length, state });
                }
                Ok(None) => {}
                Err(error) if error.is_unreadable_file() => {
                    unreadable += 1;
                    let file = name.version_file(version);
                    tracing::warn!(file, %error, "a version cannot be read and is not listed");
                }
                Err(error) => return Err(error),
            }
        }
        Ok((versions, next, unreadable))
    }
}

/// The newest `most` versions among those that come after the previous page.
struct NewestVersions {
    after: Option<Version>,
    most: usize,
    found: BTreeMap<Reverse<Version>, VersionState>,
    /// Whether the object has any version, on this page or an earlier one.
    exists: bool,
}

impl NewestVersions {
    fn insert(&mut self, version: Version, state: VersionState) {
        self.exists = true;
        if self.after.is_some_and(|after| version >= after) {
            return;
        }
        self.found.insert(Reverse(version), state);
        if self.found.len() > self.most {
            self.found.pop_last();
        }
    }
}

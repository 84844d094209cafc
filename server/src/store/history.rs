//! The versions of one object.

use std::{cmp::Reverse, collections::BTreeMap};

use zput_common::{
    limits::PAGE_MAX_ENTRIES,
    name::ObjectKey,
    proto::message::{Version, VersionInfo, VersionState},
};

use super::{
    Store,
    error::{Doing, StoreError},
    layout::{ObjectName, Shelf},
    object::Object,
    shard::{LockedShard, open_object},
};
use crate::sys::fs;

/// Where the current version of an object was, and which file that was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    path: String,
    inode: (u64, u64),
}

impl Store {
    /// Opens the current version of an object, and says where it was.
    pub(crate) fn open_current(&self, key: &ObjectKey) -> Result<(Object, Place), StoreError> {
        let path = ObjectName::of(key).current_path();
        let object = open_object(self.root(), &path, &path, key)?.ok_or(StoreError::NotFound)?;
        let inode = fs::identity(object.file()).doing("look at an object")?.inode;
        Ok((object, Place { path, inode }))
    }

    /// Whether the file that was at this place is there still: bytes of a version never change, so it is then the current
    /// one. No disk is waited for, as long as somebody has that file open: its name is in the kernel's memory then, and
    /// so is that of whatever has replaced it.
    pub(crate) fn is_current(&self, place: &Place) -> bool {
        fs::identity_at(self.root(), &place.path).is_ok_and(|found| found.inode == place.inode)
    }

    /// Opens a version of an object: the current one when `version` is absent; else any that [`Store::versions`]
    /// lists, deleted ones too.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Corrupt`] when the file's record does not hold.
    pub fn lookup(&self, key: &ObjectKey, version: Option<Version>) -> Result<Object, StoreError> {
        let name = ObjectName::of(key);
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
        // It may be moving from one shelf to another at this moment: look while nothing moves.
        let shard = LockedShard::shared(self.syncs(), name.shard())?;
        for shelf in [Shelf::History, Shelf::Trash] {
            if let Some(object) = shard.shelved(shelf, key, version)? {
                return Ok(object);
            }
        }
        match shard.current(key)? {
            Some(object) if object.version() == version => Ok(object),
            _ => Err(StoreError::NotFound),
        }
    }

    /// A page of an object's versions, newest first, where the next page begins (absent on the last), and how many versions of
    /// this page cannot be read: they are left out and logged. A page holds at most `limit` and 1,000 of them.
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
        let name = ObjectName::of(key);
        let shard = LockedShard::shared(self.syncs(), name.shard())?;
        let mut unreadable = 0;
        let mut page = NewestOf { after, most: limit + 1, found: BTreeMap::new(), any: false };
        // A crash may leave one version in two places (STORE, "Put"): what is found last counts.
        for version in shard.versions(Shelf::History, name)? {
            page.offer(version?, VersionState::History);
        }
        for version in shard.versions(Shelf::Trash, name)? {
            page.offer(version?, VersionState::Trash);
        }
        match shard.current(key) {
            Ok(Some(current)) => page.offer(current.version(), VersionState::Current),
            Ok(None) => {}
            Err(error) if error.is_of_one_file() => {
                page.any = true;
                unreadable += u32::from(after.is_none());
                let file = name.current_path();
                tracing::warn!(file, %error, "a current version cannot be read and is not listed");
            }
            Err(error) => return Err(error),
        }
        if !page.any {
            return Err(StoreError::NotFound);
        }
        let next = page.found.keys().nth(limit - 1).map(|version| version.0);
        let next = next.filter(|_| page.found.len() > limit);
        let mut versions = Vec::new();
        for (Reverse(version), state) in page.found.into_iter().take(limit) {
            let object = match state {
                VersionState::Current => shard.current(key),
                VersionState::History => shard.shelved(Shelf::History, key, version),
                VersionState::Trash => shard.shelved(Shelf::Trash, key, version),
            };
            match object {
                Ok(Some(object)) => {
                    let info = object.info();
                    let (kind, length) = (info.kind, info.length);
                    versions.push(VersionInfo { version, kind, length, state });
                }
                Ok(None) => {}
                Err(error) if error.is_of_one_file() => {
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

/// The newest `most` versions that come after the page before.
struct NewestOf {
    after: Option<Version>,
    most: usize,
    found: BTreeMap<Reverse<Version>, VersionState>,
    /// Whether there are versions at all, on this page or before it.
    any: bool,
}

impl NewestOf {
    fn offer(&mut self, version: Version, state: VersionState) {
        self.any = true;
        if self.after.is_some_and(|after| version >= after) {
            return;
        }
        self.found.insert(Reverse(version), state);
        if self.found.len() > self.most {
            self.found.pop_last();
        }
    }
}

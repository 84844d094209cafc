//! The versions of one object.

use std::{cmp::Reverse, collections::BTreeMap};

use zput_proto::{
    limits::PAGE_MAX_ENTRIES,
    message::{Version, VersionInfo, VersionState},
    name::ObjectKey,
};

use super::{
    Store,
    change_count::ChangeCount,
    error::{Context, Corruption, StoreError},
    layout::{Area, ObjectName},
    look::{Current, Look, Noncurrent, Wanted},
    object::{Object, open_object},
    shard_dirs::{LOOKS, ShardDirs},
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
    /// [`StoreError::Changing`] when the version moved behind each of five looks.
    pub fn lookup(&self, key: &ObjectKey, version: Option<Version>) -> Result<Object, StoreError> {
        let name = ObjectName::for_key(key);
        let path = name.current_path();
        let current = || open_object(self.root(), &path, &path, key);
        let Some(version) = version else {
            return current()?.ok_or(StoreError::NotFound);
        };
        // Without a return between two counts a version leaves `objects` only, and has its other
        // name before it does: where it was at the first count, or behind that.
        let count = || ChangeCount::read(self.root(), name.shard());
        let mut before = count()?;
        for _ in LOOKS {
            let unreadable = match current() {
                Ok(Some(object)) if object.version() == version => return Ok(object),
                Ok(_) => None,
                Err(error) => Some(error),
            };
            for area in [Area::History, Area::Trash] {
                if let Some(object) = self.open_noncurrent(area, key, version)? {
                    return Ok(object);
                }
            }
            let now = count()?;
            if now.has_no_return_since(before) {
                // A current version that cannot be read may be this one.
                return Err(unreadable.unwrap_or(StoreError::NotFound));
            }
            before = now;
        }
        Err(StoreError::Changing)
    }

    /// Opens a replaced or deleted version of an object.
    fn open_noncurrent(
        &self,
        area: Area,
        key: &ObjectKey,
        version: Version,
    ) -> Result<Option<Object>, StoreError> {
        let name = ObjectName::for_key(key);
        let path = format!("{}/{}", name.shard().dir_in(area), name.version_file(version));
        let found = open_object(self.root(), &path, &path, key)?;
        if found.as_ref().is_some_and(|object| object.version() != version) {
            return Err(Corruption::Misplaced.into());
        }
        Ok(found)
    }

    /// A page of an object's versions, newest first, as they were at one moment; the cursor of the
    /// next page (absent on the last); and how many versions of this page cannot be read, which are
    /// logged and left out. A page holds at most `limit` and 1,000 versions.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the object has no version at all; [`StoreError::Changing`] as
    /// [`Store::lookup`].
    pub fn versions(
        &self,
        key: &ObjectKey,
        after: Option<Version>,
        limit: u32,
    ) -> Result<(Vec<VersionInfo>, Option<Version>, u32), StoreError> {
        let limit = limit.clamp(1, PAGE_MAX_ENTRIES) as usize;
        let dirs = ShardDirs::open(self.fsync(), ObjectName::for_key(key).shard())?;
        let mut looks = LOOKS;
        loop {
            let look = dirs.look(key, Wanted { after, most: limit + 1 }, &mut looks)?;
            if let Some(page) = page(&dirs, key, look, after, limit)? {
                return Ok(page);
            }
        }
    }
}

/// What [`Store::versions`] returns.
type VersionsPage = (Vec<VersionInfo>, Option<Version>, u32);

/// The page of these versions; `None` when one of their files was moved since the look.
fn page(
    dirs: &ShardDirs,
    key: &ObjectKey,
    look: Look,
    after: Option<Version>,
    limit: usize,
) -> Result<Option<VersionsPage>, StoreError> {
    let Look { current, noncurrent: Noncurrent { wanted, exist } } = look;
    let name = ObjectName::for_key(key);
    let mut found: BTreeMap<_, _> =
        wanted.into_iter().map(|(version, area)| (version, Place::Area(area))).collect();
    let mut unreadable = 0;
    match current {
        Current::Absent if !exist => return Err(StoreError::NotFound),
        Current::Absent => {}
        Current::Present(object) => {
            // A crash may leave the current version another name (STORE, "Put").
            if after.is_none_or(|after| object.version() < after) {
                found.insert(Reverse(object.version()), Place::Current(object));
            }
        }
        Current::Unreadable(error) => {
            unreadable += u32::from(after.is_none());
            let file = name.current_path();
            tracing::warn!(file, %error, "a current version cannot be read and is not listed");
        }
    }
    let next = found.keys().nth(limit - 1).map(|version| version.0);
    let next = next.filter(|_| found.len() > limit);
    let mut versions = Vec::new();
    for (Reverse(version), place) in found.into_iter().take(limit) {
        let (state, object) = match place {
            Place::Current(object) => (VersionState::Current, Ok(Some(object))),
            Place::Area(area) => (state_in(area), dirs.noncurrent(area, key, version)),
        };
        match object {
            Ok(Some(object)) => {
                let info = object.info();
                let (kind, length) = (info.kind, info.length);
                versions.push(VersionInfo { version, kind, length, state });
            }
            Ok(None) => return Ok(None),
            Err(error) if error.is_unreadable_file() => {
                unreadable += 1;
                let file = name.version_file(version);
                tracing::warn!(file, %error, "a version cannot be read and is not listed");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Some((versions, next, unreadable)))
}

/// Where a version on a page was at the look.
enum Place {
    Current(Object),
    Area(Area),
}

/// The state of the versions in an area.
fn state_in(area: Area) -> VersionState {
    match area {
        Area::Objects => VersionState::Current,
        Area::History => VersionState::History,
        Area::Trash => VersionState::Trash,
    }
}

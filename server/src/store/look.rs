//! The versions of one object as they were at one moment, without a lock (STORE, "Readers").

use std::{cmp::Reverse, collections::BTreeMap, ops::Range};

use zput_proto::{message::Version, name::ObjectKey};

use super::{
    error::{Context, StoreError, WithFile as _},
    layout::{Area, ObjectName},
    object::{Object, open_file},
    shard_dirs::ShardDirs,
};
use crate::sys::fs;

/// The current version of an object, as a look found it.
#[derive(Debug)]
pub(super) enum Current {
    /// There is none.
    Absent,
    /// This one.
    Present(Object),
    /// There is one, and its file cannot be read or is corrupt.
    Unreadable(StoreError),
}

/// Which of an object's versions that are not current are looked for: the newest of those that
/// come after a version.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// The versions come after this one, in the order from new to old; `None`: all do.
    pub(super) after: Option<Version>,
    /// Most versions.
    pub(super) most: usize,
}

/// The versions of an object at one moment.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) current: Current,
    pub(super) noncurrent: Noncurrent,
}

/// The names of an object's versions in history and trash.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Noncurrent {
    /// The wanted ones, and where they are. A crash may leave one version in both places; it then
    /// counts as deleted. The current version may be among them.
    pub(super) wanted: BTreeMap<Reverse<Version>, Area>,
    /// Whether there are any, wanted or not.
    pub(super) exist: bool,
}

impl Current {
    fn version(&self) -> Option<Version> {
        match self {
            Self::Present(object) => Some(object.version()),
            Self::Absent | Self::Unreadable(_) => None,
        }
    }
}

impl ShardDirs {
    /// Looks at the versions of an object until they are certain to be those of one moment. Takes
    /// the looks that it needs from `looks`, which begin as [`LOOKS`](super::shard_dirs::LOOKS).
    ///
    /// # Errors
    /// [`StoreError::Changing`] when they are not when no look is left.
    pub(super) fn look(
        &self,
        key: &ObjectKey,
        wanted: Wanted,
        looks: &mut Range<usize>,
    ) -> Result<Look, StoreError> {
        let name = ObjectName::for_key(key);
        let mut before: Option<Look> = None;
        let mut count = self.change_count()?;
        for _ in looks {
            let (current, inode) = self.look_at_current(key)?;
            // Between two counts without a return, versions only come to be and leave `objects`. So
            // a version that became current since the look before is the newest that there was at
            // this moment, and newer names belong to later moments.
            let newest = match (&before, current.version()) {
                (Some(before), Some(version))
                    if before.current.version().is_some_and(|earlier| earlier != version) =>
                {
                    Some(version)
                }
                _ => None,
            };
            let noncurrent = self.noncurrent_names(name, wanted, newest)?;
            // A current version that stayed current was not replaced or deleted, and nor was any
            // other of this object.
            let has_stayed = inode.is_some() && self.current_inode(name) == inode;
            // No name goes, so all were there throughout if there are no more than before.
            let is_unchanged =
                inode.is_none() && before.as_ref().is_some_and(|b| b.noncurrent == noncurrent);
            let look = Look { current, noncurrent };
            let now = self.change_count()?;
            if !now.has_no_return_since(count) {
                (count, before) = (now, None);
                continue;
            }
            if newest.is_some() || has_stayed || is_unchanged {
                return Ok(look);
            }
            before = Some(look);
        }
        Err(StoreError::Changing)
    }

    /// The current version of an object, and the inode of its file.
    fn look_at_current(
        &self,
        key: &ObjectKey,
    ) -> Result<(Current, Option<(u64, u64)>), StoreError> {
        let name = ObjectName::for_key(key);
        let path = self.path(Area::Objects, &name.to_string());
        let Some(dir) = self.dir(Area::Objects) else { return Ok((Current::Absent, None)) };
        let file = match open_file(dir, &name.to_string(), &path) {
            Err(error) if error.is_unreadable_file() => {
                return Ok((Current::Unreadable(error), self.current_inode(name)));
            }
            opened => opened?,
        };
        let Some(file) = file else { return Ok((Current::Absent, None)) };
        let inode = fs::stat(&file).context_read("look at an object", &path)?.inode;
        match Object::read_as(file, key).with_file(&path) {
            Err(error) if error.is_unreadable_file() => {
                Ok((Current::Unreadable(error), Some(inode)))
            }
            object => Ok((Current::Present(object?), Some(inode))),
        }
    }

    /// The names in history and trash now; only those up to `newest`, if there is one.
    fn noncurrent_names(
        &self,
        name: ObjectName,
        wanted: Wanted,
        newest: Option<Version>,
    ) -> Result<Noncurrent, StoreError> {
        let mut found = Noncurrent::default();
        // The area that is read last wins.
        for area in [Area::History, Area::Trash] {
            for version in self.versions(area, name)? {
                let version = version?;
                if newest.is_some_and(|newest| version > newest) {
                    continue;
                }
                found.exist = true;
                if wanted.after.is_none_or(|after| version < after) {
                    found.wanted.insert(Reverse(version), area);
                    if found.wanted.len() > wanted.most {
                        found.wanted.pop_last();
                    }
                }
            }
        }
        Ok(found)
    }
}

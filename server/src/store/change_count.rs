//! The change count of a shard, by which readers notice what writers did while they looked.
//!
//! Readers take no lock, and a directory is not read in one moment: a version whose name moves
//! behind a reader's back has no name where the reader looks. So a writer counts such moves before
//! it makes them, and a reader that finds the count as it was knows that none was begun meanwhile
//! (STORE, "Readers").
//!
//! The count is the modification time of the shard's lock file. All processes see it at once, it
//! needs no space on a full disk, and after a crash nothing depends on it: it means nothing to a
//! reader that has not read it before.

use std::{
    fs::File,
    io::{self, ErrorKind},
    os::fd::BorrowedFd,
};

use super::{
    error::{Context, StoreError},
    layout::Shard,
};
use crate::sys::fs::{self, FileStat};

const NS_PER_SECOND: u64 = 1_000_000_000;

/// A change of the names in a shard that a reader of its directories could misread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A version leaves `objects`: it was replaced or deleted, and has its other name already.
    /// Counted in nanoseconds.
    Leave,
    /// A version returns to `objects`, or a name in `history` or `trash` is removed. Counted in
    /// seconds: the nanoseconds begin at 0 again.
    Return,
}

/// The change count of a shard at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChangeCount(Option<Count>);

/// The lock file's inode, and its modification time in nanoseconds.
type Count = ((u64, u64), u64);

impl ChangeCount {
    /// The count of a shard now. A lock file that is missing has none: on a store without writers
    /// it stays so, and otherwise the next writer makes another file.
    pub(super) fn read(root: BorrowedFd<'_>, shard: Shard) -> Result<Self, StoreError> {
        let path = shard.lock_file();
        match fs::stat_at(root, &path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self(None)),
            found => Ok(Self::of(&found.context_read("look at a lock", path)?)),
        }
    }

    /// The count that the shard's lock file has.
    pub(super) fn of(lock: &FileStat) -> Self {
        Self(Some((lock.inode, lock.modified_ns)))
    }

    /// Whether no [`Change::Return`] was counted between `earlier` and this count.
    pub(super) fn has_no_return_since(self, earlier: Self) -> bool {
        let seconds = |Self(count)| count.map(|(inode, ns): Count| (inode, ns / NS_PER_SECOND));
        seconds(self) == seconds(earlier)
    }
}

/// Counts a change that its caller is about to make. The caller holds this lock.
pub(super) fn count(lock: &File, change: Change) -> io::Result<()> {
    let before = fs::stat(lock)?.modified_ns;
    let next_second = (before / NS_PER_SECOND + 1) * NS_PER_SECOND;
    if change == Change::Leave {
        fs::set_modified(lock, before + 1)?;
        if fs::stat(lock)?.modified_ns != before {
            return Ok(());
        }
        // This file system has no nanoseconds: a reader then looks again more often than it must.
    }
    fs::set_modified(lock, next_second)?;
    if fs::stat(lock)?.modified_ns == before {
        return Err(io::Error::other("the file system does not keep times of modification"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count_of(lock: &File) -> ChangeCount {
        ChangeCount::of(&fs::stat(lock).unwrap())
    }

    /// Each change gives the lock file a count that it never had, and the two kinds are told apart.
    #[test]
    fn change_count_never_repeats_and_tells_returns() {
        let lock = tempfile::tempfile().unwrap();
        // The last nanosecond of a second: the next change of either kind begins a new second.
        for begin in [0, 1_700_000_000_123_456_789, 1_700_000_000_999_999_998] {
            fs::set_modified(&lock, begin).unwrap();
            let mut all = vec![count_of(&lock)];
            for change in [Change::Leave, Change::Return, Change::Leave, Change::Return] {
                count(&lock, change).unwrap();
                let now = count_of(&lock);
                let before = *all.last().unwrap();
                assert!(!all.contains(&now), "{begin}: {change:?}");
                let is_return = !now.has_no_return_since(before);
                assert_eq!(is_return, change == Change::Return, "{begin}");
                all.push(now);
            }
        }
    }

    /// A lock file that was removed and made again has another count.
    #[test]
    fn change_count_of_other_lock_file_differs() {
        let (one, other) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        for lock in [&one, &other] {
            fs::set_modified(lock, 5).unwrap();
        }
        assert_ne!(count_of(&one), count_of(&other));
        assert!(!count_of(&one).has_no_return_since(count_of(&other)));
        assert!(!count_of(&one).has_no_return_since(ChangeCount(None)));
        assert!(ChangeCount(None).has_no_return_since(ChangeCount(None)));
    }
}

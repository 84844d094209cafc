//! Moving corrupt files out of the way of readers, into a directory from which their bytes can
//! still be recovered.

use std::io::ErrorKind;

use super::{
    file_ref::{FileRef, ParsedName},
    verify::{Reader, Verified},
};
use crate::{
    store::{
        Store, directories,
        error::{Context, StoreError},
        fsync::ReadFrom,
        layout::QUARANTINE,
        shard::LockedShard,
        shard_dirs::LOOKS,
    },
    sys::fs::{self, FileStat},
};

/// Most files of one name in quarantine.
const SAME_NAME_MAX: u32 = 1000;

/// What happened to a file that was found corrupt.
pub(super) enum Quarantined {
    /// It was moved to this path, from the store's directory.
    Moved(String),
    /// It cannot be linked into the quarantine, and was left in place.
    LeftInPlace,
    /// A second look found the file intact, or gone.
    NotCorrupt,
    /// The observer stopped the second look.
    Stopped,
}

/// What tells a file from one that replaced it, or that was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    inode: (u64, u64),
    length: u64,
    changed_ns: u64,
}

impl Store {
    /// Verifies a corrupt file once more, from the disk. A file that is still corrupt gets a name
    /// in quarantine and loses its own.
    ///
    /// The bytes of a version never change, so this reads them without the shard's lock. Under the
    /// lock it makes sure that the name still leads to the file that was read.
    ///
    /// Both names change in the order of a delete: at every moment the file has a durable name.
    pub(super) fn quarantine(
        &self,
        file_ref: &FileRef,
        parsed: ParsedName,
        reader: &mut Reader<'_>,
    ) -> Result<Quarantined, StoreError> {
        if self.is_read_only() {
            return Ok(Quarantined::LeftInPlace);
        }
        reader.from = ReadFrom::Disk;
        for _ in LOOKS {
            let Some(verified) = self.identity(file_ref)? else {
                return Ok(Quarantined::NotCorrupt);
            };
            match self.verify(file_ref, parsed, reader)? {
                Verified::Corrupt(..) => {}
                Verified::Intact(_) | Verified::Missing => return Ok(Quarantined::NotCorrupt),
                Verified::Stopped => return Ok(Quarantined::Stopped),
            }
            let shard = match LockedShard::exclusive(self.fsync(), file_ref.shard()) {
                // The next run may be luckier.
                Err(StoreError::Locked) => return Ok(Quarantined::LeftInPlace),
                shard => shard?,
            };
            if self.identity(file_ref)? == Some(verified) {
                return self.set_aside(file_ref, &shard);
            }
        }
        // It gets new names each time, or is replaced. The next run may be luckier.
        Ok(Quarantined::LeftInPlace)
    }

    /// Which file has this name now; `None`: none.
    fn identity(&self, file_ref: &FileRef) -> Result<Option<Identity>, StoreError> {
        let path = file_ref.path();
        match fs::stat_at(self.root(), &path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            found => {
                let FileStat { inode, length, changed_ns, .. } =
                    found.context_read("look at an object", path)?;
                Ok(Some(Identity { inode, length, changed_ns }))
            }
        }
    }

    fn set_aside(
        &self,
        file_ref: &FileRef,
        shard: &LockedShard,
    ) -> Result<Quarantined, StoreError> {
        let missing = || StoreError::Missing(QUARANTINE.to_owned());
        let quarantine =
            directories::open_for_names(self.fsync(), QUARANTINE)?.ok_or_else(missing)?;
        let from = shard.dir_for_write(file_ref.area())?;
        let wanted = format!("{}-{}", file_ref.area().name(), file_ref.file_name());
        let linked = (0..SAME_NAME_MAX)
            .map(|n| if n == 0 { wanted.clone() } else { format!("{wanted}.{n}") })
            .find_map(|name| match fs::link(from, file_ref.file_name(), &quarantine, &name) {
                Ok(()) => Some(Ok(name)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => None,
                Err(error) => Some(Err(error)),
            })
            .unwrap_or_else(|| Err(ErrorKind::AlreadyExists.into()));
        let name = match linked {
            // A directory, or a file that may not be changed (link(2), EPERM).
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                return Ok(Quarantined::LeftInPlace);
            }
            linked => linked.context_file("set a file aside", file_ref.path())?,
        };
        self.fsync().dir(&quarantine)?;
        shard.unlink(file_ref.area(), file_ref.file_name())?;
        self.fsync().dir(from)?;
        Ok(Quarantined::Moved(format!("{QUARANTINE}/{name}")))
    }

    /// Number of files in quarantine.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub(crate) fn count_quarantined(&self) -> Result<u64, StoreError> {
        let Some(quarantine) = directories::open(self.fsync(), QUARANTINE)? else { return Ok(0) };
        Ok(fs::names(quarantine).context_read("read a directory", QUARANTINE)?.count() as u64)
    }
}

//! Setting aside what is rotten: out of the way of those who get, and there for those who want to save what can be saved.

use std::{io::ErrorKind, ops::ControlFlow};

use super::{
    scrub::ReadFrom,
    verify::{Reader, Verified},
    walk::{Named, Spot},
};
use crate::{
    store::{
        Store, directories,
        error::{Doing, StoreError},
        layout::QUARANTINE,
        shard::LockedShard,
    },
    sys::fs,
};

/// Files of one name that may lie in quarantine.
const NAMESAKES_MAX: u32 = 1000;

/// What became of a file that was found rotten.
pub(super) enum Aside {
    /// It is at this path now.
    Moved(String),
    /// It cannot have a second name, and stays where it is.
    Stays,
    /// A second look found it whole, or gone.
    Unfounded,
}

impl Store {
    /// Looks at a file that was found rotten once more, from the disk, while nobody changes its shard; if it still is, it gets a
    /// name in quarantine and loses its own. Returns the new one's path.
    ///
    /// Both happen in the order of a delete: at every moment it has a durable name.
    pub(super) fn set_aside(&self, spot: &Spot, named: Named) -> Result<Aside, StoreError> {
        if self.is_read_only() {
            return Ok(Aside::Stays);
        }
        let shard = LockedShard::exclusive(self.syncs(), spot.shard())?;
        let mut go_on = |_| ControlFlow::Continue(());
        let mut reader = Reader { from: ReadFrom::Disk, read: &mut go_on, block: &mut Vec::new() };
        match self.verify(spot, named, &mut reader)? {
            Verified::Rotten(..) => {}
            Verified::Whole(_) | Verified::Gone | Verified::Stopped => return Ok(Aside::Unfounded),
        }
        let missing = || StoreError::Missing(QUARANTINE.to_owned());
        let quarantine = directories::open(self.syncs(), QUARANTINE)?.ok_or_else(missing)?;
        let from = shard.dir_to_change(spot.shelf())?;
        let wanted = format!("{}-{}", spot.shelf().name(), spot.file_name());
        let linked = (0..NAMESAKES_MAX)
            .map(|n| if n == 0 { wanted.clone() } else { format!("{wanted}.{n}") })
            .find_map(|name| match fs::link(from, spot.file_name(), &quarantine, &name) {
                Ok(()) => Some(Ok(name)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => None,
                Err(error) => Some(Err(error)),
            })
            .unwrap_or_else(|| Err(ErrorKind::AlreadyExists.into()));
        let name = match linked {
            // A directory, or a file that may not be changed (link(2), EPERM).
            Err(error) if error.kind() == ErrorKind::PermissionDenied => return Ok(Aside::Stays),
            linked => linked.doing_to("set a file aside", spot.path())?,
        };
        self.syncs().dir(&quarantine)?;
        shard.unlink(spot.shelf(), spot.file_name())?;
        self.syncs().dir(from)?;
        Ok(Aside::Moved(format!("{QUARANTINE}/{name}")))
    }

    /// How many files were set aside.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub(crate) fn quarantined(&self) -> Result<u64, StoreError> {
        let Some(quarantine) = directories::open(self.syncs(), QUARANTINE)? else { return Ok(0) };
        Ok(fs::names(quarantine).reading("read a directory", QUARANTINE)?.count() as u64)
    }
}

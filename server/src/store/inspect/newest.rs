//! The greatest number of all versions, where the file that has it is lost (STORE, "Instants").

use super::file_ref::{FileRef, ParsedName};
use crate::store::{
    Store,
    error::StoreError,
    instants::ClockState,
    layout::Shard,
    object::{Object, open_file},
    shard_dirs::LOOKS,
};

use zput_proto::message::Version;

impl Store {
    /// Makes the file of instants anew where it is missing or damaged, before an upload begins.
    ///
    /// # Errors
    /// [`StoreError::ClockLost`] while another thread does so; when the store cannot be read.
    pub(in crate::store) fn check_clock(&self) -> Result<(), StoreError> {
        let state = self.0.instants.look(self.fsync())?;
        self.rebuild_if(state)
    }

    /// Sees to it that a commit that follows has an instant without a sync.
    ///
    /// # Errors
    /// As [`Self::check_clock`]; when the file cannot be written or synced.
    pub(in crate::store) fn reserve_instants(&self) -> Result<(), StoreError> {
        let state = self.0.instants.ahead(self.fsync())?;
        self.rebuild_if(state)
    }

    /// The number of a version that replaces `current`.
    ///
    /// # Errors
    /// [`StoreError::ClockInUse`], [`StoreError::ClockLost`], [`StoreError::VersionsExhausted`];
    /// when the file cannot be read, written or synced.
    pub(in crate::store) fn next_instant(
        &self,
        current: Option<Version>,
    ) -> Result<Version, StoreError> {
        self.0.instants.next(self.fsync(), current)
    }

    fn rebuild_if(&self, state: ClockState) -> Result<(), StoreError> {
        match state {
            ClockState::Ready => Ok(()),
            ClockState::Lost => self.0.instants.rebuild(self.fsync(), || self.newest_version()),
        }
    }

    /// The greatest number in the names and records of all versions; 0 where there is none.
    fn newest_version(&self) -> Result<u64, StoreError> {
        let mut newest = 0;
        for shard in Shard::all() {
            newest = newest.max(self.newest_in(shard)?);
        }
        Ok(newest)
    }

    fn newest_in(&self, shard: Shard) -> Result<u64, StoreError> {
        for _ in LOOKS {
            let (files, is_complete) = self.files(shard, None)?;
            if !is_complete {
                break;
            }
            let numbers: Result<Option<Vec<u64>>, StoreError> =
                files.iter().map(|file_ref| self.number_of(file_ref)).collect();
            // A file that is gone by now has its number in another name.
            if let Some(numbers) = numbers? {
                return Ok(numbers.into_iter().max().unwrap_or(0));
            }
        }
        Err(StoreError::Changing)
    }

    /// The number of a version, 0 for what is none; `None` for a file that is gone.
    fn number_of(&self, file_ref: &FileRef) -> Result<Option<u64>, StoreError> {
        match file_ref.parse_name() {
            None => Ok(Some(0)),
            Some(ParsedName::Version(_, version)) => Ok(Some(version.0)),
            Some(ParsedName::Current(_)) => {
                let path = file_ref.path();
                let read = || match open_file(self.root(), &path, &path)? {
                    Some(file) => Object::read(file).map(|object| Some(object.version().0)),
                    None => Ok(None),
                };
                match read() {
                    // Nothing tells its number, and what replaces it looks at it once more.
                    Err(error) if error.is_unreadable_file() => {
                        tracing::warn!(file = path, %error, "its number is not known");
                        Ok(Some(0))
                    }
                    number => number,
                }
            }
        }
    }
}

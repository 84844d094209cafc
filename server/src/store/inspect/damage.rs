//! Damage that an inspection finds, and its observer.

use std::ops::ControlFlow;

use crate::store::{
    error::StoreError,
    layout::{Area, Shard},
};

/// A file that is not what its record says, or that no store makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file's path from the store's directory.
    pub file: String,
    /// The key of the file's object, if its record is readable.
    pub key: Option<String>,
    /// What is wrong with the file, in words.
    pub what: String,
    /// The path in quarantine that the file was moved to, from the store's directory; `None` where
    /// it was left in place.
    pub quarantined: Option<String>,
}

impl Damage {
    /// Damage of a shard whose directory cannot be read.
    pub(super) fn of_shard(shard: Shard, error: &StoreError) -> Self {
        let file = match error {
            StoreError::Unreadable { file, .. } => file.clone(),
            _ => shard.dir_in(Area::Objects),
        };
        Self { file, key: None, what: error.to_string(), quarantined: None }
    }
}

/// Receives the progress and the findings of an inspection.
pub trait Observer {
    /// `bytes` more bytes were read. Returns whether to continue. The call may block to limit the
    /// rate.
    fn on_read(&mut self, bytes: u64) -> ControlFlow<()>;

    /// Called for each damaged file or directory, once.
    fn on_damage(&mut self, damage: &Damage);
}

/// Ignores everything and never stops the inspection.
impl Observer for () {
    fn on_read(&mut self, _bytes: u64) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn on_damage(&mut self, _damage: &Damage) {}
}

//! Inspecting every file of a store: whether the file is what its record says, and whether it is in
//! its place (STORE, "Scrub" and "Check").
//!
//! ```text
//!            clear_suspect      all of it from the disk, because an fsync failed
//!                 │
//!   scrub       check           every byte; every name
//!     │ ╲       │   │
//!     │  state  │  small_files  where the next run continues; accounts, invites, keys
//!     │         │
//!   verify ── file_ref          one file against its record; all of them in order
//!     │
//!   quarantine                  moves corrupt files aside
//! ```
//!
//! This needs no key, and repairs nothing.

mod check;
mod clear_suspect;
mod file_ref;
mod quarantine;
mod scrub;
mod small_files;
mod state;
mod verify;

use std::ops::ControlFlow;

use super::{
    error::StoreError,
    layout::{Area, Shard},
};

pub(super) use self::clear_suspect::Clean;
pub use self::{
    check::{CheckReport, Leftovers},
    clear_suspect::ClearReport,
    scrub::{ReadFrom, ScrubOptions, ScrubReport, Share},
    state::LastScrub,
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
    fn of_shard(shard: Shard, error: &StoreError) -> Self {
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

    /// Damage was found.
    fn on_damage(&mut self, damage: &Damage);
}

/// Ignores everything and never stops the inspection.
impl Observer for () {
    fn on_read(&mut self, _bytes: u64) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn on_damage(&mut self, _damage: &Damage) {}
}

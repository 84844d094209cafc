//! Looking at every file of a store: whether it is what its record says, and whether it is where it belongs (STORE, "Scrub" and
//! "Check").
//!
//! ```text
//!               clear         all of it from the disk, because a sync failed
//!                 │
//!   scrub       check         every byte; every name
//!     │ ╲       │   │
//!     │  state  │  small      where the next run goes on; accounts, invites, keys
//!     │         │
//!   verify ── walk            one file against its record; all of them in order
//!     │
//!   quarantine                what is rotten is set aside
//! ```
//!
//! No key is needed, and nothing is repaired.

mod check;
#[path = "clear_suspect.rs"]
mod clear;
mod quarantine;
mod scrub;
#[path = "small_files.rs"]
mod small;
mod state;
mod verify;
#[path = "file_ref.rs"]
mod walk;

use std::ops::ControlFlow;

use super::{
    error::StoreError,
    layout::{Shard, Shelf},
};

pub(super) use self::clear::Sound;
pub use self::{
    check::{CheckReport, Leftovers},
    clear::Clearing,
    scrub::{ReadFrom, ScrubOptions, ScrubReport, Share},
    state::LastScrub,
};

/// Something that should not be: a file that is not what its record says, or one that no store makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Which file, from the store's directory.
    pub file: String,
    /// The key of its object, where its record still says so.
    pub key: Option<String>,
    /// What is wrong with it.
    pub what: String,
    /// Where it was set aside, from the store's directory.
    pub quarantined: Option<String>,
}

impl Damage {
    /// A directory of a shard that cannot be read.
    fn of_shard(shard: Shard, error: &StoreError) -> Self {
        let file = match error {
            StoreError::Unreadable { file, .. } => file.clone(),
            _ => shard.on(Shelf::Objects),
        };
        Self { file, key: None, what: error.to_string(), quarantined: None }
    }
}

/// Whoever looks on while a store is inspected.
pub trait Watcher {
    /// So many bytes were read. Whether to go on; it may take its time to say so.
    fn read(&mut self, bytes: u64) -> ControlFlow<()>;

    /// This was found.
    fn found(&mut self, damage: &Damage);
}

/// Sees everything, says nothing, and stops nothing.
impl Watcher for () {
    fn read(&mut self, _bytes: u64) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn found(&mut self, _damage: &Damage) {}
}

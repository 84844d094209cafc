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
mod damage;
mod file_ref;
mod newest;
mod quarantine;
mod scrub;
mod small_files;
mod state;
mod verify;

pub(super) use self::clear_suspect::Clean;
pub use self::{
    check::{CheckReport, Leftovers},
    clear_suspect::ClearReport,
    damage::{Damage, Observer},
    scrub::{Fraction, ScrubOptions, ScrubReport},
    state::LastScrub,
};

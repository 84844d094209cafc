//! What a store keeps when the disk lets it down: the power goes, the disk is full, a call fails.
//!
//! ```text
//!   power   first_use   errors   making   accounts        what is promised
//!      ↓        ↓         ↓        ↓        ↓
//!     workload            callers and their journal
//!        ↓
//!   mounted ── disk       a file system of the test's own, by FUSE
//! ```
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod accounts;
mod disk;
mod errors;
mod first_use;
mod making;
mod mounted;
mod power;
mod workload;

//! What a store keeps when the disk lets it down: the power goes, the disk is full, a call fails.
//!
//! ```text
//!   power   errors        what is promised
//!      ↓      ↓
//!     workload            callers and their journal
//!        ↓
//!   mounted ── disk       a file system of the test's own, by FUSE
//! ```
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod disk;
mod errors;
mod making;
mod mounted;
mod power;
mod workload;

/// The seed of a run: that of `ZPUT_SEED`, or another one each time. It is said, so that a failure can be had again.
fn seed() -> u64 {
    let given = std::env::var("ZPUT_SEED").ok().map(|text| text.parse().unwrap());
    let seed = given.unwrap_or_else(rand::random);
    println!("seed: ZPUT_SEED={seed}");
    seed
}

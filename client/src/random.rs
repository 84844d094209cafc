//! Randomness for keys, salts and nonces, always from the operating system.
//!
//! A generator in this process would repeat its output in two clones of a virtual machine. Both
//! would then seal different plaintexts with one salt and file key, which reuses a nonce. The
//! kernel reseeds its generator when a machine is cloned.

use rand::{rand_core::UnwrapErr, rngs::SysRng};

/// The operating system's generator. getrandom(2): it blocks until it is seeded and does not fail
/// afterwards.
#[must_use]
pub fn os_rng() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}

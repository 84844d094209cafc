//! Randomness for keys, salts and nonces: the operating system's, drawn anew each time.
//!
//! A generator in this process would go on alike in two clones of a virtual machine. Both would then seal
//! other bytes under one salt and file key, which is one nonce for two plaintexts. The kernel is told of a
//! clone, and its generator is seeded again.

use rand::{rand_core::UnwrapErr, rngs::SysRng};

/// The operating system's generator. getrandom(2): it waits until it is seeded, and does not fail afterwards.
pub(crate) fn system() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}

//! Where the randomness of a test comes from.

use std::env;

/// The seed of a run: that of `ZPUT_SEED`, or another one each time. It is printed, so that a
/// failure can be had again.
///
/// # Panics
/// When `ZPUT_SEED` is no number.
#[must_use]
pub fn seed() -> u64 {
    let given = env::var("ZPUT_SEED").ok();
    let given = given.map(|text| text.parse().unwrap_or_else(|e| panic!("ZPUT_SEED={text}: {e}")));
    let seed = given.unwrap_or_else(rand::random);
    println!("seed: ZPUT_SEED={seed}");
    seed
}

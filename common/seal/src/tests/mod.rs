//! What the tests of several modules share.

mod fixed_rng;
mod golden_file;

pub(crate) use fixed_rng::FixedRng;
pub(crate) use golden_file::GoldenFile;

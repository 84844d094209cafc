//! Key files on this machine.

pub(crate) mod lock;
pub(crate) mod path;

//! System calls: thin, safe wrappers over rustix. Each says which facts of the kernel it relies on.

pub(crate) mod fs;
pub(crate) mod net;
pub(crate) mod tree;

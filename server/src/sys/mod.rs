//! System calls: thin, safe wrappers, over rustix where it has them. Each states the facts about
//! the kernel that it relies on. The only unsafe code of the workspace is here, in `mapping`,
//! `memory`, `residency` and `standard`.

pub(crate) mod fs;
pub(crate) mod mapping;
pub mod memory;
pub(crate) mod net;
pub(crate) mod pipe;
pub mod privileges;
pub(crate) mod residency;
pub mod standard;
pub mod threads;
pub(crate) mod tree;

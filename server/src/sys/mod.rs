//! System calls: thin, safe wrappers, over rustix where it has them. Each says which facts of the
//! kernel it relies on. The only unsafe code of the workspace is here, in `map`, `memory`, `residency`
//! and `standard`.

pub(crate) mod fs;
#[path = "mapping.rs"]
pub(crate) mod map;
pub mod memory;
pub(crate) mod net;
pub(crate) mod pipe;
pub mod privileges;
pub(crate) mod residency;
pub mod standard;
pub mod threads;
pub(crate) mod tree;

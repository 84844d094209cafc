//! System calls: thin, safe wrappers, over rustix where it has them. Each states the facts about
//! the kernel that it relies on. The unsafe code of this crate is here, in `io_priority`, `mapping`
//! and `residency`. Threads, memory and the standard streams are those of `zput-os`.

pub(crate) mod fs;
pub(crate) mod io_priority;
pub(crate) mod mapping;
pub(crate) mod net;
pub(crate) mod pipe;
pub mod privileges;
pub(crate) mod residency;
pub(crate) mod tree;

pub use zput_os::{memory, stdio, threads};

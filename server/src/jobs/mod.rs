//! Work that waits for the disk, on the threads of pools, so that the workers never do.

mod buffers;
mod completions;
mod device;
mod error;
mod job;
mod lanes;
mod locks;
mod pool;
mod pools;
mod reply;
mod slab;
mod window;

pub(crate) use buffers::{BUFFER_BYTES, BUFFERS_PER_CONNECTION, Buffer, Buffers};
#[cfg(test)]
pub(crate) use completions::ReceivedCompletions;
pub(crate) use completions::{Completion, Completions};
pub(crate) use device::Device;
pub(crate) use error::JobError;
pub(crate) use job::{Append, Done, Job};
pub(crate) use pools::{PoolSizes, Pools, PoolsThreads};
pub(crate) use reply::{ReplyTo, Ticket};
pub(crate) use slab::{ConnectionId, Slab};
pub(crate) use window::Window;

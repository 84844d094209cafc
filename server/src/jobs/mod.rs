//! Work that waits for the disk, on the threads of a pool, so that the workers never do.

mod buffers;
mod completions;
mod error;
mod job;
mod pool;
mod queue;
mod slab;
mod window;

pub(crate) use buffers::{BUFFER_BYTES, BUFFERS_PER_CONNECTION, Buffer, Buffers};
#[cfg(test)]
pub(crate) use completions::ReceivedCompletions;
pub(crate) use completions::{Completion, Completions};
pub(crate) use error::JobError;
pub(crate) use job::{Append, Done, Job};
pub(crate) use pool::{PoolThreads, Size};
pub(crate) use queue::{JobQueue, ReplyTo, Task, Ticket};
pub(crate) use slab::{ConnectionId, Slab};
pub(crate) use window::Window;

//! Work that waits for the disk, on the threads of a pool, so that the workers never do.

mod buffers;
mod job;
mod pool;
mod queue;
mod slab;

pub(crate) use buffers::{BUFFER_BYTES, BUFFERS_PER_CONNECTION, Buffer, Buffers};
pub(crate) use job::{Append, Done, ErrorReply, Job, error_response, forbidden};
pub(crate) use pool::Size;
pub(crate) use queue::{Pool, PoolThreads, ReplyTo, Ticket};
pub(crate) use slab::{ConnectionId, Slab};

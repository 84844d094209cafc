//! Receives payload on one thread while another opens it, through a few reused blocks.

use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use zput_os::threads;

use crate::{
    connection::{Connection, ConnectionError},
    error::Error,
    memory::reserve,
};

/// Bytes of a block.
const BLOCK_BYTES: usize = 1024 * 1024;
/// Blocks that circulate between the receiving and the opening thread.
const BLOCKS: usize = 4;

/// Received bytes; only the first `length` are valid.
pub(crate) struct Block {
    bytes: Box<[u8]>,
    length: usize,
}

/// The blocks of one payload, in order.
pub(crate) struct Blocks {
    filled: Receiver<Block>,
    recycled: Sender<Block>,
    current: Option<Block>,
    taken: usize,
}

impl Blocks {
    /// The next bytes of the payload, at most `most`; `None` when it ended early.
    pub(crate) fn next(&mut self, most: u64) -> Option<&[u8]> {
        if self.current.as_ref().is_none_or(|block| self.taken == block.length) {
            if let Some(block) = self.current.take() {
                // The send fails once the receiving thread has finished.
                let _disconnected = self.recycled.send(block);
            }
            self.current = Some(self.filled.recv().ok()?);
            self.taken = 0;
        }
        let block = self.current.as_ref()?;
        let left = block.bytes.get(self.taken..block.length)?;
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(left.len());
        self.taken += most;
        left.get(..most)
    }
}

/// Receives `length` bytes on the calling thread while `open` consumes them on another; returns the
/// result of `open`. `received_bytes` is called with the number of bytes each time that the socket
/// gives some.
///
/// # Errors
/// The connection's error, else that of `open`. After either, the rest of the payload is still on
/// the connection, which has to be dropped.
pub(crate) fn receive<T: Send>(
    connection: &mut Connection,
    length: u64,
    received_bytes: &mut dyn FnMut(u64),
    open: impl FnOnce(&mut Blocks) -> Result<T, Error> + Send,
) -> Result<T, Error> {
    let (filled_in, filled) = bounded(BLOCKS);
    let (recycled, to_fill) = bounded(BLOCKS);
    thread::scope(|scope| {
        let opening = threads::spawn_scoped(scope, "open", move || {
            open(&mut Blocks { filled, recycled, current: None, taken: 0 })
        })
        .map_err(Error::Thread)?;
        let received = fill(connection, length, received_bytes, &filled_in, &to_fill);
        drop((filled_in, to_fill));
        let opened = match opening.join() {
            Ok(opened) => opened,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        // A payload that ends early is the connection's error, not the blob's.
        received?;
        opened
    })
}

/// Allocates an empty block; `None` if there is not enough memory.
fn allocate_block(size: usize) -> Option<Block> {
    let mut bytes = Vec::new();
    reserve(&mut bytes, size as u64).ok()?;
    bytes.resize(size, 0);
    Some(Block { bytes: bytes.into_boxed_slice(), length: 0 })
}

fn fill(
    connection: &mut Connection,
    length: u64,
    received_bytes: &mut dyn FnMut(u64),
    filled: &Sender<Block>,
    recycled: &Receiver<Block>,
) -> Result<(), Error> {
    let mut allocated = 0;
    let mut left = length;
    while left > 0 {
        let mut block = if allocated < BLOCKS {
            allocated += 1;
            let size = usize::try_from(left).map_or(BLOCK_BYTES, |left| left.min(BLOCK_BYTES));
            match allocate_block(size) {
                Some(block) => block,
                // Continue with the blocks that were allocated.
                None if allocated > 1 => match recycled.recv() {
                    Ok(block) => block,
                    Err(_) => return Ok(()),
                },
                None => return Err(Error::Memory),
            }
        } else {
            match recycled.recv() {
                Ok(block) => block,
                // The opening thread has failed and returns its error.
                Err(_) => return Ok(()),
            }
        };
        block.length = connection.payload(&mut block.bytes)?;
        if block.length == 0 {
            return Err(connection.unexpected("less payload than it announced").into());
        }
        left = left.saturating_sub(block.length as u64);
        received_bytes(block.length as u64);
        if filled.send(block).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Receives `length` bytes, a number that the caller has bounded.
pub(crate) fn receive_small(
    connection: &mut Connection,
    length: u32,
) -> Result<Vec<u8>, ConnectionError> {
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    let mut filled = 0;
    while filled < bytes.len() {
        let received = connection.payload(bytes.get_mut(filled..).unwrap_or_default())?;
        if received == 0 {
            return Err(connection.unexpected("less payload than it announced"));
        }
        filled += received;
    }
    Ok(bytes)
}

//! Payload on its way from the socket to whoever opens it: blocks that are filled again and again.

use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use zput_server::threads;

use crate::{
    connection::{Connection, ConnectionError},
    error::ClientError,
    memory::reserve,
};

/// Bytes that are received at once.
const BLOCK_BYTES: usize = 1024 * 1024;
/// Blocks between the one who receives and the one who opens.
const BLOCKS: usize = 4;

/// Bytes as they came; the first `len` count.
pub(crate) struct Block {
    bytes: Box<[u8]>,
    length: usize,
}

/// The blocks of one payload, in order.
pub(crate) struct Blocks {
    filled: Receiver<Block>,
    emptied: Sender<Block>,
    current: Option<Block>,
    taken: usize,
}

impl Blocks {
    /// The next bytes of the payload, at most `most`; none when it ended early.
    pub(crate) fn next(&mut self, most: u64) -> Option<&[u8]> {
        if self.current.as_ref().is_none_or(|block| self.taken == block.length) {
            if let Some(block) = self.current.take() {
                // Nobody receives any more.
                let _kept = self.emptied.send(block);
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

/// Receives `length` bytes on this thread while `open` takes them on another; gives what `open` gave.
/// `came` hears how many the socket gave, each time that it gives some.
///
/// # Errors
/// That of `open`, else that of the connection. After either, the rest of the payload is still on the
/// connection, which is of no more use.
pub(crate) fn receive<T: Send>(
    connection: &mut Connection,
    length: u64,
    came: &mut dyn FnMut(u64),
    open: impl FnOnce(&mut Blocks) -> Result<T, ClientError> + Send,
) -> Result<T, ClientError> {
    let (filled_in, filled) = bounded(BLOCKS);
    let (emptied, to_fill) = bounded(BLOCKS);
    thread::scope(|scope| {
        let opening = threads::begin_scoped(scope, "open", move || {
            open(&mut Blocks { filled, emptied, current: None, taken: 0 })
        })
        .map_err(ClientError::Thread)?;
        let received = fill(connection, length, came, &filled_in, &to_fill);
        drop((filled_in, to_fill));
        let opened = match opening.join() {
            Ok(opened) => opened,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        // A payload that ends early is the connection's fault, not the blob's.
        received?;
        opened
    })
}

/// An empty block, where there is memory for one.
fn block(size: usize) -> Option<Block> {
    let mut bytes = Vec::new();
    reserve(&mut bytes, size as u64).ok()?;
    bytes.resize(size, 0);
    Some(Block { bytes: bytes.into_boxed_slice(), length: 0 })
}

fn fill(
    connection: &mut Connection,
    length: u64,
    came: &mut dyn FnMut(u64),
    filled: &Sender<Block>,
    emptied: &Receiver<Block>,
) -> Result<(), ClientError> {
    let mut made = 0;
    let mut left = length;
    while left > 0 {
        let mut block = if made < BLOCKS {
            made += 1;
            let size = usize::try_from(left).map_or(BLOCK_BYTES, |left| left.min(BLOCK_BYTES));
            match block(size) {
                Some(block) => block,
                // Those that there are go round.
                None if made > 1 => match emptied.recv() {
                    Ok(block) => block,
                    Err(_) => return Ok(()),
                },
                None => return Err(ClientError::Memory),
            }
        } else {
            match emptied.recv() {
                Ok(block) => block,
                // The one who opens gave up, and says why.
                Err(_) => return Ok(()),
            }
        };
        block.length = connection.payload(&mut block.bytes)?;
        if block.length == 0 {
            return Err(connection.unexpected("less payload than it announced").into());
        }
        left = left.saturating_sub(block.length as u64);
        came(block.length as u64);
        if filled.send(block).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Receives `length` bytes, which the caller has bounded.
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

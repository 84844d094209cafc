//! Allocation of large buffers that fails with an error under a memory limit (`ulimit -v`,
//! `LimitAS=`).

use std::io;

use thiserror::Error;
use zput_os::memory::{self, has_room};
use zput_proto::fallible;

/// A large buffer could not be allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not enough memory")]
pub struct OutOfMemory;

/// Bytes that have to stay free beside a large buffer, for threads and small allocations. A small
/// allocation that fails ends the process in order.
const SLACK_BYTES: usize = 16 * 1024 * 1024;

/// Size in bytes from which a buffer counts as large.
const LARGE_BYTES: usize = 1024 * 1024;

/// Reserves `bytes` in `buffer`. Discards the contents if it has to grow; otherwise they are kept.
///
/// # Errors
/// When there is no memory.
pub(crate) fn reserve(buffer: &mut Vec<u8>, bytes: u64) -> Result<(), OutOfMemory> {
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    if buffer.capacity() < bytes {
        buffer.clear();
        reserve_more(buffer, bytes).map_err(|_| OutOfMemory)?;
    }
    Ok(())
}

/// Reserves `bytes` beyond those in `buffer`. Discards the contents on error.
pub(crate) fn reserve_more(buffer: &mut Vec<u8>, bytes: usize) -> io::Result<()> {
    let is_there = fallible::reserve(buffer, bytes).is_ok();
    if is_there && (bytes < LARGE_BYTES || has_room(SLACK_BYTES)) {
        return Ok(());
    }
    *buffer = Vec::new();
    Err(memory::error())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reserving a buffer for which there is no memory is an error.
    #[test]
    fn client_reserve_out_of_memory_is_an_error() {
        let mut buffer = vec![7; 100];
        reserve(&mut buffer, 50).unwrap();
        assert_eq!(buffer, [7; 100]);
        reserve(&mut buffer, 1000).unwrap();
        assert!(buffer.capacity() >= 1000);
        assert!(matches!(reserve(&mut buffer, 1 << 60), Err(OutOfMemory)));
        let error = reserve_more(&mut buffer, 1 << 60).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
    }
}

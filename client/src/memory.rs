//! Buffers of a part's size, where a limit of memory (`ulimit -v`, `LimitAS=`) is an error of the command.

use std::io;

use zput_common::fallible;
use zput_server::memory::{self, has_room};

use crate::error::ClientError;

/// What has to be free besides a large buffer, in bytes: for threads, and for what is small. Want of that
/// ends the process, in order.
const SLACK_BYTES: usize = 16 * 1024 * 1024;

/// A buffer of so many bytes is large.
const LARGE_BYTES: usize = 1024 * 1024;

/// Room for `bytes` in `buffer`; what is in one that is too small is lost. One that has the room is left as it is.
pub(crate) fn reserve(buffer: &mut Vec<u8>, bytes: u64) -> Result<(), ClientError> {
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    if buffer.capacity() < bytes {
        buffer.clear();
        reserve_more(buffer, bytes).map_err(|_| ClientError::Memory)?;
    }
    Ok(())
}

/// Room for `bytes` behind those in `buffer`; where there is none these are lost too.
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

    #[test]
    fn what_there_is_no_room_for_is_an_error() {
        let mut buffer = vec![7; 100];
        reserve(&mut buffer, 50).unwrap();
        assert_eq!(buffer, [7; 100]);
        reserve(&mut buffer, 1000).unwrap();
        assert!(buffer.capacity() >= 1000);
        assert!(matches!(reserve(&mut buffer, 1 << 60), Err(ClientError::Memory)));
        let error = reserve_more(&mut buffer, 1 << 60).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
    }
}

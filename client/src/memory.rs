//! Buffers of a part's size, where a limit of memory (`ulimit -v`, a cgroup that does not overcommit) is an
//! error of the command and not the end of the process.

use crate::error::ClientError;

/// What has to be free besides: what is small is not asked for with care, and an allocation of it that fails ends
/// the process.
const SLACK_BYTES: usize = 16 * 1024 * 1024;

/// Room for `bytes` in `buffer`; what is in one that is too small is lost. One that has the room is left as it is.
pub(crate) fn reserve(buffer: &mut Vec<u8>, bytes: u64) -> Result<(), ClientError> {
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    if buffer.capacity() < bytes {
        buffer.clear();
        buffer.try_reserve_exact(bytes).map_err(|_| ClientError::Memory)?;
        let mut slack = Vec::<u8>::new();
        if slack.try_reserve_exact(SLACK_BYTES).is_err() {
            *buffer = Vec::new();
            return Err(ClientError::Memory);
        }
    }
    Ok(())
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
    }
}

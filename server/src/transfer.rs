//! What an answered Get still has to send: stretches of one file, by sendfile(2).
//!
//! The payload never enters this process. The file behind it is never modified or truncated while
//! it is served (the store replaces files, it does not change them), so a file that ends early was
//! damaged from outside: the connection is closed, for the peer counts on every announced byte.

use std::{collections::VecDeque, fs::File, io, ops::Range, os::fd::AsFd, sync::Arc};

use thiserror::Error;

use crate::wire::{Sent, Wire};

/// PROTOCOL 5: "their sum must fit 2^63".
const PAYLOAD_MAX_BYTES: u64 = (1 << 63) - 1;

/// Sections whose sum is over [`PAYLOAD_MAX_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the sections are too long together")]
pub(crate) struct TooLong;

/// Stretches of a file on their way to a peer.
#[derive(Debug)]
pub(crate) struct Transfer {
    file: Arc<File>,
    /// What is left of each stretch, none of them empty.
    stretches: VecDeque<Range<u64>>,
    /// Their sum.
    left: u64,
}

/// What came of one step of a transfer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stepped {
    /// So many bytes left, at least one.
    Moved(u64),
    /// The socket takes nothing now.
    Blocked,
}

/// Why a transfer cannot go on. The announced bytes can no longer be kept, so the connection ends.
#[derive(Debug, Error)]
pub(crate) enum TransferError {
    /// sendfile(2) gave nothing before the stretch's end.
    #[error("the file ends at or before byte {offset}, {left} bytes before it should")]
    FileEnded {
        /// Where it was read.
        offset: u64,
        /// What the stretch still lacked.
        left: u64,
    },
    /// The socket or the file failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The session announced more than the stretches hold.
    #[error("nothing is left to send")]
    Exhausted,
}

impl Transfer {
    /// The stretches of `file` that are to be sent, in this order.
    ///
    /// # Errors
    /// When they are too long together.
    pub(crate) fn new(
        file: Arc<File>,
        stretches: impl IntoIterator<Item = Range<u64>>,
    ) -> Result<Self, TooLong> {
        let stretches: VecDeque<_> = stretches.into_iter().filter(|s| !s.is_empty()).collect();
        let sum = stretches.iter().try_fold(0u64, |sum, s| sum.checked_add(s.end - s.start));
        let left = sum.filter(|sum| *sum <= PAYLOAD_MAX_BYTES).ok_or(TooLong)?;
        Ok(Self { file, stretches, left })
    }

    /// Bytes still to be sent.
    pub(crate) const fn left(&self) -> u64 {
        self.left
    }

    /// One call of sendfile(2), for at most `most` > 0 bytes.
    pub(crate) fn step(&mut self, wire: &mut Wire, most: usize) -> Result<Stepped, TransferError> {
        let Some(stretch) = self.stretches.front_mut() else {
            return Err(TransferError::Exhausted);
        };
        let length = stretch.end - stretch.start;
        let count = usize::try_from(length).unwrap_or(most).min(most);
        match wire.sendfile(self.file.as_fd(), stretch.start, count)? {
            Sent::Blocked => Ok(Stepped::Blocked),
            Sent::FileEnded => {
                Err(TransferError::FileEnded { offset: stretch.start, left: self.left })
            }
            Sent::Bytes(n) => {
                let moved = n as u64;
                stretch.start += moved;
                self.left -= moved;
                if stretch.is_empty() {
                    self.stretches.pop_front();
                }
                Ok(Stepped::Moved(moved))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        os::unix::net::UnixStream,
    };

    use super::*;
    use crate::wire::Socket;

    fn file(bytes: &[u8]) -> Arc<File> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Arc::new(file)
    }

    fn wire() -> (Wire, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (Wire::new(Socket::Unix(mio::net::UnixStream::from_std(ours))), theirs)
    }

    #[test]
    fn stretches_leave_in_their_order_and_no_step_exceeds_what_it_may() {
        let (mut wire, mut peer) = wire();
        let mut transfer = Transfer::new(file(b"0123456789"), [7..10, 4..4, 0..2]).unwrap();
        assert_eq!(transfer.left(), 5);
        assert_eq!(transfer.step(&mut wire, 2).unwrap(), Stepped::Moved(2));
        assert_eq!(transfer.step(&mut wire, 100).unwrap(), Stepped::Moved(1));
        assert_eq!(transfer.step(&mut wire, 100).unwrap(), Stepped::Moved(2));
        assert_eq!(transfer.left(), 0);
        assert!(matches!(transfer.step(&mut wire, 1), Err(TransferError::Exhausted)));
        let mut got = [0; 5];
        peer.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"78901");
    }

    #[test]
    fn a_file_that_ends_early_is_an_error_and_not_an_end() {
        let (mut wire, _peer) = wire();
        let mut transfer = Transfer::new(file(b"0123456789"), [0..12, 0..0]).unwrap();
        assert_eq!(transfer.step(&mut wire, 100).unwrap(), Stepped::Moved(10));
        assert!(matches!(
            transfer.step(&mut wire, 100),
            Err(TransferError::FileEnded { offset: 10, left: 2 })
        ));
    }

    #[test]
    fn the_sum_fits_63_bits() {
        let half = 0..1u64 << 62;
        assert!(Transfer::new(file(b""), [half.clone(), 0..0]).is_ok());
        assert_eq!(Transfer::new(file(b""), [half.clone(), half.clone()]).unwrap_err(), TooLong);
        assert_eq!(Transfer::new(file(b""), vec![half; 5]).unwrap_err(), TooLong);
    }
}

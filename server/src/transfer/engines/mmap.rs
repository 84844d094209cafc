//! mmap(2) of a window, send(2) from its addresses.

use std::{io, os::fd::BorrowedFd};

use crate::sys::mapping::Mapping;

/// Maximum bytes mapped at once.
const WINDOW_BYTES: usize = 512 * 1024;

/// The mapped window of a transfer, if there is one.
#[derive(Debug)]
pub(super) struct MmapState(Option<Window>);

#[derive(Debug)]
struct Window {
    map: Mapping,
    /// Offset of the window in the file.
    start: u64,
    /// Bytes in the window.
    length: usize,
}

impl Window {
    /// The position of `offset` in the window, if it lies there.
    fn position(&self, offset: u64) -> Option<usize> {
        let skip = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        (skip < self.length).then_some(skip)
    }
}

impl MmapState {
    pub(super) const fn new() -> Self {
        Self(None)
    }

    /// Sends bytes of the mapped window; see [`super::SendEngine::step`].
    pub(super) fn step(
        &mut self,
        socket: BorrowedFd<'_>,
        file: BorrowedFd<'_>,
        offset: u64,
        count: usize,
    ) -> io::Result<usize> {
        // Behind the end of the file its last page reads as zeros, and send(2) would send them. So
        // the length is checked each time.
        let count = within(file, offset, count)?;
        if count == 0 {
            return Ok(0);
        }
        let sent = self.send(socket, file, offset, count);
        match sent {
            // The file has shrunk since it was mapped.
            Err(e) if e.raw_os_error() == Some(libc::EFAULT) => {
                match within(file, offset, count)? {
                    0 => Ok(0),
                    _ => Err(e),
                }
            }
            sent => sent,
        }
    }

    fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        file: BorrowedFd<'_>,
        offset: u64,
        count: usize,
    ) -> io::Result<usize> {
        let reusable = self.0.take().and_then(|window| Some((window.position(offset)?, window)));
        let (skip, window) = match reusable {
            Some(found) => found,
            None => {
                let length = count.min(WINDOW_BYTES);
                (0, Window { map: Mapping::new(file, offset, length)?, start: offset, length })
            }
        };
        let sent = window.map.send(socket, skip, count);
        // Unmapped as soon as it is used up: a connection may be idle for long before its next
        // window.
        let used_up = sent.as_ref().is_ok_and(|sent| skip + sent == window.length);
        if !used_up {
            self.0 = Some(window);
        }
        sent
    }
}

/// How many of `count` bytes from `offset` the file has.
fn within(file: BorrowedFd<'_>, offset: u64, count: usize) -> io::Result<usize> {
    let length = u64::try_from(rustix::fs::fstat(file)?.st_size).unwrap_or(0);
    let left = length.saturating_sub(offset);
    Ok(usize::try_from(left).map_or(count, |left| left.min(count)))
}

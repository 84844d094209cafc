//! Whether a range of a file is in the page cache, and loading it if it is not.
//!
//! sendfile(2), splice(2) and reads of a mapping sleep on a page that is not cached, even for a
//! non-blocking socket, and with them every connection of the worker. So a worker probes each
//! window first, and leaves the loading to a thread that may wait.
//!
//! | a window of 512 KiB that is cached, ext4 on Linux 6.18 | µs |
//! |---|---|
//! | cachestat(2) | 0.3 |
//! | preadv2(2) of one byte with `RWF_NOWAIT` | 0.5 |
//! | mmap(2), mincore(2), munmap(2) | 16 |
//! | loading it again: pread(2) by 64 KiB | 30 |
//! | loading it again: mmap(2), `MADV_POPULATE_READ`, munmap(2) | 47 |
//!
//! From the disk the last two take the same time. So [`load`] reads; a mapping would also take the
//! process's `mmap_lock` for writing and interrupt the cores of its other threads.
#![expect(unsafe_code, reason = "cachestat(2) has no safe wrapper")]

use std::{
    io::{self, IoSliceMut},
    num::NonZeroU64,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd},
    sync::atomic::{AtomicU8, Ordering},
};

use rustix::{
    fs::Advice,
    io::{Errno, ReadWriteFlags, retry_on_intr},
};

/// Distance of the bytes that [`Probe::Samples`] looks at.
const SAMPLE_STEP_BYTES: u64 = 64 * 1024;

/// Bytes of the buffer of [`load`]: small enough for a stack and for a core's second-level cache,
/// and within a third of the speed of a buffer for the whole window.
const SCRATCH_BYTES: usize = 64 * 1024;

/// The number of cachestat(2) on every architecture that Rust supports except Alpha (Linux 6.5).
const SYS_CACHESTAT: libc::c_long = 451;

/// statfs(2), `f_type`: file systems that keep files in memory. Pages of tmpfs that were swapped
/// out count as resident: no call tells without waiting, and a server that swaps is slow anyway.
const MEMORY_FILE_SYSTEMS: [u32; 3] = [
    0x0102_1994, // tmpfs
    0x8584_58f6, // ramfs
    0x9584_58f6, // hugetlbfs
];

/// How to ask about a file. Kept beside the open file, so that a call that its file system refuses
/// is tried once and not for each window.
#[derive(Debug, Default)]
pub(crate) struct Residency(AtomicU8);

/// The method that a [`Residency`] remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Probe {
    /// No method has been chosen yet.
    Unknown = 0,
    /// cachestat(2), and a look at the last page.
    Cachestat = 1,
    /// A look at every [`SAMPLE_STEP_BYTES`] and at the last page: since Linux 6.14 cachestat(2)
    /// needs ownership of the file or write access, and before 6.5 it does not exist. A page
    /// between two samples may have been evicted, and the worker then waits for the disk once;
    /// pages come and go by whole readahead windows and folios, which are larger, so this is rare.
    Samples = 2,
    /// The file is always in memory.
    AlwaysResident = 3,
    /// The file system does not tell, so the file counts as never resident.
    NeverResident = 4,
}

impl Residency {
    fn probe(&self) -> Probe {
        match self.0.load(Ordering::Relaxed) {
            1 => Probe::Cachestat,
            2 => Probe::Samples,
            3 => Probe::AlwaysResident,
            4 => Probe::NeverResident,
            _ => Probe::Unknown,
        }
    }

    fn remember(&self, probe: Probe) -> Probe {
        // Two threads that find out at once find the same.
        self.0.store(probe as u8, Ordering::Relaxed);
        probe
    }

    /// The method for `file`; on first use, determines its file system.
    fn probe_for(&self, file: BorrowedFd<'_>) -> io::Result<Probe> {
        match self.probe() {
            Probe::Unknown => {
                // The type's sign and width differ between architectures; its low 32 bits are the
                // number.
                let kind = rustix::fs::fstatfs(file)?.f_type as u32;
                let memory = MEMORY_FILE_SYSTEMS.contains(&kind);
                Ok(self.remember(if memory { Probe::AlwaysResident } else { Probe::Cachestat }))
            }
            probe => Ok(probe),
        }
    }

    /// Whether the `count` bytes of `file` from `offset`, or those of them that the file has, can
    /// be sent without waiting for the disk. Never waits for it.
    ///
    /// This is a snapshot: memory pressure may evict pages at any time. On a file system that does
    /// not tell, the answer is always `false`; so a caller that has called [`load`] sends without
    /// asking again.
    ///
    /// # Errors
    /// When a call on the file fails.
    pub(crate) fn is_resident(
        &self,
        file: BorrowedFd<'_>,
        offset: u64,
        count: u64,
    ) -> io::Result<bool> {
        if count == 0 || self.all_resident(file, offset, count)? {
            return Ok(true);
        }
        // The file may end within the range. Asking for its length only now saves a call for all
        // windows that are resident.
        let length = u64::try_from(rustix::fs::fstat(file)?.st_size).unwrap_or(0);
        let held = length.saturating_sub(offset).min(count);
        Ok(held == 0 || held < count && self.all_resident(file, offset, held)?)
    }

    /// Whether all of the range is resident, and the file does not end within it.
    fn all_resident(&self, file: BorrowedFd<'_>, offset: u64, count: u64) -> io::Result<bool> {
        let last = offset.saturating_add(count - 1);
        match self.probe_for(file)? {
            Probe::AlwaysResident => return Ok(true),
            Probe::NeverResident => return Ok(false),
            Probe::Samples => {}
            Probe::Unknown | Probe::Cachestat => match cached_pages(file, offset, count) {
                // Pages that are being read from the disk count as well; reads are queued in order,
                // so the last page tells whether all have arrived.
                Ok(pages) => {
                    return Ok(
                        pages >= pages_of(offset, last) && self.is_byte_resident(file, last)?
                    );
                }
                Err(Errno::PERM | Errno::NOSYS | Errno::OPNOTSUPP) => {
                    self.remember(Probe::Samples);
                }
                Err(error) => return Err(error.into()),
            },
        }
        // A look at a page that is not resident makes the kernel start reading it
        // (filemap_get_pages), so the first such look is the last one.
        let mut at = offset;
        while at < last {
            if !self.is_byte_resident(file, at)? {
                return Ok(false);
            }
            at = at.saturating_add(SAMPLE_STEP_BYTES);
        }
        self.is_byte_resident(file, last)
    }

    /// Whether the byte at `offset` can be read without waiting.
    fn is_byte_resident(&self, file: BorrowedFd<'_>, offset: u64) -> io::Result<bool> {
        Ok(self.read_once(file, offset, &mut [0])? == Some(1))
    }

    /// Fills `buffer` from `offset` on, without waiting for the disk.
    ///
    /// `Some(n)`: the buffer holds all bytes that the file has there; `n` is less than the buffer's
    /// length if the file ends. `None`: some of the bytes are not in memory; the buffer's contents
    /// are undefined.
    ///
    /// # Errors
    /// When a call on the file fails.
    pub(crate) fn read(
        &self,
        file: BorrowedFd<'_>,
        offset: u64,
        buffer: &mut [u8],
    ) -> io::Result<Option<usize>> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..)
            && !rest.is_empty()
        {
            let at = offset.saturating_add(filled as u64);
            let read = match self.probe_for(file)? {
                Probe::AlwaysResident => {
                    Some(retry_on_intr(|| rustix::io::pread(file, &mut *rest, at))?)
                }
                Probe::NeverResident => None,
                Probe::Unknown | Probe::Cachestat | Probe::Samples => {
                    self.read_once(file, at, rest)?
                }
            };
            match read {
                None => return Ok(None),
                Some(0) => break,
                // The call stops short before a page that is not resident, and at the file's end.
                Some(n) => filled += n,
            }
        }
        Ok(Some(filled))
    }

    /// One preadv2(2) that does not wait.
    fn read_once(
        &self,
        file: BorrowedFd<'_>,
        offset: u64,
        buffer: &mut [u8],
    ) -> io::Result<Option<usize>> {
        let mut once = || {
            let mut into = [IoSliceMut::new(&mut *buffer)];
            rustix::io::preadv2(file, &mut into, offset, ReadWriteFlags::NOWAIT)
        };
        match retry_on_intr(&mut once) {
            Ok(n) => Ok(Some(n)),
            Err(Errno::AGAIN) => Ok(None),
            Err(Errno::OPNOTSUPP) => {
                self.remember(Probe::NeverResident);
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Loads `count` bytes of `file` from `offset` into the page cache, and requests readahead of the
/// `ahead` bytes behind them. Waits for the disk, so it must run on a thread that may.
///
/// Returns how many bytes there were: fewer than `count` when the file ends before.
///
/// # Errors
/// When a call on the file fails.
pub(crate) fn load(file: BorrowedFd<'_>, offset: u64, count: u64, ahead: u64) -> io::Result<u64> {
    if let Some(wanted) = NonZeroU64::new(count.saturating_add(ahead)) {
        // This is advice: the reads below do not rely on it.
        let _taken = rustix::fs::fadvise(file, offset, Some(wanted), Advice::WillNeed);
    }
    if await_samples(file, offset, count)? {
        return Ok(count);
    }
    let mut scratch = [0; SCRATCH_BYTES];
    let mut loaded = 0;
    while loaded < count {
        let room = usize::try_from(count - loaded).map_or(SCRATCH_BYTES, |n| n.min(SCRATCH_BYTES));
        let into = scratch.get_mut(..room).unwrap_or_default();
        match retry_on_intr(|| rustix::io::pread(file, &mut *into, offset + loaded))? {
            0 => break,
            n => loaded += n as u64,
        }
    }
    Ok(loaded)
}

/// Waits for a page of each [`SAMPLE_STEP_BYTES`], and for the last page. Returns whether the range
/// is resident then, as far as cachestat(2) tells: copying all of it only to see that would take
/// processor time from the threads that send.
fn await_samples(file: BorrowedFd<'_>, offset: u64, count: u64) -> io::Result<bool> {
    let Some(last) = count.checked_sub(1).map(|last| offset.saturating_add(last)) else {
        return Ok(true);
    };
    let step = usize::try_from(SAMPLE_STEP_BYTES).unwrap_or(usize::MAX);
    for at in (offset..last).step_by(step).chain([last]) {
        if retry_on_intr(|| rustix::io::pread(file, &mut [0], at))? == 0 {
            return Ok(false);
        }
    }
    Ok(cached_pages(file, offset, count).is_ok_and(|pages| pages >= pages_of(offset, last)))
}

/// Number of pages that the bytes from `first` to `last` lie in.
fn pages_of(first: u64, last: u64) -> u64 {
    let page = rustix::param::page_size() as u64;
    last / page - first / page + 1
}

/// `struct cachestat_range` of linux/mman.h.
#[repr(C)]
struct CachestatRange {
    offset: u64,
    length: u64,
}

/// `struct cachestat` of linux/mman.h: numbers of pages.
#[repr(C)]
#[derive(Default)]
struct Cachestat {
    cached: u64,
    dirty: u64,
    in_write_back: u64,
    evicted: u64,
    recently_evicted: u64,
}

/// cachestat(2): how many pages of the range, which must not be empty, are in the page cache.
fn cached_pages(file: BorrowedFd<'_>, offset: u64, count: u64) -> Result<u64, Errno> {
    let range = CachestatRange { offset, length: count };
    let mut stat = Cachestat::default();
    // SAFETY: the call reads one `cachestat_range` and writes one `cachestat`. Both pointers come
    // from references to values of exactly that layout, which live until it returns; the kernel
    // keeps neither. The descriptor is borrowed, so it is open.
    let result = unsafe {
        libc::syscall(
            SYS_CACHESTAT,
            file.as_fd().as_raw_fd(),
            &raw const range,
            &raw mut stat,
            0 as libc::c_uint,
        )
    };
    if result == 0 {
        return Ok(stat.cached);
    }
    Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::INVAL))
}

#[cfg(test)]
mod tests;

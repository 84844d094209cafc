//! Out of memory: the program ends in order, with exit code 1 and a message.
//!
//! Limits of address space (`ulimit -v`, `LimitAS=`) and systems that promise no more than they
//! have (`vm.overcommit_memory = 2`) refuse memory. The standard library answers with abort(3), a
//! signal as for a bug in the program, which leaves behind what was to be removed. So:
//!
//! - [`Allocator`] ends the program instead. Where there is something to remove, a thread that
//!   waits for this does so ([`when_short`]): it gets what malloc(3) can still give, and the other
//!   threads get a little out of a reserve that is part of the program, so that they release their
//!   locks.
//! - Large buffers are requested by [`fallible::reserve`], and a failure is an error of its caller.
//! - A thread is started only where there is memory for what it allocates before it can report an
//!   error ([`threads`](crate::threads)).
//! - Where address space is limited, malloc(3) is kept to one arena ([`init`]): otherwise glibc
//!   reserves 64 MiB of addresses for each thread, and what fits under a limit depends on the order
//!   of their requests.
//!
//! A cgroup does not refuse memory: when its memory is used up the kernel sends SIGKILL
//! (`MemoryMax=`).
#![expect(unsafe_code, reason = "an allocator, and calls without a safe wrapper")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::{Cell, UnsafeCell},
    io::{self, IoSlice},
    ptr,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering},
    },
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, pause, poll},
    process::{Resource, getrlimit},
};
use zput_proto::fallible;

/// The message, after the program's name.
const MESSAGE: &str = "not enough memory (raise its limit: ulimit -v, LimitAS=)";

/// Bytes that threads may still allocate while the program ends.
const RESERVE_BYTES: usize = 2 * 1024 * 1024;

/// Bytes of the reserve for each thread: more than any code allocates while it holds a lock. After
/// that the thread sleeps until the program ends.
const SHARE_BYTES: usize = 32 * 1024;

/// A block that is kept in malloc(3) for the thread that ends the program: reading a directory
/// takes 32 KiB.
const SPARE: Layout = match Layout::from_size_align(256 * 1024, 16) {
    Ok(layout) => layout,
    Err(_) => panic!("no layout"),
};

/// How long the message waits for a stderr that accepts no bytes, in seconds.
const STDERR_WAIT_SECONDS: i64 = 2;

static RESERVE: Reserve<RESERVE_BYTES> = Reserve::new();
static SPARE_BLOCK: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());
static WHEN_SHORT: OnceLock<fn()> = OnceLock::new();
static EXHAUSTED: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Whether this is the thread that ends the program.
    static ENDS_PROGRAM: Cell<bool> = const { Cell::new(false) };
    /// What this thread has taken of the reserve, in bytes.
    static SHARE: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, for a program that ends with a message when there is no memory. The
/// field is the program's name in that message.
#[derive(Debug)]
pub struct Allocator(pub &'static str);

/// Must be called at the start of a program, before there is a second thread.
pub fn init() {
    #[cfg(target_env = "gnu")]
    if getrlimit(Resource::As).current.is_some() {
        // SAFETY: mallopt(3) has no preconditions, and no other thread is in malloc(3).
        unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    }
}

/// Makes this the thread that ends the program when memory is short. `wake` is then called, perhaps
/// several times and by any other thread; it must not allocate. Only the first such thread is
/// accepted.
pub fn when_short(wake: fn()) {
    if WHEN_SHORT.set(wake).is_ok() {
        ENDS_PROGRAM.set(true);
        // SAFETY: the layout's size is not zero.
        SPARE_BLOCK.store(unsafe { System.alloc(SPARE) }, Ordering::Release);
    }
}

/// Whether memory was short, so that the program ends.
#[must_use]
pub fn is_short() -> bool {
    EXHAUSTED.load(Ordering::Relaxed)
}

/// Sleeps forever if memory is short, on every thread but the one that ends the program: no other
/// thread may take a lock that the end needs, because it may get no memory to reach the release.
pub fn stop_if_short() {
    while must_not_allocate() {
        pause();
    }
}

/// Writes the message straight to stderr. Takes no lock and allocates nothing.
pub fn tell(program: &str) {
    let stderr = rustix::stdio::stderr();
    let patience = Timespec { tv_sec: STDERR_WAIT_SECONDS, tv_nsec: 0 };
    let is_ready = poll(&mut [PollFd::new(&stderr, PollFlags::OUT)], Some(&patience));
    if is_ready.is_ok_and(|ready| ready > 0) {
        let line = [program, ": ", MESSAGE, "\n"].map(|part| IoSlice::new(part.as_bytes()));
        // An error of stderr cannot be reported anywhere.
        let _told = rustix::io::writev(stderr, &line);
    }
}

/// Lack of memory, as an error.
#[must_use]
pub fn error() -> io::Error {
    io::Error::new(io::ErrorKind::OutOfMemory, MESSAGE)
}

/// Whether the system can give `bytes` more at this moment.
#[must_use]
pub fn has_room(bytes: usize) -> bool {
    // SAFETY: a new mapping at an address of the kernel's choice replaces no existing one, and it
    // is not used.
    unsafe {
        let start = libc::mmap(
            ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        start != libc::MAP_FAILED && libc::munmap(start, bytes) == 0
    }
}

// SAFETY: each block comes from `System` or from `RESERVE`, and goes back to where it came from.
// Both return blocks of the requested layout, and this passes on the layouts that it is called
// with.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if must_not_allocate() {
            return self.on_exhausted(layout);
        }
        // SAFETY: this method's caller guarantees the same.
        let block = unsafe { System.alloc(layout) };
        if block.is_null() { self.on_exhausted(layout) } else { block }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if must_not_allocate() {
            // No byte of the reserve is given twice, so it is still zero.
            return self.on_exhausted(layout);
        }
        // SAFETY: this method's caller guarantees the same.
        let block = unsafe { System.alloc_zeroed(layout) };
        if block.is_null() { self.on_exhausted(layout) } else { block }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !must_not_allocate() && !RESERVE.holds(block) {
            // SAFETY: this method's caller guarantees the same, and the block is the system's.
            let moved = unsafe { System.realloc(block, layout, size) };
            if !moved.is_null() {
                return moved;
            }
        }
        // SAFETY: the caller guarantees that size and alignment make a layout.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: and that the size is not zero.
        let moved = unsafe { self.alloc(wanted) };
        if !moved.is_null() {
            // SAFETY: both blocks have at least that many bytes, and the second is new; the first
            // is not used again.
            unsafe {
                ptr::copy_nonoverlapping(block, moved, layout.size().min(size));
                self.dealloc(block, layout);
            }
        }
        moved
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if !RESERVE.holds(block) {
            // SAFETY: this method's caller guarantees the same, and the block is the system's.
            unsafe { System.dealloc(block, layout) };
        }
    }
}

/// Whether the remaining memory is for the thread that ends the program, and this is another
/// thread.
fn must_not_allocate() -> bool {
    is_short() && !ENDS_PROGRAM.get()
}

impl Allocator {
    /// Called when the system has no memory for `layout`. Returns null where the caller can handle
    /// that.
    #[cold]
    fn on_exhausted(&self, layout: Layout) -> *mut u8 {
        if fallible::may_fail() {
            return ptr::null_mut();
        }
        let Some(wake) = WHEN_SHORT.get() else {
            tell(self.0);
            end_now();
        };
        if !EXHAUSTED.swap(true, Ordering::Relaxed) {
            let spare = SPARE_BLOCK.swap(ptr::null_mut(), Ordering::Acquire);
            if !spare.is_null() {
                // SAFETY: it was allocated by `when_short` with this layout, and is swapped out
                // once.
                unsafe { System.dealloc(spare, SPARE) };
            }
        }
        if ENDS_PROGRAM.get() {
            return RESERVE.take(layout).unwrap_or_else(|| end_now());
        }
        wake();
        let share = SHARE.get().saturating_add(layout.size());
        if share <= SHARE_BYTES
            && let Some(block) = RESERVE.take(layout)
        {
            SHARE.set(share);
            return block;
        }
        loop {
            // Until the program ends.
            pause();
        }
    }
}

/// Ends the program without exit(3), which would run code that may allocate.
fn end_now() -> ! {
    // SAFETY: _exit(2) has no preconditions.
    unsafe { libc::_exit(1) }
}

/// Memory that is part of the program. What was taken of it is never given back.
struct Reserve<const BYTES: usize> {
    bytes: UnsafeCell<[u8; BYTES]>,
    taken: AtomicUsize,
}

// SAFETY: `take` gives no byte twice, so each byte is used only by the thread that took it.
unsafe impl<const BYTES: usize> Sync for Reserve<BYTES> {}

impl<const BYTES: usize> Reserve<BYTES> {
    const fn new() -> Self {
        Self { bytes: UnsafeCell::new([0; BYTES]), taken: AtomicUsize::new(0) }
    }

    fn take(&self, layout: Layout) -> Option<*mut u8> {
        let base = self.bytes.get().cast::<u8>();
        let start = |taken: usize| {
            let free = base.addr().checked_add(taken)?.checked_next_multiple_of(layout.align())?;
            free.checked_sub(base.addr())
        };
        let end =
            |taken| start(taken)?.checked_add(layout.size()).filter(|behind| *behind <= BYTES);
        let taken = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, end).ok()?;
        // SAFETY: the end is within the array, so the start is.
        start(taken).map(|start| unsafe { base.add(start) })
    }

    fn holds(&self, block: *mut u8) -> bool {
        let base = self.bytes.get().addr();
        (base..base + BYTES).contains(&block.addr())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The memory reserve gives out aligned blocks without overlap, up to its last byte.
    #[test]
    fn memory_reserve_gives_each_byte_once() {
        static SMALL: Reserve<1000> = Reserve::new();
        let layout = |size, align| Layout::from_size_align(size, align).unwrap();
        let mut end = SMALL.bytes.get().addr();
        for (size, align) in [(1, 1), (8, 8), (3, 1), (100, 64), (1, 1)] {
            let block = SMALL.take(layout(size, align)).unwrap();
            assert!(block.addr() >= end, "it overlaps the one before");
            assert_eq!(block.addr() % align, 0);
            assert!(SMALL.holds(block));
            end = block.addr() + size;
        }
        assert_eq!(SMALL.take(layout(1000, 1)), None);
        // The rest is given to its last byte.
        let left = SMALL.bytes.get().addr() + 1000 - end;
        assert!(SMALL.take(layout(left, 1)).is_some());
        assert_eq!(SMALL.take(layout(1, 1)), None);
        assert!(!SMALL.holds(SMALL.bytes.get().wrapping_add(1).cast()));
    }

    /// Growing a block of the reserve moves its content to ordinary memory.
    #[test]
    fn allocator_moves_grown_reserve_block_with_content() {
        let allocator = Allocator("test");
        let layout = Layout::from_size_align(4, 1).unwrap();
        let block = RESERVE.take(layout).unwrap();
        // SAFETY: the four bytes are this test's, and so are the eight that replace them.
        let grown = unsafe {
            ptr::copy_nonoverlapping(b"four".as_ptr(), block, 4);
            let grown = allocator.realloc(block, layout, 8);
            assert_eq!(std::slice::from_raw_parts(grown, 4), b"four");
            grown
        };
        assert!(!RESERVE.holds(grown));
        // SAFETY: with the layout that it was allocated with.
        unsafe { allocator.dealloc(grown, Layout::from_size_align(8, 1).unwrap()) };
    }

    /// The check has_room is true for a mebibyte and false for more than the address space.
    #[test]
    fn has_room_is_false_beyond_address_space() {
        assert!(has_room(1 << 20));
        // More addresses than a process has.
        assert!(!has_room(1 << 56));
    }
}

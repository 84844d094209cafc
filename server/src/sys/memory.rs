//! What a program does where memory is short: it ends in order, with exit code 1 and a sentence.
//!
//! Limits of address space (`ulimit -v`, `LimitAS=`) and systems that promise no more than they have
//! (`vm.overcommit_memory = 2`) refuse memory. The standard library answers by abort(3): a signal, as for an error in the
//! program, which leaves behind what was to be removed. So:
//!
//! - [`Allocator`] ends the program instead. Where there is something to remove, a thread does that which waits for it
//!   ([`when_short`]): it has what malloc(3) still gives to itself, and the others get a little out of a reserve that is part
//!   of the program, so that they let go of their locks.
//! - Large buffers are asked for by [`fallible::reserve`], and want of one is an error of its caller.
//! - A thread is begun where there is room for what it asks for before it can say that there is none
//!   ([`threads`](super::threads)).
//! - Where address space is limited, malloc(3) is kept to one arena ([`begin`]): else glibc sets 64 MiB of
//!   addresses aside for each thread, and what fits under a limit depends on the order in which they ask.
//!
//! A cgroup refuses nothing: where its memory is used up the kernel sends SIGKILL (`MemoryMax=`).
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
use zput_common::fallible;

/// What is said of it, behind the program's name.
const SENTENCE: &str = "not enough memory (raise its limit: ulimit -v, LimitAS=)";

/// What threads go on with while the program ends, in bytes.
const RESERVE_BYTES: usize = 2 * 1024 * 1024;

/// What each of them gets of it: more than anything takes that is done under a lock. Then it waits for the end.
const SHARE_BYTES: usize = 32 * 1024;

/// What is kept in malloc(3) for the thread that ends the program: reading a directory takes 32 KiB of it.
const SPARE: Layout = match Layout::from_size_align(256 * 1024, 16) {
    Ok(layout) => layout,
    Err(_) => panic!("no layout"),
};

/// How long the sentence waits for a stderr that takes nothing, in seconds.
const PATIENCE_SECONDS: i64 = 2;

static RESERVE: Reserve<RESERVE_BYTES> = Reserve::new();
static SPARE_BLOCK: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());
static WHEN_SHORT: OnceLock<fn()> = OnceLock::new();
static IS_SHORT: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Whether this thread ends the program.
    static ENDS: Cell<bool> = const { Cell::new(false) };
    /// What it has taken of the reserve, in bytes.
    static SHARE: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, for a program that ends where that has no memory. The program's name is said.
#[derive(Debug)]
pub struct Allocator(pub &'static str);

/// At the start of a program, before there is a second thread.
pub fn begin() {
    #[cfg(target_env = "gnu")]
    if getrlimit(Resource::As).current.is_some() {
        // SAFETY: mallopt(3) has no preconditions, and no other thread is in malloc(3).
        unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    }
}

/// This thread ends the program where memory is short: then `wake` is called, perhaps several times and by any other thread. It
/// must not ask for memory. Only the first such thread is taken.
pub fn when_short(wake: fn()) {
    if WHEN_SHORT.set(wake).is_ok() {
        ENDS.set(true);
        // SAFETY: a layout of more than no bytes.
        SPARE_BLOCK.store(unsafe { System.alloc(SPARE) }, Ordering::Release);
    }
}

/// Whether memory was short: the program ends.
#[must_use]
pub fn is_short() -> bool {
    IS_SHORT.load(Ordering::Relaxed)
}

/// Where memory is short, threads but the one that ends the program stop here: none is to enter a lock that the
/// end takes, for it may find no memory to leave it by.
pub fn stop_if_short() {
    while is_for_another() {
        pause();
    }
}

/// Says that memory is short, straight to stderr. Takes no lock and no memory.
pub fn tell(program: &str) {
    let stderr = rustix::stdio::stderr();
    let patience = Timespec { tv_sec: PATIENCE_SECONDS, tv_nsec: 0 };
    let is_ready = poll(&mut [PollFd::new(&stderr, PollFlags::OUT)], Some(&patience));
    if is_ready.is_ok_and(|ready| ready > 0) {
        let line = [program, ": ", SENTENCE, "\n"].map(|part| IoSlice::new(part.as_bytes()));
        // There is nobody left to be told that stderr is gone.
        let _told = rustix::io::writev(stderr, &line);
    }
}

/// Want of memory, as an error.
#[must_use]
pub fn error() -> io::Error {
    io::Error::new(io::ErrorKind::OutOfMemory, SENTENCE)
}

/// Whether the system gives `bytes` more, at this moment.
#[must_use]
pub fn has_room(bytes: usize) -> bool {
    // SAFETY: a new mapping at an address of the kernel's choice replaces none that exists; nobody uses it.
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

// SAFETY: each block comes from `System` or from `RESERVE`, and goes back where it came from. Both give blocks
// of the layout that was asked for; what is asked for here is what was asked of this.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_for_another() {
            return self.short_of(layout);
        }
        // SAFETY: as this was called.
        let block = unsafe { System.alloc(layout) };
        if block.is_null() { self.short_of(layout) } else { block }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_for_another() {
            // No byte of the reserve is given twice.
            return self.short_of(layout);
        }
        // SAFETY: as this was called.
        let block = unsafe { System.alloc_zeroed(layout) };
        if block.is_null() { self.short_of(layout) } else { block }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !is_for_another() && !RESERVE.holds(block) {
            // SAFETY: as this was called, and the block is the system's.
            let moved = unsafe { System.realloc(block, layout, size) };
            if !moved.is_null() {
                return moved;
            }
        }
        // SAFETY: this is called with a size that makes a layout with this alignment.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: and that is not zero.
        let moved = unsafe { self.alloc(wanted) };
        if !moved.is_null() {
            // SAFETY: two blocks of at least so many bytes, of which the second is new; the first is not used again.
            unsafe {
                ptr::copy_nonoverlapping(block, moved, layout.size().min(size));
                self.dealloc(block, layout);
            }
        }
        moved
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if !RESERVE.holds(block) {
            // SAFETY: as this was called, and the block is the system's.
            unsafe { System.dealloc(block, layout) };
        }
    }
}

/// Whether what is left is for the thread that ends the program, and this is another one.
fn is_for_another() -> bool {
    is_short() && !ENDS.get()
}

impl Allocator {
    /// The system has no memory for `layout`. Null where the caller is to hear of it.
    #[cold]
    fn short_of(&self, layout: Layout) -> *mut u8 {
        if fallible::may_fail() {
            return ptr::null_mut();
        }
        let Some(wake) = WHEN_SHORT.get() else {
            tell(self.0);
            end_now();
        };
        if !IS_SHORT.swap(true, Ordering::Relaxed) {
            let spare = SPARE_BLOCK.swap(ptr::null_mut(), Ordering::Acquire);
            if !spare.is_null() {
                // SAFETY: it was allocated by `when_short`, with this layout, and is swapped out once.
                unsafe { System.dealloc(spare, SPARE) };
            }
        }
        if ENDS.get() {
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
            // The end of the program is the end of this.
            pause();
        }
    }
}

/// exit(3) would run code that may want memory.
fn end_now() -> ! {
    // SAFETY: _exit(2) has no preconditions.
    unsafe { libc::_exit(1) }
}

/// Bytes of the program itself. What was taken of them is not given back.
struct Reserve<const BYTES: usize> {
    bytes: UnsafeCell<[u8; BYTES]>,
    taken: AtomicUsize,
}

// SAFETY: `take` gives no byte twice, so each is used by who has taken it alone.
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
        // SAFETY: where it ends is within the array, so where it begins is.
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

    #[test]
    fn the_reserve_gives_no_byte_twice_and_none_beyond_its_end() {
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
        // What is left is given to its last byte.
        let left = SMALL.bytes.get().addr() + 1000 - end;
        assert!(SMALL.take(layout(left, 1)).is_some());
        assert_eq!(SMALL.take(layout(1, 1)), None);
        assert!(!SMALL.holds(SMALL.bytes.get().wrapping_add(1).cast()));
    }

    #[test]
    fn a_block_of_the_reserve_grows_with_what_is_in_it() {
        let allocator = Allocator("test");
        let layout = Layout::from_size_align(4, 1).unwrap();
        let block = RESERVE.take(layout).unwrap();
        // SAFETY: four bytes that are this test's, and then the eight that it got for them.
        let grown = unsafe {
            ptr::copy_nonoverlapping(b"four".as_ptr(), block, 4);
            let grown = allocator.realloc(block, layout, 8);
            assert_eq!(std::slice::from_raw_parts(grown, 4), b"four");
            grown
        };
        assert!(!RESERVE.holds(grown));
        // SAFETY: as it was got.
        unsafe { allocator.dealloc(grown, Layout::from_size_align(8, 1).unwrap()) };
    }

    #[test]
    fn there_is_room_for_what_there_can_be_and_no_more() {
        assert!(has_room(1 << 20));
        // More addresses than a process has.
        assert!(!has_room(1 << 56));
    }
}

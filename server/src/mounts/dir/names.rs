//! The sorted names of a directory, and a cache of them between pages.
//!
//! The kernel returns the entries of a directory in no particular order and a page needs the next
//! thousand, so they have to be sorted. Reading a million names for each page of a thousand would
//! take an hour; so the sorted names are cached until the directory changes. A directory with more
//! names than fit into [`WINDOW_BYTES`] is read in windows: the first names after a position, then
//! those after the last of these, and so on.

use std::{
    io,
    os::fd::AsFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::sys::{
    fs::EntryKind,
    tree::{self, FileState},
};

/// Most bytes of a window: names, and eight bytes for each. While the window is gathered, its
/// buffers may take twice that. A million names of 24 bytes fit.
pub const WINDOW_BYTES: usize = 32 * 1024 * 1024;
/// Most bytes of all cached windows: at least two of them, so that a directory and one below it do
/// not keep evicting each other.
pub const CACHE_BYTES: usize = 64 * 1024 * 1024;
/// Bytes of names, and of the buffers that gather them, of all pages that are made at once and of
/// all caches. When they are used up, windows are short: a page then reads its directory once more,
/// and no thread waits.
pub const NAMES_BUDGET_BYTES: usize = 256 * 1024 * 1024;
/// Most bytes of a window when the budget is used up. It has the names of several pages.
const SHORT_WINDOW_BYTES: usize = 512 * 1024;
/// A smaller window is read again faster than it is found in the cache. This also bounds the number
/// of cached windows.
const CACHED_MIN_BYTES: usize = 16 * 1024;

/// How long a directory must have been unchanged before a later change is sure to show in its
/// times, in nanoseconds: file systems record times in ticks of a clock, the coarsest (FAT) of two
/// seconds.
const SETTLE_NS: i128 = 3_000_000_000;

/// Bytes that a name takes in addition to its own.
const NAME_SPAN_BYTES: usize = size_of::<NameSpan>();

/// A budget of memory for names, shared by all threads.
#[derive(Debug)]
pub(super) struct MemoryBudget {
    reserved: AtomicUsize,
    max_bytes: usize,
}

/// The budget of the process.
pub(super) static NAMES_BUDGET: MemoryBudget = MemoryBudget::new(NAMES_BUDGET_BYTES);

/// A part of the budget, reserved until this is dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    budget: &'static MemoryBudget,
    bytes: usize,
}

impl MemoryBudget {
    pub(super) const fn new(max_bytes: usize) -> Self {
        Self { reserved: AtomicUsize::new(0), max_bytes }
    }

    /// Reserves memory for a window of at most `wanted` bytes while it is gathered, which takes up
    /// to twice that. Returns how long the window may be.
    pub(super) fn reserve(&'static self, wanted: usize) -> (usize, Reservation) {
        let bytes = 2 * wanted;
        let free =
            |reserved: usize| reserved.checked_add(bytes).filter(|all| *all <= self.max_bytes);
        match self.reserved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, free) {
            Ok(_) => (wanted, Reservation { budget: self, bytes }),
            Err(_) => {
                // Bounded by the pool's threads, each of which has at most three windows.
                let window = wanted.min(SHORT_WINDOW_BYTES);
                self.reserved.fetch_add(2 * window, Ordering::Relaxed);
                (window, Reservation { budget: self, bytes: 2 * window })
            }
        }
    }

    #[cfg(test)]
    fn reserved(&self) -> usize {
        self.reserved.load(Ordering::Relaxed)
    }
}

impl Reservation {
    /// Returns the part beyond `bytes` to the budget.
    fn shrink_to(&mut self, bytes: usize) {
        let excess = self.bytes.saturating_sub(bytes);
        self.budget.reserved.fetch_sub(excess, Ordering::Relaxed);
        self.bytes -= excess;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.reserved.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Names of a directory, sorted by their bytes: files, and directories with a `/` at the end. In
/// this order the paths of all files below the directory are sorted by their bytes as well.
#[derive(Debug)]
pub(super) struct Names {
    /// The directory's state when it was read.
    state: FileState,
    /// The window holds all names from this one on …
    from: Vec<u8>,
    /// … to its last name; to the directory's last name if this is true.
    pub(super) complete: bool,
    spans: Vec<NameSpan>,
    arena: Vec<u8>,
    /// Number of names that were left out because they are not UTF-8.
    pub(super) names_not_utf8: usize,
    reserved: Reservation,
}

/// The position of a name in the arena, in bytes.
#[derive(Clone, Copy, Debug)]
struct NameSpan {
    start: u32,
    length: u16,
}

impl Names {
    /// Reads the names of `dir` from `from` on, at most `max_bytes` of them, fewer when the budget
    /// is used up. The second value says whether they may be cached: whether the directory's times
    /// will show a later change.
    pub(super) fn read(
        dir: impl AsFd,
        from: &[u8],
        max_bytes: usize,
        now_ns: u64,
        budget: &'static MemoryBudget,
    ) -> io::Result<(Self, bool)> {
        let state = tree::stat(&dir)?;
        let (max_bytes, reserved) = budget.reserve(max_bytes);
        let mut names = Self {
            state,
            from: from.to_vec(),
            complete: true,
            spans: Vec::new(),
            arena: Vec::new(),
            names_not_utf8: 0,
            reserved,
        };
        // Names from this one on exist and did not fit.
        let mut cut: Option<Vec<u8>> = None;
        tree::for_each_entry(&dir, |name, kind| {
            let is_dir = match kind {
                EntryKind::File => false,
                EntryKind::Directory => true,
                EntryKind::Other => return,
            };
            if str::from_utf8(name).is_err() {
                names.names_not_utf8 += 1;
            } else if let Some(beyond) = names.add(name, is_dir, cut.as_deref(), max_bytes) {
                cut = Some(beyond);
            }
        })?;
        names.complete = cut.is_none();
        names.sort();
        names.spans.shrink_to_fit();
        names.arena.shrink_to_fit();
        names.reserved.shrink_to(names.bytes());
        let settled = tree::stat(&dir)? == state && is_settled(&state, now_ns);
        Ok((names, settled))
    }

    /// Adds a name, if it is between `from` and `cut`. If the names then exceed `max_bytes`, the
    /// greater half of them is dropped, and the least dropped name is returned as the new `cut`.
    fn add(
        &mut self,
        name: &[u8],
        is_dir: bool,
        cut: Option<&[u8]>,
        max_bytes: usize,
    ) -> Option<Vec<u8>> {
        let (Ok(start), Ok(length)) =
            (u32::try_from(self.arena.len()), u16::try_from(name.len() + usize::from(is_dir)))
        else {
            // Not reached: `max_bytes` is less than 4 GiB, and a name has at most 255 bytes.
            return None;
        };
        self.arena.extend_from_slice(name);
        if is_dir {
            self.arena.push(b'/');
        }
        let added = &self.arena[start as usize..];
        if added < &self.from[..] || cut.is_some_and(|cut| added >= cut) {
            self.arena.truncate(start as usize);
            return None;
        }
        self.spans.push(NameSpan { start, length });
        if self.bytes() <= max_bytes || self.spans.len() < 2 {
            return None;
        }
        self.sort();
        let beyond = self.get(self.spans.len() / 2)?.to_vec();
        self.keep_lesser_half();
        Some(beyond)
    }

    fn keep_lesser_half(&mut self) {
        let half = self.spans.len() / 2;
        let mut arena = Vec::with_capacity(self.arena.len() / 2);
        for span in &mut self.spans[..half] {
            let start = span.start as usize;
            // Shorter than the arena that it is copied from, whose positions fit into 32 bits.
            span.start = u32::try_from(arena.len()).unwrap_or(u32::MAX);
            arena.extend_from_slice(&self.arena[start..start + usize::from(span.length)]);
        }
        self.spans.truncate(half);
        self.arena = arena;
    }

    /// A directory that changes while it is read can return a name twice.
    fn sort(&mut self) {
        let Self { spans, arena, .. } = self;
        spans.sort_unstable_by_key(|span| text(arena, *span));
        spans.dedup_by_key(|span| text(arena, *span));
    }

    fn get(&self, index: usize) -> Option<&[u8]> {
        self.spans.get(index).map(|span| text(&self.arena, *span))
    }

    /// The first name that is not less than `at`. `None`: the window has no more; the directory
    /// has, unless the window is complete.
    pub(super) fn next(&self, at: &[u8]) -> Option<&str> {
        let index = self.spans.partition_point(|span| text(&self.arena, *span) < at);
        // Only UTF-8 names were added.
        self.get(index).and_then(|name| str::from_utf8(name).ok())
    }

    /// Whether the window tells which name is at `at` or next after it.
    fn covers(&self, at: &[u8]) -> bool {
        let last = self.spans.len().checked_sub(1).and_then(|last| self.get(last));
        at >= &self.from[..] && (self.complete || last.is_some_and(|last| at <= last))
    }

    /// Memory that the names take, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.arena.len() + self.spans.len() * NAME_SPAN_BYTES
    }
}

fn text(arena: &[u8], span: NameSpan) -> &[u8] {
    let start = span.start as usize;
    &arena[start..start + usize::from(span.length)]
}

fn is_settled(state: &FileState, now_ns: u64) -> bool {
    let (seconds, nanoseconds) = state.modified.max(state.changed);
    let changed_ns = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
    i128::from(now_ns) - changed_ns >= SETTLE_NS
}

/// Cached windows, the most recently used at the end.
#[derive(Debug)]
pub(super) struct NameCache {
    windows: Mutex<Vec<Arc<Names>>>,
    max_bytes: usize,
}

impl NameCache {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { windows: Mutex::new(Vec::new()), max_bytes }
    }

    /// A window of the directory in this state that covers `at`. Windows of an earlier state of the
    /// directory are dropped.
    pub(super) fn get(&self, state: &FileState, at: &[u8]) -> Option<Arc<Names>> {
        let mut windows = self.lock();
        windows.retain(|names| names.state.inode != state.inode || names.state == *state);
        let index = windows.iter().position(|names| names.state == *state && names.covers(at))?;
        let names = windows.remove(index);
        windows.push(names.clone());
        Some(names)
    }

    /// Caches a window, and evicts those that were not used for longest.
    pub(super) fn insert(&self, names: &Arc<Names>) {
        if names.bytes() < CACHED_MIN_BYTES.min(self.max_bytes) {
            return;
        }
        let mut windows = self.lock();
        windows.retain(|other| other.state != names.state || other.from != names.from);
        windows.push(names.clone());
        let mut bytes = windows.iter().map(|names| names.bytes()).sum::<usize>();
        let excess = windows.iter().take_while(|names| {
            let over = bytes > self.max_bytes;
            bytes -= if over { names.bytes() } else { 0 };
            over
        });
        let excess = excess.count();
        windows.drain(..excess);
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.lock().iter().map(|names| names.bytes()).sum()
    }

    /// A panic cannot leave the list half changed.
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Names>>> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(changed: i64) -> FileState {
        FileState {
            inode: (1, 1),
            kind: EntryKind::Directory,
            length: 0,
            modified: (0, 0),
            changed: (changed, 500_000_000),
        }
    }

    /// 64 threads that each read a directory of a million names share the budget; once it is used
    /// up, the rest get short windows.
    #[test]
    fn name_memory_budget_bounds_windows_of_many_threads() {
        static SMALL: MemoryBudget = MemoryBudget::new(256 * 1024 * 1024);
        let mut held = Vec::new();
        for n in 0..64 {
            let (window, reserved) = SMALL.reserve(32 * 1024 * 1024);
            assert_eq!(window, if n < 4 { 32 * 1024 * 1024 } else { 512 * 1024 }, "{n}");
            held.push(reserved);
        }
        assert_eq!(SMALL.reserved(), (256 + 60) * 1024 * 1024);
        held[0].shrink_to(1024 * 1024);
        assert_eq!(SMALL.reserved(), (256 + 60 - 63) * 1024 * 1024);
        drop(held);
        assert_eq!(SMALL.reserved(), 0);
        // A window that is short already is not shortened.
        let all: Vec<_> = (0..4).map(|_| SMALL.reserve(32 * 1024 * 1024)).collect();
        assert_eq!(SMALL.reserve(1000).0, 1000);
        drop(all);
    }

    /// Without any budget every name is still listed.
    #[test]
    fn names_read_all_without_memory_budget() {
        static NONE: MemoryBudget = MemoryBudget::new(0);
        let dir = tempfile::tempdir().unwrap();
        for n in 0..5000 {
            std::fs::write(dir.path().join(format!("{n:0200}")), "").unwrap();
        }
        let (mut from, mut seen, mut windows) = (Vec::new(), 0, 0);
        loop {
            let fd = std::fs::File::open(dir.path()).unwrap();
            let (names, _) = Names::read(&fd, &from, WINDOW_BYTES, 0, &NONE).unwrap();
            assert!(names.bytes() <= SHORT_WINDOW_BYTES);
            windows += 1;
            seen += names.spans.len();
            let last = names.get(names.spans.len() - 1).unwrap().to_vec();
            from = [&last[..], b"\0"].concat();
            if names.complete {
                break;
            }
        }
        assert_eq!(seen, 5000);
        assert!(windows > 1);
        assert_eq!(NONE.reserved(), 0);
    }

    /// A directory's names may be cached from three seconds after its last change on.
    #[test]
    fn directory_is_settled_three_seconds_after_change() {
        assert!(!is_settled(&state(100), 103_499_999_999));
        assert!(is_settled(&state(100), 103_500_000_000));
        assert!(!is_settled(&state(100), 0));
        assert!(is_settled(&FileState { modified: (-200, 0), ..state(-100) }, 0));
        let later = FileState { modified: (101, 0), ..state(100) };
        assert!(!is_settled(&later, 103_999_999_999));
        assert!(is_settled(&later, 104_000_000_000));
    }
}

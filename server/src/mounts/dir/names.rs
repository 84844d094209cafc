//! The sorted names of a directory, and those of them that are kept between pages.
//!
//! The kernel gives the entries of a directory in no order and a page needs the next thousand of them, so
//! somebody has to sort. Reading a million names for each page of a thousand would take an hour; so what was
//! sorted is kept until the directory changes. A directory with more names than [`WINDOW_BYTES`] hold is read by
//! windows: the first so many after some name, then those after the last of these, and so on.

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
    tree::{self, State},
};

/// Most bytes of a window: names, and eight for each. While it is gathered, its buffers may take twice that.
/// A million names of 24 bytes fit.
pub const WINDOW_BYTES: usize = 32 * 1024 * 1024;
/// Most bytes of all windows that are kept: two at least, so that a directory and one below it do not keep
/// driving each other out.
pub const CACHE_BYTES: usize = 64 * 1024 * 1024;
/// Bytes of names, and of the buffers that gather them, of all pages that are made at once and of all caches. Where they
/// are used up, windows are short: a page then costs another look at its directory, and nobody waits.
pub const ROOM_BYTES: usize = 256 * 1024 * 1024;
/// Most bytes of a window where there is no room: it has the names of several pages.
const SHORT_WINDOW_BYTES: usize = 512 * 1024;
/// A window of fewer bytes is sooner read again than found. It also bounds how many there are.
const KEPT_FROM_BYTES: usize = 16 * 1024;

/// Time for which a directory must have been left alone before it is believed that a later change would show
/// in its times: file systems keep them by the tick of a clock, the coarsest of them (FAT) by two seconds.
const SETTLE_NS: i128 = 3_000_000_000;

/// What a name takes beside its bytes.
const SPAN_BYTES: usize = size_of::<Span>();

/// Room for names, shared by all who ask for it.
#[derive(Debug)]
pub(super) struct Room {
    taken: AtomicUsize,
    most: usize,
}

/// That of the process.
pub(super) static ROOM: Room = Room::new(ROOM_BYTES);

/// Some of it, until this is dropped.
#[derive(Debug)]
pub(super) struct Taken {
    room: &'static Room,
    bytes: usize,
}

impl Room {
    pub(super) const fn new(most: usize) -> Self {
        Self { taken: AtomicUsize::new(0), most }
    }

    /// Takes room for a window of at most `wanted` bytes while it is gathered, which takes up to twice that. Says how long the
    /// window may be.
    pub(super) fn take(&'static self, wanted: usize) -> (usize, Taken) {
        let bytes = 2 * wanted;
        let free = |taken: usize| taken.checked_add(bytes).filter(|all| *all <= self.most);
        match self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, free) {
            Ok(_) => (wanted, Taken { room: self, bytes }),
            Err(_) => {
                // However many there are: threads of the pool, with three windows each at most.
                let window = wanted.min(SHORT_WINDOW_BYTES);
                self.taken.fetch_add(2 * window, Ordering::Relaxed);
                (window, Taken { room: self, bytes: 2 * window })
            }
        }
    }

    #[cfg(test)]
    fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Taken {
    /// Gives back what is more than `bytes`.
    fn shrink_to(&mut self, bytes: usize) {
        let excess = self.bytes.saturating_sub(bytes);
        self.room.taken.fetch_sub(excess, Ordering::Relaxed);
        self.bytes -= excess;
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.room.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Names of a directory, sorted by their bytes: files, and directories with a `/` at the end. In this order the
/// paths of all files below the directory are in the order of their bytes, too.
#[derive(Debug)]
pub(super) struct Names {
    /// The directory, as it was when it was read.
    state: State,
    /// It holds all names from this one on …
    from: Vec<u8>,
    /// … to the last that it has; to the directory's last, if this is true.
    pub(super) complete: bool,
    spans: Vec<Span>,
    arena: Vec<u8>,
    /// How many names were left out because they are not UTF-8.
    pub(super) not_utf8: usize,
    taken: Taken,
}

/// Where a name is in the arena.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: u32,
    length: u16,
}

impl Names {
    /// Reads the names of `dir` from `from` on, at most `most` bytes of them, or fewer where `room` has none. Says whether they may be kept:
    /// whether the directory will look different once it has changed.
    pub(super) fn read(
        dir: impl AsFd,
        from: &[u8],
        most: usize,
        now_ns: u64,
        room: &'static Room,
    ) -> io::Result<(Self, bool)> {
        let state = tree::state(&dir)?;
        let (most, taken) = room.take(most);
        let mut names = Self {
            state,
            from: from.to_vec(),
            complete: true,
            spans: Vec::new(),
            arena: Vec::new(),
            not_utf8: 0,
            taken,
        };
        // From this one on there are others that have no room.
        let mut cut: Option<Vec<u8>> = None;
        tree::each_entry(&dir, |name, kind| {
            let is_dir = match kind {
                EntryKind::File => false,
                EntryKind::Directory => true,
                EntryKind::Other => return,
            };
            if str::from_utf8(name).is_err() {
                names.not_utf8 += 1;
            } else if let Some(beyond) = names.add(name, is_dir, cut.as_deref(), most) {
                cut = Some(beyond);
            }
        })?;
        names.complete = cut.is_none();
        names.sort();
        names.spans.shrink_to_fit();
        names.arena.shrink_to_fit();
        names.taken.shrink_to(names.bytes());
        let settled = tree::state(&dir)? == state && is_settled(&state, now_ns);
        Ok((names, settled))
    }

    /// Adds a name, if it is between `from` and `cut`. Where that takes more than `most` bytes, the greater half
    /// of all names goes, and the least that went is the new `cut`.
    fn add(
        &mut self,
        name: &[u8],
        is_dir: bool,
        cut: Option<&[u8]>,
        most: usize,
    ) -> Option<Vec<u8>> {
        let (Ok(start), Ok(length)) =
            (u32::try_from(self.arena.len()), u16::try_from(name.len() + usize::from(is_dir)))
        else {
            // Not reached: `most` is less than 4 GiB, a name has at most 255 bytes.
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
        self.spans.push(Span { start, length });
        if self.bytes() <= most || self.spans.len() < 2 {
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
            // Shorter than the arena that it is taken from, whose places fit.
            span.start = u32::try_from(arena.len()).unwrap_or(u32::MAX);
            arena.extend_from_slice(&self.arena[start..start + usize::from(span.length)]);
        }
        self.spans.truncate(half);
        self.arena = arena;
    }

    /// A directory that changes while it is read can give a name twice.
    fn sort(&mut self) {
        let Self { spans, arena, .. } = self;
        spans.sort_unstable_by_key(|span| text(arena, *span));
        spans.dedup_by_key(|span| text(arena, *span));
    }

    fn get(&self, index: usize) -> Option<&[u8]> {
        self.spans.get(index).map(|span| text(&self.arena, *span))
    }

    /// The first name that is not less than `at`. `None`: it has no more; there are some, unless it is complete.
    pub(super) fn next(&self, at: &[u8]) -> Option<&str> {
        let index = self.spans.partition_point(|span| text(&self.arena, *span) < at);
        // Only UTF-8 was added.
        self.get(index).and_then(|name| str::from_utf8(name).ok())
    }

    /// Whether it knows what comes at `at` or after.
    fn covers(&self, at: &[u8]) -> bool {
        let last = self.spans.len().checked_sub(1).and_then(|last| self.get(last));
        at >= &self.from[..] && (self.complete || last.is_some_and(|last| at <= last))
    }

    /// Memory that it takes.
    pub(super) fn bytes(&self) -> usize {
        self.arena.len() + self.spans.len() * SPAN_BYTES
    }
}

fn text(arena: &[u8], span: Span) -> &[u8] {
    let start = span.start as usize;
    &arena[start..start + usize::from(span.length)]
}

fn is_settled(state: &State, now_ns: u64) -> bool {
    let (seconds, nanoseconds) = state.modified.max(state.changed);
    let changed_ns = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
    i128::from(now_ns) - changed_ns >= SETTLE_NS
}

/// The windows that are kept, the one that was used last at the end.
#[derive(Debug)]
pub(super) struct NameCache {
    kept: Mutex<Vec<Arc<Names>>>,
    most_bytes: usize,
}

impl NameCache {
    pub(super) fn new(most_bytes: usize) -> Self {
        Self { kept: Mutex::new(Vec::new()), most_bytes }
    }

    /// A window of the directory with this state that knows what comes at `at`. Those of an earlier state of it go.
    pub(super) fn get(&self, state: &State, at: &[u8]) -> Option<Arc<Names>> {
        let mut kept = self.lock();
        kept.retain(|names| names.state.inode != state.inode || names.state == *state);
        let index = kept.iter().position(|names| names.state == *state && names.covers(at))?;
        let names = kept.remove(index);
        kept.push(names.clone());
        Some(names)
    }

    /// Keeps a window, and lets go of those that were not used for longest.
    pub(super) fn keep(&self, names: &Arc<Names>) {
        if names.bytes() < KEPT_FROM_BYTES.min(self.most_bytes) {
            return;
        }
        let mut kept = self.lock();
        kept.retain(|other| other.state != names.state || other.from != names.from);
        kept.push(names.clone());
        let mut bytes = kept.iter().map(|names| names.bytes()).sum::<usize>();
        let excess = kept.iter().take_while(|names| {
            let over = bytes > self.most_bytes;
            bytes -= if over { names.bytes() } else { 0 };
            over
        });
        let excess = excess.count();
        kept.drain(..excess);
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.lock().iter().map(|names| names.bytes()).sum()
    }

    /// A thread that panicked left the list as it was before or after a change.
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Names>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(changed: i64) -> State {
        State {
            inode: (1, 1),
            kind: EntryKind::Directory,
            length: 0,
            modified: (0, 0),
            changed: (changed, 500_000_000),
        }
    }

    /// 64 threads that each read a directory of a million names take what there is, and then little.
    #[test]
    fn room_for_names_is_bounded() {
        static SMALL: Room = Room::new(256 * 1024 * 1024);
        let mut held = Vec::new();
        for n in 0..64 {
            let (window, taken) = SMALL.take(32 * 1024 * 1024);
            assert_eq!(window, if n < 4 { 32 * 1024 * 1024 } else { 512 * 1024 }, "{n}");
            held.push(taken);
        }
        assert_eq!(SMALL.taken(), (256 + 60) * 1024 * 1024);
        held[0].shrink_to(1024 * 1024);
        assert_eq!(SMALL.taken(), (256 + 60 - 63) * 1024 * 1024);
        drop(held);
        assert_eq!(SMALL.taken(), 0);
        // What is short already stays as it is.
        let all: Vec<_> = (0..4).map(|_| SMALL.take(32 * 1024 * 1024)).collect();
        assert_eq!(SMALL.take(1000).0, 1000);
        drop(all);
    }

    /// With no room at all every name is on a page still.
    #[test]
    fn without_room_all_names_are_read() {
        static NONE: Room = Room::new(0);
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
        assert_eq!(NONE.taken(), 0);
    }

    #[test]
    fn a_directory_is_settled_three_seconds_after_its_last_change() {
        assert!(!is_settled(&state(100), 103_499_999_999));
        assert!(is_settled(&state(100), 103_500_000_000));
        assert!(!is_settled(&state(100), 0));
        assert!(is_settled(&State { modified: (-200, 0), ..state(-100) }, 0));
        let later = State { modified: (101, 0), ..state(100) };
        assert!(!is_settled(&later, 103_999_999_999));
        assert!(is_settled(&later, 104_000_000_000));
    }
}

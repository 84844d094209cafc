//! The allocator of a store's instants: numbers of ns since 1970, none of which is given twice, and
//! which grow over all objects, processes and power cuts (STORE, "Instants").
//!
//! They come from one small file, `clock`, which is overwritten in place under flock(2). It is
//! synced once for many instants: for all up to the one that it has *reserved*.

use std::{
    fs::File,
    io::ErrorKind,
    os::unix::fs::FileExt as _,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use zput_proto::message::Version;

use super::{
    clock_file::ClockFile,
    error::{Context, StoreError},
    fsync::Fsync,
    layout::CLOCK_FILE,
    random,
    staging::has_name,
};
use crate::sys::fs;

/// How far beyond an instant the next ones are reserved, in ns.
const RESERVED_NS: u64 = 10_000_000_000;
/// What has to be left of that before a commit takes a lock, in ns; with less it is renewed.
const LEFT_NS: u64 = 5_000_000_000;
/// The greatest instant.
const INSTANT_MAX: u64 = u64::MAX - 1;

/// How long a thread waits for the file.
const WAIT: Duration = Duration::from_secs(5);
/// How long it pauses while another process has the file: 1 ms, then twice as long each time.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(16));

/// The instants of an open store.
#[derive(Debug)]
pub(super) struct Instants {
    boot: [u8; 16],
    /// Whether a thread of this process has the file.
    in_use: Mutex<bool>,
    freed: Condvar,
    /// `last` and `reserved` as this process saw them last: neither is ever less.
    seen: (AtomicU64, AtomicU64),
    /// Whether the file was whole when this process looked at it.
    is_known: AtomicBool,
    /// Whether a thread makes the file anew.
    is_rebuilding: AtomicBool,
}

/// Whether there are instants to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum ClockState {
    Ready,
    /// The file is missing or damaged.
    Lost,
}

impl Instants {
    /// Those of the store with this clock.
    pub(super) fn new(fsync: &Fsync) -> Result<Self, StoreError> {
        // Where the kernel does not tell one boot from another, each process counts as one.
        let boot = fsync.clock().boot_id().map_or_else(random::bytes, Ok)?;
        Ok(Self {
            boot,
            in_use: Mutex::default(),
            freed: Condvar::new(),
            seen: (AtomicU64::new(0), AtomicU64::new(0)),
            is_known: AtomicBool::new(false),
            is_rebuilding: AtomicBool::new(false),
        })
    }

    /// Looks whether the file is whole, unless this process knows that it was.
    ///
    /// # Errors
    /// [`StoreError::ClockInUse`]; those of system calls.
    pub(super) fn look(&self, fsync: &Fsync) -> Result<ClockState, StoreError> {
        if self.is_known.load(Relaxed) {
            return Ok(ClockState::Ready);
        }
        let Some(file) = self.lock(fsync)? else { return Ok(ClockState::Lost) };
        Ok(if file.read()?.is_some() { ClockState::Ready } else { ClockState::Lost })
    }

    /// Renews the reservation if less than 5 s are left of it, so that a commit need not do so
    /// while it holds a lock.
    ///
    /// # Errors
    /// As [`Self::look`].
    pub(super) fn ahead(&self, fsync: &Fsync) -> Result<ClockState, StoreError> {
        let now_ns = fsync.clock().now_ns();
        let is_enough =
            |base: u64, reserved: u64| now_ns.max(base).saturating_add(LEFT_NS) <= reserved;
        let (last, reserved) = (self.seen.0.load(Relaxed), self.seen.1.load(Relaxed));
        if self.is_known.load(Relaxed) && is_enough(last, reserved) {
            return Ok(ClockState::Ready);
        }
        let Some(file) = self.lock(fsync)? else { return Ok(ClockState::Lost) };
        let Some(before) = file.read()? else { return Ok(ClockState::Lost) };
        let base = before.base(&self.boot);
        if before.boot != self.boot || !is_enough(base, before.reserved) {
            let reserved = now_ns.max(base).saturating_add(RESERVED_NS).min(INSTANT_MAX);
            let reserved = reserved.max(before.reserved);
            file.write(&ClockFile { last: base, reserved, boot: self.boot })?;
            file.sync()?;
        }
        Ok(ClockState::Ready)
    }

    /// The next instant: above all that were given, and above `above`, the number of the version
    /// that it replaces.
    ///
    /// # Errors
    /// [`StoreError::ClockLost`] where the file is missing or damaged;
    /// [`StoreError::VersionsExhausted`]; as [`Self::look`].
    pub(super) fn next(
        &self,
        fsync: &Fsync,
        above: Option<Version>,
    ) -> Result<Version, StoreError> {
        // The next upload looks, and makes it anew: not while this caller holds a lock.
        let lost = || {
            self.is_known.store(false, Relaxed);
            StoreError::ClockLost
        };
        let file = self.lock(fsync)?.ok_or_else(lost)?;
        let before = file.read()?.ok_or_else(lost)?;
        let base = before.base(&self.boot).max(above.map_or(0, |version| version.0));
        if base >= INSTANT_MAX {
            return Err(StoreError::VersionsExhausted(Version(base)));
        }
        let instant = fsync.clock().now_ns().min(INSTANT_MAX).max(base + 1);
        let now = ClockFile { last: instant, reserved: before.reserved, boot: self.boot };
        if instant <= before.reserved {
            file.write(&now)?;
        } else {
            // After a power cut nothing above what the disk has as reserved may have been given.
            let reserved = instant.saturating_add(RESERVED_NS).min(INSTANT_MAX);
            file.write(&ClockFile { reserved, ..now })?;
            file.sync()?;
        }
        Ok(Version(instant))
    }

    /// Makes the file anew, unless it is whole by now. `newest` goes through the store for its
    /// greatest instant; writes are refused meanwhile.
    ///
    /// # Errors
    /// [`StoreError::ClockLost`] while another thread does the same; that of `newest`; as
    /// [`Self::look`].
    pub(super) fn rebuild(
        &self,
        fsync: &Fsync,
        newest: impl FnOnce() -> Result<u64, StoreError>,
    ) -> Result<(), StoreError> {
        if self.is_rebuilding.swap(true, Relaxed) {
            return Err(StoreError::ClockLost);
        }
        let rebuilt = self.rebuild_alone(fsync, newest);
        self.is_rebuilding.store(false, Relaxed);
        rebuilt
    }

    fn rebuild_alone(
        &self,
        fsync: &Fsync,
        newest: impl FnOnce() -> Result<u64, StoreError>,
    ) -> Result<(), StoreError> {
        // An empty file is a damaged one: who is killed here leaves it to the next.
        match fs::create(fsync.root(), CLOCK_FILE) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => drop(made.context_file(MAKING, CLOCK_FILE)?),
        }
        let Some(file) = self.take(fsync)? else { return Err(StoreError::ClockLost) };
        if file.read()?.is_some() {
            return Ok(());
        }
        tracing::warn!(
            file = CLOCK_FILE,
            "the file of the newest version number is missing or damaged: it is made anew from \
             the numbers of all versions, and no version is put meanwhile"
        );
        // What this process gave may not have reached its place in the store yet.
        let seen = self.seen.0.load(Relaxed);
        let newest = newest()?.max(seen).max(fsync.clock().now_ns()).min(INSTANT_MAX);
        file.file.set_len(ClockFile::BYTES as u64).context_file(MAKING, CLOCK_FILE)?;
        file.write(&ClockFile { last: newest, reserved: newest, boot: self.boot })?;
        file.sync()?;
        fsync.dir(fsync.root())?;
        tracing::info!(file = CLOCK_FILE, newest, "made anew");
        Ok(())
    }

    /// As [`Self::take`], and at once an error while the file is made anew here.
    fn lock<'a>(&'a self, fsync: &'a Fsync) -> Result<Option<LockedClock<'a>>, StoreError> {
        if self.is_rebuilding.load(Relaxed) {
            return Err(StoreError::ClockLost);
        }
        let taken = self.take(fsync);
        if taken.is_err() {
            // The next upload waits for the file before it is sent, and not after.
            self.is_known.store(false, Relaxed);
        }
        taken
    }

    /// Waits for the file and locks it; `None` where there is none. Other threads of this process
    /// wait for each other in memory, so that only one of them asks for the lock.
    fn take<'a>(&'a self, fsync: &'a Fsync) -> Result<Option<LockedClock<'a>>, StoreError> {
        const LOCKING: &str = "lock the clock file";
        let until = Instant::now() + WAIT;
        let turn = self.turn(until)?;
        let (mut pause, longest) = PAUSES;
        loop {
            let file = match fs::open_write(fsync.root(), CLOCK_FILE) {
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                file => file.context_file("open the clock file", CLOCK_FILE)?,
            };
            if fs::try_lock(&file).context_file(LOCKING, CLOCK_FILE)? {
                // A file that was removed meanwhile is not the one that others lock.
                if has_name(fsync.root(), CLOCK_FILE, &file).context_file(LOCKING, CLOCK_FILE)? {
                    return Ok(Some(LockedClock { instants: self, fsync, file, _turn: turn }));
                }
                continue_until(until)?;
            } else {
                continue_until(until)?;
                thread::sleep(pause);
                pause = longest.min(pause * 2);
            }
        }
    }

    /// Waits until no other thread of this process has the file.
    fn turn(&self, until: Instant) -> Result<Turn<'_>, StoreError> {
        let mut in_use = locked(&self.in_use);
        while *in_use {
            continue_until(until)?;
            let left = until.saturating_duration_since(Instant::now());
            in_use =
                self.freed.wait_timeout(in_use, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        *in_use = true;
        Ok(Turn(self))
    }
}

const MAKING: &str = "make the clock file anew";

fn continue_until(until: Instant) -> Result<(), StoreError> {
    if Instant::now() < until { Ok(()) } else { Err(StoreError::ClockInUse) }
}

fn locked(mutex: &Mutex<bool>) -> MutexGuard<'_, bool> {
    // No code panics while it holds this.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the open file says; `None` where it is damaged.
pub(super) fn read(file: &File) -> Result<Option<ClockFile>, StoreError> {
    // One byte more, so that a longer file is seen to be one.
    let mut bytes = [0; ClockFile::BYTES + 1];
    let mut length = 0;
    while length < bytes.len() {
        let read = file.read_at(&mut bytes[length..], length as u64);
        match read.context_read("read the clock file", CLOCK_FILE)? {
            0 => break,
            read => length += read,
        }
    }
    Ok(ClockFile::parse(&bytes[..length]))
}

/// The only thread of this process that has the file.
#[derive(Debug)]
struct Turn<'a>(&'a Instants);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *locked(&self.0.in_use) = false;
        self.0.freed.notify_one();
    }
}

/// The file, which no other thread or process reads or writes meanwhile.
#[derive(Debug)]
struct LockedClock<'a> {
    instants: &'a Instants,
    fsync: &'a Fsync,
    file: File,
    _turn: Turn<'a>,
}

impl LockedClock<'_> {
    /// What the file says; `None` where it is damaged.
    fn read(&self) -> Result<Option<ClockFile>, StoreError> {
        let found = read(&self.file)?;
        if let Some(found) = &found {
            self.instants.saw(found);
        }
        Ok(found)
    }

    fn write(&self, now: &ClockFile) -> Result<(), StoreError> {
        self.file
            .write_all_at(&now.encode(), 0)
            .context_file("write the clock file", CLOCK_FILE)?;
        self.instants.saw(now);
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.fsync.data(&self.file, "sync the clock file")
    }
}

impl Drop for LockedClock<'_> {
    fn drop(&mut self) {
        // Closing the file is not enough: a child process that was just forked has the descriptor
        // until its exec.
        if let Err(error) = fs::unlock(&self.file) {
            tracing::warn!(file = CLOCK_FILE, %error, "cannot unlock");
        }
    }
}

impl Instants {
    fn saw(&self, file: &ClockFile) {
        // Another boot's reservation is not one of this boot.
        let reserved = if file.boot == self.boot { file.reserved } else { 0 };
        self.seen.0.fetch_max(file.base(&self.boot), Relaxed);
        self.seen.1.fetch_max(reserved, Relaxed);
        self.is_known.store(true, Relaxed);
    }
}

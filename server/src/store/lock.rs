//! The locks of a store: one for each shard, which orders the writers of its objects, and one for
//! the accounts (STORE, "Locks").
//!
//! A lock is flock(2) on a file of the store, so it orders processes too. A server's threads try
//! ([`Lock::try_acquire`]) and never wait: the jobs that need a lock wait in its queue. Programs
//! and tests without a server wait ([`Lock::acquire_blocking`]).

use std::{
    fmt,
    fs::File,
    io::ErrorKind,
    os::fd::AsFd as _,
    thread,
    time::{Duration, Instant},
};

use zput_proto::name::ObjectKey;

use super::{
    Store, directories,
    error::{Context, StoreError},
    fsync::Fsync,
    layout::{CLIENTS, LOCKS, ObjectName, Shard},
    staging::has_name,
};
use crate::sys::fs;

/// How long a change waits for a lock, before the answer is `Busy`. Longer than any holder needs
/// whose disk works, and shorter than a client waits for an answer.
pub(crate) const LOCK_WAIT_MAX: Duration = Duration::from_secs(5);

/// Pause of a waiting thread between two tries.
const BLOCKING_PAUSE: Duration = Duration::from_millis(1);

/// How many times a lock file may be replaced while one thread tries to take its lock.
const LOCK_ATTEMPTS_MAX: usize = 8;

/// Which lock of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum LockName {
    /// Orders the writers of a shard: `locks/ab`.
    Shard(Shard),
    /// Orders what changes accounts: the directory `clients`.
    Accounts,
}

/// What takes a lock over from its holder.
type HandOn = Box<dyn FnOnce(Lock) + Send>;

/// A lock that is held. Dropping it hands it on, or releases it.
pub(crate) struct Lock {
    name: LockName,
    /// `None` where the lock file is missing on a read-only store, which has no writers.
    file: Option<File>,
    hand_on: Option<HandOn>,
}

impl LockName {
    /// The lock that orders the writers of an object.
    pub(crate) fn of_object(key: &ObjectKey) -> Self {
        Self::Shard(ObjectName::for_key(key).shard())
    }

    /// The file or directory that is locked, from the store's directory.
    fn path(self) -> String {
        match self {
            Self::Shard(shard) => shard.lock_file(),
            Self::Accounts => CLIENTS.to_owned(),
        }
    }
}

impl Lock {
    /// Takes a lock, unless another thread or process has it.
    ///
    /// # Errors
    /// When the lock file cannot be opened, or made again.
    pub(super) fn try_acquire(fsync: &Fsync, name: LockName) -> Result<Option<Self>, StoreError> {
        const LOCKING: &str = "take a lock";
        let path = name.path();
        for _ in 0..LOCK_ATTEMPTS_MAX {
            let Some(file) = open(fsync, name)? else {
                return Ok(Some(Self { name, file: None, hand_on: None }));
            };
            if !fs::try_lock(&file).context_file(LOCKING, &path)? {
                return Ok(None);
            }
            // If the lock file was removed meanwhile, later callers take the lock of another file,
            // and this one excludes no other caller.
            if has_name(fsync.root(), &path, &file).context_file(LOCKING, &path)? {
                return Ok(Some(Self { name, file: Some(file), hand_on: None }));
            }
        }
        Err(StoreError::Missing(path))
    }

    /// Takes a lock, and waits for it until `until` at most.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another thread or process has it all the time; those of
    /// [`Self::try_acquire`].
    pub(super) fn acquire_blocking(
        fsync: &Fsync,
        name: LockName,
        until: Instant,
    ) -> Result<Self, StoreError> {
        #[cfg(test)]
        let mut waiting = None;
        loop {
            if let Some(lock) = Self::try_acquire(fsync, name)? {
                return Ok(lock);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(StoreError::Locked);
            }
            #[cfg(test)]
            waiting.get_or_insert_with(|| Waiting::of(fsync));
            thread::sleep(left.min(BLOCKING_PAUSE));
        }
    }

    /// The lock, which is given to `hand_on` when its holder drops it.
    #[must_use]
    pub(crate) fn handed_on_to(mut self, hand_on: impl FnOnce(Self) + Send + 'static) -> Self {
        self.hand_on = Some(Box::new(hand_on));
        self
    }

    /// Whether other processes still find the file that this is the lock of.
    pub(crate) fn is_current(&self, store: &Store) -> bool {
        let named = |file| has_name(store.root(), &self.name.path(), file).unwrap_or(false);
        self.file.as_ref().is_none_or(named)
    }

    /// Which lock this is.
    pub(super) const fn name(&self) -> LockName {
        self.name
    }

    /// The locked file.
    pub(super) const fn file(&self) -> Option<&File> {
        self.file.as_ref()
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Some(hand_on) = self.hand_on.take() {
            hand_on(Self { name: self.name, file: self.file.take(), hand_on: None });
        }
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lock").field(&self.name).finish()
    }
}

impl Store {
    /// Takes a lock, unless another thread or process has it.
    ///
    /// # Errors
    /// Those of [`Lock::try_acquire`].
    pub(crate) fn try_lock(&self, name: LockName) -> Result<Option<Lock>, StoreError> {
        Lock::try_acquire(self.fsync(), name)
    }

    /// Takes a lock, and waits for it as long as a request does.
    ///
    /// # Errors
    /// [`StoreError::Locked`]; those of [`Lock::try_acquire`].
    pub(super) fn lock_blocking(&self, name: LockName) -> Result<Lock, StoreError> {
        Lock::acquire_blocking(self.fsync(), name, Instant::now() + LOCK_WAIT_MAX)
    }
}

/// Opens the file or directory of a lock. A missing lock file is made again; `None` on a read-only
/// store without it.
fn open(fsync: &Fsync, name: LockName) -> Result<Option<File>, StoreError> {
    const OPENING: &str = "open a lock";
    let path = name.path();
    let shard = match name {
        LockName::Shard(shard) => shard,
        LockName::Accounts => {
            let dir = directories::open_for_names(fsync, CLIENTS)?;
            return dir.map(|dir| Some(dir.into())).ok_or(StoreError::Missing(path));
        }
    };
    match fs::open_lock(fsync.root(), &path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if fsync.is_read_only() {
                return Ok(None);
            }
            let locks = directories::open_for_names(fsync, LOCKS)?;
            let locks = locks.ok_or_else(|| StoreError::Missing(LOCKS.to_owned()))?;
            // It means nothing after a crash, so its name is not synced.
            directories::make_lock(locks.as_fd(), &shard.to_string(), &path)?;
            fs::open_lock(fsync.root(), &path).map(Some).context_read(OPENING, path)
        }
        lock => lock.map(Some).context_read(OPENING, path),
    }
}

/// Counts a thread that has found a lock taken and tries again, so that a test knows of it.
#[cfg(test)]
struct Waiting<'a>(&'a std::sync::atomic::AtomicUsize);

#[cfg(test)]
impl<'a> Waiting<'a> {
    fn of(fsync: &'a Fsync) -> Self {
        fsync.lock_waiters.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Self(&fsync.lock_waiters)
    }
}

#[cfg(test)]
impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
    }
}

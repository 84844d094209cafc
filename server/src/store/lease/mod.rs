//! The lease of an upload: the right to write to its file, which one connection holds at a time.
//!
//! A client whose connection was lost reconnects while the server still waits for data on the first
//! connection. The newer connection then takes the upload over (PROTOCOL 5,
//! "Take-over"): it revokes the older connection's lease and receives what that connection had
//! received. A call that the older connection is still making, with data that arrived before the
//! connection was lost, is waited for; every later call fails before it touches the file. No thread
//! waits: whether the wait is over is asked again and again ([`Revoking::is_ready`]).

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    thread,
    time::{Duration, Instant},
};

/// The exclusive right to use a `T`, and the `T` itself.
pub(super) struct Lease<T>(Arc<Shared<T>>);

/// A lease that does not keep its `T` alive.
pub(super) struct WeakLease<T>(Weak<Shared<T>>);

/// How long a [`Revoking`] waits, in three steps.
#[derive(Clone, Copy, Debug)]
pub(super) struct RevokeTimeouts {
    /// The holder must have made no call for this long: then all data that had arrived is written.
    /// Zero: do not wait for that.
    pub(super) quiet: Duration,
    /// How long to wait at most for the holder to be quiet.
    pub(super) quiet_wait_max: Duration,
    /// How long to wait after that, at most, for the end of a call in progress.
    pub(super) call_wait_max: Duration,
}

/// How long a connection waits that takes an upload over: data that had arrived before the
/// connection was lost is written first. Between two buffers of a slice that has arrived there is
/// less than half a second. A call writes one buffer or reads one slice; only an overloaded disk
/// takes longer than a second for it, and then the client retries.
pub(super) const TAKE_OVER_TIMEOUTS: RevokeTimeouts = RevokeTimeouts {
    quiet: Duration::from_millis(500),
    quiet_wait_max: Duration::from_secs(2),
    call_wait_max: Duration::from_secs(1),
};

/// Pause of a waiting thread between two looks at a lease.
const BLOCKING_PAUSE: Duration = Duration::from_millis(1);

/// Why the holder of a lease has nothing to use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeaseLost {
    /// The holder has taken the value itself.
    Taken,
    /// A newer connection has revoked the lease.
    Revoked,
}

/// The result of revoking a lease.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Revocation<T> {
    /// The value. The older holder can no longer use it.
    Taken(T),
    /// No value: the holder has taken it, or another connection revoked the lease first.
    Released,
    /// No value yet: the holder's call takes longer than the timeouts allow. The value is dropped
    /// when that call ends.
    Busy,
}

struct Shared<T> {
    /// The number of the connection that holds the lease.
    holder: u64,
    state: Mutex<State<T>>,
}

struct State<T> {
    slot: Slot<T>,
    /// When the holder's last call ended.
    idle_since: Instant,
    is_revoked: bool,
    /// How many [`Revoking`] there are.
    waiting: usize,
}

/// A lease that is being revoked. Whether the value may be taken is asked again and again, so that
/// no thread waits. Dropping it ends the wait: before the lease is revoked the holder goes on,
/// afterwards the value is dropped.
pub(super) struct Revoking<T> {
    lease: Lease<T>,
    timeouts: RevokeTimeouts,
    begun: Instant,
    /// When the lease was revoked.
    revoked: Option<Instant>,
}

enum Slot<T> {
    /// The holder makes no call at the moment.
    Idle(T),
    /// A call of the holder is using the value.
    Borrowed,
    Empty,
}

impl<T> Lease<T> {
    /// A lease of `value`, held by the connection with this number.
    pub(super) fn new(value: T, holder: u64) -> Self {
        let idle_since = Instant::now();
        let state = State { slot: Slot::Idle(value), idle_since, is_revoked: false, waiting: 0 };
        Self(Arc::new(Shared { holder, state: Mutex::new(state) }))
    }

    /// The number of the connection that holds the lease.
    pub(super) fn holder(&self) -> u64 {
        self.0.holder
    }

    /// The same lease, for a connection that may revoke it while it lasts.
    pub(super) fn downgrade(&self) -> WeakLease<T> {
        WeakLease(Arc::downgrade(&self.0))
    }

    /// Calls `work` with the value. The holder makes one call at a time.
    ///
    /// # Errors
    /// When the value is gone.
    pub(super) fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> Result<R, LeaseLost> {
        let mut call = CallGuard { shared: &self.0, value: Some(self.0.borrow()?) };
        match &mut call.value {
            Some(value) => Ok(work(value)),
            None => Err(LeaseLost::Taken),
        }
    }

    /// Reads the value between two calls of the holder; `None` during a call.
    pub(super) fn peek<R>(&self, read: impl FnOnce(&T) -> R) -> Option<R> {
        match &self.0.state().slot {
            Slot::Idle(value) => Some(read(value)),
            Slot::Borrowed | Slot::Empty => None,
        }
    }

    /// Ends the lease and returns the value to its holder.
    ///
    /// # Errors
    /// When the value is gone.
    pub(super) fn take(&self) -> Result<T, LeaseLost> {
        let value = self.0.borrow()?;
        self.0.state().slot = Slot::Empty;
        Ok(value)
    }

    /// Begins to take the value away from the holder.
    pub(super) fn revoke(self, timeouts: RevokeTimeouts, now: Instant) -> Revoking<T> {
        self.0.state().waiting += 1;
        Revoking { lease: self, timeouts, begun: now, revoked: None }
    }

    /// Revokes the lease, and drops the value: now, or when the holder's call in progress ends.
    pub(super) fn end(&self) {
        let mut state = self.0.state();
        state.is_revoked = true;
        let value = state.take_unwanted();
        drop(state);
        // Dropped after the lock is released.
        drop(value);
    }
}

impl<T> Revoking<T> {
    /// Whether [`Self::take`] need not wait any longer. Revokes the lease once the holder is quiet;
    /// from then on the holder cannot use the value again.
    pub(super) fn is_ready(&mut self, now: Instant) -> bool {
        let Self { lease, timeouts, begun, revoked } = self;
        let mut state = lease.0.state();
        let since_revoked = match *revoked {
            Some(revoked) => now.saturating_duration_since(revoked),
            None => {
                let waited = now.saturating_duration_since(*begun);
                let left = timeouts.quiet_wait_max.saturating_sub(waited);
                let to_quiet = match state.slot {
                    Slot::Idle(_) => {
                        let idle = now.saturating_duration_since(state.idle_since);
                        timeouts.quiet.saturating_sub(idle)
                    }
                    Slot::Borrowed => timeouts.quiet,
                    Slot::Empty => Duration::ZERO,
                };
                if !to_quiet.min(left).is_zero() {
                    return false;
                }
                state.is_revoked = true;
                *revoked = Some(now);
                Duration::ZERO
            }
        };
        !matches!(state.slot, Slot::Borrowed) || since_revoked >= timeouts.call_wait_max
    }

    /// Takes the value. Whatever this returns, the holder cannot use the value again.
    pub(super) fn take(self) -> Revocation<T> {
        let mut state = self.lease.0.state();
        state.is_revoked = true;
        match std::mem::replace(&mut state.slot, Slot::Empty) {
            Slot::Idle(value) => Revocation::Taken(value),
            Slot::Empty => Revocation::Released,
            Slot::Borrowed => {
                state.slot = Slot::Borrowed;
                Revocation::Busy
            }
        }
    }

    /// Waits as long as the timeouts allow, and takes the value.
    pub(super) fn take_blocking(mut self) -> Revocation<T> {
        while !self.is_ready(Instant::now()) {
            thread::sleep(BLOCKING_PAUSE);
        }
        self.take()
    }
}

impl<T> Drop for Revoking<T> {
    fn drop(&mut self) {
        let mut state = self.lease.0.state();
        state.waiting -= 1;
        let value = state.take_unwanted();
        drop(state);
        drop(value);
    }
}

impl<T> State<T> {
    /// The value of a revoked lease that nothing waits for and no call is using.
    fn take_unwanted(&mut self) -> Option<T> {
        if !self.is_revoked || self.waiting > 0 || !matches!(self.slot, Slot::Idle(_)) {
            return None;
        }
        match std::mem::replace(&mut self.slot, Slot::Empty) {
            Slot::Idle(value) => Some(value),
            Slot::Borrowed | Slot::Empty => None,
        }
    }
}

impl<T> Shared<T> {
    /// Hands the value to the holder, whose call puts it back when it ends ([`CallGuard`]).
    fn borrow(&self) -> Result<T, LeaseLost> {
        let mut state = self.state();
        if state.is_revoked {
            return Err(LeaseLost::Revoked);
        }
        match std::mem::replace(&mut state.slot, Slot::Borrowed) {
            Slot::Idle(value) => Ok(value),
            other => {
                state.slot = other;
                Err(LeaseLost::Taken)
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        // A panic cannot leave the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call of the holder. When it ends the value goes back, where a [`Revoking`] finds it.
struct CallGuard<'a, T> {
    shared: &'a Shared<T>,
    value: Option<T>,
}

impl<T> Drop for CallGuard<'_, T> {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.idle_since = Instant::now();
        // A revoked lease that nothing waits for has no taker for the value. A value that a
        // panicking call leaves is not used again.
        let is_wanted = !state.is_revoked || state.waiting > 0;
        state.slot = match self.value.take_if(|_| is_wanted && !std::thread::panicking()) {
            Some(value) => Slot::Idle(value),
            None => Slot::Empty,
        };
        // A value that is left is dropped after the lock is released.
    }
}

impl<T> WeakLease<T> {
    /// A lease of nothing.
    pub(super) const fn new() -> Self {
        Self(Weak::new())
    }

    /// The lease, if it still exists.
    pub(super) fn upgrade(&self) -> Option<Lease<T>> {
        self.0.upgrade().map(Lease)
    }
}

impl<T> fmt::Debug for Revoking<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revoking").field("revoked", &self.revoked).finish_non_exhaustive()
    }
}

impl<T: fmt::Debug> fmt::Debug for Lease<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.peek(|value| value.fmt(f)).unwrap_or_else(|| f.write_str("Lease(..)"))
    }
}

impl<T> fmt::Debug for WeakLease<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WeakLease")
    }
}

#[cfg(test)]
mod tests;

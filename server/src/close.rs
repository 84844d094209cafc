//! How a connection ends on the server's initiative.
//!
//! What was said is let out first, then the server stops writing, and then it reads on for a moment
//! and throws away what comes: a socket that is closed with unread bytes resets the connection, and
//! the reset can overtake the answer that says why (RFC 9112, 9.6).

use std::time::{Duration, Instant};

use crate::desk::End;

/// Longest farewell: past a round trip around the world and one retransmission.
const FAREWELL: Duration = Duration::from_secs(2);

/// Most bytes thrown away during a farewell: what a peer may have had on its way.
const FAREWELL_MAX_BYTES: usize = 1024 * 1024;

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Requests are served.
    Open,
    /// What was said is let out, until this time.
    Leaving {
        /// When to give up.
        until: Instant,
    },
    /// The server has stopped writing and waits for the peer to stop too, until this time.
    Lingering {
        /// When to give up.
        until: Instant,
        /// Bytes that are still put up with.
        left: usize,
    },
}

impl Phase {
    /// Whether requests are served.
    pub(crate) const fn is_open(self) -> bool {
        matches!(self, Self::Open)
    }

    /// Begins the farewell, unless it has begun.
    pub(crate) fn leave(&mut self, now: Instant) {
        if self.is_open() {
            *self = Self::Leaving { until: now + FAREWELL };
        }
    }

    /// The server has stopped writing: what is left is to wait for the peer.
    pub(crate) const fn linger(&mut self) {
        if let Self::Leaving { until } = *self {
            *self = Self::Lingering { until, left: FAREWELL_MAX_BYTES };
        }
    }

    /// `n` bytes were thrown away.
    ///
    /// # Errors
    /// When it were too many.
    pub(crate) fn put_up_with(&mut self, n: usize) -> Result<(), End> {
        if let Self::Lingering { left, .. } = self {
            *left = left.checked_sub(n).ok_or(End::Done)?;
        }
        Ok(())
    }

    /// When the farewell has taken too long, once it has begun.
    pub(crate) const fn deadline(self) -> Option<Instant> {
        match self {
            Self::Open => None,
            Self::Leaving { until } | Self::Lingering { until, .. } => Some(until),
        }
    }

    /// Whether the farewell has taken too long.
    pub(crate) fn is_overdue(self, now: Instant) -> bool {
        self.deadline().is_some_and(|until| until <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_farewell_begins_once_and_its_time_is_not_given_anew() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut phase = Phase::Open;
        assert!(!phase.is_overdue(at(1_000_000)));
        phase.linger();
        assert!(phase.is_open(), "nobody lingers who has not said goodbye");
        phase.leave(start);
        phase.leave(at(1_500));
        phase.linger();
        phase.leave(at(1_800));
        assert!(matches!(phase, Phase::Lingering { .. }), "{phase:?}");
        assert!(!phase.is_overdue(at(1_999)) && phase.is_overdue(at(2_000)));
    }

    #[test]
    fn a_mebibyte_is_put_up_with() {
        let mut phase = Phase::Open;
        phase.leave(Instant::now());
        phase.linger();
        phase.put_up_with(1_000_000).unwrap();
        phase.put_up_with(48_576).unwrap();
        assert!(matches!(phase.put_up_with(1), Err(End::Done)));
    }
}

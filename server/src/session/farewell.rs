//! How a connection ends on the server's initiative, and its deadlines.
//!
//! What was said is let out first, then the server stops writing, and then it reads on for a moment
//! and throws away what comes: a socket that is closed with unread bytes resets the connection, and
//! the reset can overtake the answer that says why.

use std::time::{Duration, Instant};

use super::{Connection, End, Outgoing};

/// Longest farewell: past a round trip around the world and one retransmission.
const FAREWELL: Duration = Duration::from_secs(2);

/// Most bytes thrown away during a farewell: what a peer may have had on its way.
const FAREWELL_MAX_BYTES: usize = 1024 * 1024;

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
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
    pub(super) const fn is_open(self) -> bool {
        matches!(self, Self::Open)
    }
}

impl Connection {
    /// Begins the farewell.
    pub(super) fn leave(&mut self, now: Instant) {
        if self.phase.is_open() {
            self.session.close();
            self.phase = Phase::Leaving { until: now + FAREWELL };
        }
    }

    /// All was let out: stops writing, and lingers unless the peer has ended too.
    pub(super) fn stop_writing(&mut self, until: Instant) -> Result<(), End> {
        self.wire.end_writing();
        if self.peer_ended {
            return Err(End::Done);
        }
        self.phase = Phase::Lingering { until, left: FAREWELL_MAX_BYTES };
        Ok(())
    }

    /// `n` bytes were thrown away.
    pub(super) fn put_up_with(&mut self, n: usize) -> Result<(), End> {
        if let Phase::Lingering { left, .. } = &mut self.phase {
            *left = left.checked_sub(n).ok_or(End::Done)?;
        }
        Ok(())
    }

    /// When to look at this connection again though nothing happened.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Leaving { until } | Phase::Lingering { until, .. } => Some(until),
            // While a job is under way it is the server that the peer waits for.
            Phase::Open if self.ticket.is_some() => None,
            Phase::Open => self.session.deadline(),
        }
    }

    /// A deadline may have passed.
    ///
    /// # Errors
    /// When the connection ends without a farewell.
    pub(crate) fn expire(&mut self, now: Instant) -> Result<(), End> {
        match self.phase {
            Phase::Leaving { until } | Phase::Lingering { until, .. } if until <= now => {
                Err(End::FarewellTimeout)
            }
            Phase::Open if self.ticket.is_none() && self.session.handle_timeout(now) => {
                // A peer that does not even take what is on its way would not take a farewell.
                if !matches!(self.outgoing, Outgoing::Nothing) {
                    return Err(End::Idle);
                }
                self.leave(now);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

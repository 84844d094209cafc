//! How a connection ends on the server's initiative, and its deadlines.
//!
//! What was said is let out first, then the server stops writing, and then it reads on for a moment
//! and throws away what comes: a socket that is closed with unread bytes resets the connection, and
//! the reset can overtake the answer that says why.

use std::time::{Duration, Instant};

use zput_common::limits::HANDSHAKE_SECONDS;

use super::{Connection, End, Outgoing, access::Standing};

/// Time from the accept until the server knows whom it serves: a hello, a handshake and, for a device without an
/// account, the answer to its Join (PROTOCOL 9).
pub(super) const INTRODUCTION: Duration = Duration::from_secs(HANDSHAKE_SECONDS);

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
            Phase::Open => match (self.session.deadline(), self.introduction_deadline()) {
                (Some(session), Some(introduction)) => Some(session.min(introduction)),
                (session, introduction) => session.or(introduction),
            },
        }
    }

    /// When a peer that the server does not know has had its time. Bytes do not move it: who may do nothing yet does
    /// not hold a seat by sending one byte now and then.
    fn introduction_deadline(&self) -> Option<Instant> {
        match &self.standing {
            None | Some(Standing::Stranger(_)) => Some(self.introduced_by),
            Some(Standing::Member(..) | Standing::Anonymous(_)) => None,
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
            Phase::Open if self.ticket.is_none() => {
                let end = if self.introduction_deadline().is_some_and(|deadline| deadline <= now) {
                    End::Stranger
                } else if self.session.handle_timeout(now) {
                    End::Idle
                } else {
                    return Ok(());
                };
                // A peer that does not even take what is on its way would not take a farewell.
                if !matches!(self.outgoing, Outgoing::Nothing) {
                    return Err(end);
                }
                self.leave(now);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

//! How long a connection may take.

use std::time::{Duration, Instant};

use zput_common::limits::HANDSHAKE_SECONDS;

use super::{Connection, Outgoing, Task, access::Standing};
use crate::desk::End;

/// Time from the accept until the server knows whom it serves: a hello, a handshake and, for a device without an
/// account, the answer to its Join (PROTOCOL 9).
pub(super) const INTRODUCTION: Duration = Duration::from_secs(HANDSHAKE_SECONDS);

impl Connection {
    /// Begins the farewell.
    pub(super) fn leave(&mut self, now: Instant) {
        if self.phase.is_open() {
            self.session.close();
            self.phase.leave(now);
        }
    }

    /// All was let out: stops writing, and lingers unless the peer has ended too.
    pub(super) fn stop_writing(&mut self) -> Result<(), End> {
        self.wire.end_writing();
        if self.peer_ended {
            return Err(End::Done);
        }
        self.phase.linger();
        Ok(())
    }

    /// When to look at this connection again though nothing happened.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.phase.deadline() {
            Some(until) => Some(until),
            // While a job is under way it is the server that the peer waits for.
            None if self.ticket.is_some() => None,
            None => {
                let all =
                    [self.session.deadline(), self.introduction_deadline(), self.pace.deadline()];
                all.into_iter().flatten().min()
            }
        }
    }

    /// When a peer that the server does not know has had its time. Bytes do not move it: who may do nothing yet does
    /// not hold a seat by sending one byte now and then.
    fn introduction_deadline(&self) -> Option<Instant> {
        match &self.standing {
            None | Some(Standing::Stranger(_)) => Some(self.introduced_by),
            Some(Standing::Member(..)) => None,
            // Nor does one without a key keep it by pings: it has to ask for something.
            Some(Standing::Anonymous) => {
                let at_rest = matches!(self.task, Task::Idle) && self.nothing_to_put_out();
                self.idle_until.filter(|_| at_rest && self.upload.is_none())
            }
        }
    }

    /// Something was asked for, and its answer moves.
    pub(super) fn asked(&mut self, now: Instant) {
        if let Some(until) = &mut self.idle_until {
            *until = now + self.idle;
        }
    }

    /// A deadline may have passed.
    ///
    /// # Errors
    /// When the connection ends without a farewell.
    pub(crate) fn expire(&mut self, now: Instant) -> Result<(), End> {
        if self.phase.is_overdue(now) {
            return Err(End::FarewellTimeout);
        }
        if !self.phase.is_open() || self.ticket.is_some() {
            return Ok(());
        }
        let end = if self.introduction_deadline().is_some_and(|deadline| deadline <= now) {
            End::Stranger
        } else if self.session.handle_timeout(now) {
            End::Idle
        } else if self.pace.is_too_slow(now, self.wire.unsent()) {
            End::Slow
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
}

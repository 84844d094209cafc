//! How long a connection may take.

use std::time::{Duration, Instant};

use zput_common::limits::HANDSHAKE_SECONDS;

use super::{Connection, Outgoing, Task, access::Standing};
use crate::{desk::End, metrics::RequestKind, permits::Permits};

/// Time from the accept until the server knows whom it serves: a hello, a handshake and, for a device without an
/// account, the answer to its Join (PROTOCOL 9).
pub(super) const INTRODUCTION: Duration = Duration::from_secs(HANDSHAKE_SECONDS);

/// Whether a request keeps the seat of a peer without a key. Where an upload is open it has to be about that.
pub(super) const fn keeps_seat(kind: RequestKind, upload_is_open: bool) -> bool {
    match kind {
        RequestKind::Ping | RequestKind::Mount => false,
        RequestKind::Begin
        | RequestKind::Resume
        | RequestKind::Claim
        | RequestKind::Slice
        | RequestKind::Commit
        | RequestKind::Abort => true,
        _ => !upload_is_open,
    }
}

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
                let all = [
                    self.session.deadline(),
                    self.introduction_deadline(),
                    self.standstill_deadline(),
                    self.pace.deadline(),
                ];
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
            Some(Standing::Anonymous) => self.rests_until().filter(|_| self.upload.is_none()),
        }
    }

    /// When the upload of a peer without a key has stood still for so long that its seat is not its own any more. Pings
    /// say that somebody is there, and not that anything comes of it: the source may be slow.
    fn standstill_deadline(&self) -> Option<Instant> {
        self.rests_until().filter(|_| self.upload.is_some() && !self.stands_still)
    }

    /// Until when a peer without a key may ask for nothing. In the middle of a slice, or of an answer, the idle time and the
    /// minimum rate count.
    fn rests_until(&self) -> Option<Instant> {
        let is_keyless = matches!(self.standing, Some(Standing::Anonymous));
        let at_rest = matches!(self.task, Task::Idle) && self.nothing_to_put_out();
        self.idle_until.filter(|_| is_keyless && at_rest)
    }

    /// Something was asked for, and its answer moves. What had stood still takes a share again, if there is one.
    pub(super) fn asked(&mut self, shares: &Permits, now: Instant) {
        if let Some(until) = &mut self.idle_until {
            *until = now + self.idle;
        }
        if std::mem::take(&mut self.stands_still) {
            self.keyless = shares.permit();
            if self.keyless.is_none() {
                self.leave(now);
            }
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
        if self.standstill_deadline().is_some_and(|deadline| deadline <= now) {
            self.stands_still = true;
            self.keyless = None;
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

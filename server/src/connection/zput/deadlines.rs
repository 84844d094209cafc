//! Deadlines of a connection.

use std::time::Instant;

use super::{
    super::close::CloseReason,
    authorize::Principal,
    connection::{Connection, Outgoing, Task},
};
use crate::{limits::Semaphore, metrics::RequestKind};

/// Whether a request keeps the permit of a peer without a key. While an upload is open it must be
/// about that.
pub(super) const fn keeps_permit(kind: RequestKind, upload_is_open: bool) -> bool {
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
    /// When to call [`Self::expire`] next.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.phase.deadline() {
            Some(until) => Some(until),
            // While a job is running the peer waits for the server, not the other way round.
            None if self.ticket.is_some() => None,
            None => {
                let all = [
                    self.session.deadline(),
                    self.registration_deadline(),
                    self.standstill_deadline(),
                    self.rate.deadline(),
                ];
                all.into_iter().flatten().min()
            }
        }
    }

    /// When an unregistered peer must have joined. Traffic does not extend it, so an unregistered
    /// device cannot hold a connection slot by trickling bytes.
    fn registration_deadline(&self) -> Option<Instant> {
        match &self.principal {
            None | Some(Principal::Unregistered(_)) => Some(self.register_by),
            Some(Principal::Registered(..)) => None,
            // Pings do not keep the permit of a peer without a key either.
            Some(Principal::Anonymous) => self.rests_until().filter(|_| self.upload.is_none()),
        }
    }

    /// When the upload of a peer without a key has stood still for so long that its permit may go
    /// to another peer. Pings show that the peer is there, not that its source makes progress.
    fn standstill_deadline(&self) -> Option<Instant> {
        self.rests_until().filter(|_| self.upload.is_some() && !self.stalled)
    }

    /// Until when a peer without a key may send no request. Within a slice or a response the idle
    /// time and the minimum rate apply instead.
    fn rests_until(&self) -> Option<Instant> {
        let is_keyless = matches!(self.principal, Some(Principal::Anonymous));
        let at_rest = matches!(self.task, Task::Idle) && self.is_flushed();
        self.idle_until.filter(|_| is_keyless && at_rest)
    }

    /// Notes a request other than a ping, or progress of its response. An upload that had stood
    /// still needs a permit again; without one the connection closes.
    pub(super) fn asked(&mut self, shares: &Semaphore, now: Instant) {
        if let Some(until) = &mut self.idle_until {
            *until = now + self.idle;
        }
        if std::mem::take(&mut self.stalled) {
            self.keyless = shares.try_acquire();
            if self.keyless.is_none() {
                self.begin_close(now);
            }
        }
    }

    /// Handles a deadline that may have passed.
    ///
    /// # Errors
    /// When the connection ends without a lingering close.
    pub(crate) fn expire(&mut self, now: Instant) -> Result<(), CloseReason> {
        if self.phase.is_overdue(now) {
            return Err(CloseReason::CloseTimeout);
        }
        if !self.phase.is_open() || self.ticket.is_some() {
            return Ok(());
        }
        if self.standstill_deadline().is_some_and(|deadline| deadline <= now) {
            self.stalled = true;
            self.keyless = None;
        }
        let end = if self.registration_deadline().is_some_and(|deadline| deadline <= now) {
            CloseReason::NotRegistered
        } else if self.session.handle_timeout(now) {
            CloseReason::Idle
        } else if self.rate.is_too_slow(now, self.socket.unsent()) {
            CloseReason::Slow
        } else {
            return Ok(());
        };
        // A peer that does not read what is being sent would not read a last response either.
        if !matches!(self.outgoing, Outgoing::Nothing) {
            return Err(end);
        }
        self.begin_close(now);
        Ok(())
    }
}

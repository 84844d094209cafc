//! Deadlines of a connection.

use std::time::Instant;

use super::{super::close::CloseReason, service::Service};

impl Service {
    /// When a deadline passes next.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let all =
            [self.session.deadline(), self.registration_deadline(), self.standstill_deadline()];
        all.into_iter().flatten().min()
    }

    /// When an unregistered peer must have joined, or one without a key must have sent a request.
    fn registration_deadline(&self) -> Option<Instant> {
        // Pings do not keep the permit of a peer without a key either.
        let request = self.rests_until().filter(|_| self.upload.is_none());
        self.peer.register_by().or(request)
    }

    /// When the upload of a peer without a key has stood still for so long that its permit may go
    /// to another peer. Pings show that the peer is there, not that its source makes progress.
    fn standstill_deadline(&self) -> Option<Instant> {
        self.rests_until().filter(|_| self.upload.is_some() && !self.anonymous.is_stalled())
    }

    /// Until when a peer without a key may send no request. Within a slice or a response the idle
    /// time and the minimum rate apply instead.
    fn rests_until(&self) -> Option<Instant> {
        let applies = self.peer.is_anonymous() && self.is_at_rest();
        self.anonymous.idle_until().filter(|_| applies)
    }

    /// Does what the deadlines that have passed ask for. Returns why the connection ends, if it
    /// does.
    pub(super) fn pass_deadlines(&mut self, now: Instant) -> Option<CloseReason> {
        if self.standstill_deadline().is_some_and(|deadline| deadline <= now) {
            self.anonymous.stall();
        }
        if self.registration_deadline().is_some_and(|deadline| deadline <= now) {
            Some(CloseReason::NotRegistered)
        } else if self.session.handle_timeout(now) {
            Some(CloseReason::Idle)
        } else {
            None
        }
    }
}

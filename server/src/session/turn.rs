//! A connection's turn: bytes out, the next request, bytes in, until nothing moves or the budget is
//! spent.

use std::time::Instant;

use tracing::debug;
use zput_common::proto::{Transmit, Wants};

use super::{Connection, Outgoing, Task, intake::NoRoom};
use crate::{
    catalog::{Job, refused},
    desk::{Budget, Desk, End, NoBuffer, Verdict},
    farewell::Phase,
    transfer::Stepped,
    wire::{Received, Sent, Wanted},
};

/// What came of taking bytes in.
#[derive(Debug)]
enum Took {
    Something,
    Nothing,
    /// Every buffer of the worker is in use, and none of them by this connection.
    Starved(NoBuffer),
}

impl Connection {
    /// Does what there is to do.
    pub(crate) fn turn(&mut self, desk: &mut Desk<'_>) -> Verdict {
        self.work(desk).unwrap_or_else(Verdict::Close)
    }

    fn work(&mut self, desk: &mut Desk<'_>) -> Result<Verdict, End> {
        let now = desk.now.instant;
        let mut budget = Budget::new();
        loop {
            // Before its first byte leaves, so that a peer with an answer finds it counted.
            if let Some(outcome) = self.outcome.take() {
                desk.metrics.answered(self.kind, outcome);
            }
            let mut moved = self.put_out(now, desk, &mut budget)?;
            if moved && self.asks {
                self.asked(desk.keyless, now);
            }
            if matches!(self.phase, Phase::Leaving { .. }) && self.nothing_to_put_out() {
                self.stop_writing()?;
            }
            moved |= self.step(desk)?;
            let mut starved = None;
            if !moved {
                match self.take_in(now, desk, &mut budget)? {
                    Took::Something => moved = true,
                    Took::Nothing => {}
                    Took::Starved(witness) => starved = Some(witness),
                }
            }
            budget.step();
            if !moved {
                return self.rest(starved, desk);
            }
            if let Some(spent) = budget.spent() {
                return Ok(Verdict::Again(spent));
            }
        }
    }

    /// Nothing moves: what is this connection waiting for?
    fn rest(&mut self, starved: Option<NoBuffer>, desk: &Desk<'_>) -> Result<Verdict, End> {
        let now = desk.now.instant;
        if let Some(witness) = starved {
            self.pace.peer_acts(false, now);
            return Ok(Verdict::Starved(witness));
        }
        let read = match (&self.phase, &self.task) {
            (Phase::Lingering { .. }, _) | (Phase::Open, Task::Discarding(_)) => true,
            (Phase::Open, Task::Idle) => self.nothing_to_put_out() && !self.peer_ended,
            (Phase::Open, Task::Receiving(intake)) => intake.wants_bytes(desk.buffers),
            (Phase::Open, Task::Asked | Task::Opening(..) | Task::Sending(_))
            | (Phase::Leaving { .. }, _) => false,
        };
        let loading = matches!(self.task, Task::Sending(_)) && self.ticket.is_some();
        let wanted = Wanted { read, write: !loading && !self.nothing_to_put_out() };
        let receiving = matches!(self.task, Task::Receiving(_) | Task::Discarding(_));
        self.pace.peer_acts(wanted.write || (wanted.read && receiving), now);
        self.wire.blocked(wanted, self.ticket.as_ref(), now).map(Verdict::Park).ok_or(End::Stuck(
            match self.task {
                Task::Idle => "Idle",
                Task::Asked => "Asked",
                Task::Opening(..) => "Opening",
                Task::Receiving(_) => "Receiving",
                Task::Discarding(_) => "Discarding",
                Task::Sending(_) => "Sending",
            },
        ))
    }

    pub(super) fn nothing_to_put_out(&self) -> bool {
        matches!(self.outgoing, Outgoing::Nothing) && !self.session.has_output()
    }

    /// Lets out what was said. Returns whether anything moved.
    fn put_out(
        &mut self,
        now: Instant,
        desk: &mut Desk<'_>,
        budget: &mut Budget,
    ) -> Result<bool, End> {
        let mut moved = false;
        while budget.left() > 0 {
            match &mut self.outgoing {
                Outgoing::Nothing => {
                    self.outgoing = match self.session.poll_transmit(now) {
                        None => break,
                        Some(Transmit::Bytes(bytes)) if bytes.is_empty() => Outgoing::Nothing,
                        Some(Transmit::Bytes(bytes)) => Outgoing::Bytes { bytes, sent: 0 },
                        Some(Transmit::Payload(left)) => Outgoing::Payload { left },
                    };
                }
                Outgoing::Bytes { .. } => match self.put_out_bytes(now, desk)? {
                    Sent::Blocked | Sent::FileEnded => break,
                    Sent::Bytes(n) => {
                        budget.spend(n);
                        desk.metrics.sent(n as u64);
                        self.pace.moved(n as u64);
                    }
                },
                Outgoing::Payload { .. } => {
                    let Task::Sending(transfer) = &mut self.task else {
                        return Err(End::Stuck("a payload without a transfer"));
                    };
                    if self.ticket.is_some() {
                        break;
                    }
                    match transfer.step(&mut self.wire, desk.tools, desk.metrics)? {
                        Stepped::Blocked => break,
                        Stepped::Absent(window) => {
                            self.load(window, desk)?;
                            break;
                        }
                        Stepped::Moved(n) => {
                            budget.spend(usize::try_from(n).unwrap_or(usize::MAX));
                            desk.metrics.sent(n);
                            self.pace.moved(n);
                            self.payload_left(now, n);
                        }
                    }
                }
            }
            moved = true;
        }
        Ok(moved)
    }

    /// Lets out some of the bytes under way: an object's answer together with its payload, where that is small and
    /// in memory.
    fn put_out_bytes(&mut self, now: Instant, desk: &mut Desk<'_>) -> Result<Sent, End> {
        let Outgoing::Bytes { bytes, sent } = &mut self.outgoing else {
            return Ok(Sent::Blocked);
        };
        let head = bytes.get(*sent..).unwrap_or_default();
        let announces = self.session.payload_is_next();
        let whole = match &self.task {
            Task::Sending(transfer) if announces => transfer.behind(head, desk.scratch)?,
            _ => None,
        };
        let result = self.wire.send(whole.unwrap_or(head), announces && whole.is_none())?;
        let Sent::Bytes(n) = result else { return Ok(result) };
        let of_head = n.min(head.len());
        *sent += of_head;
        if *sent < bytes.len() {
            return Ok(result);
        }
        let of_payload = (n - of_head) as u64;
        self.outgoing = Outgoing::Nothing;
        if of_payload > 0 {
            let Some(Transmit::Payload(left)) = self.session.poll_transmit(now) else {
                return Err(End::Stuck("a payload that was not announced"));
            };
            self.outgoing = Outgoing::Payload { left };
            if let Task::Sending(transfer) = &mut self.task {
                transfer.sent(of_payload);
            }
            self.payload_left(now, of_payload);
        }
        Ok(result)
    }

    /// So many bytes of the payload under way have left.
    fn payload_left(&mut self, now: Instant, n: u64) {
        self.session.payload_sent(now, n);
        if let Outgoing::Payload { left } = &mut self.outgoing {
            *left -= n;
            if *left == 0 {
                self.outgoing = Outgoing::Nothing;
                self.task = Task::Idle;
            }
        }
    }

    /// Takes bytes in, as far as somebody waits for them.
    fn take_in(
        &mut self,
        now: Instant,
        desk: &mut Desk<'_>,
        budget: &mut Budget,
    ) -> Result<Took, End> {
        match (self.phase, &self.task) {
            (Phase::Lingering { .. }, _) => self.throw_away(desk, budget),
            (Phase::Leaving { .. }, _) => Ok(Took::Nothing),
            (Phase::Open, Task::Idle) if self.nothing_to_put_out() && !self.peer_ended => {
                self.take_control(now, desk, budget)
            }
            (Phase::Open, Task::Receiving(_)) => self.take_slice(now, desk, budget),
            (Phase::Open, Task::Discarding(answer)) => {
                let answer = *answer;
                if matches!(self.session.wants(), Wants::Payload { .. }) {
                    return self.discard_slice(now, desk, budget);
                }
                self.task = Task::Idle;
                if let Some(code) = answer {
                    self.say(&refused(code))?;
                }
                Ok(Took::Something)
            }
            (Phase::Open, Task::Idle | Task::Asked | Task::Opening(..) | Task::Sending(_)) => {
                Ok(Took::Nothing)
            }
        }
    }

    /// Control bytes, for the session. One that breaks the protocol is told so and left.
    fn take_control(
        &mut self,
        now: Instant,
        desk: &mut Desk<'_>,
        budget: &mut Budget,
    ) -> Result<Took, End> {
        if self.unread.is_empty() {
            let n = match self.wire.read(desk.scratch)? {
                Received::Blocked => return Ok(Took::Nothing),
                Received::End => return self.peer_ends(),
                Received::Bytes(n) => n,
            };
            budget.spend(n);
            desk.metrics.received(n as u64);
            let bytes = desk.scratch.get(..n).unwrap_or_default();
            match self.session.handle_input(now, bytes) {
                Ok(taken) => {
                    self.unread.extend_from_slice(bytes.get(taken..).unwrap_or_default());
                }
                Err(error) => self.break_off(now, &error),
            }
            return Ok(Took::Something);
        }
        match self.session.handle_input(now, &self.unread) {
            Ok(0) => Err(End::Stuck("bytes that the session does not take")),
            Ok(taken) => {
                forget(&mut self.unread, taken);
                Ok(Took::Something)
            }
            Err(error) => {
                self.break_off(now, &error);
                Ok(Took::Something)
            }
        }
    }

    fn break_off(&mut self, now: Instant, error: &super::SessionError) {
        debug!(peer = self.peer(), %error, "the session ended");
        self.unread = Vec::new();
        self.leave(now);
    }

    fn peer_ends(&mut self) -> Result<Took, End> {
        self.session.handle_eof().map_err(End::Truncated)?;
        self.peer_ended = true;
        Ok(Took::Something)
    }

    /// Bytes of a slice, for the upload.
    fn take_slice(
        &mut self,
        now: Instant,
        desk: &mut Desk<'_>,
        budget: &mut Budget,
    ) -> Result<Took, End> {
        let Task::Receiving(intake) = &mut self.task else { return Ok(Took::Nothing) };
        let mut took = false;
        let mut paused = false;
        while budget.left() > 0 {
            let room = match intake.room(desk.buffers) {
                Ok(room) => room,
                Err(NoRoom::Enough) => break,
                Err(NoRoom::NoBuffer) => {
                    // Whatever is held goes to the pool now, and comes back as a free buffer.
                    paused = true;
                    break;
                }
            };
            let n = if self.unread.is_empty() {
                match self.wire.read(room)? {
                    Received::Blocked => {
                        paused = true;
                        break;
                    }
                    Received::End => return self.peer_ends(),
                    Received::Bytes(n) => {
                        desk.metrics.received(n as u64);
                        n
                    }
                }
            } else {
                let n = room.len().min(self.unread.len());
                room[..n].copy_from_slice(&self.unread[..n]);
                forget(&mut self.unread, n);
                n
            };
            intake.received(n);
            self.session.payload_received(now, n as u64);
            self.pace.moved(n as u64);
            budget.spend(n);
            took = true;
        }
        intake.give_back_empty(desk.buffers);
        if self.ticket.is_none() {
            if let Some(append) = intake.next_job(paused) {
                self.ask(Job::Append(append), desk)?;
                return Ok(Took::Something);
            }
            if !took
                && intake.is_starved()
                && let Some(witness) = NoBuffer::witnessed(desk.buffers)
            {
                return Ok(Took::Starved(witness));
            }
        }
        Ok(if took { Took::Something } else { Took::Nothing })
    }

    /// Bytes of a slice that nobody wants.
    fn discard_slice(
        &mut self,
        now: Instant,
        desk: &mut Desk<'_>,
        budget: &mut Budget,
    ) -> Result<Took, End> {
        let Wants::Payload { remaining } = self.session.wants() else { return Ok(Took::Nothing) };
        let most = usize::try_from(remaining).unwrap_or(usize::MAX);
        let n = if self.unread.is_empty() {
            let room = most.min(desk.scratch.len());
            match self.wire.read(desk.scratch.get_mut(..room).unwrap_or_default())? {
                Received::Blocked => return Ok(Took::Nothing),
                Received::End => return self.peer_ends(),
                Received::Bytes(n) => n,
            }
        } else {
            let n = most.min(self.unread.len());
            forget(&mut self.unread, n);
            n
        };
        self.session.payload_received(now, n as u64);
        self.pace.moved(n as u64);
        budget.spend(n);
        Ok(Took::Something)
    }

    /// Bytes after the end.
    fn throw_away(&mut self, desk: &mut Desk<'_>, budget: &mut Budget) -> Result<Took, End> {
        match self.wire.read(desk.scratch)? {
            Received::Blocked => Ok(Took::Nothing),
            Received::End => Err(End::Done),
            Received::Bytes(n) => {
                budget.spend(n);
                self.phase.put_up_with(n)?;
                Ok(Took::Something)
            }
        }
    }
}

/// The first `n` unread bytes were taken. Memory is not kept for the next time: most connections
/// never need it again.
fn forget(unread: &mut Vec<u8>, n: usize) {
    if n >= unread.len() {
        *unread = Vec::new();
    } else {
        unread.drain(..n);
    }
}

#[cfg(test)]
mod tests;

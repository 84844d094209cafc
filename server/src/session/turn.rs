//! A connection's turn: bytes out, the next request, bytes in, until nothing moves or the budget is
//! spent.

use std::time::Instant;

use tracing::debug;
use zput_common::proto::{Transmit, Wants};

use super::{
    BudgetSpent, Connection, Desk, End, NoBuffer, Outgoing, Task, Verdict, farewell::Phase,
    intake::NoRoom,
};
use crate::{
    catalog::{Job, refused},
    transfer::Stepped,
    wire::{Received, Sent, Wanted},
};

/// Bytes that a connection may move in one turn. At 5 GB/s a turn takes 0.1 ms, so among a
/// hundred busy connections a small request waits some 10 ms.
pub(crate) const TURN_BYTES: usize = 512 * 1024;

/// What each step costs besides its bytes, so that a flood of tiny requests ends a turn as well.
const STEP_COST_BYTES: usize = 4096;

/// What is left of a turn.
#[derive(Debug)]
struct Budget(usize);

impl Budget {
    const fn new() -> Self {
        Self(TURN_BYTES)
    }

    const fn spend(&mut self, bytes: usize) {
        self.0 = self.0.saturating_sub(bytes);
    }

    const fn spent(&self) -> bool {
        self.0 == 0
    }
}

/// What came of taking bytes in.
#[derive(Debug, PartialEq, Eq)]
enum Took {
    Something,
    Nothing,
    /// Every buffer of the worker is in use, and none of them by this connection.
    Starved,
}

impl Connection {
    /// Does what there is to do.
    pub(crate) fn turn(&mut self, now: Instant, desk: &mut Desk<'_>) -> Verdict {
        self.work(now, desk).unwrap_or_else(Verdict::Close)
    }

    fn work(&mut self, now: Instant, desk: &mut Desk<'_>) -> Result<Verdict, End> {
        let mut budget = Budget::new();
        loop {
            let mut moved = self.put_out(now, &mut budget)?;
            if let Phase::Leaving { until } = self.phase
                && self.nothing_to_put_out()
            {
                self.stop_writing(until)?;
            }
            moved |= self.step(now, desk)?;
            let mut starved = false;
            if !moved {
                match self.take_in(now, desk, &mut budget)? {
                    Took::Something => moved = true,
                    Took::Nothing => {}
                    Took::Starved => starved = true,
                }
            }
            budget.spend(STEP_COST_BYTES);
            if moved && budget.spent() {
                return Ok(Verdict::Again(BudgetSpent(())));
            }
            if !moved {
                return self.rest(starved, desk);
            }
        }
    }

    /// Nothing moves: what is this connection waiting for?
    fn rest(&self, starved: bool, desk: &Desk<'_>) -> Result<Verdict, End> {
        if starved {
            return Ok(Verdict::Starved(NoBuffer(())));
        }
        let read = match (&self.phase, &self.task) {
            (Phase::Lingering { .. }, _) | (Phase::Open, Task::Discarding(_)) => true,
            (Phase::Open, Task::Idle) => self.nothing_to_put_out() && !self.peer_ended,
            (Phase::Open, Task::Receiving(intake)) => intake.wants_bytes(desk.buffers),
            (Phase::Open, Task::Asked | Task::Sending(_)) | (Phase::Leaving { .. }, _) => false,
        };
        let wanted = Wanted { read, write: !self.nothing_to_put_out() };
        self.wire.blocked(wanted, self.ticket.as_ref()).map(Verdict::Park).ok_or(End::Stuck(
            match self.task {
                Task::Idle => "Idle",
                Task::Asked => "Asked",
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
    fn put_out(&mut self, now: Instant, budget: &mut Budget) -> Result<bool, End> {
        let mut moved = false;
        while !budget.spent() {
            match &mut self.outgoing {
                Outgoing::Nothing => {
                    self.outgoing = match self.session.poll_transmit(now) {
                        None => break,
                        Some(Transmit::Bytes(bytes)) if bytes.is_empty() => Outgoing::Nothing,
                        Some(Transmit::Bytes(bytes)) => Outgoing::Bytes { bytes, sent: 0 },
                        Some(Transmit::Payload(left)) => Outgoing::Payload { left },
                    };
                }
                Outgoing::Bytes { bytes, sent } => {
                    // An object's answer and its first bytes leave together.
                    let more = matches!(self.task, Task::Sending(_));
                    match self.wire.send(bytes.get(*sent..).unwrap_or_default(), more)? {
                        Sent::Blocked | Sent::FileEnded => break,
                        Sent::Bytes(n) => {
                            budget.spend(n);
                            *sent += n;
                            if *sent == bytes.len() {
                                self.outgoing = Outgoing::Nothing;
                            }
                        }
                    }
                }
                Outgoing::Payload { left } => {
                    let Task::Sending(transfer) = &mut self.task else {
                        return Err(End::Stuck("a payload without a transfer"));
                    };
                    let most = usize::try_from(*left).unwrap_or(budget.0).min(budget.0);
                    match transfer.step(&mut self.wire, most)? {
                        Stepped::Blocked => break,
                        Stepped::Moved(n) => {
                            budget.spend(usize::try_from(n).unwrap_or(usize::MAX));
                            *left -= n;
                            let done = *left == 0;
                            self.session.payload_sent(now, n);
                            if done {
                                self.outgoing = Outgoing::Nothing;
                                self.task = Task::Idle;
                            }
                        }
                    }
                }
            }
            moved = true;
        }
        Ok(moved)
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
            (Phase::Open, Task::Idle | Task::Asked | Task::Sending(_)) => Ok(Took::Nothing),
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
        let mut took = Took::Nothing;
        let mut paused = false;
        while !budget.spent() {
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
                    Received::Bytes(n) => n,
                }
            } else {
                let n = room.len().min(self.unread.len());
                room[..n].copy_from_slice(&self.unread[..n]);
                forget(&mut self.unread, n);
                n
            };
            intake.received(n);
            self.session.payload_received(now, n as u64);
            budget.spend(n);
            took = Took::Something;
        }
        intake.give_back_empty(desk.buffers);
        if self.ticket.is_none() {
            if let Some(append) = intake.next_job(paused) {
                self.ask(Job::Append(append), desk)?;
                return Ok(Took::Something);
            }
            if took == Took::Nothing && intake.is_starved(desk.buffers) {
                return Ok(Took::Starved);
            }
        }
        Ok(took)
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
                self.put_up_with(n)?;
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

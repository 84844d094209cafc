//! A connection's turn: send, take the next request, receive, until nothing moves or the budget is
//! spent.

use std::time::Instant;

use tracing::debug;
use zput_proto::session::{SessionError, Transmit, Wants};

use super::{
    super::{
        close::{CloseReason, Phase},
        context::{Budget, NoBuffer, TurnContext, TurnOutcome},
    },
    connection::{Connection, Outgoing, Task},
    error_response::error_response,
    receive::NotReceiving,
};
use crate::{
    jobs::Job,
    transfer::{
        Stepped,
        socket::{Directions, Received, Sent},
    },
};

/// The result of an attempt to receive.
#[derive(Debug)]
enum ReadOutcome {
    Something,
    Nothing,
    /// All buffers of the worker are in use, none of them by this connection.
    Starved(NoBuffer),
}

impl Connection {
    /// Does what there is to do.
    pub(crate) fn turn(&mut self, cx: &mut TurnContext<'_>) -> TurnOutcome {
        self.work(cx).unwrap_or_else(TurnOutcome::Close)
    }

    fn work(&mut self, cx: &mut TurnContext<'_>) -> Result<TurnOutcome, CloseReason> {
        let now = cx.now.instant;
        let mut budget = Budget::new();
        loop {
            // Before its first byte leaves, so that a peer with an answer finds it counted.
            if let Some(outcome) = self.outcome.take() {
                cx.metrics.answered(self.kind, outcome);
            }
            let mut moved = self.flush(now, cx, &mut budget)?;
            if moved && self.keeps_permit {
                self.asked(cx.keyless, now);
            }
            if matches!(self.phase, Phase::Flushing { .. }) && self.is_flushed() {
                self.stop_writing()?;
            }
            moved |= self.step(cx)?;
            let mut starved = None;
            if !moved {
                match self.fill(now, cx, &mut budget)? {
                    ReadOutcome::Something => moved = true,
                    ReadOutcome::Nothing => {}
                    ReadOutcome::Starved(witness) => starved = Some(witness),
                }
            }
            budget.step();
            if !moved {
                return self.rest(starved, cx);
            }
            if let Some(spent) = budget.spent() {
                return Ok(TurnOutcome::Yield(spent));
            }
        }
    }

    /// Nothing moves: returns what the connection waits for.
    fn rest(
        &mut self,
        starved: Option<NoBuffer>,
        cx: &TurnContext<'_>,
    ) -> Result<TurnOutcome, CloseReason> {
        let now = cx.now.instant;
        if let Some(witness) = starved {
            self.rate.peer_acts(false, now);
            return Ok(TurnOutcome::AwaitBuffer(witness));
        }
        let read = match (&self.phase, &self.task) {
            (Phase::Lingering { .. }, _) | (Phase::Open, Task::Discarding(_)) => true,
            (Phase::Open, Task::Idle) => self.is_flushed() && !self.peer_ended,
            (Phase::Open, Task::Receiving(receive)) => receive.wants_bytes(cx.buffers),
            (Phase::Open, Task::Working | Task::Opening(..) | Task::Sending(_))
            | (Phase::Flushing { .. }, _) => false,
        };
        let loading = matches!(self.task, Task::Sending(_)) && self.ticket.is_some();
        let wanted = Directions { read, write: !loading && !self.is_flushed() };
        let receiving = matches!(self.task, Task::Receiving(_) | Task::Discarding(_));
        self.rate.peer_acts(wanted.write || (wanted.read && receiving), now);
        self.socket.blocked(wanted, self.ticket.as_ref(), now).map(TurnOutcome::Park).ok_or(
            CloseReason::Stuck(match self.task {
                Task::Idle => "Idle",
                Task::Working => "Asked",
                Task::Opening(..) => "Opening",
                Task::Receiving(_) => "Receiving",
                Task::Discarding(_) => "Discarding",
                Task::Sending(_) => "Sending",
            }),
        )
    }

    pub(super) fn is_flushed(&self) -> bool {
        matches!(self.outgoing, Outgoing::Nothing) && !self.session.has_output()
    }

    /// Sends queued bytes. Returns whether any were sent.
    fn flush(
        &mut self,
        now: Instant,
        cx: &mut TurnContext<'_>,
        budget: &mut Budget,
    ) -> Result<bool, CloseReason> {
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
                Outgoing::Bytes { .. } => match self.put_out_bytes(now, cx)? {
                    Sent::Blocked | Sent::FileEnded => break,
                    Sent::Bytes(n) => {
                        budget.spend(n);
                        cx.metrics.sent(n as u64);
                        self.rate.moved(n as u64);
                    }
                },
                Outgoing::Payload { .. } => {
                    let Task::Sending(transfer) = &mut self.task else {
                        return Err(CloseReason::Stuck("a payload without a transfer"));
                    };
                    if self.ticket.is_some() {
                        break;
                    }
                    match transfer.step(&mut self.socket, cx.resources, cx.metrics, now)? {
                        Stepped::Blocked => break,
                        Stepped::Absent(window) => {
                            self.load(window, cx)?;
                            break;
                        }
                        Stepped::Moved(n) => {
                            budget.spend(usize::try_from(n).unwrap_or(usize::MAX));
                            cx.metrics.sent(n);
                            self.rate.moved(n);
                            self.payload_left(now, n);
                        }
                    }
                }
            }
            moved = true;
        }
        Ok(moved)
    }

    /// Sends some of the current bytes: a response together with its payload, where that is small
    /// and in memory.
    fn put_out_bytes(
        &mut self,
        now: Instant,
        cx: &mut TurnContext<'_>,
    ) -> Result<Sent, CloseReason> {
        let Outgoing::Bytes { bytes, sent } = &mut self.outgoing else {
            return Ok(Sent::Blocked);
        };
        let head = bytes.get(*sent..).unwrap_or_default();
        let announces = self.session.payload_is_next();
        let whole = match &self.task {
            Task::Sending(transfer) if announces => transfer.behind(head, cx.scratch)?,
            _ => None,
        };
        let result = self.socket.send(whole.unwrap_or(head), announces && whole.is_none())?;
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
                return Err(CloseReason::Stuck("a payload that was not announced"));
            };
            self.outgoing = Outgoing::Payload { left };
            if let Task::Sending(transfer) = &mut self.task {
                transfer.sent(of_payload);
            }
            self.payload_left(now, of_payload);
        }
        Ok(result)
    }

    /// Counts bytes of the payload as sent.
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

    /// Receives bytes, if the connection can take any.
    fn fill(
        &mut self,
        now: Instant,
        cx: &mut TurnContext<'_>,
        budget: &mut Budget,
    ) -> Result<ReadOutcome, CloseReason> {
        match (self.phase, &self.task) {
            (Phase::Lingering { .. }, _) => self.discard_input(cx, budget),
            (Phase::Flushing { .. }, _) => Ok(ReadOutcome::Nothing),
            (Phase::Open, Task::Idle) if self.is_flushed() && !self.peer_ended => {
                self.take_control(now, cx, budget)
            }
            (Phase::Open, Task::Receiving(_)) => self.take_slice(now, cx, budget),
            (Phase::Open, Task::Discarding(answer)) => {
                let answer = *answer;
                if matches!(self.session.wants(), Wants::Payload { .. }) {
                    return self.discard_slice(now, cx, budget);
                }
                self.task = Task::Idle;
                if let Some(code) = answer {
                    self.respond(&error_response(code))?;
                }
                Ok(ReadOutcome::Something)
            }
            (Phase::Open, Task::Idle | Task::Working | Task::Opening(..) | Task::Sending(_)) => {
                Ok(ReadOutcome::Nothing)
            }
        }
    }

    /// Receives control bytes for the state machine. A peer that violates the protocol gets an
    /// error and the connection closes.
    fn take_control(
        &mut self,
        now: Instant,
        cx: &mut TurnContext<'_>,
        budget: &mut Budget,
    ) -> Result<ReadOutcome, CloseReason> {
        if self.unread.is_empty() {
            let n = match self.socket.read(cx.scratch)? {
                Received::Blocked => return Ok(ReadOutcome::Nothing),
                Received::End => return self.peer_ends(),
                Received::Bytes(n) => n,
            };
            budget.spend(n);
            cx.metrics.received(n as u64);
            let bytes = cx.scratch.get(..n).unwrap_or_default();
            match self.session.handle_input(now, bytes) {
                Ok(taken) => {
                    self.unread.extend_from_slice(bytes.get(taken..).unwrap_or_default());
                }
                Err(error) => self.break_off(now, &error),
            }
            return Ok(ReadOutcome::Something);
        }
        match self.session.handle_input(now, &self.unread) {
            Ok(0) => Err(CloseReason::Stuck("bytes that the session does not take")),
            Ok(taken) => {
                forget(&mut self.unread, taken);
                Ok(ReadOutcome::Something)
            }
            Err(error) => {
                self.break_off(now, &error);
                Ok(ReadOutcome::Something)
            }
        }
    }

    fn break_off(&mut self, now: Instant, error: &SessionError) {
        debug!(peer = self.peer(), %error, "the session ended");
        self.unread = Vec::new();
        self.begin_close(now);
    }

    fn peer_ends(&mut self) -> Result<ReadOutcome, CloseReason> {
        self.session.handle_eof().map_err(CloseReason::Truncated)?;
        self.peer_ended = true;
        Ok(ReadOutcome::Something)
    }

    /// Receives bytes of a slice for the upload.
    fn take_slice(
        &mut self,
        now: Instant,
        cx: &mut TurnContext<'_>,
        budget: &mut Budget,
    ) -> Result<ReadOutcome, CloseReason> {
        let Task::Receiving(receive) = &mut self.task else { return Ok(ReadOutcome::Nothing) };
        let mut took = false;
        let mut paused = false;
        while budget.left() > 0 {
            let room = match receive.room(cx.buffers) {
                Ok(room) => room,
                Err(NotReceiving::Enough) => break,
                Err(NotReceiving::NoBuffer) => {
                    // The buffers go to the pool now, and come back free.
                    paused = true;
                    break;
                }
            };
            let n = if self.unread.is_empty() {
                match self.socket.read(room)? {
                    Received::Blocked => {
                        paused = true;
                        break;
                    }
                    Received::End => return self.peer_ends(),
                    Received::Bytes(n) => {
                        cx.metrics.received(n as u64);
                        n
                    }
                }
            } else {
                let n = room.len().min(self.unread.len());
                room[..n].copy_from_slice(&self.unread[..n]);
                forget(&mut self.unread, n);
                n
            };
            receive.received(n);
            self.session.payload_received(now, n as u64);
            self.rate.moved(n as u64);
            budget.spend(n);
            took = true;
        }
        receive.give_back_empty(cx.buffers);
        if self.ticket.is_none() {
            if let Some(append) = receive.next_job(paused) {
                self.ask(Job::Append(append), cx)?;
                return Ok(ReadOutcome::Something);
            }
            if !took
                && receive.is_starved()
                && let Some(witness) = NoBuffer::witnessed(cx.buffers)
            {
                return Ok(ReadOutcome::Starved(witness));
            }
        }
        Ok(if took { ReadOutcome::Something } else { ReadOutcome::Nothing })
    }

    /// Receives and discards bytes of a slice.
    fn discard_slice(
        &mut self,
        now: Instant,
        cx: &mut TurnContext<'_>,
        budget: &mut Budget,
    ) -> Result<ReadOutcome, CloseReason> {
        let Wants::Payload { remaining } = self.session.wants() else {
            return Ok(ReadOutcome::Nothing);
        };
        let most = usize::try_from(remaining).unwrap_or(usize::MAX);
        let n = if self.unread.is_empty() {
            let room = most.min(cx.scratch.len());
            match self.socket.read(cx.scratch.get_mut(..room).unwrap_or_default())? {
                Received::Blocked => return Ok(ReadOutcome::Nothing),
                Received::End => return self.peer_ends(),
                Received::Bytes(n) => n,
            }
        } else {
            let n = most.min(self.unread.len());
            forget(&mut self.unread, n);
            n
        };
        self.session.payload_received(now, n as u64);
        self.rate.moved(n as u64);
        budget.spend(n);
        Ok(ReadOutcome::Something)
    }

    /// Discards bytes that arrive while the connection lingers.
    fn discard_input(
        &mut self,
        cx: &mut TurnContext<'_>,
        budget: &mut Budget,
    ) -> Result<ReadOutcome, CloseReason> {
        match self.socket.read(cx.scratch)? {
            Received::Blocked => Ok(ReadOutcome::Nothing),
            Received::End => Err(CloseReason::Done),
            Received::Bytes(n) => {
                budget.spend(n);
                self.phase.discard(n)?;
                Ok(ReadOutcome::Something)
            }
        }
    }
}

/// Removes the first `n` bytes. Frees the memory when nothing is left, because most connections
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

//! What a connection does with the bytes that it receives.

use std::time::Instant;

use tracing::debug;
use zput_proto::session::{ServerSession, Wants};

use super::{
    super::{
        close::CloseReason,
        context::{NoBuffer, TurnContext},
        driver::Protocol as _,
        input::{Filled, Input},
    },
    receive::{NotReceiving, SliceReceiver},
    service::{Service, Task},
};
use crate::transfer::socket::Received;

impl Service {
    /// Receives bytes, if it can take any.
    pub(super) fn receive(
        &mut self,
        input: &mut Input<'_>,
        cx: &mut TurnContext<'_>,
    ) -> Result<Filled, CloseReason> {
        let is_flushed = !self.has_output();
        match &mut self.task {
            Task::Idle if is_flushed => {
                let (now, metrics) = (cx.now.instant, cx.metrics);
                input.control(cx.scratch, 0, metrics, |bytes| self.take_control(now, bytes))
            }
            Task::Receiving(receive) => take_slice(receive, &mut self.session, input, cx),
            Task::Discarding(_) => discard_slice(&mut self.session, input, cx),
            Task::Idle | Task::Working | Task::Opening(..) => Ok(Filled::Nothing),
        }
    }

    /// Hands control bytes to the state machine; returns how many it took. A peer that violates the
    /// protocol gets an error and the connection closes, so the rest is dropped.
    fn take_control(&mut self, now: Instant, bytes: &[u8]) -> usize {
        self.session.handle_input(now, bytes).unwrap_or_else(|error| {
            debug!(peer = self.peer(), %error, "the session ended");
            self.close();
            bytes.len()
        })
    }
}

/// Receives bytes of a slice for the upload.
fn take_slice(
    receive: &mut SliceReceiver,
    session: &mut ServerSession,
    input: &mut Input<'_>,
    cx: &mut TurnContext<'_>,
) -> Result<Filled, CloseReason> {
    let mut took = false;
    let mut paused = false;
    while input.has_budget() {
        let room = match receive.room(cx.buffers) {
            Ok(room) => room,
            Err(NotReceiving::Enough) => break,
            Err(NotReceiving::NoBuffer) => {
                // The buffers go to the pool now, and come back free.
                paused = true;
                break;
            }
        };
        match input.payload(room, cx.metrics)? {
            Received::Blocked => {
                paused = true;
                break;
            }
            Received::End => return Ok(Filled::End),
            Received::Bytes(n) => {
                receive.received(n);
                session.payload_received(cx.now.instant, n as u64);
                took = true;
            }
        }
    }
    receive.give_back_empty(cx.buffers);
    if let Some(append) = receive.next_job(paused) {
        return Ok(Filled::Append(append));
    }
    if !took
        && receive.is_starved()
        && let Some(witness) = NoBuffer::witnessed(cx.buffers)
    {
        return Ok(Filled::Starved(witness));
    }
    Ok(if took { Filled::Bytes } else { Filled::Nothing })
}

/// Receives and discards bytes of a slice.
fn discard_slice(
    session: &mut ServerSession,
    input: &mut Input<'_>,
    cx: &mut TurnContext<'_>,
) -> Result<Filled, CloseReason> {
    let Wants::Payload { remaining } = session.wants() else { return Ok(Filled::Nothing) };
    let most = usize::try_from(remaining).unwrap_or(usize::MAX).min(cx.scratch.len());
    match input.payload(cx.scratch.get_mut(..most).unwrap_or_default(), cx.metrics)? {
        Received::Blocked => Ok(Filled::Nothing),
        Received::End => Ok(Filled::End),
        Received::Bytes(n) => {
            session.payload_received(cx.now.instant, n as u64);
            Ok(Filled::Bytes)
        }
    }
}

//! The driver of a connection: it moves the bytes and ends the connection, whichever protocol the
//! connection speaks.
//!
//! ```text
//!   socket ──fill──► Protocol ──serve──► Next ──► Job ──► pool
//!      ▲               │  ▲               └─────► Transfer │
//!      └─────flush─────┘  └────────────deliver─────────────┘
//! ```
//!
//! Requests are served one at a time, in order: the next is taken when the response to the one
//! before has left, and nothing is read while one is being served, but for the payload of that
//! request. So a peer that does not read its responses is not read from either, and no queue grows.
//!
//! A turn moves bytes until there is nothing to do or its budget is spent, and returns a
//! [`TurnOutcome`] to the worker. The protocol touches neither the socket nor a pool: it says by
//! value what is to be done, and the driver does it.

use std::time::Instant;

use super::{
    close::{CloseReason, Phase},
    context::{Budget, NoBuffer, TurnContext, TurnOutcome},
    input::{Filled, Input},
    min_rate::RateMonitor,
};
use crate::{
    http::Now,
    jobs::{Buffer, Buffers, Device, Done, Job, Ticket},
    metrics::{Outcome, RequestKind},
    store::Upload,
    transfer::{
        Stepped, Transfer,
        socket::{Directions, ReadySocket, Received, Sent},
    },
};

/// What differs between the protocols: the state of one connection, and the request being served.
pub(crate) trait Protocol {
    /// The peer's address, for the log.
    fn peer(&self) -> &str;

    /// The device for which its jobs are done.
    fn device(&self) -> Device;

    /// Whether the peer has authenticated, or has nothing to authenticate with.
    fn is_registered(&self) -> bool;

    /// Whether the connection may be evicted at the connection limit.
    fn is_evictable(&self) -> bool;

    /// What the next bytes would be if the peer sent them now.
    fn intake(&self, buffers: &Buffers) -> Intake;

    /// Receives bytes, if it can take any.
    ///
    /// # Errors
    /// When the connection ends without a lingering close, as with all methods.
    fn fill(
        &mut self,
        input: &mut Input<'_>,
        cx: &mut TurnContext<'_>,
    ) -> Result<Filled, CloseReason>;

    /// Notes that the peer has shut down its side, after all bytes before that were taken.
    fn handle_eof(&mut self) -> Result<(), CloseReason>;

    /// Begins with the next request, or takes another event; `None` if there is none. Not called
    /// while a job runs.
    fn serve(&mut self, cx: &mut TurnContext<'_>) -> Result<Option<Next>, CloseReason>;

    /// Takes the result of the job, which is no load.
    fn deliver(&mut self, done: Done, cx: &mut TurnContext<'_>) -> Result<Next, CloseReason>;

    /// The request that was answered since the last call, for the metrics.
    fn poll_answered(&mut self) -> Option<(RequestKind, Outcome)>;

    /// Whether [`Self::poll_transmit`] has something.
    fn has_output(&self) -> bool;

    /// What is to be sent next.
    fn poll_transmit(&mut self, now: Instant) -> Option<Transmit<'_>>;

    /// Notes that `n` of the bytes were sent.
    fn bytes_sent(&mut self, n: usize, cx: &TurnContext<'_>);

    /// Notes that `n` bytes of the payload were sent.
    fn payload_sent(&mut self, n: u64, cx: &TurnContext<'_>);

    /// When to call [`Self::handle_timeout`], unless something happens before.
    fn deadline(&self) -> Option<Instant>;

    /// Handles a deadline that may have passed. Returns why the connection ends, if it does.
    fn handle_timeout(&mut self, now: &Now) -> Option<CloseReason>;

    /// Restarts the idle clock: the time that the disk took is not the peer's.
    fn restart_idle(&mut self, now: Instant);

    /// Takes no more requests. What is queued is still sent.
    fn close(&mut self);

    /// Does the same as soon as nothing is under way: the server is stopping.
    fn drain(&mut self);

    /// Whether the connection is to be closed when all output has left.
    fn should_close(&self) -> bool;

    /// The name of its state, for the report of a defect.
    fn state(&self) -> &'static str;

    /// What remains to be released: an interrupted upload, and buffers.
    fn into_leftovers(self) -> (Option<Box<Upload>>, Vec<Buffer>);
}

/// What a protocol would read from its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intake {
    /// Nothing.
    Nothing,
    /// Requests, for which it waits without a minimum rate.
    Requests,
    /// The payload of a request, which the peer has to send.
    Payload,
}

/// What a protocol has to send.
#[derive(Debug)]
pub(crate) enum Transmit<'a> {
    /// These bytes, at least one.
    Bytes {
        /// The bytes.
        bytes: &'a [u8],
        /// Whether payload follows, so that both can leave together.
        more: bool,
    },
    /// Payload, from the transfer under way.
    Payload,
}

/// What the driver does next for the protocol.
#[derive(Debug)]
pub(crate) enum Next {
    /// Nothing in particular: the turn goes on.
    Continue,
    /// Hand this job to its pool.
    Submit(Job),
    /// Send this as the payload that is announced.
    Send(Transfer),
    /// Do not wait for the peer any more: it has said that it sends nothing else.
    PeerEnded,
}

/// A connection that speaks the protocol `P`.
pub(crate) struct Driver<P> {
    pub(super) protocol: P,
    pub(super) socket: ReadySocket,
    pub(super) phase: Phase,
    rate: RateMonitor,
    /// Set while a job is running.
    pub(super) ticket: Option<Ticket>,
    /// The payload being sent.
    pub(super) sending: Option<Transfer>,
    /// Bytes that were read and that the protocol has not taken yet.
    unread: Vec<u8>,
    /// Whether the peer has shut down its side.
    peer_ended: bool,
}

impl<P: Protocol> Driver<P> {
    /// A connection that was just accepted. Its peer must move at least `min_rate` bytes a second
    /// while it is its turn; 0 for no minimum.
    pub(crate) const fn new(socket: ReadySocket, protocol: P, min_rate: u64) -> Self {
        Self {
            protocol,
            socket,
            phase: Phase::Open,
            rate: RateMonitor::at_least(min_rate),
            ticket: None,
            sending: None,
            unread: Vec::new(),
            peer_ended: false,
        }
    }

    /// Its socket.
    pub(crate) const fn socket(&mut self) -> &mut ReadySocket {
        &mut self.socket
    }

    /// Its protocol.
    pub(crate) const fn protocol(&self) -> &P {
        &self.protocol
    }

    /// What remains to be released: an interrupted upload, and buffers.
    pub(crate) fn into_leftovers(self) -> (Option<Box<Upload>>, Vec<Buffer>) {
        self.protocol.into_leftovers()
    }

    /// Does what there is to do.
    pub(crate) fn turn(&mut self, cx: &mut TurnContext<'_>) -> TurnOutcome {
        self.work(cx).unwrap_or_else(TurnOutcome::Close)
    }

    fn work(&mut self, cx: &mut TurnContext<'_>) -> Result<TurnOutcome, CloseReason> {
        let mut budget = Budget::new();
        loop {
            // Before its first byte leaves, so that a peer with an answer finds it counted.
            if let Some((kind, outcome)) = self.protocol.poll_answered() {
                cx.metrics.answered(kind, outcome);
            }
            let mut moved = self.flush(cx, &mut budget)?;
            if cx.draining {
                self.protocol.drain();
            }
            moved |= self.advance_close(cx.now.instant)?;
            moved |= self.serve(cx)?;
            let mut starved = None;
            if !moved {
                match self.fill(cx, &mut budget)? {
                    Filled::Nothing => {}
                    Filled::Starved(witness) => starved = Some(witness),
                    Filled::Bytes => moved = true,
                    Filled::Append(append) => {
                        self.ticket = Some(cx.submit(Job::Append(append), self.protocol.device()));
                        moved = true;
                    }
                    Filled::End => {
                        self.protocol.handle_eof()?;
                        self.peer_ended = true;
                        moved = true;
                    }
                }
            }
            budget.step();
            if !moved {
                return self.park(starved, cx);
            }
            if let Some(spent) = budget.spent() {
                return Ok(TurnOutcome::Yield(spent));
            }
        }
    }

    /// Nothing moves: returns what the connection waits for.
    fn park(
        &mut self,
        starved: Option<NoBuffer>,
        cx: &TurnContext<'_>,
    ) -> Result<TurnOutcome, CloseReason> {
        let now = cx.now.instant;
        if let Some(witness) = starved {
            self.rate.peer_acts(false, now);
            return Ok(TurnOutcome::AwaitBuffer(witness));
        }
        let intake = match self.phase {
            Phase::Open if !self.peer_ended => self.protocol.intake(cx.buffers),
            Phase::Open | Phase::Flushing { .. } => Intake::Nothing,
            Phase::Lingering { .. } => Intake::Requests,
        };
        let loading = self.sending.is_some() && self.ticket.is_some();
        let write = !loading && self.protocol.has_output();
        self.rate.peer_acts(write || intake == Intake::Payload, now);
        let wanted = Directions { read: intake != Intake::Nothing, write };
        let blocked = self.socket.blocked(wanted, self.ticket.as_ref(), now);
        let state = if self.sending.is_some() { "Sending" } else { self.protocol.state() };
        blocked.map(TurnOutcome::Park).ok_or(CloseReason::Stuck(state))
    }

    /// Sends queued bytes. Returns whether any were sent.
    fn flush(
        &mut self,
        cx: &mut TurnContext<'_>,
        budget: &mut Budget,
    ) -> Result<bool, CloseReason> {
        let now = cx.now.instant;
        let mut moved = false;
        while budget.left() > 0 {
            let sent = match self.protocol.poll_transmit(now) {
                None => break,
                Some(Transmit::Bytes { bytes: head, more }) => {
                    // A response leaves together with its payload, where that is small and in
                    // memory.
                    let whole = match &self.sending {
                        Some(transfer) if more => transfer.behind(head, cx.scratch)?,
                        _ => None,
                    };
                    let bytes = whole.unwrap_or(head);
                    let Sent::Bytes(n) = self.socket.send(bytes, more && whole.is_none())? else {
                        break;
                    };
                    let of_head = n.min(head.len());
                    let of_payload = (n - of_head) as u64;
                    self.protocol.bytes_sent(of_head, cx);
                    if let Some(transfer) = self.sending.as_mut().filter(|_| of_payload > 0) {
                        transfer.sent(of_payload);
                        self.payload_sent(of_payload, cx);
                    }
                    n as u64
                }
                Some(Transmit::Payload) => {
                    let Some(transfer) = &mut self.sending else {
                        return Err(CloseReason::Stuck("a payload without a transfer"));
                    };
                    if self.ticket.is_some() {
                        break;
                    }
                    match transfer.step(&mut self.socket, cx.resources, cx.metrics, now)? {
                        Stepped::Blocked => break,
                        Stepped::Absent(window) => {
                            self.ticket =
                                Some(cx.submit(Job::Load(window), self.protocol.device()));
                            break;
                        }
                        Stepped::Moved(n) => {
                            self.payload_sent(n, cx);
                            n
                        }
                    }
                }
            };
            budget.spend(usize::try_from(sent).unwrap_or(usize::MAX));
            cx.metrics.sent(sent);
            self.rate.moved(sent);
            moved = true;
        }
        Ok(moved)
    }

    /// Counts bytes of the payload as sent.
    fn payload_sent(&mut self, n: u64, cx: &TurnContext<'_>) {
        self.protocol.payload_sent(n, cx);
        self.sending.take_if(|transfer| transfer.left() == 0);
    }

    /// Begins with the next request. Returns whether there was something to do.
    fn serve(&mut self, cx: &mut TurnContext<'_>) -> Result<bool, CloseReason> {
        if !self.phase.is_open() || self.ticket.is_some() {
            return Ok(false);
        }
        let Some(next) = self.protocol.serve(cx)? else { return Ok(false) };
        self.obey(next, cx);
        Ok(true)
    }

    fn obey(&mut self, next: Next, cx: &TurnContext<'_>) {
        match next {
            Next::Continue => {}
            Next::Submit(job) => self.ticket = Some(cx.submit(job, self.protocol.device())),
            Next::Send(transfer) => self.sending = Some(transfer),
            Next::PeerEnded => self.peer_ended = true,
        }
    }

    /// Receives bytes, if the connection can take any.
    fn fill(
        &mut self,
        cx: &mut TurnContext<'_>,
        budget: &mut Budget,
    ) -> Result<Filled, CloseReason> {
        let (socket, unread, rate) = (&mut self.socket, &mut self.unread, &mut self.rate);
        let mut input = Input::new(socket, unread, rate, budget);
        match self.phase {
            Phase::Open if !self.peer_ended => self.protocol.fill(&mut input, cx),
            Phase::Open | Phase::Flushing { .. } => Ok(Filled::Nothing),
            Phase::Lingering { .. } => match input.read(cx.scratch, cx.metrics)? {
                Received::Blocked => Ok(Filled::Nothing),
                Received::End => Err(CloseReason::Done),
                Received::Bytes(n) => self.phase.discard(n).map(|()| Filled::Bytes),
            },
        }
    }

    /// Takes the result of the job.
    ///
    /// # Errors
    /// When the connection ends without a lingering close.
    pub(crate) fn deliver(
        &mut self,
        done: Done,
        cx: &mut TurnContext<'_>,
    ) -> Result<(), CloseReason> {
        let now = cx.now.instant;
        self.ticket = None;
        self.protocol.restart_idle(now);
        match (done, &mut self.sending) {
            (Done::Loaded(window, loaded), Some(transfer)) => {
                loaded.map_err(CloseReason::Load)?;
                transfer.loaded(&window, now);
                cx.metrics.load(window.waited(now));
            }
            (Done::Panicked { .. }, Some(_)) => {
                return Err(CloseReason::Stuck("a load that panicked"));
            }
            (done, _) => {
                let next = self.protocol.deliver(done, cx)?;
                self.obey(next, cx);
                self.begin_close(now);
            }
        }
        Ok(())
    }

    /// Begins to close, if the protocol is over. Returns whether that began now.
    fn begin_close(&mut self, now: Instant) -> bool {
        let begins = self.phase.is_open() && self.protocol.should_close();
        if begins {
            self.phase.begin_close(now);
        }
        begins
    }

    /// Makes the next step of a close. After the last byte that is: shuts down this side, and
    /// lingers unless the peer has shut down its side too. Returns whether there was a step.
    fn advance_close(&mut self, now: Instant) -> Result<bool, CloseReason> {
        if !matches!(self.phase, Phase::Flushing { .. }) {
            return Ok(self.begin_close(now));
        }
        if self.protocol.has_output() {
            return Ok(false);
        }
        self.socket.end_writing();
        if self.peer_ended {
            return Err(CloseReason::Done);
        }
        self.phase.linger();
        Ok(true)
    }

    /// When to call [`Self::expire`] next.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.phase.deadline() {
            Some(until) => Some(until),
            // While a job is running the peer waits for the server, not the other way round.
            None if self.ticket.is_some() => None,
            None => [self.protocol.deadline(), self.rate.deadline()].into_iter().flatten().min(),
        }
    }

    /// Handles a deadline that may have passed.
    ///
    /// # Errors
    /// When the connection ends without a lingering close.
    pub(crate) fn expire(&mut self, now: &Now) -> Result<(), CloseReason> {
        if self.phase.is_overdue(now.instant) {
            return Err(CloseReason::CloseTimeout);
        }
        if !self.phase.is_open() || self.ticket.is_some() {
            return Ok(());
        }
        let is_slow = |rate: &mut RateMonitor| rate.is_too_slow(now.instant, self.socket.unsent());
        let end = match self.protocol.handle_timeout(now) {
            Some(end) => end,
            None if is_slow(&mut self.rate) => CloseReason::Slow,
            None => return Ok(()),
        };
        // A peer that does not read what is being sent would not read a last response either, and a
        // protocol that is over has none.
        if self.protocol.has_output() || self.protocol.should_close() {
            return Err(end);
        }
        self.protocol.close();
        self.begin_close(now.instant);
        Ok(())
    }
}

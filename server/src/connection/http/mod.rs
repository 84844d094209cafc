//! One connection of HTTP: state machine, socket, and the object being sent.
//!
//! HTTP only reads public mounts. As in zput's protocol, requests are served one at a time, in
//! order, and nothing is read while one is being served.

use std::{fmt, sync::Arc, time::Instant};

use tracing::debug;
use zput_proto::{
    message::{ErrorCode, Kind},
    name::ObjectKey,
};

use super::{
    close::{CloseReason, Phase},
    context::{Budget, TurnContext, TurnOutcome},
    min_rate::RateMonitor,
};
use crate::{
    http::{Answer, ContentType, EntityTag, Facts, KEPT_BYTES, Now, Session, Timeouts, Transmit},
    jobs::{Done, Job, Ticket},
    mounts::{MountPoint, OpenObject},
    transfer::{
        Stepped, Transfer,
        socket::{Directions, ReadySocket, Received, Sent},
    },
};

/// Settings that the connections of a listener have in common.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Time limits of the state machine.
    pub(crate) timeouts: Timeouts,
    /// Minimum bytes a second that a client must take while a response is being sent; 0 for no
    /// minimum.
    pub(crate) min_rate: u64,
}

/// A connection.
pub(crate) struct Connection {
    socket: ReadySocket,
    session: Session,
    peer: String,
    task: Task,
    /// Set while a job is running.
    ticket: Option<Ticket>,
    /// Bytes behind the request being served: the next requests.
    unread: Vec<u8>,
    peer_ended: bool,
    phase: Phase,
    rate: RateMonitor,
}

/// The request being served.
enum Task {
    Idle,
    /// A pool thread opens the object.
    Opening(Arc<MountPoint>, ObjectKey),
    /// The object is being sent.
    Sending(Transfer),
}

impl Connection {
    /// A connection that was just accepted.
    pub(crate) fn new(
        socket: ReadySocket,
        settings: &Settings,
        peer: String,
        now: Instant,
    ) -> Self {
        Self {
            socket,
            session: Session::new(settings.timeouts, now),
            peer,
            task: Task::Idle,
            ticket: None,
            unread: Vec::new(),
            peer_ended: false,
            phase: Phase::Open,
            rate: RateMonitor::at_least(settings.min_rate),
        }
    }

    /// Its socket.
    pub(crate) fn socket(&mut self) -> &mut ReadySocket {
        &mut self.socket
    }

    /// The peer's address, for the log.
    pub(crate) fn peer(&self) -> &str {
        &self.peer
    }

    /// Gives the connection a turn.
    pub(crate) fn turn(&mut self, cx: &mut TurnContext<'_>) -> TurnOutcome {
        self.work(cx).unwrap_or_else(TurnOutcome::Close)
    }

    fn work(&mut self, cx: &mut TurnContext<'_>) -> Result<TurnOutcome, CloseReason> {
        let mut budget = Budget::new();
        if cx.draining {
            self.session.close();
        }
        loop {
            // Before its first byte leaves, so that a peer with an answer finds it counted.
            if let Some((method, status)) = self.session.poll_answered() {
                cx.metrics.answered(method.into(), status.into());
            }
            let mut moved = self.flush(cx, &mut budget)?;
            moved |= self.part(cx.now.instant)?;
            moved |= self.serve(cx)?;
            if !moved {
                moved = self.fill(cx, &mut budget)?;
            }
            budget.step();
            if !moved {
                return self.rest(cx.now.instant);
            }
            if let Some(spent) = budget.spent() {
                return Ok(TurnOutcome::Yield(spent));
            }
        }
    }

    /// Nothing moves: returns what the connection waits for.
    fn rest(&mut self, now: Instant) -> Result<TurnOutcome, CloseReason> {
        let reads = match self.phase {
            Phase::Open => self.session.wants_read() && !self.peer_ended,
            Phase::Flushing { .. } => false,
            Phase::Lingering { .. } => true,
        };
        let writes = self.ticket.is_none() && self.session.poll_transmit().is_some();
        self.rate.peer_acts(writes, now);
        let wanted = Directions { read: reads, write: writes };
        let blocked = self.socket.blocked(wanted, self.ticket.as_ref(), now);
        blocked.map(TurnOutcome::Park).ok_or(CloseReason::Stuck("HTTP"))
    }

    /// Begins to serve the next request, if there is one. Returns whether there was.
    fn serve(&mut self, cx: &mut TurnContext<'_>) -> Result<bool, CloseReason> {
        let Some(request) = self.session.poll_request() else { return Ok(false) };
        let found = cx.mounts.resolve(request.path());
        let Some((mount, path)) = found.filter(|(mount, _)| mount.policy().public) else {
            return self.answer(&Answer::NotFound, cx.now).map(|()| true);
        };
        let mount = Arc::clone(mount);
        if let Some(object) = cx.open_already(&mount, path.as_bytes()) {
            return self.found(&mount, object, cx).map(|()| true);
        }
        let Ok(key) = ObjectKey::new(path) else {
            return self.answer(&Answer::NotFound, cx.now).map(|()| true);
        };
        self.task = Task::Opening(Arc::clone(&mount), key.clone());
        let files = cx.open_files.clone();
        self.ticket = Some(cx.submit(Job::Open { mount, key, version: None, files })?);
        Ok(true)
    }

    /// Responds with an object.
    fn found(
        &mut self,
        mount: &MountPoint,
        object: Arc<OpenObject>,
        cx: &TurnContext<'_>,
    ) -> Result<(), CloseReason> {
        let info = object.info();
        let Some(etag) = EntityTag::strong(object.etag()).filter(|_| mount.carries(info.kind))
        else {
            return self.answer(&Answer::NotFound, cx.now);
        };
        let content_type = match info.kind {
            Kind::Sealed => Some(ContentType::OCTET_STREAM),
            Kind::Plain => None,
        };
        let facts = Facts { length: info.length, etag, modified: object.modified(), content_type };
        let answered = self.session.answer(cx.now, &Answer::Found(facts));
        let range = answered.map_err(|_| CloseReason::Stuck("an answer without a request"))?;
        if let Some(range) = range {
            let transfer = Transfer::new(object, cx.engine, [range], cx.now.instant);
            self.task =
                Task::Sending(transfer.map_err(|_| CloseReason::Stuck("a range over 2^63"))?);
        }
        Ok(())
    }

    fn answer(&mut self, answer: &Answer<'_>, now: &Now) -> Result<(), CloseReason> {
        let answered = self.session.answer(now, answer);
        answered.map(|_| ()).map_err(|_| CloseReason::Stuck("an answer without a request"))
    }

    /// Takes the result of the job.
    pub(crate) fn deliver(
        &mut self,
        done: Done,
        cx: &mut TurnContext<'_>,
    ) -> Result<(), CloseReason> {
        self.ticket = None;
        // The time that the disk took does not count as the client's idle time.
        self.session.keep_alive(cx.now.instant);
        match (done, std::mem::replace(&mut self.task, Task::Idle)) {
            (Done::Opened(Ok(object)), Task::Opening(mount, key)) => {
                let object = Arc::new(object);
                cx.files.insert(&mount, key.as_bytes(), &object, cx.now.instant);
                self.found(&mount, object, cx)
            }
            (Done::Opened(Err(refusal)), Task::Opening(..)) => {
                let answer = match refusal.code {
                    ErrorCode::Busy => Answer::Busy,
                    ErrorCode::NotFound | ErrorCode::Denied => Answer::NotFound,
                    _ => Answer::Internal,
                };
                self.answer(&answer, cx.now)
            }
            (Done::Loaded(window, Ok(())), Task::Sending(mut transfer)) => {
                transfer.loaded(&window, cx.now.instant);
                cx.metrics.load(window.waited(cx.now.instant));
                self.task = Task::Sending(transfer);
                Ok(())
            }
            (Done::Loaded(_, Err(failure)), _) => Err(CloseReason::Load(failure)),
            (Done::Panicked { .. }, Task::Opening(..)) => self.answer(&Answer::Internal, cx.now),
            _ => Err(CloseReason::Stuck("a job that HTTP does not have")),
        }
    }

    /// Sends queued bytes. Returns whether any were sent.
    fn flush(
        &mut self,
        cx: &mut TurnContext<'_>,
        budget: &mut Budget,
    ) -> Result<bool, CloseReason> {
        let mut moved = false;
        while budget.left() > 0 && self.ticket.is_none() {
            let sent = match self.session.poll_transmit() {
                None => break,
                Some(Transmit::Bytes { bytes: head, more }) => {
                    let whole = match &self.task {
                        Task::Sending(transfer) => transfer.behind(head, cx.scratch)?,
                        Task::Idle | Task::Opening(..) => None,
                    };
                    match self.socket.send(whole.unwrap_or(head), more && whole.is_none())? {
                        Sent::Blocked | Sent::FileEnded => break,
                        Sent::Bytes(n) => {
                            let of_head = n.min(head.len());
                            self.session.bytes_sent(cx.now, of_head);
                            self.payload_left((n - of_head) as u64, cx.now);
                            n
                        }
                    }
                }
                Some(Transmit::Payload(_)) => {
                    let Task::Sending(transfer) = &mut self.task else {
                        return Err(CloseReason::Stuck("a payload without a transfer"));
                    };
                    let now = cx.now.instant;
                    match transfer.step(&mut self.socket, cx.resources, cx.metrics, now)? {
                        Stepped::Blocked => break,
                        Stepped::Absent(window) => {
                            self.ticket = Some(cx.submit(Job::Load(window))?);
                            break;
                        }
                        Stepped::Moved(n) => {
                            self.session.payload_sent(cx.now, n);
                            if transfer.left() == 0 {
                                self.task = Task::Idle;
                            }
                            usize::try_from(n).unwrap_or(usize::MAX)
                        }
                    }
                }
            };
            budget.spend(sent);
            cx.metrics.sent(sent as u64);
            self.rate.moved(sent as u64);
            moved = true;
        }
        Ok(moved)
    }

    /// Counts bytes of a small payload as sent which left with their head.
    fn payload_left(&mut self, n: u64, now: &Now) {
        if n == 0 {
            return;
        }
        self.session.payload_sent(now, n);
        if let Task::Sending(transfer) = &mut self.task {
            transfer.sent(n);
            if transfer.left() == 0 {
                self.task = Task::Idle;
            }
        }
    }

    /// Begins to close once the state machine has nothing more to send. Returns whether it did.
    fn part(&mut self, now: Instant) -> Result<bool, CloseReason> {
        if !self.phase.is_open() || !self.session.should_close() {
            return Ok(false);
        }
        self.socket.end_writing();
        if self.peer_ended {
            return Err(CloseReason::Done);
        }
        self.phase.begin_close(now);
        self.phase.linger();
        Ok(true)
    }

    /// Receives bytes, if the connection can take any.
    fn fill(&mut self, cx: &mut TurnContext<'_>, budget: &mut Budget) -> Result<bool, CloseReason> {
        if let Phase::Lingering { .. } = self.phase {
            return match self.socket.read(cx.scratch)? {
                Received::Blocked => Ok(false),
                Received::End => Err(CloseReason::Done),
                Received::Bytes(n) => {
                    budget.spend(n);
                    self.phase.discard(n).map(|()| true)
                }
            };
        }
        if !self.session.wants_read() {
            return Ok(false);
        }
        if !self.unread.is_empty() {
            let taken = self.session.handle_input(cx.now, &self.unread);
            self.unread.drain(..taken);
            self.unread.shrink_to(KEPT_BYTES);
            return Ok(taken > 0);
        }
        match self.socket.read(cx.scratch)? {
            Received::Blocked => Ok(false),
            Received::End => {
                debug!(peer = self.peer, "the client sends no more");
                self.peer_ended = true;
                self.session.handle_eof();
                Ok(true)
            }
            Received::Bytes(n) => {
                budget.spend(n);
                cx.metrics.received(n as u64);
                let bytes = cx.scratch.get(..n).unwrap_or_default();
                let taken = self.session.handle_input(cx.now, bytes);
                self.unread.extend_from_slice(bytes.get(taken..).unwrap_or_default());
                Ok(true)
            }
        }
    }

    /// When to call [`Self::expire`] next.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.phase.deadline() {
            Some(until) => Some(until),
            // While a job is running the client waits for the server, not the other way round.
            None if self.ticket.is_some() => None,
            None => [self.session.deadline(), self.rate.deadline()].into_iter().flatten().min(),
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
        if self.rate.is_too_slow(now.instant, self.socket.unsent()) {
            return Err(CloseReason::Slow);
        }
        self.session.handle_timeout(now);
        // Without a response under way there is nothing to linger for.
        if self.session.should_close() { Err(CloseReason::Idle) } else { Ok(()) }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http::Connection({})", self.peer)
    }
}

#[cfg(test)]
mod tests;

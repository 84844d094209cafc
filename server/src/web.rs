//! A connection of the HTTP door: the protocol's state machine, the socket, and the object being sent.
//!
//! It only reads public mounts. As at the other door, requests are served one at a time, in order, and nothing is read
//! while one is being served.

use std::{fmt, sync::Arc, time::Instant};

use tracing::debug;
use zput_common::{
    name::ObjectKey,
    proto::message::{ErrorCode, Kind},
};

use crate::{
    catalog::{Done, Job},
    desk::{Budget, Desk, End, Verdict},
    farewell::Phase,
    http::{Answer, ContentType, EntityTag, Facts, KEPT_BYTES, Now, Session, Timeouts, Transmit},
    mounts::MountPoint,
    opened::Opened,
    pace::Pace,
    pool::Ticket,
    transfer::{Stepped, Transfer},
    wire::{Received, Sent, Wanted, Wire},
};

/// What the connections of a listener have in common.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    /// How long a client may take.
    pub(crate) timeouts: Timeouts,
    /// Bytes a second that a client takes at least while something is sent to it; 0 for no minimum.
    pub(crate) min_rate: u64,
}

/// A connection.
pub(crate) struct Connection {
    wire: Wire,
    session: Session,
    peer: String,
    task: Task,
    /// The job under way.
    ticket: Option<Ticket>,
    /// Bytes behind the request being served: the ones after it.
    unread: Vec<u8>,
    peer_ended: bool,
    phase: Phase,
    pace: Pace,
}

/// What is being done about a request.
enum Task {
    Idle,
    /// The pool opens the request's object.
    Opening(Arc<MountPoint>, ObjectKey),
    /// The object is on its way.
    Sending(Transfer),
}

impl Connection {
    /// A client that has just arrived.
    pub(crate) fn new(wire: Wire, door: &Door, peer: String, now: Instant) -> Self {
        Self {
            wire,
            session: Session::new(door.timeouts, now),
            peer,
            task: Task::Idle,
            ticket: None,
            unread: Vec::new(),
            peer_ended: false,
            phase: Phase::Open,
            pace: Pace::at_least(door.min_rate),
        }
    }

    /// Its socket.
    pub(crate) fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    /// Who is at the other end.
    pub(crate) fn peer(&self) -> &str {
        &self.peer
    }

    /// Does what there is to do.
    pub(crate) fn turn(&mut self, desk: &mut Desk<'_>) -> Verdict {
        self.work(desk).unwrap_or_else(Verdict::Close)
    }

    fn work(&mut self, desk: &mut Desk<'_>) -> Result<Verdict, End> {
        let mut budget = Budget::new();
        if desk.draining {
            self.session.close();
        }
        loop {
            // Before its first byte leaves, so that a peer with an answer finds it counted.
            if let Some((method, status)) = self.session.poll_answered() {
                desk.metrics.answered(method.into(), status.into());
            }
            let mut moved = self.put_out(desk, &mut budget)?;
            moved |= self.part(desk.now.instant)?;
            moved |= self.serve(desk)?;
            if !moved {
                moved = self.take_in(desk, &mut budget)?;
            }
            budget.step();
            if !moved {
                return self.rest(desk.now.instant);
            }
            if let Some(spent) = budget.spent() {
                return Ok(Verdict::Again(spent));
            }
        }
    }

    /// Nothing moves: what is this connection waiting for?
    fn rest(&mut self, now: Instant) -> Result<Verdict, End> {
        let reads = match self.phase {
            Phase::Open => self.session.wants_read() && !self.peer_ended,
            Phase::Leaving { .. } => false,
            Phase::Lingering { .. } => true,
        };
        let writes = self.ticket.is_none() && self.session.poll_transmit().is_some();
        self.pace.peer_acts(writes, now);
        let wanted = Wanted { read: reads, write: writes };
        let blocked = self.wire.blocked(wanted, self.ticket.as_ref(), now);
        blocked.map(Verdict::Park).ok_or(End::Stuck("HTTP"))
    }

    /// Looks the next request's object up, if there is one. Returns whether there was.
    fn serve(&mut self, desk: &mut Desk<'_>) -> Result<bool, End> {
        let Some(request) = self.session.poll_request() else { return Ok(false) };
        let found = desk.mounts.of_path(request.path());
        let Some((mount, path)) = found.filter(|(mount, _)| mount.policy().public) else {
            return self.answer(&Answer::NotFound, desk.now).map(|()| true);
        };
        let mount = Arc::clone(mount);
        if let Some(object) = desk.open_already(&mount, path.as_bytes()) {
            return self.found(&mount, object, desk).map(|()| true);
        }
        let Ok(key) = ObjectKey::new(path) else {
            return self.answer(&Answer::NotFound, desk.now).map(|()| true);
        };
        self.task = Task::Opening(Arc::clone(&mount), key.clone());
        let files = desk.open_files.clone();
        self.ticket = Some(desk.submit(Job::Open { mount, key, version: None, files })?);
        Ok(true)
    }

    /// Answers with an object.
    fn found(
        &mut self,
        mount: &MountPoint,
        object: Arc<Opened>,
        desk: &Desk<'_>,
    ) -> Result<(), End> {
        let info = object.info();
        let Some(etag) = EntityTag::strong(object.etag()).filter(|_| mount.carries(info.kind))
        else {
            return self.answer(&Answer::NotFound, desk.now);
        };
        let content_type = match info.kind {
            Kind::Sealed => Some(ContentType::OCTET_STREAM),
            Kind::Plain => None,
        };
        let facts = Facts { length: info.length, etag, modified: object.modified(), content_type };
        let answered = self.session.answer(desk.now, &Answer::Found(facts));
        let range = answered.map_err(|_| End::Stuck("an answer without a request"))?;
        if let Some(range) = range {
            let transfer = Transfer::new(object, desk.engine, [range]);
            self.task = Task::Sending(transfer.map_err(|_| End::Stuck("a range over 2^63"))?);
        }
        Ok(())
    }

    fn answer(&mut self, answer: &Answer<'_>, now: &Now) -> Result<(), End> {
        let answered = self.session.answer(now, answer);
        answered.map(|_| ()).map_err(|_| End::Stuck("an answer without a request"))
    }

    /// Takes what came of the job under way.
    pub(crate) fn deliver(&mut self, done: Done, desk: &mut Desk<'_>) -> Result<(), End> {
        self.ticket = None;
        match (done, std::mem::replace(&mut self.task, Task::Idle)) {
            (Done::Opened(Ok(object)), Task::Opening(mount, key)) => {
                let object = Arc::new(object);
                desk.files.keep(&mount, key.as_bytes(), &object, desk.now.instant);
                self.found(&mount, object, desk)
            }
            (Done::Opened(Err(refusal)), Task::Opening(..)) => {
                let answer = match refusal.code {
                    ErrorCode::Busy => Answer::Busy,
                    ErrorCode::NotFound | ErrorCode::Denied => Answer::NotFound,
                    _ => Answer::Internal,
                };
                self.answer(&answer, desk.now)
            }
            (Done::Loaded(window, Ok(())), Task::Sending(mut transfer)) => {
                transfer.loaded(&window);
                desk.metrics.load(window.waited());
                self.task = Task::Sending(transfer);
                Ok(())
            }
            (Done::Loaded(_, Err(failure)), _) => Err(End::Load(failure)),
            (Done::Panicked { .. }, Task::Opening(..)) => self.answer(&Answer::Internal, desk.now),
            _ => Err(End::Stuck("a job that this door does not have")),
        }
    }

    /// Lets out what was said. Returns whether anything moved.
    fn put_out(&mut self, desk: &mut Desk<'_>, budget: &mut Budget) -> Result<bool, End> {
        let mut moved = false;
        while budget.left() > 0 && self.ticket.is_none() {
            let sent = match self.session.poll_transmit() {
                None => break,
                Some(Transmit::Bytes { bytes: head, more }) => {
                    let whole = match &self.task {
                        Task::Sending(transfer) => transfer.behind(head, desk.scratch)?,
                        Task::Idle | Task::Opening(..) => None,
                    };
                    match self.wire.send(whole.unwrap_or(head), more && whole.is_none())? {
                        Sent::Blocked | Sent::FileEnded => break,
                        Sent::Bytes(n) => {
                            let of_head = n.min(head.len());
                            self.session.bytes_sent(desk.now, of_head);
                            self.payload_left((n - of_head) as u64, desk.now);
                            n
                        }
                    }
                }
                Some(Transmit::Payload(_)) => {
                    let Task::Sending(transfer) = &mut self.task else {
                        return Err(End::Stuck("a payload without a transfer"));
                    };
                    match transfer.step(&mut self.wire, desk.tools, desk.metrics)? {
                        Stepped::Blocked => break,
                        Stepped::Absent(window) => {
                            self.ticket = Some(desk.submit(Job::Load(window))?);
                            break;
                        }
                        Stepped::Moved(n) => {
                            self.session.payload_sent(desk.now, n);
                            if transfer.left() == 0 {
                                self.task = Task::Idle;
                            }
                            usize::try_from(n).unwrap_or(usize::MAX)
                        }
                    }
                }
            };
            budget.spend(sent);
            desk.metrics.sent(sent as u64);
            self.pace.moved(sent as u64);
            moved = true;
        }
        Ok(moved)
    }

    /// So many bytes of a small payload left with their head.
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

    /// Ends the connection in order once the session has no more to say. Returns whether there was something to do.
    fn part(&mut self, now: Instant) -> Result<bool, End> {
        if !self.phase.is_open() || !self.session.should_close() {
            return Ok(false);
        }
        self.wire.end_writing();
        if self.peer_ended {
            return Err(End::Done);
        }
        self.phase.leave(now);
        self.phase.linger();
        Ok(true)
    }

    /// Takes bytes in, as far as somebody waits for them.
    fn take_in(&mut self, desk: &mut Desk<'_>, budget: &mut Budget) -> Result<bool, End> {
        if let Phase::Lingering { .. } = self.phase {
            return match self.wire.read(desk.scratch)? {
                Received::Blocked => Ok(false),
                Received::End => Err(End::Done),
                Received::Bytes(n) => {
                    budget.spend(n);
                    self.phase.put_up_with(n).map(|()| true)
                }
            };
        }
        if !self.session.wants_read() {
            return Ok(false);
        }
        if !self.unread.is_empty() {
            let taken = self.session.handle_input(desk.now, &self.unread);
            self.unread.drain(..taken);
            self.unread.shrink_to(KEPT_BYTES);
            return Ok(taken > 0);
        }
        match self.wire.read(desk.scratch)? {
            Received::Blocked => Ok(false),
            Received::End => {
                debug!(peer = self.peer, "the client sends no more");
                self.peer_ended = true;
                self.session.handle_eof();
                Ok(true)
            }
            Received::Bytes(n) => {
                budget.spend(n);
                desk.metrics.received(n as u64);
                let bytes = desk.scratch.get(..n).unwrap_or_default();
                let taken = self.session.handle_input(desk.now, bytes);
                self.unread.extend_from_slice(bytes.get(taken..).unwrap_or_default());
                Ok(true)
            }
        }
    }

    /// When to look at this connection again though nothing happened.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.phase.deadline() {
            Some(until) => Some(until),
            // While a job is under way it is the server that the client waits for.
            None if self.ticket.is_some() => None,
            None => [self.session.deadline(), self.pace.deadline()].into_iter().flatten().min(),
        }
    }

    /// A deadline may have passed.
    ///
    /// # Errors
    /// When the connection ends without a farewell.
    pub(crate) fn expire(&mut self, now: &Now) -> Result<(), End> {
        if self.phase.is_overdue(now.instant) {
            return Err(End::FarewellTimeout);
        }
        if !self.phase.is_open() || self.ticket.is_some() {
            return Ok(());
        }
        if self.pace.is_too_slow(now.instant, self.wire.unsent()) {
            return Err(End::Slow);
        }
        self.session.handle_timeout(now);
        // Without an answer under way there is nothing to part with.
        if self.session.should_close() { Err(End::Idle) } else { Ok(()) }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "web::Connection({})", self.peer)
    }
}

#[cfg(test)]
mod tests;

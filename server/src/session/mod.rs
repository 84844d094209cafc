//! One connection: the protocol's state machine, the socket, and the request being served.
//!
//! ```text
//!   socket ──take_in──► ServerSession ──step──► handler ──► Job ──► pool
//!      ▲                     │  ▲                                    │
//!      └──────put_out────────┘  └───────────────deliver──────────────┘
//! ```
//!
//! Requests are served one at a time, in order: the next is taken when the answer to the one before
//! has left, and nothing is read while one is being served. So a peer that does not read its
//! answers stops being read, and no queue grows.
//!
//! A turn moves bytes until there is nothing to do or its budget is spent, and ends with a
//! [`Verdict`](crate::desk::Verdict) for the worker.

#[path = "authorize.rs"]
pub(crate) mod access;
mod deadlines;
#[path = "receive.rs"]
mod intake;
mod turn;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use tracing::{debug, info};
use zput_common::{
    keys::DevicePublicKey,
    mount::MountName,
    proto::{
        Event, Mode, ServerConfig, ServerSession, SessionError,
        message::{ErrorCode, RemoteError, Request, Response, Section},
    },
};

use crate::{
    catalog::{Done, Job, Refusal, denial, refused},
    desk::{Desk, End},
    farewell::Phase,
    handler::{Facts, Step, Wish, decide},
    metrics::{Outcome, RequestKind},
    mounts::{MountPoint, Policy},
    opened::Opened,
    pace::Pace,
    permits::Permit,
    pool::Ticket,
    store::Upload,
    transfer::{Transfer, Window},
    wire::Wire,
    worker::Buffer,
};
use access::Standing;
use deadlines::INTRODUCTION;
use intake::Intake;

/// What the connections of a listener have in common.
#[derive(Clone)]
pub(crate) struct Door {
    /// How its sessions are set up.
    pub(crate) session: Arc<ServerConfig>,
    /// Bytes a second that a peer moves at least while it has to act; 0 for no minimum.
    pub(crate) min_rate: u64,
    /// Whether a peer without a key has to ask for something.
    pub(crate) hurried: bool,
    /// Whether its peers hold the store's directory themselves, and are told all about its failures.
    pub(crate) insiders: bool,
}

/// A connection.
pub(crate) struct Connection {
    wire: Wire,
    session: ServerSession,
    peer: String,
    /// Greater than that of every connection that was accepted before.
    number: u64,
    /// Unknown until the handshake is over and the account was looked up.
    standing: Option<Standing>,
    /// When it is over for a peer that the server does not know, whatever moves.
    introduced_by: Instant,
    /// When it is over for a peer without a key that asks for nothing; where it has to.
    idle_until: Option<Instant>,
    /// For how long a peer may ask for nothing.
    idle: Duration,
    /// What is being answered is more than a ping, and may be asked; while an upload is open, it is about that.
    asks: bool,
    /// The share of a peer without a key.
    keyless: Option<Permit>,
    /// The upload of a peer without a key has made no progress for the idle time. Its share is another's.
    stands_still: bool,
    /// Nothing protects this connection, so unsealed objects may move here.
    in_clear: bool,
    /// A request of it was denied, and the log says so.
    denied: bool,
    /// The peer holds the store's directory itself, and is told what went wrong in the store's own words.
    insider: bool,
    /// Why it is not known what the device may do. Its first request is told, and the last.
    unknown: Option<Refusal>,
    /// The mount that requests are about; none after a Mount that failed.
    mount: Option<MountName>,
    task: Task,
    /// What is being answered, and how it was, until somebody wants to know.
    kind: RequestKind,
    outcome: Option<Outcome>,
    /// The open upload, between its requests.
    upload: Option<Box<Upload>>,
    /// The job under way.
    ticket: Option<Ticket>,
    outgoing: Outgoing,
    /// Bytes that were read and that the session has not taken yet.
    unread: Vec<u8>,
    /// The peer sends no more.
    peer_ended: bool,
    phase: Phase,
    pace: Pace,
}

/// The request being served.
#[derive(Debug)]
enum Task {
    /// None.
    Idle,
    /// The pool has it.
    Asked,
    /// The pool opens an object, of which these sections are wanted.
    Opening(Arc<MountPoint>, Wish),
    /// A slice is coming in.
    Receiving(Intake),
    /// A slice that nobody wants is coming in; what to answer after it.
    Discarding(Option<ErrorCode>),
    /// An object is going out.
    Sending(Transfer),
}

/// What is on its way to the peer.
#[derive(Debug)]
enum Outgoing {
    Nothing,
    Bytes { bytes: Vec<u8>, sent: usize },
    Payload { left: u64 },
}

impl Connection {
    /// A peer that has just arrived, by the connection with this number.
    pub(crate) fn new(wire: Wire, door: &Door, peer: String, number: u64, now: Instant) -> Self {
        Self {
            wire,
            session: ServerSession::new(Arc::clone(&door.session), now),
            peer,
            number,
            standing: None,
            introduced_by: now + INTRODUCTION,
            idle_until: door.hurried.then_some(now + INTRODUCTION),
            idle: Duration::from_secs(door.session.limits.idle_seconds.into()),
            asks: false,
            keyless: None,
            stands_still: false,
            in_clear: false,
            denied: false,
            insider: door.insiders,
            unknown: None,
            mount: Some(MountName::ROOT),
            task: Task::Idle,
            kind: RequestKind::Ping,
            outcome: None,
            upload: None,
            ticket: None,
            outgoing: Outgoing::Nothing,
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

    /// What it leaves behind: an upload that was cut off, and buffers.
    pub(crate) fn into_leftovers(self) -> (Option<Box<Upload>>, Vec<Buffer>) {
        let (received, buffers) = match self.task {
            Task::Receiving(intake) => intake.into_parts(),
            _ => Default::default(),
        };
        (self.upload.or(received), buffers.into())
    }

    /// Whether its peer has said who it is, or that it has no key.
    pub(crate) const fn is_introduced(&self) -> bool {
        matches!(self.standing, Some(Standing::Member(..) | Standing::Anonymous))
    }

    /// Whether it makes room when somebody needs its seat.
    pub(crate) const fn yields(&self) -> bool {
        self.stands_still
    }

    /// Takes the next event of the session, if there is nothing else to finish first.
    /// Returns whether there was something to do.
    fn step(&mut self, desk: &mut Desk<'_>) -> Result<bool, End> {
        let now = desk.now.instant;
        let at_rest = matches!(self.task, Task::Idle) && self.nothing_to_put_out();
        if !at_rest || self.ticket.is_some() || !self.phase.is_open() {
            return Ok(false);
        }
        if desk.draining && self.upload.is_none() {
            self.leave(now);
            return Ok(true);
        }
        match self.session.poll_event() {
            Some(Event::Connected { peer, mode }) => self.connected(peer, mode, desk)?,
            Some(Event::Message(request)) => self.serve(request, desk)?,
            Some(Event::PayloadDone) => {}
            Some(Event::Closed) => self.peer_ended = true,
            None if self.peer_ended => self.leave(now),
            None => return Ok(false),
        }
        Ok(true)
    }

    fn connected(
        &mut self,
        device: Option<DevicePublicKey>,
        mode: Mode,
        desk: &mut Desk<'_>,
    ) -> Result<(), End> {
        debug!(peer = self.peer, ?mode, "connected");
        self.in_clear = mode == Mode::Plaintext;
        match (device, desk.mounts.home()) {
            (Some(device), Some(home)) => {
                // Nothing may be asked of a stranger but to join; what this one is, the store knows.
                self.standing = Some(Standing::Stranger(device));
                self.ask(Job::Account(home.clone(), device), desk)
            }
            (Some(_), None) => Err(End::Stuck("a device without a store of accounts")),
            (None, _) => {
                self.standing = Some(Standing::Anonymous);
                self.keyless = desk.keyless.permit();
                if self.keyless.is_none() {
                    let why = "too many peers without a key are connected";
                    self.say(&Response::Error(RemoteError::new(ErrorCode::Busy, why)))?;
                    self.leave(desk.now.instant);
                }
                Ok(())
            }
        }
    }

    fn serve(&mut self, request: Request, desk: &mut Desk<'_>) -> Result<(), End> {
        let now = desk.now.instant;
        self.kind = RequestKind::from(&request);
        self.asks = false;
        if let Some(unknown) = self.unknown.take() {
            let text = "the server cannot read what this device may do: its operator has to mend the account";
            self.say(&Response::Error(RemoteError::new(unknown.code, text)))?;
            self.leave(now);
            return Ok(());
        }
        let Some(standing) = &self.standing else {
            return Err(End::Stuck("a request before the handshake"));
        };
        // A mount that was there when it was chosen may be gone: the operator has the last word.
        let mount = self.mount.as_ref().and_then(|name| desk.mounts.named(name.as_str()));
        let admitted = match standing.admit(request, mount.map(|mount| mount.policy())) {
            Ok(admitted) => admitted,
            Err(denied) => {
                // Metrics count each of them; the log has a connection's first.
                if std::mem::replace(&mut self.denied, true) {
                    debug!(peer = self.peer, why = denied.why, "denied again");
                } else {
                    info!(peer = self.peer, why = denied.why, "denied");
                }
                self.say(&denial(denied.why))?;
                if denied.close {
                    self.leave(now);
                }
                return Ok(());
            }
        };
        self.asks = deadlines::keeps_seat(self.kind, self.upload.is_some());
        let facts = Facts {
            standing,
            connection: self.number,
            in_clear: self.in_clear,
            mount,
            home: desk.mounts.home(),
        };
        match decide(admitted, &facts, &mut self.upload) {
            Step::Answer(response) => self.say(&response),
            Step::Refuse(code, left_behind) => {
                if let Some(upload) = left_behind {
                    desk.pool.discard(Job::Abort(upload));
                }
                self.refuse(code, now)
            }
            Step::Ask(job) => self.ask(job, desk),
            Step::Open(mount, wish) => {
                let known = match wish.version {
                    None => desk.open_already(&mount, wish.key.as_bytes()),
                    Some(_) => None,
                };
                if let Some(object) = known {
                    return self.send_object(&object, &wish, desk);
                }
                let job = Job::Open {
                    mount: Arc::clone(&mount),
                    key: wish.key.clone(),
                    version: wish.version,
                    files: desk.open_files.clone(),
                };
                self.ask(job, desk)?;
                self.task = Task::Opening(mount, wish);
                Ok(())
            }
            Step::Receive(upload, length, digest) => {
                self.task = Task::Receiving(Intake::new(upload, length, digest));
                Ok(())
            }
            Step::Discard => {
                self.task = Task::Discarding(Some(ErrorCode::State));
                Ok(())
            }
            Step::Turn(name) => {
                // A mount where a peer may do nothing is none for it: whether there is one is nobody's business.
                let open = |policy: &Policy| standing.may_enter(policy);
                let there = desk.mounts.named(name.as_str()).filter(|mount| open(mount.policy()));
                self.mount = there.map(|_| name);
                match self.mount {
                    Some(_) => self.say(&Response::Mounted),
                    None => self.say(&refused(ErrorCode::NotFound)),
                }
            }
        }
    }

    /// Answers with the sections of an object that were asked for.
    fn send_object(
        &mut self,
        object: &Arc<Opened>,
        wish: &Wish,
        desk: &Desk<'_>,
    ) -> Result<(), End> {
        let now = desk.now.instant;
        // Sections of the other kind lie outside of it as well; that it is the other kind says more.
        if object.info().kind != wish.kind {
            return self.refuse(ErrorCode::Kind, now);
        }
        let is_header = |section: &&Section| matches!(section, Section::Header);
        let with_header = wish.sections.iter().any(|section| is_header(&section));
        if with_header && object.header().is_none() {
            return self.refuse(ErrorCode::Range, now);
        }
        let raw = wish.sections.iter().filter(|section| !is_header(section));
        let ranges: Result<Vec<_>, _> = raw.map(|section| object.section(*section)).collect();
        let Ok(ranges) = ranges else { return self.refuse(ErrorCode::Range, now) };
        let Ok(transfer) = Transfer::new(Arc::clone(object), desk.engine, ranges) else {
            return self.refuse(ErrorCode::Range, now);
        };
        let payload = transfer.left();
        if payload > 0 {
            self.task = Task::Sending(transfer);
        }
        let header = object.header().filter(|_| with_header).map(<[u8]>::to_vec);
        self.say(&Response::Object { info: object.info(), header, payload })
    }

    /// Hands a job to the pool.
    fn ask(&mut self, job: Job, desk: &mut Desk<'_>) -> Result<(), End> {
        if !matches!(job, Job::Append(_)) {
            self.task = Task::Asked;
        }
        self.ticket = Some(desk.submit(job)?);
        Ok(())
    }

    /// Has a window loaded that is to be sent.
    fn load(&mut self, window: Window, desk: &mut Desk<'_>) -> Result<(), End> {
        self.ticket = Some(desk.submit(Job::Load(window))?);
        Ok(())
    }

    /// Takes what came of the job under way.
    pub(crate) fn deliver(&mut self, done: Done, desk: &mut Desk<'_>) -> Result<(), End> {
        let now = desk.now.instant;
        self.ticket = None;
        // The time that the disk took is not the peer's silence.
        self.session.keep_alive(now);
        let task = std::mem::replace(&mut self.task, Task::Idle);
        match done {
            Done::Answer(response) => self.say(&response),
            Done::Refused(refusal) => self.refuse(refusal, now),
            Done::Account(Ok(scopes)) => {
                if let (Some(scopes), Some(Standing::Stranger(device))) = (scopes, &self.standing) {
                    self.standing = Some(Standing::Member(*device, scopes));
                }
                Ok(())
            }
            Done::Joined(Ok(scopes)) => {
                if let Some(device) = self.standing.as_ref().and_then(Standing::device) {
                    info!(peer = self.peer, %scopes, "a device joined");
                    self.standing = Some(Standing::Member(device, scopes));
                }
                self.say(&Response::Joined { scopes })
            }
            Done::Account(Err(refusal)) => {
                // Nothing was asked yet that could be answered.
                self.unknown = Some(refusal);
                Ok(())
            }
            Done::Joined(Err(refusal)) => {
                // PROTOCOL 5: "After a Join that is refused the connection ends".
                self.say(&refusal.answer(self.insider))?;
                self.leave(now);
                Ok(())
            }
            Done::Begun(upload) => {
                self.upload = Some(upload);
                self.say(&Response::Begun)
            }
            Done::Held(upload, slices) => {
                self.upload = Some(upload);
                self.say(&Response::Held { slices })
            }
            Done::Opened(object) => {
                let Task::Opening(mount, wish) = task else {
                    return Err(End::Stuck("an object was opened that nobody asked for"));
                };
                match object {
                    Ok(object) => {
                        let object = Arc::new(object);
                        desk.files.keep(&mount, wish.key.as_bytes(), &object, now);
                        self.send_object(&object, &wish, desk)
                    }
                    Err(refusal) => self.refuse(refusal, now),
                }
            }
            Done::Loaded(window, Ok(())) => {
                let Task::Sending(mut transfer) = task else {
                    return Err(End::Stuck("bytes were loaded that are not being sent"));
                };
                transfer.loaded(&window);
                desk.metrics.load(window.waited());
                self.task = Task::Sending(transfer);
                Ok(())
            }
            Done::Loaded(_, Err(failure)) => Err(End::Load(failure)),
            Done::Appended { upload, end, buffers } => {
                buffers.into_iter().for_each(|buffer| desk.buffers.give(buffer));
                self.appended(task, upload, end, now, desk)
            }
            Done::Panicked { buffers } => {
                desk.buffers.lost(buffers);
                if let Task::Receiving(intake) = task {
                    intake.into_parts().1.into_iter().for_each(|b| desk.buffers.give(b));
                }
                self.say(&refused(ErrorCode::Internal))?;
                self.leave(now);
                Ok(())
            }
        }
    }

    fn appended(
        &mut self,
        task: Task,
        upload: Result<Box<Upload>, Refusal>,
        end: bool,
        now: Instant,
        desk: &mut Desk<'_>,
    ) -> Result<(), End> {
        let Task::Receiving(mut intake) = task else {
            return Err(End::Stuck("bytes were written that were not being received"));
        };
        match upload {
            Ok(upload) if end => {
                self.upload = Some(upload);
                self.say(&Response::SliceHeld)
            }
            Ok(upload) => {
                intake.returned(upload);
                self.task = Task::Receiving(intake);
                Ok(())
            }
            Err(refusal) => {
                intake.into_parts().1.into_iter().for_each(|buffer| desk.buffers.give(buffer));
                // The peer learns of it now, while its bytes are still on their way.
                self.task = Task::Discarding(None);
                self.refuse(refusal, now)
            }
        }
    }

    /// Queues an answer that says no.
    fn refuse(&mut self, refusal: impl Into<Refusal>, now: Instant) -> Result<(), End> {
        let refusal = refusal.into();
        self.say(&refusal.answer(self.insider))?;
        // PROTOCOL 7: "Malformed ends the connection".
        if refusal.code == ErrorCode::Malformed {
            self.leave(now);
        }
        Ok(())
    }

    /// Queues an answer.
    fn say(&mut self, response: &Response) -> Result<(), End> {
        self.outcome = Some(match response {
            Response::Error(error) => error.known().map_or(Outcome::Internal, Outcome::from),
            _ => Outcome::Ok,
        });
        self.session.send(response).map_err(End::Unsayable)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection({}, {:?})", self.peer, self.task)
    }
}

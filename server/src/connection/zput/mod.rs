//! One connection of zput's protocol: state machine, socket, and the request being served.
//!
//! ```text
//!   socket ──fill──► ServerSession ──request──► dispatch ──► Job ──► pool
//!      ▲                   │  ▲                                       │
//!      └───────flush───────┘  └───────────────deliver─────────────────┘
//! ```
//!
//! Requests are served one at a time, in order: the next is taken when the response to the one
//! before has left, and nothing is read while one is being served. So a peer that does not read its
//! responses is not read from either, and no queue grows.
//!
//! A turn moves bytes until there is nothing to do or its budget is spent, and returns a
//! [`TurnOutcome`](crate::connection::context::TurnOutcome) to the worker.

pub(crate) mod authorize;
mod deadlines;
pub(crate) mod dispatch;
mod receive;
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
    connection::{
        close::Phase,
        context::{CloseReason, TurnContext},
        min_rate::RateMonitor,
        zput::dispatch::{Action, ReadRequest, RequestContext, dispatch},
    },
    jobs::{Buffer, Done, ErrorReply, Job, Ticket, error_response, forbidden},
    limits::Permit,
    metrics::{Outcome, RequestKind},
    mounts::{MountPoint, OpenObject, Policy},
    store::Upload,
    transfer::{Transfer, Window, socket::ReadySocket},
};
use authorize::Principal;
use deadlines::REGISTRATION;
use receive::SliceReceiver;

/// Settings that the connections of a listener have in common.
#[derive(Clone)]
pub(crate) struct Settings {
    /// Configuration of the protocol's state machine.
    pub(crate) session: Arc<ServerConfig>,
    /// Minimum bytes a second that a peer must move while it is its turn; 0 for no minimum.
    pub(crate) min_rate: u64,
    /// Whether a peer without a key must send a request within the idle time.
    pub(crate) must_request: bool,
    /// Whether its peers hold the store's directory themselves, so that error responses give the cause.
    pub(crate) explains_failures: bool,
}

/// A connection.
pub(crate) struct Connection {
    socket: ReadySocket,
    session: ServerSession,
    peer: String,
    /// The number of its permit: greater than those of all connections accepted before.
    number: u64,
    /// `None` until the handshake is over and the account was looked up.
    principal: Option<Principal>,
    /// When an unregistered peer is disconnected, whatever it sends.
    register_by: Instant,
    /// When a peer without a key that sends no request is disconnected; `None` if it never is.
    idle_until: Option<Instant>,
    /// Time in which a peer without a key must send a request.
    idle: Duration,
    /// Whether the request being served was allowed and keeps the permit of a peer without a key.
    keeps_permit: bool,
    /// The permit of a peer without a key.
    keyless: Option<Permit>,
    /// Whether the upload of a peer without a key made no progress for the idle time, so that its permit
    /// was given up.
    stalled: bool,
    /// Whether the connection is not encrypted, so that plain objects may be transferred.
    is_plaintext: bool,
    /// Whether a request was refused before, which is logged once for each connection.
    denied: bool,
    /// Whether the peer holds the store's directory itself, so that error responses give the cause.
    explains_failures: bool,
    /// Why the device's account could not be looked up. Its first request gets this as the response, and
    /// the connection closes.
    unknown: Option<ErrorReply>,
    /// The selected mount; `None` after a Mount request that failed.
    mount: Option<MountName>,
    task: Task,
    /// The request being served and its result, for the metrics.
    kind: RequestKind,
    outcome: Option<Outcome>,
    /// The open upload, between its requests.
    upload: Option<Box<Upload>>,
    /// Set while a job is running.
    ticket: Option<Ticket>,
    outgoing: Outgoing,
    /// Bytes that were read and that the state machine has not taken yet.
    unread: Vec<u8>,
    /// Whether the peer has shut down its side.
    peer_ended: bool,
    phase: Phase,
    rate: RateMonitor,
}

/// The request being served.
#[derive(Debug)]
enum Task {
    /// None.
    Idle,
    /// A pool thread works on it.
    Working,
    /// A pool thread opens the object, of which these sections are requested.
    Opening(Arc<MountPoint>, ReadRequest),
    /// A slice is being received.
    Receiving(SliceReceiver),
    /// A slice is being received and discarded; then this error is the response, if there is one.
    Discarding(Option<ErrorCode>),
    /// An object is being sent.
    Sending(Transfer),
}

/// What is being sent to the peer.
#[derive(Debug)]
enum Outgoing {
    Nothing,
    Bytes { bytes: Vec<u8>, sent: usize },
    Payload { left: u64 },
}

impl Connection {
    /// A connection that was just accepted. `number` is that of its permit.
    pub(crate) fn new(
        socket: ReadySocket,
        settings: &Settings,
        peer: String,
        number: u64,
        now: Instant,
    ) -> Self {
        Self {
            socket,
            session: ServerSession::new(Arc::clone(&settings.session), now),
            peer,
            number,
            principal: None,
            register_by: now + REGISTRATION,
            idle_until: settings.must_request.then_some(now + REGISTRATION),
            idle: Duration::from_secs(settings.session.limits.idle_seconds.into()),
            keeps_permit: false,
            keyless: None,
            stalled: false,
            is_plaintext: false,
            denied: false,
            explains_failures: settings.explains_failures,
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

    /// What remains to be released: an interrupted upload, and buffers.
    pub(crate) fn into_leftovers(self) -> (Option<Box<Upload>>, Vec<Buffer>) {
        let (received, buffers) = match self.task {
            Task::Receiving(receive) => receive.into_parts(),
            _ => Default::default(),
        };
        (self.upload.or(received), buffers.into())
    }

    /// Whether its peer has authenticated with an account, or has no key.
    pub(crate) const fn is_registered(&self) -> bool {
        matches!(self.principal, Some(Principal::Registered(..) | Principal::Anonymous))
    }

    /// Whether it may be evicted at the connection limit.
    pub(crate) const fn is_evictable(&self) -> bool {
        self.stalled
    }

    /// Takes the next event of the state machine, unless something has to be finished first. Returns
    /// whether there was something to do.
    fn step(&mut self, cx: &mut TurnContext<'_>) -> Result<bool, CloseReason> {
        let now = cx.now.instant;
        let at_rest = matches!(self.task, Task::Idle) && self.is_flushed();
        if !at_rest || self.ticket.is_some() || !self.phase.is_open() {
            return Ok(false);
        }
        if cx.draining && self.upload.is_none() {
            self.begin_close(now);
            return Ok(true);
        }
        match self.session.poll_event() {
            Some(Event::Connected { peer, mode }) => self.connected(peer, mode, cx)?,
            Some(Event::Message(request)) => self.serve(request, cx)?,
            Some(Event::PayloadDone) => {}
            Some(Event::Closed) => self.peer_ended = true,
            None if self.peer_ended => self.begin_close(now),
            None => return Ok(false),
        }
        Ok(true)
    }

    fn connected(
        &mut self,
        device: Option<DevicePublicKey>,
        mode: Mode,
        cx: &mut TurnContext<'_>,
    ) -> Result<(), CloseReason> {
        debug!(peer = self.peer, ?mode, "connected");
        self.is_plaintext = mode == Mode::Plaintext;
        match (device, cx.mounts.first_store()) {
            (Some(device), Some(home)) => {
                // An unregistered device may only join. Whether this one is registered, the store knows.
                self.principal = Some(Principal::Unregistered(device));
                self.ask(Job::Account(home.clone(), device), cx)
            }
            (Some(_), None) => Err(CloseReason::Stuck("a device without a store of accounts")),
            (None, _) => {
                self.principal = Some(Principal::Anonymous);
                self.keyless = cx.keyless.try_acquire();
                if self.keyless.is_none() {
                    let why = "too many peers without a key are connected";
                    self.respond(&Response::Error(RemoteError::new(ErrorCode::Busy, why)))?;
                    self.begin_close(cx.now.instant);
                }
                Ok(())
            }
        }
    }

    fn serve(&mut self, request: Request, cx: &mut TurnContext<'_>) -> Result<(), CloseReason> {
        let now = cx.now.instant;
        self.kind = RequestKind::from(&request);
        self.keeps_permit = false;
        if let Some(unknown) = self.unknown.take() {
            let text = "the server cannot read what this device may do: its operator has to mend the account";
            self.respond(&Response::Error(RemoteError::new(unknown.code, text)))?;
            self.begin_close(now);
            return Ok(());
        }
        let Some(principal) = &self.principal else {
            return Err(CloseReason::Stuck("a request before the handshake"));
        };
        // A mount that existed when it was selected may be gone: the configuration was reloaded.
        let mount = self.mount.as_ref().and_then(|name| cx.mounts.named(name.as_str()));
        let authorized = match principal.authorize(request, mount.map(|mount| mount.policy())) {
            Ok(authorized) => authorized,
            Err(denied) => {
                // The metrics count each refusal; the log has the first one of a connection.
                if std::mem::replace(&mut self.denied, true) {
                    debug!(peer = self.peer, why = denied.why, "denied again");
                } else {
                    info!(peer = self.peer, why = denied.why, "denied");
                }
                self.respond(&forbidden(denied.why))?;
                if denied.close {
                    self.begin_close(now);
                }
                return Ok(());
            }
        };
        self.keeps_permit = deadlines::keeps_permit(self.kind, self.upload.is_some());
        let facts = RequestContext {
            principal,
            connection: self.number,
            is_plaintext: self.is_plaintext,
            mount,
            home: cx.mounts.first_store(),
        };
        match dispatch(authorized, &facts, &mut self.upload) {
            Action::Answer(response) => self.respond(&response),
            Action::Fail(code, left_behind) => {
                if let Some(upload) = left_behind {
                    cx.pool.discard(Job::Abort(upload));
                }
                self.refuse(code, now)
            }
            Action::Submit(job) => self.ask(job, cx),
            Action::Open(mount, read) => {
                let known = match read.version {
                    None => cx.open_already(&mount, read.key.as_bytes()),
                    Some(_) => None,
                };
                if let Some(object) = known {
                    return self.send_object(&object, &read, cx);
                }
                let job = Job::Open {
                    mount: Arc::clone(&mount),
                    key: read.key.clone(),
                    version: read.version,
                    files: cx.open_files.clone(),
                };
                self.ask(job, cx)?;
                self.task = Task::Opening(mount, read);
                Ok(())
            }
            Action::Receive(upload, length, digest) => {
                self.task = Task::Receiving(SliceReceiver::new(upload, length, digest));
                Ok(())
            }
            Action::Discard => {
                self.task = Task::Discarding(Some(ErrorCode::State));
                Ok(())
            }
            Action::SelectMount(name) => {
                // A mount where the peer may do nothing is reported as absent, so that its existence stays secret.
                let open = |policy: &Policy| principal.may_enter(policy);
                let there = cx.mounts.named(name.as_str()).filter(|mount| open(mount.policy()));
                self.mount = there.map(|_| name);
                match self.mount {
                    Some(_) => self.respond(&Response::Mounted),
                    None => self.respond(&error_response(ErrorCode::NotFound)),
                }
            }
        }
    }

    /// Responds with the requested sections of an object.
    fn send_object(
        &mut self,
        object: &Arc<OpenObject>,
        read: &ReadRequest,
        cx: &TurnContext<'_>,
    ) -> Result<(), CloseReason> {
        let now = cx.now.instant;
        // Sections of the other kind lie outside of this object too; that the kind differs says more.
        if object.info().kind != read.kind {
            return self.refuse(ErrorCode::Kind, now);
        }
        let is_header = |section: &&Section| matches!(section, Section::Header);
        let with_header = read.sections.iter().any(|section| is_header(&section));
        if with_header && object.header().is_none() {
            return self.refuse(ErrorCode::Range, now);
        }
        let raw = read.sections.iter().filter(|section| !is_header(section));
        let ranges: Result<Vec<_>, _> = raw.map(|section| object.section(*section)).collect();
        let Ok(ranges) = ranges else { return self.refuse(ErrorCode::Range, now) };
        let Ok(transfer) = Transfer::new(Arc::clone(object), cx.engine, ranges) else {
            return self.refuse(ErrorCode::Range, now);
        };
        let payload = transfer.left();
        if payload > 0 {
            self.task = Task::Sending(transfer);
        }
        let header = object.header().filter(|_| with_header).map(<[u8]>::to_vec);
        self.respond(&Response::Object { info: object.info(), header, payload })
    }

    /// Submits a job.
    fn ask(&mut self, job: Job, cx: &mut TurnContext<'_>) -> Result<(), CloseReason> {
        if !matches!(job, Job::Append(_)) {
            self.task = Task::Working;
        }
        self.ticket = Some(cx.submit(job)?);
        Ok(())
    }

    /// Has a window loaded that is to be sent.
    fn load(&mut self, window: Window, cx: &mut TurnContext<'_>) -> Result<(), CloseReason> {
        self.ticket = Some(cx.submit(Job::Load(window))?);
        Ok(())
    }

    /// Takes the result of the job.
    pub(crate) fn deliver(
        &mut self,
        done: Done,
        cx: &mut TurnContext<'_>,
    ) -> Result<(), CloseReason> {
        let now = cx.now.instant;
        self.ticket = None;
        // The time that the disk took does not count as the peer's idle time.
        self.session.keep_alive(now);
        let task = std::mem::replace(&mut self.task, Task::Idle);
        match done {
            Done::Answer(response) => self.respond(&response),
            Done::Refused(refusal) => self.refuse(refusal, now),
            Done::Account(Ok(scopes)) => {
                if let (Some(scopes), Some(Principal::Unregistered(device))) =
                    (scopes, &self.principal)
                {
                    self.principal = Some(Principal::Registered(*device, scopes));
                }
                Ok(())
            }
            Done::Joined(Ok(scopes)) => {
                if let Some(device) = self.principal.as_ref().and_then(Principal::device) {
                    info!(peer = self.peer, %scopes, "a device joined");
                    self.principal = Some(Principal::Registered(device, scopes));
                }
                self.respond(&Response::Joined { scopes })
            }
            Done::Account(Err(refusal)) => {
                // There is no request yet to respond to.
                self.unknown = Some(refusal);
                Ok(())
            }
            Done::Joined(Err(refusal)) => {
                // PROTOCOL 5: "After a Join that is refused the connection ends".
                self.respond(&refusal.answer(self.explains_failures))?;
                self.begin_close(now);
                Ok(())
            }
            Done::Begun(upload) => {
                self.upload = Some(upload);
                self.respond(&Response::Begun)
            }
            Done::Claimed(upload, slices) => {
                self.upload = Some(upload);
                self.respond(&Response::Held { slices })
            }
            Done::Opened(object) => {
                let Task::Opening(mount, read) = task else {
                    return Err(CloseReason::Stuck("an object was opened that nobody asked for"));
                };
                match object {
                    Ok(object) => {
                        let object = Arc::new(object);
                        cx.files.insert(&mount, read.key.as_bytes(), &object, now);
                        self.send_object(&object, &read, cx)
                    }
                    Err(refusal) => self.refuse(refusal, now),
                }
            }
            Done::Loaded(window, Ok(())) => {
                let Task::Sending(mut transfer) = task else {
                    return Err(CloseReason::Stuck("bytes were loaded that are not being sent"));
                };
                transfer.loaded(&window);
                cx.metrics.load(window.waited());
                self.task = Task::Sending(transfer);
                Ok(())
            }
            Done::Loaded(_, Err(failure)) => Err(CloseReason::Load(failure)),
            Done::Appended { upload, end, buffers } => {
                buffers.into_iter().for_each(|buffer| cx.buffers.give(buffer));
                self.appended(task, upload, end, now, cx)
            }
            Done::Panicked { buffers } => {
                cx.buffers.lost(buffers);
                if let Task::Receiving(receive) = task {
                    receive.into_parts().1.into_iter().for_each(|b| cx.buffers.give(b));
                }
                self.respond(&error_response(ErrorCode::Internal))?;
                self.begin_close(now);
                Ok(())
            }
        }
    }

    fn appended(
        &mut self,
        task: Task,
        upload: Result<Box<Upload>, ErrorReply>,
        end: bool,
        now: Instant,
        cx: &mut TurnContext<'_>,
    ) -> Result<(), CloseReason> {
        let Task::Receiving(mut receive) = task else {
            return Err(CloseReason::Stuck("bytes were written that were not being received"));
        };
        match upload {
            Ok(upload) if end => {
                self.upload = Some(upload);
                self.respond(&Response::SliceHeld)
            }
            Ok(upload) => {
                receive.returned(upload);
                self.task = Task::Receiving(receive);
                Ok(())
            }
            Err(refusal) => {
                receive.into_parts().1.into_iter().for_each(|buffer| cx.buffers.give(buffer));
                // The peer learns of it now, while it is still sending the slice.
                self.task = Task::Discarding(None);
                self.refuse(refusal, now)
            }
        }
    }

    /// Queues an error response.
    fn refuse(&mut self, refusal: impl Into<ErrorReply>, now: Instant) -> Result<(), CloseReason> {
        let refusal = refusal.into();
        self.respond(&refusal.answer(self.explains_failures))?;
        // PROTOCOL 7: "Malformed ends the connection".
        if refusal.code == ErrorCode::Malformed {
            self.begin_close(now);
        }
        Ok(())
    }

    /// Queues a response.
    fn respond(&mut self, response: &Response) -> Result<(), CloseReason> {
        self.outcome = Some(match response {
            Response::Error(error) => error.known().map_or(Outcome::Internal, Outcome::from),
            _ => Outcome::Ok,
        });
        self.session.send(response).map_err(CloseReason::Encoding)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection({}, {:?})", self.peer, self.task)
    }
}

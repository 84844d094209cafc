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
//! [`Verdict`] for the worker.

pub(crate) mod access;
mod farewell;
mod intake;
mod turn;

use std::{fmt, sync::Arc, time::Instant};

use thiserror::Error;
use tracing::{debug, info};
use zput_common::{
    keys::DevicePublicKey,
    proto::{
        Event, Mode, ServerConfig, ServerSession, SessionError,
        message::{ErrorCode, Request, Response, Scopes},
    },
};

use crate::{
    catalog::{Done, Job, denial, refused},
    handler::{Facts, Mounted, Step, decide},
    pool::{Pool, ReplyTo, Ticket},
    store::Upload,
    transfer::{Transfer, TransferError},
    wire::{Blocked, Wire},
    worker::{Buffer, Buffers, Inbox, SlotId},
};
use access::Standing;
use farewell::{INTRODUCTION, Phase};
use intake::Intake;

/// What a listener lets its peers do.
#[derive(Clone)]
pub(crate) struct Door {
    /// How its sessions are set up.
    pub(crate) session: Arc<ServerConfig>,
    /// What peers without a key may do, on plaintext connections.
    pub(crate) plaintext: Scopes,
    /// Whether unsealed objects move on plaintext connections.
    pub(crate) unsealed: bool,
}

/// What a worker lends a connection for a turn.
#[derive(Debug)]
pub(crate) struct Desk<'a> {
    /// Where disk work goes.
    pub(crate) pool: &'a Pool,
    /// Where its results come back to.
    pub(crate) inbox: &'a Inbox,
    /// Which connection this is.
    pub(crate) slot: SlotId,
    /// The worker's buffers for uploads.
    pub(crate) buffers: &'a mut Buffers,
    /// Room to read control bytes into, and bytes that nobody wants.
    pub(crate) scratch: &'a mut [u8],
    /// Whether the server is stopping: what is under way ends, nothing begins.
    pub(crate) draining: bool,
}

/// What becomes of a connection after its turn.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Put aside until the socket or the pool wakes it.
    Park(Blocked),
    /// There is more to do, but others are waiting too.
    Again(BudgetSpent),
    /// Put aside until the worker has a buffer.
    Starved(NoBuffer),
    /// It is over.
    Close(End),
}

/// Proof that a turn ended because its budget was spent.
#[derive(Debug)]
pub(crate) struct BudgetSpent(());

/// Proof that a turn ended for want of a buffer.
#[derive(Debug)]
pub(crate) struct NoBuffer(());

/// Why a connection ended.
#[derive(Debug, Error)]
pub(crate) enum End {
    /// All was said.
    #[error("done")]
    Done,
    /// The farewell took too long.
    #[error("the peer did not take its leave in time")]
    FarewellTimeout,
    /// A device without an account did not join in time.
    #[error("a device without an account did not join in time")]
    Stranger,
    /// Nothing moved for too long while the peer had to act.
    #[error("the peer was idle for too long")]
    Idle,
    /// The socket failed.
    #[error(transparent)]
    Socket(#[from] std::io::Error),
    /// The peer stopped in the middle of something.
    #[error("truncated: {0}")]
    Truncated(SessionError),
    /// An answer could not be said.
    #[error("cannot answer: {0}")]
    Unsayable(SessionError),
    /// An announced payload could not be sent.
    #[error("cannot go on sending: {0}")]
    Transfer(#[from] TransferError),
    /// The pool takes no jobs.
    #[error("the pool takes no jobs")]
    NoPool,
    /// A defect: there was nothing to do and nothing to wait for.
    #[error("defect: neither working nor waiting, in {0}")]
    Stuck(&'static str),
}

/// A connection.
pub(crate) struct Connection {
    wire: Wire,
    session: ServerSession,
    door: Arc<Door>,
    peer: String,
    /// Unknown until the handshake is over and the account was looked up.
    standing: Option<Standing>,
    /// When it is over for a peer that the server does not know, whatever moves.
    introduced_by: Instant,
    /// Whether unsealed objects move here.
    unsealed: bool,
    /// The mount that the requests speak of; none after a Mount that failed.
    mounted: Option<Mounted>,
    task: Task,
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
}

/// The request being served.
#[derive(Debug)]
enum Task {
    /// None.
    Idle,
    /// The pool has it.
    Asked,
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
    /// A peer that has just arrived.
    pub(crate) fn new(wire: Wire, door: Arc<Door>, peer: String, now: Instant) -> Self {
        let session = ServerSession::new(Arc::clone(&door.session), now);
        Self {
            wire,
            session,
            door,
            peer,
            standing: None,
            introduced_by: now + INTRODUCTION,
            unsealed: false,
            mounted: Some(Mounted::ROOT),
            task: Task::Idle,
            upload: None,
            ticket: None,
            outgoing: Outgoing::Nothing,
            unread: Vec::new(),
            peer_ended: false,
            phase: Phase::Open,
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

    /// What it leaves behind: an upload whose staging file must go, and buffers.
    pub(crate) fn into_leftovers(self) -> (Option<Box<Upload>>, impl IntoIterator<Item = Buffer>) {
        let (received, buffers) = match self.task {
            Task::Receiving(intake) => intake.into_parts(),
            _ => Default::default(),
        };
        (self.upload.or(received), buffers)
    }

    /// Takes the next event of the session, if there is nothing else to finish first.
    /// Returns whether there was something to do.
    fn step(&mut self, now: Instant, desk: &mut Desk<'_>) -> Result<bool, End> {
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
            Some(Event::Message(request)) => self.serve(request, now, desk)?,
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
        match device {
            Some(device) => {
                // Nothing may be asked of a stranger but to join; what this one is, the store knows.
                self.standing = Some(Standing::Stranger(device));
                self.ask(Job::Account(device), desk)
            }
            None => {
                self.unsealed = self.door.unsealed && mode == Mode::Plaintext;
                self.standing = Some(Standing::Anonymous(self.door.plaintext));
                Ok(())
            }
        }
    }

    fn serve(&mut self, request: Request, now: Instant, desk: &mut Desk<'_>) -> Result<(), End> {
        let Some(standing) = &self.standing else {
            return Err(End::Stuck("a request before the handshake"));
        };
        let admitted = match standing.admit(request) {
            Ok(admitted) => admitted,
            Err(denied) => {
                info!(peer = self.peer, why = denied.why, "denied");
                self.say(&denial(denied.why))?;
                if denied.close {
                    self.leave(now);
                }
                return Ok(());
            }
        };
        let facts = Facts { standing, unsealed: self.unsealed, mounted: self.mounted };
        match decide(admitted, &facts, &mut self.upload) {
            Step::Answer(response) => self.say(&response),
            Step::Refuse(code, left_behind) => {
                if let Some(upload) = left_behind {
                    desk.pool.discard(Job::Abort(upload));
                }
                self.refuse(code, now)
            }
            Step::Ask(job) => self.ask(job, desk),
            Step::Receive(upload, length, digest) => {
                self.task = Task::Receiving(Intake::new(upload, length, digest));
                Ok(())
            }
            Step::Discard => {
                self.task = Task::Discarding(Some(ErrorCode::State));
                Ok(())
            }
            Step::Turn(mounted) => {
                self.mounted = mounted;
                match mounted {
                    Some(_) => self.say(&Response::Mounted),
                    None => self.say(&refused(ErrorCode::NotFound)),
                }
            }
        }
    }

    /// Hands a job to the pool.
    fn ask(&mut self, job: Job, desk: &mut Desk<'_>) -> Result<(), End> {
        if !matches!(job, Job::Append(_)) {
            self.task = Task::Asked;
        }
        let reply = ReplyTo { inbox: desk.inbox.clone(), slot: desk.slot };
        match desk.pool.submit(job, reply) {
            Ok(ticket) => {
                self.ticket = Some(ticket);
                Ok(())
            }
            Err(job) => {
                desk.buffers.lost(job.buffers());
                Err(End::NoPool)
            }
        }
    }

    /// Takes what came of the job under way.
    pub(crate) fn deliver(
        &mut self,
        done: Done,
        now: Instant,
        desk: &mut Desk<'_>,
    ) -> Result<(), End> {
        self.ticket = None;
        // The time that the disk took is not the peer's silence.
        self.session.keep_alive(now);
        let task = std::mem::replace(&mut self.task, Task::Idle);
        match done {
            Done::Answer(response) => self.say(&response),
            Done::Refused(code) => self.refuse(code, now),
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
            Done::Account(Err(_)) => {
                // Nothing was asked that could be answered.
                self.leave(now);
                Ok(())
            }
            Done::Joined(Err(code)) => {
                // PROTOCOL 5: "After a Join that is refused the connection ends".
                self.say(&refused(code))?;
                self.leave(now);
                Ok(())
            }
            Done::Begun(upload) => {
                self.upload = Some(upload);
                self.say(&Response::Begun)
            }
            Done::Opened(info, header, transfer) => {
                let payload = transfer.left();
                if payload > 0 {
                    self.task = Task::Sending(transfer);
                }
                self.say(&Response::Object { info, header, payload })
            }
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
        upload: Result<Box<Upload>, ErrorCode>,
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
            Err(code) => {
                intake.into_parts().1.into_iter().for_each(|buffer| desk.buffers.give(buffer));
                // The peer learns of it now, while its bytes are still on their way.
                self.task = Task::Discarding(None);
                self.refuse(code, now)
            }
        }
    }

    /// Queues an answer that says no.
    fn refuse(&mut self, code: ErrorCode, now: Instant) -> Result<(), End> {
        self.say(&refused(code))?;
        // PROTOCOL 7: "Malformed ends the connection".
        if code == ErrorCode::Malformed {
            self.leave(now);
        }
        Ok(())
    }

    /// Queues an answer.
    fn say(&mut self, response: &Response) -> Result<(), End> {
        self.session.send(response).map_err(End::Unsayable)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection({}, {:?})", self.peer, self.task)
    }
}

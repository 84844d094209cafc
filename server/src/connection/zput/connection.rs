//! The state of a connection, and what it has for its worker besides turns.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use zput_proto::{
    limits::HANDSHAKE_SECONDS,
    message::{ErrorCode, RemoteError, Response},
    mount::MountName,
    session::{ServerConfig, ServerSession},
};

use super::{
    super::{
        close::{CloseReason, Phase},
        min_rate::RateMonitor,
    },
    authorize::Principal,
    dispatch::ReadRequest,
    error_response::response_to,
    receive::SliceReceiver,
};
use crate::{
    jobs::{Buffer, JobError, Ticket},
    limits::Permit,
    metrics::{Outcome, RequestKind},
    mounts::MountPoint,
    store::Upload,
    transfer::{Transfer, socket::ReadySocket},
};

/// Time from accept until the server knows its peer: hello, handshake and, for a device without an
/// account, the response to its Join (PROTOCOL 9).
const REGISTRATION: Duration = Duration::from_secs(HANDSHAKE_SECONDS);

/// Settings that the connections of a listener have in common.
#[derive(Clone)]
pub(crate) struct Settings {
    /// Configuration of the protocol's state machine.
    pub(crate) session: Arc<ServerConfig>,
    /// Minimum bytes a second that a peer must move while it is its turn; 0 for no minimum.
    pub(crate) min_rate: u64,
    /// Whether a peer without a key must send a request within the idle time.
    pub(crate) must_request: bool,
    /// Whether its peers hold the store's directory themselves, so that error responses give the
    /// cause.
    pub(crate) explains_failures: bool,
}

/// A connection.
pub(crate) struct Connection {
    pub(super) socket: ReadySocket,
    pub(super) session: ServerSession,
    pub(super) peer: String,
    /// The number of its permit: greater than those of all connections accepted before.
    pub(super) number: u64,
    /// `None` until the handshake is over and the account was looked up.
    pub(super) principal: Option<Principal>,
    /// When an unregistered peer is disconnected, whatever it sends.
    pub(super) register_by: Instant,
    /// When a peer without a key that sends no request is disconnected; `None` if it never is.
    pub(super) idle_until: Option<Instant>,
    /// Time in which a peer without a key must send a request.
    pub(super) idle: Duration,
    /// Whether the request being served was allowed and keeps the permit of a peer without a key.
    pub(super) keeps_permit: bool,
    /// The permit of a peer without a key.
    pub(super) keyless: Option<Permit>,
    /// Whether the upload of a peer without a key made no progress for the idle time, so that its
    /// permit was given up.
    pub(super) stalled: bool,
    /// Whether the connection is not encrypted, so that plain objects may be transferred.
    pub(super) is_plaintext: bool,
    /// Whether a request was refused before, which is logged once for each connection.
    pub(super) denied: bool,
    /// Whether the peer holds the store's directory itself, so that error responses give the cause.
    pub(super) explains_failures: bool,
    /// Why the peer gets nothing: its account could not be looked up, or too many peers without a
    /// key are connected. Its first request gets this as the response, and the connection closes:
    /// the protocol has no response without a request.
    pub(super) turned_away: Option<RemoteError>,
    /// The selected mount; `None` after a Mount request that failed.
    pub(super) mount: Option<MountName>,
    pub(super) task: Task,
    /// The request being served and its result, for the metrics.
    pub(super) kind: RequestKind,
    pub(super) outcome: Option<Outcome>,
    /// The open upload, between its requests.
    pub(super) upload: Option<Box<Upload>>,
    /// Set while a job is running.
    pub(super) ticket: Option<Ticket>,
    pub(super) outgoing: Outgoing,
    /// Bytes that were read and that the state machine has not taken yet.
    pub(super) unread: Vec<u8>,
    /// Whether the peer has shut down its side.
    pub(super) peer_ended: bool,
    pub(super) phase: Phase,
    pub(super) rate: RateMonitor,
}

/// The request being served.
#[derive(Debug)]
pub(super) enum Task {
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
pub(super) enum Outgoing {
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
            turned_away: None,
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
        self.stalled || self.turned_away.is_some()
    }

    /// Begins to close the connection.
    pub(super) fn begin_close(&mut self, now: Instant) {
        if self.phase.is_open() {
            self.session.close();
            self.phase.begin_close(now);
        }
    }

    /// Shuts down this side after the last byte, and lingers unless the peer has shut down its side
    /// too.
    pub(super) fn stop_writing(&mut self) -> Result<(), CloseReason> {
        self.socket.end_writing();
        if self.peer_ended {
            return Err(CloseReason::Done);
        }
        self.phase.linger();
        Ok(())
    }

    /// Queues an error response.
    pub(super) fn refuse(
        &mut self,
        refusal: impl Into<JobError>,
        now: Instant,
    ) -> Result<(), CloseReason> {
        let refusal = refusal.into();
        self.respond(&response_to(&refusal, self.explains_failures))?;
        // PROTOCOL 7: "Malformed ends the connection".
        if refusal.code == ErrorCode::Malformed {
            self.begin_close(now);
        }
        Ok(())
    }

    /// Queues a response.
    pub(super) fn respond(&mut self, response: &Response) -> Result<(), CloseReason> {
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

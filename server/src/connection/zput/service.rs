//! The state of a connection, and what its driver asks of it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use zput_proto::{
    limits::HANDSHAKE_SECONDS,
    message::{ErrorCode, RemoteError, Response},
    mount::MountName,
    session::ServerSession,
};

use super::{
    super::{
        close::CloseReason,
        context::TurnContext,
        driver::{Intake, Next, Protocol, Transmit},
        input::{Filled, Input},
    },
    anonymous::AnonymousPermit,
    dispatch::ReadRequest,
    error_response::response_to,
    outgoing::Outgoing,
    peer::Peer,
    receive::SliceReceiver,
    settings::Settings,
};
use crate::{
    http::Now,
    jobs::{Buffer, Buffers, Device, Done, JobError},
    metrics::{Outcome, RequestKind},
    mounts::MountPoint,
    store::Upload,
};

/// Time from accept until the server knows its peer: hello, handshake and, for a device without an
/// account, the response to its Join (PROTOCOL 9).
const REGISTRATION: Duration = Duration::from_secs(HANDSHAKE_SECONDS);

/// One connection of zput's protocol.
pub(crate) struct Service {
    pub(super) session: ServerSession,
    pub(super) outgoing: Outgoing,
    pub(super) peer: Peer,
    pub(super) anonymous: AnonymousPermit,
    /// Why the peer gets nothing: its account could not be looked up, or too many peers without a
    /// key are connected. Its first request gets this as the response, and the connection closes:
    /// the protocol has no response without a request.
    pub(super) turned_away: Option<RemoteError>,
    /// The selected mount; `None` after a Mount request that failed.
    pub(super) mount: Option<MountName>,
    pub(super) task: Task,
    /// The request being served and its result, for the metrics.
    pub(super) kind: RequestKind,
    outcome: Option<Outcome>,
    /// The open upload, between its requests.
    pub(super) upload: Option<Box<Upload>>,
    /// Whether the connection takes no more requests.
    closing: bool,
    /// Whether the peer holds the store's directory itself, so that error responses give the cause.
    pub(super) explains_failures: bool,
}

/// The request being served.
#[derive(Debug)]
pub(super) enum Task {
    /// None, or one whose response is being sent.
    Idle,
    /// A pool thread works on it.
    Working,
    /// A pool thread opens the object, of which these sections are requested.
    Opening(Arc<MountPoint>, ReadRequest),
    /// A slice is being received.
    Receiving(SliceReceiver),
    /// A slice is being received and discarded; then this error is the response, if there is one.
    Discarding(Option<ErrorCode>),
}

impl Service {
    /// For a connection that was just accepted. `number` is that of its permit, and the peer is the
    /// device `without_key` unless it turns out to have a key.
    pub(crate) fn new(
        settings: &Settings,
        address: String,
        without_key: Device,
        number: u64,
        now: Instant,
    ) -> Self {
        let register_by = now + REGISTRATION;
        Self {
            session: ServerSession::new(Arc::clone(&settings.session), now),
            outgoing: Outgoing::default(),
            peer: Peer::new(address, without_key, number, register_by),
            anonymous: AnonymousPermit::new(settings, register_by),
            turned_away: None,
            mount: Some(MountName::ROOT),
            task: Task::Idle,
            kind: RequestKind::Ping,
            outcome: None,
            upload: None,
            closing: false,
            explains_failures: settings.explains_failures,
        }
    }

    /// Whether no request is being served, and no response is being sent.
    pub(super) fn is_at_rest(&self) -> bool {
        matches!(self.task, Task::Idle) && !self.has_output()
    }

    /// Queues an error response.
    pub(super) fn refuse(&mut self, refusal: impl Into<JobError>) -> Result<Next, CloseReason> {
        let refusal = refusal.into();
        let next = self.respond(&response_to(&refusal, self.explains_failures))?;
        // PROTOCOL 7: "Malformed ends the connection".
        if refusal.code == ErrorCode::Malformed {
            self.close();
        }
        Ok(next)
    }

    /// Queues a response.
    pub(super) fn respond(&mut self, response: &Response) -> Result<Next, CloseReason> {
        self.outcome = Some(match response {
            Response::Error(error) => error.known().map_or(Outcome::Internal, Outcome::from),
            _ => Outcome::Ok,
        });
        self.session.send(response).map(|()| Next::Continue).map_err(CloseReason::Encoding)
    }

    /// Queues a response after which the connection closes.
    pub(super) fn respond_last(&mut self, response: &Response) -> Result<Next, CloseReason> {
        let next = self.respond(response)?;
        self.close();
        Ok(next)
    }

    /// Notes progress of a response. Without a permit for it the connection closes.
    fn progressed(&mut self, cx: &TurnContext<'_>) {
        if !self.anonymous.progressed(cx.keyless, cx.now.instant) {
            self.close();
        }
    }
}

impl Protocol for Service {
    fn peer(&self) -> &str {
        &self.peer.address
    }

    fn device(&self) -> Device {
        self.peer.device()
    }

    fn is_registered(&self) -> bool {
        self.peer.is_registered()
    }

    fn is_evictable(&self) -> bool {
        self.anonymous.is_stalled() || self.turned_away.is_some()
    }

    fn intake(&self, buffers: &Buffers) -> Intake {
        match &self.task {
            Task::Idle if !self.has_output() => Intake::Requests,
            Task::Receiving(receive) if receive.wants_bytes(buffers) => Intake::Payload,
            Task::Discarding(_) => Intake::Payload,
            Task::Idle | Task::Working | Task::Opening(..) | Task::Receiving(_) => Intake::Nothing,
        }
    }

    fn fill(
        &mut self,
        input: &mut Input<'_>,
        cx: &mut TurnContext<'_>,
    ) -> Result<Filled, CloseReason> {
        self.receive(input, cx)
    }

    fn handle_eof(&mut self) -> Result<(), CloseReason> {
        self.session.handle_eof().map_err(CloseReason::Truncated)
    }

    fn serve(&mut self, cx: &mut TurnContext<'_>) -> Result<Option<Next>, CloseReason> {
        self.take_event(cx)
    }

    fn deliver(&mut self, done: Done, cx: &mut TurnContext<'_>) -> Result<Next, CloseReason> {
        self.take_result(done, cx)
    }

    fn poll_answered(&mut self) -> Option<(RequestKind, Outcome)> {
        Some((self.kind, self.outcome.take()?))
    }

    fn has_output(&self) -> bool {
        !self.outgoing.is_empty() || self.session.has_output()
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<Transmit<'_>> {
        self.outgoing.next(&mut self.session, now)
    }

    fn bytes_sent(&mut self, n: usize, cx: &TurnContext<'_>) {
        self.outgoing.sent(n);
        self.progressed(cx);
    }

    fn payload_sent(&mut self, n: u64, cx: &TurnContext<'_>) {
        self.session.payload_sent(cx.now.instant, n);
        self.progressed(cx);
    }

    fn deadline(&self) -> Option<Instant> {
        self.next_deadline()
    }

    fn handle_timeout(&mut self, now: &Now) -> Option<CloseReason> {
        self.pass_deadlines(now.instant)
    }

    fn restart_idle(&mut self, now: Instant) {
        self.session.restart_idle(now);
    }

    fn close(&mut self) {
        if !self.closing {
            self.closing = true;
            self.session.close();
        }
    }

    fn drain(&mut self) {
        if self.is_at_rest() && self.upload.is_none() {
            self.close();
        }
    }

    fn should_close(&self) -> bool {
        self.closing
    }

    fn state(&self) -> &'static str {
        match self.task {
            Task::Idle => "Idle",
            Task::Working => "Working",
            Task::Opening(..) => "Opening",
            Task::Receiving(_) => "Receiving",
            Task::Discarding(_) => "Discarding",
        }
    }

    fn into_leftovers(self) -> (Option<Box<Upload>>, Vec<Buffer>) {
        let (received, buffers) = match self.task {
            Task::Receiving(receive) => receive.into_parts(),
            _ => Default::default(),
        };
        (self.upload.or(received), buffers.into())
    }
}

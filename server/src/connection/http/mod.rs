//! HTTP, for one connection: state machine, and the request being served.
//!
//! HTTP only reads public mounts.

use std::{sync::Arc, time::Instant};

use tracing::debug;
use zput_proto::{
    message::{ErrorCode, Kind},
    name::ObjectKey,
};

use super::{
    close::CloseReason,
    context::TurnContext,
    driver::{Intake, Next, Protocol, Transmit},
    input::{Filled, Input},
};
use crate::{
    http::{self, Answer, ContentType, EntityTag, Facts, KEPT_BYTES, Now, Session, Timeouts},
    jobs::{Buffer, Buffers, Device, Done, Job},
    metrics::{Outcome, RequestKind},
    mounts::{MountPoint, OpenObject},
    store::Upload,
    transfer::Transfer,
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

/// One connection of HTTP.
pub(crate) struct Service {
    session: Session,
    peer: String,
    device: Device,
    /// The object that a pool thread opens.
    opening: Option<(Arc<MountPoint>, ObjectKey)>,
}

impl Service {
    /// For a connection that was just accepted.
    pub(crate) fn new(settings: &Settings, peer: String, device: Device, now: Instant) -> Self {
        Self { session: Session::new(settings.timeouts, now), peer, device, opening: None }
    }

    /// Responds with an object.
    fn found(
        &mut self,
        mount: &MountPoint,
        object: Arc<OpenObject>,
        cx: &TurnContext<'_>,
    ) -> Result<Next, CloseReason> {
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
        let Some(range) = range else { return Ok(Next::Continue) };
        let transfer = Transfer::new(object, cx.engine, [range], cx.now.instant);
        transfer.map(Next::Send).map_err(|_| CloseReason::Stuck("a range over 2^63"))
    }

    fn answer(&mut self, answer: &Answer<'_>, now: &Now) -> Result<Next, CloseReason> {
        let answered = self.session.answer(now, answer);
        answered
            .map(|_| Next::Continue)
            .map_err(|_| CloseReason::Stuck("an answer without a request"))
    }
}

impl Protocol for Service {
    fn peer(&self) -> &str {
        &self.peer
    }

    fn device(&self) -> Device {
        self.device
    }

    /// A client has nothing to authenticate with.
    fn is_registered(&self) -> bool {
        true
    }

    fn is_evictable(&self) -> bool {
        false
    }

    fn intake(&self, _buffers: &Buffers) -> Intake {
        if self.session.wants_read() { Intake::Requests } else { Intake::Nothing }
    }

    fn fill(
        &mut self,
        input: &mut Input<'_>,
        cx: &mut TurnContext<'_>,
    ) -> Result<Filled, CloseReason> {
        if !self.session.wants_read() {
            return Ok(Filled::Nothing);
        }
        let (session, now) = (&mut self.session, cx.now);
        input.control(cx.scratch, KEPT_BYTES, cx.metrics, |bytes| session.handle_input(now, bytes))
    }

    fn handle_eof(&mut self) -> Result<(), CloseReason> {
        debug!(peer = self.peer, "the client sends no more");
        self.session.handle_eof();
        Ok(())
    }

    fn serve(&mut self, cx: &mut TurnContext<'_>) -> Result<Option<Next>, CloseReason> {
        let Some(request) = self.session.poll_request() else { return Ok(None) };
        let found = cx.mounts.resolve(request.path());
        let Some((mount, path)) = found.filter(|(mount, _)| mount.policy().public) else {
            return self.answer(&Answer::NotFound, cx.now).map(Some);
        };
        let mount = Arc::clone(mount);
        if let Some(object) = cx.open_already(&mount, path.as_bytes()) {
            return self.found(&mount, object, cx).map(Some);
        }
        let Ok(key) = ObjectKey::new(path) else {
            return self.answer(&Answer::NotFound, cx.now).map(Some);
        };
        self.opening = Some((Arc::clone(&mount), key.clone()));
        let files = cx.open_files.clone();
        Ok(Some(Next::Submit(Job::Open { mount, key, version: None, files })))
    }

    fn deliver(&mut self, done: Done, cx: &mut TurnContext<'_>) -> Result<Next, CloseReason> {
        match (done, self.opening.take()) {
            (Done::Opened(Ok(object)), Some((mount, key))) => {
                let object = Arc::new(object);
                cx.files.insert(&mount, key.as_bytes(), &object, cx.now.instant);
                self.found(&mount, object, cx)
            }
            (Done::Opened(Err(refusal)), Some(_)) => {
                let answer = match refusal.code {
                    ErrorCode::Busy => Answer::Busy,
                    ErrorCode::NotFound | ErrorCode::Denied => Answer::NotFound,
                    _ => Answer::Internal,
                };
                self.answer(&answer, cx.now)
            }
            (Done::Panicked { .. }, Some(_)) => self.answer(&Answer::Internal, cx.now),
            _ => Err(CloseReason::Stuck("a job that HTTP does not have")),
        }
    }

    fn poll_answered(&mut self) -> Option<(RequestKind, Outcome)> {
        self.session.poll_answered().map(|(method, status)| (method.into(), status.into()))
    }

    fn has_output(&self) -> bool {
        self.session.poll_transmit().is_some()
    }

    fn poll_transmit(&mut self, _now: Instant) -> Option<Transmit<'_>> {
        Some(match self.session.poll_transmit()? {
            http::Transmit::Bytes { bytes, more } => Transmit::Bytes { bytes, more },
            http::Transmit::Payload(_) => Transmit::Payload,
        })
    }

    fn bytes_sent(&mut self, n: usize, cx: &TurnContext<'_>) {
        self.session.bytes_sent(cx.now, n);
    }

    fn payload_sent(&mut self, n: u64, cx: &TurnContext<'_>) {
        self.session.payload_sent(cx.now, n);
    }

    fn deadline(&self) -> Option<Instant> {
        self.session.deadline()
    }

    /// Without a response under way the connection ends. A head that took too long gets one.
    fn handle_timeout(&mut self, now: &Now) -> Option<CloseReason> {
        self.session.handle_timeout(now);
        self.session.should_close().then_some(CloseReason::Idle)
    }

    fn restart_idle(&mut self, now: Instant) {
        self.session.restart_idle(now);
    }

    fn close(&mut self) {
        self.session.close();
    }

    fn drain(&mut self) {
        self.session.close();
    }

    fn should_close(&self) -> bool {
        self.session.should_close()
    }

    fn state(&self) -> &'static str {
        "HTTP"
    }

    fn into_leftovers(self) -> (Option<Box<Upload>>, Vec<Buffer>) {
        (None, Vec::new())
    }
}

#[cfg(test)]
mod tests;

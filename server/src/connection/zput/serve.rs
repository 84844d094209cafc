//! The next event of the protocol: a finished handshake, or a request.

use std::sync::Arc;

use zput_proto::{
    hello::Mode,
    keys::DevicePublicKey,
    message::{ErrorCode, RemoteError, Request, Response, Section},
    session::{Event, Wants},
};

use super::{
    super::{
        close::CloseReason,
        context::TurnContext,
        driver::{Next, Protocol as _},
    },
    dispatch::{Action, ReadRequest, RequestContext, dispatch},
    error_response::{error_response, forbidden},
    receive::SliceReceiver,
    service::{Service, Task},
};
use crate::{
    jobs::Job,
    metrics::RequestKind,
    mounts::{OpenObject, Policy},
    transfer::Transfer,
};

impl Service {
    /// Takes the next event of the state machine, unless something has to be finished first.
    pub(super) fn take_event(
        &mut self,
        cx: &mut TurnContext<'_>,
    ) -> Result<Option<Next>, CloseReason> {
        if let Task::Discarding(answer) = self.task
            && !matches!(self.session.wants(), Wants::Payload { .. })
        {
            self.task = Task::Idle;
            let Some(code) = answer else { return Ok(Some(Next::Continue)) };
            return self.respond(&error_response(code)).map(Some);
        }
        if !self.is_at_rest() {
            return Ok(None);
        }
        match self.session.poll_event() {
            None => Ok(None),
            Some(Event::Connected { peer, mode }) => self.connected(peer, mode, cx).map(Some),
            Some(Event::Message(request)) => self.serve_request(request, cx).map(Some),
            Some(Event::PayloadDone) => Ok(Some(Next::Continue)),
            Some(Event::Closed) => {
                self.close();
                Ok(Some(Next::PeerEnded))
            }
        }
    }

    fn connected(
        &mut self,
        device: Option<DevicePublicKey>,
        mode: Mode,
        cx: &TurnContext<'_>,
    ) -> Result<Next, CloseReason> {
        self.peer.connected(device, mode);
        match (device, cx.mounts.first_store()) {
            (Some(device), Some(home)) => Ok(self.ask(Job::Account(home.clone(), device))),
            (Some(_), None) => Err(CloseReason::Stuck("a device without a store of accounts")),
            (None, _) => {
                if !self.anonymous.acquire(cx.keyless) {
                    let why = "too many peers without a key are connected";
                    self.turned_away = Some(RemoteError::new(ErrorCode::Busy, why));
                }
                Ok(Next::Continue)
            }
        }
    }

    fn serve_request(
        &mut self,
        request: Request,
        cx: &mut TurnContext<'_>,
    ) -> Result<Next, CloseReason> {
        self.kind = RequestKind::from(&request);
        self.anonymous.begin(None);
        if let Some(error) = self.turned_away.take() {
            return self.respond_last(&Response::Error(error));
        }
        let Some(principal) = &self.peer.principal else {
            return Err(CloseReason::Stuck("a request before the handshake"));
        };
        // A mount that existed when it was selected may be gone: the configuration was reloaded.
        let mount = self.mount.as_ref().and_then(|name| cx.mounts.named(name.as_str()));
        let authorized = match principal.authorize(request, mount.map(|mount| mount.policy())) {
            Ok(authorized) => authorized,
            Err(denied) => {
                self.peer.log_denied(denied.why);
                let response = forbidden(denied.why);
                return match denied.close {
                    true => self.respond_last(&response),
                    false => self.respond(&response),
                };
            }
        };
        self.anonymous.begin(Some((self.kind, self.upload.is_some())));
        let facts = RequestContext {
            principal,
            connection: self.peer.number,
            is_plaintext: self.peer.is_plaintext,
            mount,
            home: cx.mounts.first_store(),
        };
        match dispatch(authorized, &facts, &mut self.upload) {
            Action::Answer(response) => self.respond(&response),
            Action::Fail(code, left_behind) => {
                if let Some(upload) = left_behind {
                    cx.discard(Job::Abort(upload), self.peer.device());
                }
                self.refuse(code)
            }
            Action::Submit(job) => Ok(self.ask(job)),
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
                self.task = Task::Opening(mount, read);
                Ok(Next::Submit(job))
            }
            Action::Receive(upload, length, digest) => {
                self.task = Task::Receiving(SliceReceiver::new(upload, length, digest));
                Ok(Next::Continue)
            }
            Action::Discard => {
                self.task = Task::Discarding(Some(ErrorCode::State));
                Ok(Next::Continue)
            }
            Action::SelectMount(name) => {
                // A mount where the peer may do nothing is reported as absent, so that its
                // existence stays secret.
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
    pub(super) fn send_object(
        &mut self,
        object: &Arc<OpenObject>,
        read: &ReadRequest,
        cx: &TurnContext<'_>,
    ) -> Result<Next, CloseReason> {
        // Sections of the other kind lie outside of this object too; that the kind differs says
        // more.
        if object.info().kind != read.kind {
            return self.refuse(ErrorCode::Kind);
        }
        let is_header = |section: &&Section| matches!(section, Section::Header);
        let with_header = read.sections.iter().any(|section| is_header(&section));
        if with_header && object.header().is_none() {
            return self.refuse(ErrorCode::Range);
        }
        let raw = read.sections.iter().filter(|section| !is_header(section));
        let ranges: Result<Vec<_>, _> = raw.map(|section| object.section(*section)).collect();
        let Ok(ranges) = ranges else { return self.refuse(ErrorCode::Range) };
        let Ok(transfer) = Transfer::new(Arc::clone(object), cx.engine, ranges, cx.now.instant)
        else {
            return self.refuse(ErrorCode::Range);
        };
        let payload = transfer.left();
        let header = object.header().filter(|_| with_header).map(<[u8]>::to_vec);
        let next = self.respond(&Response::Object { info: object.info(), header, payload })?;
        Ok(if payload > 0 { Next::Send(transfer) } else { next })
    }

    /// Has a job done whose result is the response.
    fn ask(&mut self, job: Job) -> Next {
        self.task = Task::Working;
        Next::Submit(job)
    }
}

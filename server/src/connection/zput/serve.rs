//! The next event of the protocol: a finished handshake, or a request.

use std::sync::Arc;

use tracing::{debug, info};
use zput_proto::{
    hello::Mode,
    keys::DevicePublicKey,
    message::{ErrorCode, RemoteError, Request, Response, Section},
    session::Event,
};

use super::{
    super::{close::CloseReason, context::TurnContext},
    authorize::Principal,
    connection::{Connection, Task},
    deadlines,
    dispatch::{Action, ReadRequest, RequestContext, dispatch},
    error_response::{error_response, forbidden},
    receive::SliceReceiver,
};
use crate::{
    jobs::{Job, Window},
    metrics::RequestKind,
    mounts::{OpenObject, Policy},
    transfer::Transfer,
};

impl Connection {
    /// Takes the next event of the state machine, unless something has to be finished first.
    /// Returns whether there was something to do.
    pub(super) fn step(&mut self, cx: &mut TurnContext<'_>) -> Result<bool, CloseReason> {
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
                // An unregistered device may only join. Whether this one is registered, the store
                // knows.
                self.principal = Some(Principal::Unregistered(device));
                self.ask(Job::Account(home.clone(), device), cx)
            }
            (Some(_), None) => Err(CloseReason::Stuck("a device without a store of accounts")),
            (None, _) => {
                self.principal = Some(Principal::Anonymous);
                self.keyless = cx.keyless.try_acquire();
                if self.keyless.is_none() {
                    let why = "too many peers without a key are connected";
                    self.turned_away = Some(RemoteError::new(ErrorCode::Busy, why));
                }
                Ok(())
            }
        }
    }

    fn serve(&mut self, request: Request, cx: &mut TurnContext<'_>) -> Result<(), CloseReason> {
        let now = cx.now.instant;
        self.kind = RequestKind::from(&request);
        self.keeps_permit = false;
        if let Some(error) = self.turned_away.take() {
            self.respond(&Response::Error(error))?;
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
    ) -> Result<(), CloseReason> {
        let now = cx.now.instant;
        // Sections of the other kind lie outside of this object too; that the kind differs says
        // more.
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
        let Ok(transfer) = Transfer::new(Arc::clone(object), cx.engine, ranges, now) else {
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
    pub(super) fn ask(&mut self, job: Job, cx: &mut TurnContext<'_>) -> Result<(), CloseReason> {
        if !matches!(job, Job::Append(_)) {
            self.task = Task::Working;
        }
        self.ticket = Some(cx.submit(job)?);
        Ok(())
    }

    /// Has a window loaded that is to be sent.
    pub(super) fn load(
        &mut self,
        window: Window,
        cx: &mut TurnContext<'_>,
    ) -> Result<(), CloseReason> {
        self.ticket = Some(cx.submit(Job::Load(window))?);
        Ok(())
    }
}

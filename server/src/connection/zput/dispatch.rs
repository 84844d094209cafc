//! What to do about a request, as a value; the session does it.

use std::sync::Arc;

use zeroize::Zeroizing;
use zput_proto::{
    digest::Digest,
    keys::InviteSecret,
    message::{ErrorCode, Kind, Request, Response, Section, Version},
    mount::MountName,
    name::ObjectKey,
};

use super::{
    authorize::{Authorized, Principal},
    error_response::{error_response, forbidden},
};
use crate::{
    jobs::Job,
    mounts::MountPoint,
    store::{Store, Upload, Writer},
};

/// The session's next action.
#[derive(Debug)]
pub(crate) enum Action {
    /// Respond at once.
    Answer(Response),
    /// Respond with an error, which ends the open upload (PROTOCOL 5).
    Fail(ErrorCode, Option<Box<Upload>>),
    /// Submit a job whose result is the response.
    Submit(Job),
    /// Open an object and send the requested sections.
    Open(Arc<MountPoint>, ReadRequest),
    /// Receive a slice into the upload.
    Receive(Box<Upload>, u32, Digest),
    /// Read the slice, discard it, and respond with `State`.
    Discard,
    /// Select another mount, if it exists.
    SelectMount(MountName),
}

/// A request for the contents of an object.
#[derive(Debug)]
pub(crate) struct ReadRequest {
    /// The object's key.
    pub(crate) key: ObjectKey,
    /// The version; the current one when `None`.
    pub(crate) version: Option<Version>,
    /// The requested sections, in the order in which they are to be sent.
    pub(crate) sections: Vec<Section>,
    /// The kind of object that the reader accepts.
    pub(crate) kind: Kind,
}

/// The connection's state that decides about a request.
#[derive(Debug)]
pub(crate) struct RequestContext<'a> {
    /// Who sent it.
    pub(crate) principal: &'a Principal,
    /// The number of its connection.
    pub(crate) connection: u64,
    /// Whether the connection is not encrypted (PROTOCOL 8).
    pub(crate) is_plaintext: bool,
    /// The mount that it is about; `None` if that does not exist.
    pub(crate) mount: Option<&'a Arc<MountPoint>>,
    /// The store that has the accounts.
    pub(crate) home: Option<&'a Store>,
}

impl RequestContext<'_> {
    /// The owner of the uploads that this peer begins or resumes.
    fn writer(&self) -> Writer {
        Writer { device: self.principal.member(), connection: self.connection }
    }
}

/// Decides what to do about a request. Takes the connection's open upload when the request uses it.
pub(crate) fn dispatch(
    authorized: Authorized,
    context: &RequestContext<'_>,
    upload: &mut Option<Box<Upload>>,
) -> Action {
    match authorized.into_request() {
        Request::Mount { .. } if upload.is_some() => Action::Fail(ErrorCode::State, upload.take()),
        Request::Mount { name } => Action::SelectMount(name),
        Request::Ping => Action::Answer(Response::Pong),
        Request::Join { secret, label } => {
            let secret = Zeroizing::new(secret);
            match (context.principal.device(), context.home) {
                (Some(device), Some(home)) => {
                    let (home, secret) = (home.clone(), InviteSecret::from_bytes(*secret));
                    Action::Submit(Job::Join { home, device, secret, label })
                }
                _ => Action::Fail(ErrorCode::Denied, None),
            }
        }
        Request::Slice { length, digest } => match upload.take() {
            Some(upload) => Action::Receive(upload, length, digest),
            None => Action::Discard,
        },
        Request::Commit => match upload.take() {
            Some(upload) => Action::Submit(Job::Commit(upload)),
            None => Action::Fail(ErrorCode::State, None),
        },
        Request::Abort => match upload.take() {
            Some(upload) => Action::Submit(Job::Abort(upload)),
            None => Action::Fail(ErrorCode::State, None),
        },
        Request::Claim { slices } => match upload.take() {
            Some(upload) => Action::Submit(Job::Claim(upload, slices)),
            None => Action::Fail(ErrorCode::State, None),
        },
        // The session answers an Echo itself. One that arrives later violates the protocol.
        Request::Echo { .. } => Action::Fail(ErrorCode::Malformed, upload.take()),
        request => match context.mount {
            Some(mount) => dispatch_to_mount(mount, request, context, upload),
            None => Action::Fail(ErrorCode::NotFound, upload.take()),
        },
    }
}

/// Decides what to do about a request that concerns a mount.
fn dispatch_to_mount(
    mount: &Arc<MountPoint>,
    request: Request,
    context: &RequestContext<'_>,
    upload: &mut Option<Box<Upload>>,
) -> Action {
    let carried = |kind| kind == Kind::Sealed || (context.is_plaintext && mount.carries(kind));
    let mount = Arc::clone(mount);
    match (request, mount.store().cloned()) {
        (Request::Get { kind, .. }, _) if !carried(kind) => {
            Action::Answer(error_response(ErrorCode::Kind))
        }
        (Request::Get { key, version, sections, kind }, _) => {
            Action::Open(mount, ReadRequest { key, version, sections, kind })
        }
        (Request::Stat { key, version }, _) => Action::Submit(Job::Stat { mount, key, version }),
        (Request::List { after, limit, headers }, _) => {
            Action::Submit(Job::List { mount, after, limit, headers })
        }
        (Request::Versions { key, after, limit }, _) => {
            Action::Submit(Job::Versions { mount, key, after, limit })
        }
        (Request::Delete { key, condition }, Some(store)) => {
            Action::Submit(Job::Delete { store, key, condition })
        }
        (Request::Restore { key, version }, Some(store)) => {
            Action::Submit(Job::Restore { store, key, version })
        }
        (Request::Begin { .. } | Request::Resume { .. }, _) if upload.is_some() => {
            Action::Fail(ErrorCode::State, upload.take())
        }
        (Request::Begin { kind, .. }, _) if !carried(kind) => Action::Fail(ErrorCode::Kind, None),
        (Request::Begin { key, kind, condition, header }, Some(store)) => {
            let writer = context.writer();
            // Registered from now on, not from when a pool thread starts the job: otherwise a
            // Resume in between would be told that there is no such upload.
            let expected = header.as_ref().map(|header| store.register_upload(&writer, header));
            Action::Submit(Job::Begin { store, key, kind, condition, header, writer, expected })
        }
        (Request::Resume { key, condition, header }, Some(store)) => {
            let writer = context.writer();
            Action::Submit(Job::Resume { store, key, condition, header, writer })
        }
        // Trees and archives are read-only. Slices after a refused Begin are discarded, as after
        // any error.
        (_, None) => Action::Answer(forbidden("this mount is only read")),
        (_, Some(_)) => Action::Fail(ErrorCode::Malformed, upload.take()),
    }
}

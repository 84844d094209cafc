//! What is to be done about a request: decided by value, done by the session.

use std::sync::Arc;

use zeroize::Zeroizing;
use zput_common::{
    digest::Digest,
    keys::InviteSecret,
    mount::MountName,
    name::ObjectKey,
    proto::message::{ErrorCode, Kind, Request, Response, Section, Version},
};

use crate::{
    catalog::{Job, denial, refused},
    mounts::MountPoint,
    session::access::{Admitted, Standing},
    store::{Store, Upload, Writer},
};

/// What the session does next.
#[derive(Debug)]
pub(crate) enum Step {
    /// Answers at once.
    Answer(Response),
    /// Answers that there was an error, which ends the open upload (PROTOCOL 5).
    Refuse(ErrorCode, Option<Box<Upload>>),
    /// Asks the pool, whose answer is the request's.
    Ask(Job),
    /// Opens an object and sends what is wished for of it.
    Open(Arc<MountPoint>, Wish),
    /// Receives the slice into the upload.
    Receive(Box<Upload>, u32, Digest),
    /// Reads the slice, throws it away and answers `State`.
    Discard,
    /// Turns to another mount, if it is there.
    Turn(MountName),
}

/// What is to be sent of an object.
#[derive(Debug)]
pub(crate) struct Wish {
    /// Of which.
    pub(crate) key: ObjectKey,
    /// Of which version; the current one when absent.
    pub(crate) version: Option<Version>,
    /// Which parts of it, in this order.
    pub(crate) sections: Vec<Section>,
    /// The kind that the reader accepts.
    pub(crate) kind: Kind,
}

/// What a request may count on.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    /// Who sent it.
    pub(crate) standing: &'a Standing,
    /// The number of the connection by which it came.
    pub(crate) connection: u64,
    /// Whether nothing protects the connection (PROTOCOL 8).
    pub(crate) in_clear: bool,
    /// What it is about, if that is there.
    pub(crate) mount: Option<&'a Arc<MountPoint>>,
    /// The store that has the accounts.
    pub(crate) home: Option<&'a Store>,
}

impl Facts<'_> {
    /// Whose uploads its sender's are.
    fn writer(&self) -> Writer {
        Writer { device: self.standing.member(), connection: self.connection }
    }
}

/// Decides about a request. The connection's upload, if one is open, is taken when the request
/// uses it up.
pub(crate) fn decide(
    admitted: Admitted,
    facts: &Facts<'_>,
    upload: &mut Option<Box<Upload>>,
) -> Step {
    match admitted.into_request() {
        Request::Mount { .. } if upload.is_some() => Step::Refuse(ErrorCode::State, upload.take()),
        Request::Mount { name } => Step::Turn(name),
        Request::Ping => Step::Answer(Response::Pong),
        Request::Join { secret, label } => {
            let secret = Zeroizing::new(secret);
            match (facts.standing.device(), facts.home) {
                (Some(device), Some(home)) => {
                    let (home, secret) = (home.clone(), InviteSecret::from_bytes(*secret));
                    Step::Ask(Job::Join { home, device, secret, label })
                }
                _ => Step::Refuse(ErrorCode::Denied, None),
            }
        }
        Request::Slice { length, digest } => match upload.take() {
            Some(upload) => Step::Receive(upload, length, digest),
            None => Step::Discard,
        },
        Request::Commit => match upload.take() {
            Some(upload) => Step::Ask(Job::Commit(upload)),
            None => Step::Refuse(ErrorCode::State, None),
        },
        Request::Abort => match upload.take() {
            Some(upload) => Step::Ask(Job::Abort(upload)),
            None => Step::Refuse(ErrorCode::State, None),
        },
        Request::Claim { slices } => match upload.take() {
            Some(upload) => Step::Ask(Job::Claim(upload, slices)),
            None => Step::Refuse(ErrorCode::State, None),
        },
        // The session answers echoes itself; one that comes later breaks the protocol.
        Request::Echo { .. } => Step::Refuse(ErrorCode::Malformed, upload.take()),
        request => match facts.mount {
            Some(mount) => decide_about(mount, request, facts, upload),
            None => Step::Refuse(ErrorCode::NotFound, upload.take()),
        },
    }
}

/// Decides about a request for something of a mount.
fn decide_about(
    mount: &Arc<MountPoint>,
    request: Request,
    facts: &Facts<'_>,
    upload: &mut Option<Box<Upload>>,
) -> Step {
    let carried = |kind| kind == Kind::Sealed || (facts.in_clear && mount.carries(kind));
    let mount = Arc::clone(mount);
    match (request, mount.store().cloned()) {
        (Request::Get { kind, .. }, _) if !carried(kind) => Step::Answer(refused(ErrorCode::Kind)),
        (Request::Get { key, version, sections, kind }, _) => {
            Step::Open(mount, Wish { key, version, sections, kind })
        }
        (Request::Stat { key, version }, _) => Step::Ask(Job::Stat { mount, key, version }),
        (Request::List { after, limit, headers }, _) => {
            Step::Ask(Job::List { mount, after, limit, headers })
        }
        (Request::Versions { key, after, limit }, _) => {
            Step::Ask(Job::Versions { mount, key, after, limit })
        }
        (Request::Delete { key, condition }, Some(store)) => {
            Step::Ask(Job::Delete { store, key, condition })
        }
        (Request::Restore { key, version }, Some(store)) => {
            Step::Ask(Job::Restore { store, key, version })
        }
        (Request::Begin { .. } | Request::Resume { .. }, _) if upload.is_some() => {
            Step::Refuse(ErrorCode::State, upload.take())
        }
        (Request::Begin { kind, .. }, _) if !carried(kind) => Step::Refuse(ErrorCode::Kind, None),
        (Request::Begin { key, kind, condition, header }, Some(store)) => {
            let writer = facts.writer();
            // From now on, not from when the pool comes to it: whoever asks for it is not told that there is nothing.
            let expected = header.as_ref().map(|header| store.expect(&writer, header));
            Step::Ask(Job::Begin { store, key, kind, condition, header, writer, expected })
        }
        (Request::Resume { key, condition, header }, Some(store)) => {
            let writer = facts.writer();
            Step::Ask(Job::Resume { store, key, condition, header, writer })
        }
        // Trees and archives are only read. Slices that follow a Begin are discarded as after any error.
        (_, None) => Step::Answer(denial("this mount is only read")),
        (_, Some(_)) => Step::Refuse(ErrorCode::Malformed, upload.take()),
    }
}

//! What is to be done about a request: decided by value, done by the session.

use zeroize::Zeroizing;
use zput_common::{
    digest::Digest,
    keys::InviteSecret,
    mount::MountName,
    proto::message::{ErrorCode, Kind, Request, Response},
};

use crate::{
    catalog::{Job, refused},
    session::access::{Admitted, Standing},
    store::Upload,
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
    /// Receives the slice into the upload.
    Receive(Box<Upload>, u32, Digest),
    /// Reads the slice, throws it away and answers `State`.
    Discard,
    /// Turns to another mount, or to none, and says which of the two.
    Turn(Option<Mounted>),
}

/// The mount that a connection's requests speak of: this server's store, which is all there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mounted(());

impl Mounted {
    /// The mount that a connection speaks of unless it says otherwise.
    pub(crate) const ROOT: Self = Self(());

    fn named(name: &MountName) -> Option<Self> {
        name.is_root().then_some(Self::ROOT)
    }
}

/// What a request may count on.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    /// Who sent it.
    pub(crate) standing: &'a Standing,
    /// Whether unsealed objects move on this connection (PROTOCOL 8).
    pub(crate) unsealed: bool,
    /// The mount that the connection speaks of; none after a Mount that failed.
    pub(crate) mounted: Option<Mounted>,
}

/// Decides about a request. The connection's upload, if one is open, is taken when the request
/// uses it up.
pub(crate) fn decide(
    admitted: Admitted,
    facts: &Facts<'_>,
    upload: &mut Option<Box<Upload>>,
) -> Step {
    let carried = |kind| kind == Kind::Sealed || facts.unsealed;
    match admitted.into_request() {
        Request::Mount { .. } if upload.is_some() => Step::Refuse(ErrorCode::State, upload.take()),
        Request::Mount { name } => Step::Turn(Mounted::named(&name)),
        // An upload is never open without a mount: what is left of one is for the arms below.
        Request::Get { .. }
        | Request::Stat { .. }
        | Request::List { .. }
        | Request::Versions { .. }
        | Request::Begin { .. }
        | Request::Delete { .. }
        | Request::Restore { .. }
            if facts.mounted.is_none() =>
        {
            Step::Answer(refused(ErrorCode::NotFound))
        }
        Request::Ping => Step::Answer(Response::Pong),
        Request::Join { secret, label } => {
            let secret = Zeroizing::new(secret);
            match facts.standing.device() {
                Some(device) => {
                    let secret = InviteSecret::from_bytes(*secret);
                    Step::Ask(Job::Join { device, secret, label })
                }
                None => Step::Refuse(ErrorCode::Denied, None),
            }
        }
        Request::Get { kind, .. } if !carried(kind) => Step::Answer(refused(ErrorCode::Kind)),
        Request::Get { key, version, sections, kind } => {
            Step::Ask(Job::Open { key, version, sections, kind })
        }
        Request::Stat { key, version } => Step::Ask(Job::Stat { key, version }),
        Request::List { after, limit, headers } => Step::Ask(Job::List { after, limit, headers }),
        Request::Versions { key, after, limit } => Step::Ask(Job::Versions { key, after, limit }),
        Request::Delete { key, condition } => Step::Ask(Job::Delete { key, condition }),
        Request::Restore { key, version } => Step::Ask(Job::Restore { key, version }),
        Request::Begin { .. } if upload.is_some() => Step::Refuse(ErrorCode::State, upload.take()),
        Request::Begin { kind, .. } if !carried(kind) => Step::Refuse(ErrorCode::Kind, None),
        Request::Begin { key, kind, condition, header } => {
            let client = facts.standing.member();
            Step::Ask(Job::Begin { key, kind, condition, header, client })
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
        // The session answers echoes itself; one that comes later breaks the protocol.
        Request::Echo { .. } => Step::Refuse(ErrorCode::Malformed, upload.take()),
    }
}

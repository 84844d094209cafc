//! Selects the mount of the remote: one request before the first that is about the mount, without
//! waiting for its answer.

use zput_proto::{
    keys::Remote,
    message::{RemoteError, Request, Response},
    mount::MountName,
};

/// How far the mount has been selected.
#[derive(Debug)]
pub(super) enum MountSelection {
    /// Selected, or the root mount, which needs no request.
    Done,
    /// Not requested yet. A device that is about to join may send nothing else before Join
    /// (PROTOCOL 5).
    Pending(MountName),
    /// Requested; the answer comes after this many others.
    Sent { behind: usize },
    /// The server has no such mount, or none for this client.
    Refused(RemoteError),
}

/// The receiver of an answer.
#[derive(Debug)]
pub(super) enum Routed {
    /// The caller, whose request it answers.
    ToCaller(Response),
    /// This module: the answer to the selection, or one after a refused selection, which is about
    /// another mount.
    Consumed,
}

impl MountSelection {
    pub(super) fn of(remote: &Remote) -> Self {
        remote.mount().map_or(Self::Done, |mount| Self::Pending(mount.clone()))
    }

    /// The request that has to be sent before `request`.
    pub(super) fn request_before(&self, request: &Request) -> Option<Request> {
        match self {
            Self::Pending(name) if request.speaks_of_mount() => {
                Some(Request::Mount { name: name.clone() })
            }
            _ => None,
        }
    }

    /// Records that the selection was sent while `behind` requests were unanswered.
    pub(super) fn sent(&mut self, behind: usize) {
        *self = Self::Sent { behind };
    }

    /// Number of requests of this module that are still to be sent: 0 or 1.
    pub(super) fn to_send(&self) -> usize {
        usize::from(matches!(self, Self::Pending(_)))
    }

    /// Number of requests of this module that were sent and not answered: 0 or 1.
    pub(super) fn in_flight(&self) -> usize {
        usize::from(matches!(self, Self::Sent { .. }))
    }

    /// Routes the next answer. The session has checked that it fits its request.
    pub(super) fn on_response(&mut self, answer: Response) -> Routed {
        match (&mut *self, answer) {
            (Self::Sent { behind: 0 }, Response::Error(error)) => {
                *self = Self::Refused(error);
                Routed::Consumed
            }
            (Self::Sent { behind: 0 }, _) => {
                *self = Self::Done;
                Routed::Consumed
            }
            (Self::Sent { behind }, answer) => {
                *behind -= 1;
                Routed::ToCaller(answer)
            }
            (Self::Refused(_), _) => Routed::Consumed,
            (Self::Done | Self::Pending(_), answer) => Routed::ToCaller(answer),
        }
    }

    /// The refusal that ended this connection, if there was one.
    pub(super) fn refusal(&self) -> Option<&RemoteError> {
        if let Self::Refused(error) = self { Some(error) } else { None }
    }
}

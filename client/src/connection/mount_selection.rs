//! The mount that a connection is about: said once, before it counts, without waiting for the answer.

use zput_common::{
    keys::Remote,
    mount::MountName,
    proto::message::{RemoteError, Request, Response},
};

/// How far the connection has turned to the mount of its remote.
#[derive(Debug)]
pub(super) enum Mounting {
    /// To the end: the server has said so, or it is the root mount, which takes no words.
    Done,
    /// Not yet. A device that is about to join may say nothing else before that (PROTOCOL 5).
    Wanted(MountName),
    /// The answer comes behind so many others.
    Asked { behind: usize },
    /// The server has none of this name, or none for this client.
    Refused(RemoteError),
}

/// Whose an answer is.
#[derive(Debug)]
pub(super) enum Heard {
    /// The caller's.
    Callers(Response),
    /// It was the awaited one; or it came behind one that says no, and is about another mount than was meant.
    Ours,
}

impl Mounting {
    pub(super) fn of(remote: &Remote) -> Self {
        remote.mount().map_or(Self::Done, |mount| Self::Wanted(mount.clone()))
    }

    /// What has to be sent before `request`.
    pub(super) fn before(&self, request: &Request) -> Option<Request> {
        match self {
            Self::Wanted(name) if request.speaks_of_mount() => {
                Some(Request::Mount { name: name.clone() })
            }
            _ => None,
        }
    }

    /// It was sent, while so many requests were unanswered.
    pub(super) fn asked(&mut self, behind: usize) {
        *self = Self::Asked { behind };
    }

    /// How many requests of its own are still to be sent.
    pub(super) fn to_be_sent(&self) -> usize {
        usize::from(matches!(self, Self::Wanted(_)))
    }

    /// How many requests of its own were sent and not answered.
    pub(super) fn unanswered(&self) -> usize {
        usize::from(matches!(self, Self::Asked { .. }))
    }

    /// Takes the next answer; the session has checked that it fits its request.
    pub(super) fn hear(&mut self, answer: Response) -> Heard {
        match (&mut *self, answer) {
            (Self::Asked { behind: 0 }, Response::Error(error)) => {
                *self = Self::Refused(error);
                Heard::Ours
            }
            (Self::Asked { behind: 0 }, _) => {
                *self = Self::Done;
                Heard::Ours
            }
            (Self::Asked { behind }, answer) => {
                *behind -= 1;
                Heard::Callers(answer)
            }
            (Self::Refused(_), _) => Heard::Ours,
            (Self::Done | Self::Wanted(_), answer) => Heard::Callers(answer),
        }
    }

    /// Why nothing more can be asked.
    pub(super) fn refusal(&self) -> Option<&RemoteError> {
        if let Self::Refused(error) = self { Some(error) } else { None }
    }
}

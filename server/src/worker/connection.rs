//! Who sits at a worker: a connection of one door or the other.

use std::{sync::Arc, time::Instant};

use crate::{
    catalog::Done,
    desk::{Desk, End, Verdict},
    http::Now,
    metrics::Protocol,
    session,
    store::Upload,
    web,
    wire::Wire,
    worker::Buffer,
};

/// By which door a connection comes.
#[derive(Clone)]
pub(crate) enum Doorway {
    /// The protocol of zput.
    Zput(Arc<session::Door>),
    /// HTTP.
    Web(Arc<web::Door>),
}

impl Doorway {
    /// What is spoken there.
    pub(super) const fn protocol(&self) -> Protocol {
        match self {
            Self::Zput(_) => Protocol::Zput,
            Self::Web(_) => Protocol::Http,
        }
    }
}

/// A connection, whichever protocol it speaks. Boxed: there are thousands of the smaller ones.
pub(super) enum Guest {
    Zput(Box<session::Connection>),
    Web(Box<web::Connection>),
}

impl Guest {
    /// A peer that has just arrived, by a connection with this number.
    pub(super) fn by(door: &Doorway, wire: Wire, peer: String, number: u64, now: Instant) -> Self {
        match door {
            Doorway::Zput(door) => {
                Self::Zput(Box::new(session::Connection::new(wire, door, peer, number, now)))
            }
            Doorway::Web(door) => Self::Web(Box::new(web::Connection::new(wire, door, peer, now))),
        }
    }

    pub(super) fn wire(&mut self) -> &mut Wire {
        match self {
            Self::Zput(connection) => connection.wire(),
            Self::Web(connection) => connection.wire(),
        }
    }

    pub(super) fn peer(&self) -> &str {
        match self {
            Self::Zput(connection) => connection.peer(),
            Self::Web(connection) => connection.peer(),
        }
    }

    /// Whether its peer has said who it is, or cannot.
    pub(super) const fn is_introduced(&self) -> bool {
        match self {
            Self::Zput(connection) => connection.is_introduced(),
            Self::Web(_) => true,
        }
    }

    /// Whether it makes room when somebody needs its seat.
    pub(super) const fn yields(&self) -> bool {
        match self {
            Self::Zput(connection) => connection.yields(),
            Self::Web(_) => false,
        }
    }

    pub(super) fn turn(&mut self, desk: &mut Desk<'_>) -> Verdict {
        match self {
            Self::Zput(connection) => connection.turn(desk),
            Self::Web(connection) => connection.turn(desk),
        }
    }

    pub(super) fn deliver(&mut self, done: Done, desk: &mut Desk<'_>) -> Result<(), End> {
        match self {
            Self::Zput(connection) => connection.deliver(done, desk),
            Self::Web(connection) => connection.deliver(done, desk),
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Zput(connection) => connection.deadline(),
            Self::Web(connection) => connection.deadline(),
        }
    }

    pub(super) fn expire(&mut self, now: &Now) -> Result<(), End> {
        match self {
            Self::Zput(connection) => connection.expire(now.instant),
            Self::Web(connection) => connection.expire(now),
        }
    }

    /// What it leaves behind: an upload whose staging file must go, and buffers.
    pub(super) fn into_leftovers(self) -> (Option<Box<Upload>>, Vec<Buffer>) {
        match self {
            Self::Zput(connection) => connection.into_leftovers(),
            Self::Web(_) => (None, Vec::new()),
        }
    }
}

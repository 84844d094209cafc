//! A connection of a worker, whichever protocol it speaks.

use std::{sync::Arc, time::Instant};

use crate::{
    connection::{CloseReason, TurnContext, TurnOutcome, http, zput},
    http::Now,
    jobs::{Buffer, Done},
    metrics::Protocol,
    store::Upload,
    transfer::socket::ReadySocket,
};

/// The protocol of a new connection, with its settings.
#[derive(Clone)]
pub(crate) enum Endpoint {
    /// The protocol of docs/PROTOCOL.md.
    Zput(Arc<zput::Settings>),
    /// HTTP/1.1.
    Web(Arc<http::Settings>),
}

impl Endpoint {
    /// Its label in the metrics.
    pub(super) const fn protocol(&self) -> Protocol {
        match self {
            Self::Zput(_) => Protocol::Zput,
            Self::Web(_) => Protocol::Http,
        }
    }
}

/// A connection. Boxed, because the variants differ in size and there may be thousands.
pub(super) enum Connection {
    Zput(Box<zput::Connection>),
    Web(Box<http::Connection>),
}

impl Connection {
    /// A connection that was just accepted. `number` is that of its permit.
    pub(super) fn by(
        endpoint: &Endpoint,
        socket: ReadySocket,
        peer: String,
        number: u64,
        now: Instant,
    ) -> Self {
        match endpoint {
            Endpoint::Zput(settings) => {
                Self::Zput(Box::new(zput::Connection::new(socket, settings, peer, number, now)))
            }
            Endpoint::Web(settings) => {
                Self::Web(Box::new(http::Connection::new(socket, settings, peer, now)))
            }
        }
    }

    pub(super) fn socket(&mut self) -> &mut ReadySocket {
        match self {
            Self::Zput(connection) => connection.socket(),
            Self::Web(connection) => connection.socket(),
        }
    }

    pub(super) fn peer(&self) -> &str {
        match self {
            Self::Zput(connection) => connection.peer(),
            Self::Web(connection) => connection.peer(),
        }
    }

    /// Whether its peer has authenticated, or has nothing to authenticate with.
    pub(super) const fn is_registered(&self) -> bool {
        match self {
            Self::Zput(connection) => connection.is_registered(),
            Self::Web(_) => true,
        }
    }

    /// Whether it may be evicted at the connection limit.
    pub(super) const fn is_evictable(&self) -> bool {
        match self {
            Self::Zput(connection) => connection.is_evictable(),
            Self::Web(_) => false,
        }
    }

    pub(super) fn turn(&mut self, cx: &mut TurnContext<'_>) -> TurnOutcome {
        match self {
            Self::Zput(connection) => connection.turn(cx),
            Self::Web(connection) => connection.turn(cx),
        }
    }

    pub(super) fn deliver(
        &mut self,
        done: Done,
        cx: &mut TurnContext<'_>,
    ) -> Result<(), CloseReason> {
        match self {
            Self::Zput(connection) => connection.deliver(done, cx),
            Self::Web(connection) => connection.deliver(done, cx),
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Zput(connection) => connection.deadline(),
            Self::Web(connection) => connection.deadline(),
        }
    }

    pub(super) fn expire(&mut self, now: &Now) -> Result<(), CloseReason> {
        match self {
            Self::Zput(connection) => connection.expire(now.instant),
            Self::Web(connection) => connection.expire(now),
        }
    }

    /// What remains to be released: an open upload, and buffers.
    pub(super) fn into_leftovers(self) -> (Option<Box<Upload>>, Vec<Buffer>) {
        match self {
            Self::Zput(connection) => connection.into_leftovers(),
            Self::Web(_) => (None, Vec::new()),
        }
    }
}

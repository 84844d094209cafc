//! A connection of a worker, whichever protocol it speaks.

use std::{sync::Arc, time::Instant};

use crate::{
    connection::{CloseReason, Driver, Protocol as _, TurnContext, TurnOutcome, http, zput},
    http::Now,
    jobs::{Buffer, Device, Done},
    metrics,
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
    pub(super) const fn protocol(&self) -> metrics::Protocol {
        match self {
            Self::Zput(_) => metrics::Protocol::Zput,
            Self::Web(_) => metrics::Protocol::Http,
        }
    }
}

/// A connection. Boxed, because the variants differ in size and there may be thousands.
pub(super) enum Connection {
    Zput(Box<Driver<zput::Service>>),
    Web(Box<Driver<http::Service>>),
}

/// What `$call` gives for the driver of either protocol.
macro_rules! either {
    ($connection:expr, $driver:ident => $call:expr) => {
        match $connection {
            Connection::Zput($driver) => $call,
            Connection::Web($driver) => $call,
        }
    };
}

impl Connection {
    /// A connection that was just accepted. `number` is that of its permit, and the peer is the
    /// device `without_key` unless it has a key.
    pub(super) fn by(
        endpoint: &Endpoint,
        socket: ReadySocket,
        peer: String,
        without_key: Device,
        number: u64,
        now: Instant,
    ) -> Self {
        match endpoint {
            Endpoint::Zput(settings) => {
                let service = zput::Service::new(settings, peer, without_key, number, now);
                Self::Zput(Box::new(Driver::new(socket, service, settings.min_rate)))
            }
            Endpoint::Web(settings) => {
                let service = http::Service::new(settings, peer, without_key, now);
                Self::Web(Box::new(Driver::new(socket, service, settings.min_rate)))
            }
        }
    }

    pub(super) fn socket(&mut self) -> &mut ReadySocket {
        either!(self, driver => driver.socket())
    }

    /// The peer's address, for the log.
    pub(super) fn peer(&self) -> &str {
        either!(self, driver => driver.protocol().peer())
    }

    /// The device for which its jobs are done.
    pub(super) fn device(&self) -> Device {
        either!(self, driver => driver.protocol().device())
    }

    /// Whether its peer has authenticated, or has nothing to authenticate with.
    pub(super) fn is_registered(&self) -> bool {
        either!(self, driver => driver.protocol().is_registered())
    }

    /// Whether it may be evicted at the connection limit.
    pub(super) fn is_evictable(&self) -> bool {
        either!(self, driver => driver.protocol().is_evictable())
    }

    pub(super) fn turn(&mut self, cx: &mut TurnContext<'_>) -> TurnOutcome {
        either!(self, driver => driver.turn(cx))
    }

    pub(super) fn deliver(
        &mut self,
        done: Done,
        cx: &mut TurnContext<'_>,
    ) -> Result<(), CloseReason> {
        either!(self, driver => driver.deliver(done, cx))
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        either!(self, driver => driver.deadline())
    }

    pub(super) fn expire(&mut self, now: &Now) -> Result<(), CloseReason> {
        either!(self, driver => driver.expire(now))
    }

    /// What remains to be released: an open upload, and buffers.
    pub(super) fn into_leftovers(self) -> (Option<Box<Upload>>, Vec<Buffer>) {
        either!(self, driver => driver.into_leftovers())
    }
}

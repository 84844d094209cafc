//! The way to a server, for all connections of one client: how its name is looked up, what has worked, and how long
//! silence is borne.

use std::net::SocketAddr;

use zput_common::proto::Patience;

use super::resolve::Resolver;

/// The way to a server.
#[derive(Clone, Debug)]
pub struct Route {
    pub(super) resolver: Resolver,
    pub(super) patience: Patience,
    /// The address that took the last connection: it is tried first, and without its name where that is not found.
    pub(super) worked: Option<SocketAddr>,
    /// Whether there has been a connection.
    pub(super) was_there: bool,
}

impl Default for Route {
    fn default() -> Self {
        Self::new(Resolver::system(), Patience::default())
    }
}

impl Route {
    /// A way that nobody has gone yet.
    #[must_use]
    pub const fn new(resolver: Resolver, patience: Patience) -> Self {
        Self { resolver, patience, worked: None, was_there: false }
    }

    /// The address that worked last took a connection and made nothing of it.
    pub(crate) fn forget(&mut self) {
        self.worked = None;
    }
}

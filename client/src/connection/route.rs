//! How one client reaches its server: name resolution, the address that worked last, and timeouts.

use std::net::SocketAddr;

use zput_proto::session::Patience;

use super::resolve::Resolver;

/// How a server is reached.
#[derive(Clone, Debug)]
pub struct Route {
    pub(super) resolver: Resolver,
    pub(super) patience: Patience,
    /// The address that accepted the last connection. It is tried first, and used alone when the
    /// name cannot be resolved.
    pub(super) last_address: Option<SocketAddr>,
    /// Whether any connection has succeeded.
    pub(super) was_connected: bool,
}

impl Default for Route {
    fn default() -> Self {
        Self::new(Resolver::system(), Patience::default())
    }
}

impl Route {
    /// A route without a known address.
    #[must_use]
    pub const fn new(resolver: Resolver, patience: Patience) -> Self {
        Self { resolver, patience, last_address: None, was_connected: false }
    }

    /// Forgets the last address: it accepted a connection and did not answer.
    pub(crate) fn forget_address(&mut self) {
        self.last_address = None;
    }
}

//! Settings of a listener's connections.

use std::sync::Arc;

use zput_proto::session::ServerConfig;

/// Settings that the connections of a listener have in common.
#[derive(Clone)]
pub(crate) struct Settings {
    /// Configuration of the protocol's state machine.
    pub(crate) session: Arc<ServerConfig>,
    /// Minimum bytes a second that a peer must move while it is its turn; 0 for no minimum.
    pub(crate) min_rate: u64,
    /// Whether a peer without a key must send a request within the idle time.
    pub(crate) must_request: bool,
    /// Whether its peers hold the store's directory themselves, so that error responses give the
    /// cause.
    pub(crate) explains_failures: bool,
}

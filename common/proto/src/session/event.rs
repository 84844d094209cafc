//! What a session tells its caller.

use crate::{hello::Mode, keys::DevicePublicKey};

/// How the caller is to treat the next bytes of the stream. Exhaustive: a caller has to act on
/// each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    /// They are control bytes, for `handle_input`.
    Control,
    /// They are raw payload, which the caller keeps and counts by `payload_received`.
    Payload {
        /// Bytes of the payload that have not been received.
        remaining: u64,
    },
    /// The caller leaves them in the socket: the pipeline is full, or the session is over. `send`
    /// and `poll_transmit` may change that; ask again after them.
    Nothing,
}

/// An event that bytes or time gave rise to. Exhaustive: a caller has to act on each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<M> {
    /// Both sides have received the hellos unchanged. Messages follow.
    Connected {
        /// On a server, the key that the client has proven to hold; `None` on a `plaintext`
        /// connection. `None` on a client, which has pinned the server's key.
        peer: Option<DevicePublicKey>,
        /// The mode in force.
        mode: Mode,
    },
    /// A message. If it announces raw payload, the payload follows on the stream.
    Message(M),
    /// The whole payload was received. There is no such event for a payload of no bytes.
    PayloadDone,
    /// The peer has closed its direction of the stream, in `tls` by a `close_notify`.
    Closed,
}

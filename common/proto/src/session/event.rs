//! What a session tells its caller.

use crate::{hello::Mode, keys::DevicePublicKey};

/// How the next bytes of the stream are to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    /// As control bytes, by `handle_input`.
    Control,
    /// As raw payload: so many bytes, which `payload_received` is told of.
    Payload {
        /// What is left of it.
        remaining: u64,
    },
    /// Not at all: as many requests as may be are unanswered, or the session is over. `send` and
    /// `poll_transmit` may change that; look again after them.
    Nothing,
}

/// What came of the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<M> {
    /// Both sides agree on what was said in the hellos; messages follow.
    Connected {
        /// On a server: the client's key, which it has proven to hold; nothing on a `plaintext`
        /// connection. On a client nothing: the server's key is pinned.
        peer: Option<DevicePublicKey>,
        /// How the frames travel.
        mode: Mode,
    },
    /// A message; where it announces raw payload, that follows on the stream.
    Message(M),
    /// All of the payload was received. Does not come for a payload of no bytes.
    PayloadDone,
    /// The peer sends nothing any more, and said so where it could.
    Closed,
}

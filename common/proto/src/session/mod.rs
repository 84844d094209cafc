//! The two ends of a connection, version 1 of docs/PROTOCOL.md, without sockets and without a
//! clock.
//!
//! Bytes and time go into a session, events and bytes come out of it. After a frame that announces
//! raw payload the session names the number of bytes, and the caller moves them, for example by
//! `splice`. The next frame follows the payload.
//!
//! ```text
//! client   server        the two ends: requests, answers, phases, pipeline
//! link                   frames, payload between them, clocks
//! channel                the bare stream, or TLS records
//! outbox   tls           the queue of outgoing bytes; keys and signatures
//! event    error         what a caller is told
//! ```

mod channel;
mod client;
mod error;
mod event;
mod link;
mod outbox;
mod server;
mod tls;

pub use client::{ClientConfig, ClientSession, Patience};
pub use error::SessionError;
pub use event::{Event, Wants};
pub use outbox::Transmit;
pub use server::{OUTBOX_MAX_BYTES, ServerConfig, ServerSession};
pub use tls::{ClientTls, ServerTls};

#[cfg(test)]
mod tests;

//! The protocol, version 1 (docs/PROTOCOL.md), without sockets and without a clock.
//!
//! Bytes and time go into a session, events and bytes come out of it. A frame that announces raw
//! payload makes the session step aside: it says how many bytes there are, the caller moves them
//! (by `sendfile`, if it likes), and the frames go on behind them.
//!
//! ```text
//!    ClientSession            ServerSession       requests, answers, phases, pipeline
//!              \               /
//!                     link                        frames, payload between them, clocks
//!                 ↙    ↓    ↘
//!          frame    channel    outbox             one frame; one record; what goes out
//!            ↓         ↓
//!         message     tls                         what is said; who says it
//!
//!                    hello                        what comes before all that
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

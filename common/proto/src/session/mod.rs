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

mod bounded;
mod channel;
pub mod client;
pub mod error_code;
pub mod frame;
pub mod hello;
mod link;
pub mod message;
mod outbox;
pub mod server;
mod session;
pub mod tls;

pub use self::{
    client::{ClientConfig, ClientSession, Patience},
    hello::{Mode, ServerLimits},
    server::{ServerConfig, ServerSession},
};
pub use outbox::Transmit;
pub use session::{Event, SessionError, Wants};

#[cfg(test)]
mod tests;

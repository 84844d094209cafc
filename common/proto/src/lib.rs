//! The protocol of zput, and the public framing of its blobs: all that a server may know.
//!
//! This crate has no sockets, no files and no clock: bytes, time and randomness are arguments. It
//! holds no key that opens a blob; those are in `zput-seal`, which a server does not depend on.
//!
//! The entry points are [`session::ClientSession`] and [`session::ServerSession`]. Both are
//! sans-IO: bytes and time go in, events and bytes come out.
//!
//! ```
//! use std::{sync::Arc, time::Instant};
//! use zput_proto::{
//!     hello::ServerLimits,
//!     message::{Request, Response},
//!     session::{
//!         ClientConfig, ClientSession, Event, ServerConfig, ServerSession, SessionError, Transmit,
//!     },
//! };
//!
//! # fn main() -> Result<(), SessionError> {
//! let now = Instant::now();
//! let limits = ServerLimits::default();
//! let config = ServerConfig { tls: None, allow_plaintext: true, limits };
//! let mut server = ServerSession::new(Arc::new(config), now);
//! let mut client = ClientSession::new(&ClientConfig::Plaintext, now)?;
//! client.send(&Request::Ping)?;
//!
//! let mut pong = false;
//! while !pong {
//!     // In a program the bytes travel over a socket.
//!     while let Some(Transmit::Bytes(bytes)) = client.poll_transmit(now) {
//!         server.handle_input(now, &bytes)?;
//!     }
//!     while let Some(event) = server.poll_event() {
//!         if event == Event::Message(Request::Ping) {
//!             server.send(&Response::Pong)?;
//!         }
//!     }
//!     while let Some(Transmit::Bytes(bytes)) = server.poll_transmit(now) {
//!         client.handle_input(now, &bytes)?;
//!     }
//!     while let Some(event) = client.poll_event() {
//!         pong |= event == Event::Message(Response::Pong);
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Floors
//!
//! A module imports from the floors below its own, never from its own floor or above.
//!
//! ```text
//! session                                   both ends of a connection, and their TLS
//! blob                                      header, front, tail of format 2; checks without keys
//! message_v2                                requests, answers of protocol 2
//! message envelope                          requests, answers; the public fields of a blob
//! vault hello_v2                            certificates, charters; first bytes in protocol 2
//! hello keys                                first bytes of a connection; public keys
//! error_code error_code_v2 name mount label digest tagged  what messages and envelopes are made of
//! limits cursor secret long_bech32 fallible  bounds and helpers
//! ```

pub mod blob;
pub mod cursor;
pub mod digest;
pub mod envelope;
pub mod error_code;
pub mod error_code_v2;
pub mod fallible;
pub mod hello;
pub mod hello_v2;
pub mod keys;
pub mod label;
pub mod limits;
pub mod long_bech32;
pub mod message;
pub mod message_v2;
pub mod mount;
pub mod name;
pub mod secret;
pub mod session;
pub mod tagged;
pub mod vault;

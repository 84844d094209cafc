//! The hellos of protocol 2 (PROTOCOL 1): the two sides agree on a version, on TLS or plaintext,
//! and on features.
//!
//! ```text
//! server       it accepts or refuses what a client offers
//! client       what a client offers
//! framing      magic, length, the bounds of both
//! extensions   what either says beyond its fixed fields
//! ```
//!
//! A module imports from the rows below its own.
//!
//! This is protocol 2, which nothing speaks yet: numbers of PROTOCOL in this folder are those of
//! `docs/next/PROTOCOL.md`. Modes, limits, errors and the reader of a stream are those of
//! [`hello`](crate::hello).
//!
//! ```
//! use zput_proto::hello_v2::{ClientHello, Mode};
//!
//! let hello = ClientHello::only(Mode::Tls);
//! let bytes = hello.encode()?;
//! // Magic, length, versions 2 to 2, the bit of `tls`, no features, no extensions.
//! assert_eq!(bytes, *b"zput/c2\n\x00\x09\x02\x02\x02\x00\x00\x00\x00\x00\x00");
//! assert_eq!(ClientHello::parse(&bytes), Ok(hello));
//! # Ok::<(), zput_proto::hello_v2::HelloError>(())
//! ```

mod client;
mod extensions;
mod framing;
mod server;

#[cfg(test)]
pub(crate) mod tests;

pub use crate::hello::{Carries, HelloError, HelloReader, Mode, ServerLimits};

pub use client::ClientHello;
pub use extensions::Extensions;
pub use framing::{
    CLIENT_HELLO_MAX_BYTES, CLIENT_MAGIC, SERVER_HELLO_MAX_BYTES, SERVER_MAGIC, VERSION,
    client_reader, server_reader,
};
pub use server::{Accepted, Answer, Refusal, ServerHello};

//! The adversaries of SECURITY.md: a server that lies, a client that does not keep to the protocol,
//! an attacker on the network between the two, and authors of blobs that have some of the
//! secrets.
//!
//! ```text
//!  forge ─────▶ shelf ─▶ server ◀──── zget, zput, the library
//!  (blobs)      (honest   (what it        ▲
//!                answers)  says instead)  │ proxy (what arrives instead)
//!                                         ▼
//!                         client ─────▶ zserve
//! ```
//!
//! An attack states only what it changes: everything else is honest.

pub mod forge;
mod proxy;
mod server;
mod shelf;

pub use forge::Forgery;
pub use proxy::{Conversation, Damage, Direction, Proxy};
pub use server::{Answer, HostileServer, Payload, RawServer};
pub use shelf::{Shelf, Stored};

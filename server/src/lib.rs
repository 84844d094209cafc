//! The server of zput: it stores what it is given and streams it back, and can open none of it.
//!
//! ```text
//!   listener          takes connections in
//!      ↓
//!   worker            one thread, one epoll; owns its connections, gives them turns
//!      ↓
//!   session           one connection: the protocol's state, the request being served
//!      ↓
//!   handler           what is to be done about a request, by value
//!      ↓
//!   catalog ──────►   store        the disk: on the threads of the pool
//!      ↓
//!   transfer          payload from file to socket, by sendfile(2)
//!      ↓
//!   wire, sys         the socket and its readiness; system calls
//! ```
//!
//! A worker never waits for the disk and a pool thread never touches a socket. Every wait of a
//! connection is backed by a witness: that the socket said `WouldBlock` (and will speak up when it
//! no longer does), or that a job is under way (and will wake the connection when it ends).
//!
//! Around it: [`config`] says what is to be served, [`privileges`] and [`sandbox`] give up what that
//! does not need, [`metrics`] and [`heartbeat`] are moved by the workers and told by [`admin`], and
//! [`inherited`] and [`service`] speak with a service manager.
//!
//! | bound | where |
//! |---|---|
//! | connections | [`server::DEFAULT_MAX_CONNECTIONS`] |
//! | bytes a connection moves in a turn | `session::turn::TURN_BYTES` |
//! | memory for uploads | [`server::DEFAULT_UPLOAD_MEMORY_BYTES`] |
//! | jobs that wait | two for each connection |
//! | unread control bytes of a connection | `worker::SCRATCH_BYTES` |

pub mod address;
pub mod admin;
mod catalog;
pub mod config;
mod crew;
mod desk;
pub mod embedded;
mod engines;
mod farewell;
mod handler;
pub mod heartbeat;
pub mod http;
pub mod inherited;
pub mod invite;
mod listener;
pub mod log;
pub mod metrics;
pub mod mounts;
mod opened;
mod pace;
mod pool;
pub mod sandbox;
pub mod server;
pub mod service;
mod session;
pub mod setup;
pub mod store;
mod sys;
mod transfer;
mod web;
mod wire;
mod worker;

pub use address::{BoundAddress, ListenAddress};
pub use embedded::EmbeddedServer;
pub use engines::{Engine, UnknownEngine};
pub use listener::Listener;
pub use server::{Remounter, Server, ServerError, ServerHandle, ServerOptions, Stats, Stopper};
pub use sys::privileges;

//! The server of zput: it stores what it is given and streams it back, and can open none of it.
//!
//! ```text
//!   config ── open_mounts ──► server     what is served, where, to whom
//!                               │
//!   listener          takes connections in, by either door
//!      ↓
//!   worker            one thread, one epoll; owns its connections, gives them turns; keeps files open
//!      ↓
//!   session   web     one connection: the protocol's state, the request being served. zput's own; HTTP's (by http)
//!      ↓       │
//!   handler    │      what is to be done about a request, by value
//!      ↓       ↓
//!   jobs ──────►   mounts ──► store    the disk: on the threads of a pool
//!      ↓                            tree, archive
//!   transfer          windows of an open object, each sent once it is in memory
//!      ↓
//!   engines           sendfile, splice, mmap, copy
//!      ↓
//!   wire, sys         the socket and its readiness; system calls
//! ```
//!
//! A worker never waits for the disk and a pool thread never touches a socket. Every wait of a
//! connection is backed by a witness: that the socket said `WouldBlock` (and will speak up when it
//! no longer does), or that a job is under way (and will wake the connection when it ends).
//!
//! [`inspection`] is what `zserve scrub` and `zserve check` do beside it.
//!
//! Around it: [`config`] says what is to be served, [`privileges`] and [`sandbox`] give up what that
//! does not need, [`metrics`] and [`heartbeat`] are moved by the workers and told by [`admin`], and
//! [`socket_activation`] and [`systemd`] speak with a service manager.
//!
//! | bound | where |
//! |---|---|
//! | connections, and those of one client | [`ServerOptions::max_connections`], [`ServerOptions::max_per_client`] |
//! | bytes a connection moves in a turn | `context::TURN_BYTES` |
//! | bytes that are loaded at once | `transfer::WINDOW_BYTES` |
//! | open files, and those kept idle | [`ServerOptions::open_files`], [`ServerOptions::keep_files`] |
//! | pipes | `engines::pipes` |
//! | time that cut-off uploads are kept | [`ServerOptions::keep_uploads`] |
//! | memory for uploads | [`ServerOptions::upload_memory_bytes`] |
//! | jobs that wait | two for each connection, in each pool |
//! | unread control bytes of a connection | `worker::SCRATCH_BYTES` |
//! | head of an HTTP request | [`http::HEAD_MAX_BYTES`] |
//! | silence, slowness | [`ServerOptions::idle_seconds`], [`ServerOptions::min_rate`] |

pub mod admin;
mod connection;
pub mod http;
mod jobs;
mod limits;
pub mod metrics;
pub mod mounts;
mod runtime;
pub mod store;
mod sys;
mod transfer;
mod worker;
pub mod zserve;

pub use runtime::{
    address::{self, BoundAddress, ListenAddress},
    embedded::{self, EmbeddedServer},
    listener::{InheritedSocket, Listener},
    server::{
        self, ReloadHandle, Server, ServerError, ServerHandle, ServerOptions, ShutdownHandle, Stats,
    },
};
pub use sys::{memory, privileges, stdio, threads};
pub use transfer::engines::{Engine, UnknownEngine};
pub use worker::heartbeat;
pub use zserve::{
    config, invite, log, open_mounts, ready, sandbox, scrub, socket_activation, systemd,
};

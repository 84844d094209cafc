//! The server of zput: it stores sealed blobs and streams them back, and cannot open them.
//!
//! # Floors
//!
//! An import goes down only, and no files import one another in a circle; a test reads this block
//! (`tests/tests/floors.rs`).
//!
//! ```text
//! main          the program zserve: starts all of it, and obeys signals
//! zserve        configuration, sandbox, log, service manager; makes invites, verifies stores
//! admin         /metrics and /healthz
//! runtime       a running server: listeners, the thread that accepts, the workers and their pools
//! worker        one thread, one epoll; owns its connections and gives them turns
//! connection    one connection: the state of its protocol, the request being served, its end
//! transfer      ranges of an open object, each sent once it is in memory; engines; the socket
//! jobs          what waits for the disk, on the threads of pools
//! mounts        names to objects: stores, trees, archives; objects that stay open
//! store         the disk: objects, uploads, accounts
//! metrics       what the threads count
//! http limits sys  HTTP/1.1 without sockets; bounds of a server; system calls
//! ```
//!
//! A get goes down and comes back as an event: `worker` gives the connection a turn, its `driver`
//! receives the request, `dispatch` says what is to be done about it, a job opens the object, and
//! `transfer` sends it. A put goes the same way: the driver receives a slice into buffers, and a
//! job hashes and writes them. zput's protocol and HTTP have the same driver.
//!
//! A worker never waits for the disk and a pool thread never touches a socket. Every wait of a
//! connection is backed by a witness: that the socket said `WouldBlock` (and will report an event
//! when it no longer does), or that a job is under way (and will wake the connection when it ends).
//!
//! Around it: [`config`] says what is served, [`privileges`] and [`sandbox`] give up what that does
//! not need, [`metrics`] and [`heartbeat`] are written by the workers and read by [`admin`],
//! [`socket_activation`] and [`systemd`] talk to a service manager, and [`scrub`] is what
//! `zserve scrub` and `zserve check` do.
//!
//! | bound | where |
//! |---|---|
//! | connections, and those of one client | [`Limits::max_connections`], `max_connections_per_client` |
//! | bytes a connection moves in a turn | `connection::context::TURN_BYTES` |
//! | bytes that are loaded at once | `transfer::WINDOW_BYTES` |
//! | open files, and those kept idle | [`Limits::max_open_files`], [`Limits::open_file_cache`] |
//! | pipes | `transfer::engines::pipes` |
//! | time that cut-off uploads are kept | [`Limits::upload_expiry`] |
//! | memory for uploads | [`Limits::upload_memory`] |
//! | jobs that wait | two for each connection, in each pool; 10 s |
//! | jobs that wait for a lock | 64 for each lock, 16 of them of one device; 5 s |
//! | unread control bytes of a connection | `worker::SCRATCH_BYTES` |
//! | head of an HTTP request | [`http::HEAD_MAX_BYTES`] |
//! | silence, slowness | [`Limits::idle_timeout`], [`Limits::min_rate`] |

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
    options::{Limits, ServerOptions},
    server::{self, ReloadHandle, Server, ServerError, ServerHandle, ShutdownHandle, Stats},
};
pub use sys::{memory, privileges, stdio, threads};
pub use transfer::engines::{Engine, UnknownEngine};
pub use worker::heartbeat;
pub use zserve::{
    config, invite, log, open_mounts, ready, sandbox, scrub, socket_activation, systemd,
};

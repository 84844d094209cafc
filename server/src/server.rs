//! A server: listeners over an crew over a store.

use std::{
    io,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::Sender;
use thiserror::Error;
use tracing::{info, warn};
use zput_common::{
    limits::IDLE_SECONDS,
    proto::{ServerConfig, ServerLimits, message::Scopes, tls::ServerTls},
};

use crate::{
    address::{BoundAddress, ListenAddress},
    crew::{Crew, CrewOptions, Ended},
    heartbeat::Pulse,
    listener::{Acceptor, Listener, Reception},
    session::Door,
    store::Store,
    sys,
};

/// Most connections at once, unless told otherwise. With the 20 to 40 KiB that a TLS session may
/// hold and the memory for uploads this stays under 96 MiB.
pub const DEFAULT_MAX_CONNECTIONS: usize = 1024;

/// Memory for uploads over all workers, unless told otherwise: what dozens of peers at 10 Gbit/s
/// need while a disk catches its breath.
pub const DEFAULT_UPLOAD_MEMORY_BYTES: usize = 32 * 1024 * 1024;

/// How long requests under way may take to end when a server stops, unless told otherwise.
pub const DEFAULT_DRAIN: Duration = Duration::from_secs(30);

/// Fewest pool threads by default: a commit spends its time in fsync, and eight of them share a
/// disk's flush better than one.
const POOL_THREADS_MIN: usize = 8;

/// Most pool threads by default.
const POOL_THREADS_MAX: usize = 64;

/// Descriptors of each connection: its socket, and a staging file or the object being sent.
const DESCRIPTORS_PER_CONNECTION: u64 = 2;

/// Descriptors besides those of connections: epolls, wakers, listeners, logs, the store's
/// directories and what the pool has open.
const DESCRIPTORS_RESERVED: u64 = 256;

/// How a server is set up.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// What it serves.
    pub store: Store,
    /// Where it listens; each by itself.
    pub listen: Vec<ListenAddress>,
    /// What peers without a key may do, in `plaintext` mode; nothing means no such connections.
    pub plaintext: Scopes,
    /// Whether unsealed objects are carried, on `plaintext` connections only.
    pub allow_unsealed: bool,
    /// Most connections at once.
    pub max_connections: usize,
    /// Seconds without a byte in either direction after which a connection ends; at least 1.
    pub idle_seconds: u32,
    /// Threads that own sockets.
    pub workers: usize,
    /// Threads that wait for the disk.
    pub pool_threads: usize,
    /// Memory that slices are received into, over all workers; each has 256 KiB at least.
    pub upload_memory_bytes: usize,
    /// The congestion control of all TCP connections. Without one the system's is left as it is,
    /// except that peers on the loopback interface get `cubic` where there is one.
    pub congestion: Option<String>,
    /// How long requests under way may take to end when the server stops.
    pub drain: Duration,
}

impl ServerOptions {
    /// The defaults: nobody gets in without a key, one worker for each core.
    #[must_use]
    pub fn new(store: Store, listen: Vec<ListenAddress>) -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self {
            store,
            listen,
            plaintext: Scopes::NONE,
            allow_unsealed: false,
            max_connections: DEFAULT_MAX_CONNECTIONS,
            idle_seconds: IDLE_SECONDS,
            workers: cores,
            pool_threads: (2 * cores).clamp(POOL_THREADS_MIN, POOL_THREADS_MAX),
            upload_memory_bytes: DEFAULT_UPLOAD_MEMORY_BYTES,
            congestion: None,
            drain: DEFAULT_DRAIN,
        }
    }
}

/// Why a server does not run.
#[derive(Debug, Error)]
pub enum ServerError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}{}", next_step(source))]
    Listen {
        /// Which.
        address: ListenAddress,
        /// Why.
        source: io::Error,
    },
    /// The kernel has no such congestion control, or this process may not use it.
    #[error(
        "cannot use congestion control \"{name}\" ({source}): choose one of \
         /proc/sys/net/ipv4/tcp_allowed_congestion_control"
    )]
    Congestion {
        /// Which.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// There is nothing to listen on.
    #[error("there is no address to listen on: give at least one")]
    NoAddress,
    /// The store's key cannot be used for TLS.
    #[error("the server's key cannot be used: {0}")]
    Key(String),
    /// Threads or epoll instances could not be had.
    #[error("cannot start the server's threads: {0}")]
    Start(#[source] io::Error),
    /// A thread failed while the server ran.
    #[error("a thread of the server failed: {0}")]
    Thread(#[source] io::Error),
    /// A thread ended while the server ran; its last words are in the log.
    #[error("a thread of the server ended unexpectedly: see its log")]
    Ended,
}

/// What to do about an address that cannot be listened on.
fn next_step(failure: &io::Error) -> &'static str {
    match failure.kind() {
        io::ErrorKind::AddrInUse => "; stop what listens there, or choose another",
        io::ErrorKind::AddrNotAvailable => "; choose an address of this machine",
        io::ErrorKind::PermissionDenied => "; choose a port from 1024 on, or a path of your own",
        io::ErrorKind::NotFound => "; make its directory first",
        _ => "",
    }
}

/// A server that listens and does not serve yet.
#[derive(Debug)]
pub struct Server {
    options: ServerOptions,
    listeners: Vec<Listener>,
}

impl Server {
    /// Listens. Peers that connect from now on wait until [`Self::spawn`].
    ///
    /// # Errors
    /// When an address cannot be listened on.
    pub fn bind(options: ServerOptions) -> Result<Self, ServerError> {
        let listeners = listen(&options.listen, options.congestion.as_deref())?;
        Self::on(options, listeners)
    }

    /// Listens on sockets that are there already, instead of on the addresses of the options.
    ///
    /// # Errors
    /// When there is none.
    pub fn on(options: ServerOptions, listeners: Vec<Listener>) -> Result<Self, ServerError> {
        if listeners.is_empty() {
            return Err(ServerError::NoAddress);
        }
        Ok(Self { options, listeners })
    }

    /// Where it listens, in the order of the options.
    #[must_use]
    pub fn addresses(&self) -> Vec<BoundAddress> {
        self.listeners.iter().map(Listener::address).collect()
    }

    /// Serves, on threads of its own.
    ///
    /// # Errors
    /// When those cannot be had, or the store's key is none.
    pub fn spawn(self) -> Result<ServerHandle, ServerError> {
        let Self { options, listeners } = self;
        let addresses = listeners.iter().map(Listener::address).collect();
        let tls = ServerTls::new(options.store.server_key())
            .map_err(|e| ServerError::Key(e.to_string()))?;
        let limits = ServerLimits { idle_seconds: options.idle_seconds, ..ServerLimits::default() };
        let door = Arc::new(Door {
            session: Arc::new(ServerConfig {
                tls: Some(tls),
                allow_plaintext: options.plaintext != Scopes::NONE,
                limits,
            }),
            plaintext: options.plaintext,
            unsealed: options.allow_unsealed,
        });
        let crew = Crew::start(
            &options.store,
            CrewOptions {
                workers: options.workers.max(1),
                pool_threads: options.pool_threads.max(1),
                seats: seats(options.max_connections),
                upload_memory_bytes: options.upload_memory_bytes,
            },
        )
        .map_err(ServerError::Start)?;
        let reception = Reception {
            admission: crew.admission(),
            door,
            tune_loopback: options.congestion.is_none(),
        };
        let acceptor =
            Acceptor::start(listeners, reception, crew.at_end()).map_err(ServerError::Start)?;
        Ok(ServerHandle {
            addresses,
            drain: options.drain,
            running: Some(Running { crew, acceptor }),
        })
    }
}

/// Listens on all of `addresses`.
///
/// # Errors
/// When one is not to be had, or the congestion control is not.
pub fn listen(
    addresses: &[ListenAddress],
    congestion: Option<&str>,
) -> Result<Vec<Listener>, ServerError> {
    if let Some(name) = congestion {
        sys::net::try_congestion(name)
            .map_err(|source| ServerError::Congestion { name: name.to_owned(), source })?;
    }
    let bind = |address: &ListenAddress| {
        Listener::bind(address, congestion)
            .map_err(|source| ServerError::Listen { address: address.clone(), source })
    };
    addresses.iter().map(bind).collect()
}

/// As many connections as were asked for, or as descriptors allow.
fn seats(wanted: usize) -> usize {
    let descriptors = sys::net::raise_descriptor_limit();
    let room = descriptors.saturating_sub(DESCRIPTORS_RESERVED) / DESCRIPTORS_PER_CONNECTION;
    let room = usize::try_from(room).unwrap_or(usize::MAX).max(1);
    if room < wanted {
        warn!(wanted, room, descriptors, "fewer connections: the limit of descriptors is low");
    }
    wanted.clamp(1, room)
}

/// A server that serves. Dropping it stops it.
pub struct ServerHandle {
    addresses: Vec<BoundAddress>,
    drain: Duration,
    running: Option<Running>,
}

struct Running {
    crew: Crew,
    acceptor: Acceptor,
}

/// Asks a server to stop, from any thread.
#[derive(Clone, Debug)]
pub struct Stopper(Sender<Ended>);

impl Stopper {
    /// Asks it. Asking again changes nothing.
    pub fn stop(&self) {
        // A full channel: it was asked before, or has ended by itself.
        let _asked = self.0.try_send(Ended::Asked);
    }
}

/// What a server is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections there are.
    pub connections: usize,
    /// Times that a worker woke up since the start: stands still while there is nothing to do.
    pub rounds: u64,
}

impl ServerHandle {
    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> &[BoundAddress] {
        &self.addresses
    }

    /// What it is doing.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.running.as_ref().map_or_else(Stats::default, |running| Stats {
            connections: running.crew.connections(),
            rounds: running.crew.rounds(),
        })
    }

    /// Whether its workers turn; nobody's, once it has stopped.
    #[must_use]
    pub fn pulse(&self) -> Pulse {
        self.running.as_ref().map_or_else(Pulse::default, |running| running.engine.pulse())
    }

    /// A way to stop it from elsewhere; absent once it has stopped.
    #[must_use]
    pub fn stopper(&self) -> Option<Stopper> {
        self.running.as_ref().map(|running| Stopper(running.crew.stopper()))
    }

    /// Serves until a [`Stopper`] says so; then lets requests under way end and stops all threads.
    ///
    /// # Errors
    /// When a thread has ended or failed by itself.
    pub fn wait(mut self) -> Result<(), ServerError> {
        let ended = self.running.as_ref().map_or(Ended::Thread, |running| running.crew.wait());
        let stopped = self.stop();
        if ended == Ended::Thread { stopped.and(Err(ServerError::Ended)) } else { stopped }
    }

    /// Stops now: no more connections, then requests under way may end, then the threads do.
    ///
    /// # Errors
    /// When a thread has failed.
    pub fn shutdown(mut self) -> Result<(), ServerError> {
        self.stop()
    }

    fn stop(&mut self) -> Result<(), ServerError> {
        let Some(Running { crew, acceptor }) = self.running.take() else { return Ok(()) };
        info!(connections = crew.connections(), "stopping");
        let until = Instant::now() + self.drain;
        let accepting = acceptor.stop();
        let serving = crew.stop(until);
        info!("stopped");
        accepting.and(serving).map_err(ServerError::Thread)
    }
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        if let Err(failure) = self.stop() {
            warn!(%failure, "the server did not stop cleanly");
        }
    }
}

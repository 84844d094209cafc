//! A server: listeners over a workers over mounts.

use std::{
    fmt, io,
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
    connection::{http, zput},
    http::{HEAD_SECONDS, Timeouts},
    limits::{ADMIN_CLIENTS_MAX, ConnectionLimits, EVICTING_MAX},
    metrics::Metrics,
    mounts::{MountPoint, Mounts},
    runtime::{
        acceptor::{AcceptedHandler, Acceptor, Endpoints, ListenerProtocol},
        address::{BoundAddress, ListenAddress},
        listener::Listener,
        store_metrics::StoreGauges,
        workers::{Dispatcher, StopReason, WorkerSet, WorkerSetOptions},
    },
    store::UPLOADS_MAX,
    sys,
    transfer::engines::Engine,
    worker::heartbeat::Liveness,
};

/// Most connections at once, unless told otherwise. With the 20 to 40 KiB that a TLS session may
/// hold and the memory for uploads this stays under 96 MiB.
pub const DEFAULT_MAX_CONNECTIONS: usize = 1024;

/// Memory for uploads over all workers, unless told otherwise: what dozens of peers at 10 Gbit/s
/// need while a disk catches its breath.
pub const DEFAULT_UPLOAD_MEMORY_BYTES: usize = 32 * 1024 * 1024;

/// How long requests under way may take to end when a server stops, unless told otherwise.
pub const DEFAULT_DRAIN: Duration = Duration::from_secs(30);

/// For how long an upload that was cut off can be resumed, unless told otherwise.
pub use crate::store::DEFAULT_KEEP_UPLOADS;

/// Most threads that wait for the disk, unless told otherwise. They are made when there is work for them: a commit spends
/// its time in fsync, and those that wait at once share a journal's commit and a disk's flush.
pub(crate) fn default_pool_threads(cores: usize) -> usize {
    (2 * cores).clamp(32, 64)
}

/// Descriptors besides those of connections, open objects and uploads: epolls, wakers, listeners, logs, the stores'
/// directories, what the pool has open, the clients of the admin address, and connections that make room for others.
const DESCRIPTORS_RESERVED: u64 = 256 + ADMIN_CLIENTS_MAX as u64 + EVICTING_MAX as u64;

/// Most objects open at once to be served, unless told otherwise: as many as connections.
pub const DEFAULT_OPEN_FILES: usize = 1024;

/// Most of these that nobody is getting, unless told otherwise.
pub const DEFAULT_KEEP_FILES: usize = 512;

/// Bytes a second that a peer moves at least while it has to act, unless told otherwise: a quarter of what the slowest mobile networks do.
pub const DEFAULT_MIN_RATE: u64 = 1024;

/// How a server is set up.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// What it serves.
    pub mounts: Mounts,
    /// Where it speaks its own protocol; each by itself.
    pub listen: Vec<ListenAddress>,
    /// Where it speaks HTTP, of public mounts.
    pub http: Vec<ListenAddress>,
    /// Most connections at once.
    pub max_connections: usize,
    /// Most connections of one client: an IPv4 address, or an IPv6 network of 64 bits.
    pub max_per_client: usize,
    /// Whether that holds for peers on the loopback interface as well: a proxy's clients all come from there.
    pub limit_loopback: bool,
    /// Seconds without a byte in either direction after which a connection ends; at least 1.
    pub idle_seconds: u32,
    /// Seconds that the head of an HTTP request may take; at least 1.
    pub http_head_seconds: u32,
    /// Bytes a second that a peer moves at least while it has to act; 0 for no minimum.
    pub min_rate: u64,
    /// Threads that own sockets.
    pub workers: usize,
    /// Most threads that change stores, and most that load what is to be sent from the disk.
    pub pool_threads: usize,
    /// Memory that slices are received into, over all workers; each has 256 KiB at least.
    pub upload_memory_bytes: usize,
    /// Most objects open at once to be served; further gets are told to try again.
    pub open_files: usize,
    /// Most of these that nobody is getting and that stay open.
    pub keep_files: usize,
    /// For how long an upload that was cut off can be resumed; none can, where it is no time at all.
    pub keep_uploads: Duration,
    /// What moves payload.
    pub engine: Engine,
    /// The congestion control of all TCP connections. Without one the system's is left as it is,
    /// except that peers on the loopback interface get `cubic` where there is one.
    pub congestion: Option<String>,
    /// How long requests under way may take to end when the server stops.
    pub drain: Duration,
}

impl ServerOptions {
    /// The defaults: one worker for each core.
    #[must_use]
    pub fn new(mounts: Mounts, listen: Vec<ListenAddress>) -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self {
            mounts,
            listen,
            http: Vec::new(),
            max_connections: DEFAULT_MAX_CONNECTIONS,
            max_per_client: DEFAULT_MAX_CONNECTIONS,
            limit_loopback: true,
            idle_seconds: IDLE_SECONDS,
            http_head_seconds: HEAD_SECONDS,
            min_rate: DEFAULT_MIN_RATE,
            workers: cores,
            pool_threads: default_pool_threads(cores),
            upload_memory_bytes: DEFAULT_UPLOAD_MEMORY_BYTES,
            open_files: DEFAULT_OPEN_FILES,
            keep_files: DEFAULT_KEEP_FILES,
            keep_uploads: DEFAULT_KEEP_UPLOADS,
            engine: Engine::default(),
            congestion: None,
            drain: DEFAULT_DRAIN,
        }
    }

    /// What connections of zput's protocol have in common. Without a store there is no key for `tls`.
    fn zput_settings(&self) -> Result<zput::Settings, ServerError> {
        let tls =
            self.mounts.first_store().map(|home| ServerTls::new(home.server_key())).transpose();
        let open = |mount: &Arc<MountPoint>| mount.policy().anonymous() != Scopes::NONE;
        let limits = ServerLimits { idle_seconds: self.idle_seconds, ..ServerLimits::default() };
        Ok(zput::Settings {
            session: Arc::new(ServerConfig {
                tls: tls.map_err(|e| ServerError::Key(e.to_string()))?,
                allow_plaintext: self.mounts.iter().any(open),
                limits,
            }),
            min_rate: self.min_rate,
            must_request: true,
            explains_failures: false,
        })
    }

    /// Limits of `all` connections. Where there are accounts a quarter is for those who have one.
    fn connection_limits(&self, all: usize) -> ConnectionLimits {
        let reserved = if self.mounts.first_store().is_some() { all / 4 } else { 0 };
        ConnectionLimits {
            all,
            each: self.max_per_client.max(1),
            count_loopback: self.limit_loopback,
            keyless: all - reserved,
        }
    }

    fn web_settings(&self) -> http::Settings {
        let seconds = |n: u32| Duration::from_secs(n.into());
        let timeouts =
            Timeouts { head: seconds(self.http_head_seconds), idle: seconds(self.idle_seconds) };
        http::Settings { timeouts, min_rate: self.min_rate }
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
    #[error(
        "there is no address to listen on: give --listen HOST:PORT, or listen = \"HOST:PORT\" in the file"
    )]
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
    ThreadEnded,
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
    listeners: Vec<(Listener, ListenerProtocol)>,
}

impl Server {
    /// Listens. Peers that connect from now on wait until [`Self::spawn`].
    ///
    /// # Errors
    /// When an address cannot be listened on.
    pub fn bind(options: ServerOptions) -> Result<Self, ServerError> {
        let congestion = options.congestion.as_deref();
        let zput = listen(&options.listen, congestion)?;
        let http = listen(&options.http, congestion)?;
        Self::on(options, zput, http)
    }

    /// Listens on sockets that are there already, instead of on the addresses of the options.
    ///
    /// # Errors
    /// When there is none.
    pub fn on(
        options: ServerOptions,
        zput: Vec<Listener>,
        http: Vec<Listener>,
    ) -> Result<Self, ServerError> {
        let zput = zput.into_iter().map(|listener| (listener, ListenerProtocol::Zput));
        let http = http.into_iter().map(|listener| (listener, ListenerProtocol::Http));
        let listeners: Vec<_> = zput.chain(http).collect();
        if listeners.is_empty() {
            return Err(ServerError::NoAddress);
        }
        Ok(Self { options, listeners })
    }

    /// Where it listens: for its own protocol in the order of the options, and then for HTTP.
    #[must_use]
    pub fn addresses(&self) -> Vec<BoundAddress> {
        self.listeners.iter().map(|(listener, _)| listener.address()).collect()
    }

    /// Serves, on threads of its own.
    ///
    /// # Errors
    /// When those cannot be had, or the store's key is none.
    pub fn spawn(self) -> Result<ServerHandle, ServerError> {
        let addresses = self.addresses();
        let Self { options, listeners } = self;
        let endpoints = Endpoints::new(options.zput_settings()?, options.web_settings());
        let descriptors = sys::net::raise_descriptor_limit();
        let open_files = options.open_files.max(1);
        let uploads = options.mounts.stores().count() * UPLOADS_MAX;
        let workers = options.workers.max(1);
        let metrics = Arc::new(
            Metrics::new(workers, options.engine.name())
                .with_collector(StoreGauges::of(&options.mounts)),
        );
        let workers = WorkerSet::start(
            &options.mounts,
            WorkerSetOptions {
                workers,
                pool_threads: options.pool_threads.max(1),
                connections: options.connection_limits(max_connections(
                    options.max_connections,
                    open_files + uploads,
                    descriptors,
                )),
                upload_memory_bytes: options.upload_memory_bytes,
                open_files,
                keep_files: options.keep_files.min(open_files),
                keep_uploads: options.keep_uploads,
                engine: options.engine,
            },
            &metrics,
        )
        .map_err(ServerError::Start)?;
        let handler = AcceptedHandler {
            dispatcher: workers.dispatcher(),
            endpoints: endpoints.clone(),
            metrics: metrics.endpoints(),
            tune_loopback: options.congestion.is_none(),
        };
        let acceptor = Acceptor::start(listeners, handler, workers.exit_notice())
            .map_err(ServerError::Start)?;
        let running = Some(Running { workers, acceptor, endpoints });
        Ok(ServerHandle { addresses, options, metrics, running })
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

/// As many connections as were asked for, or as descriptors allow beside `others`.
fn max_connections(wanted: usize, others: usize, descriptors: u64) -> usize {
    let room = descriptors.saturating_sub(DESCRIPTORS_RESERVED + others as u64);
    let room = usize::try_from(room).unwrap_or(usize::MAX).max(1);
    if room < wanted {
        warn!(wanted, room, descriptors, "fewer connections: the limit of descriptors is low");
    }
    wanted.clamp(1, room)
}

/// A server that serves. Dropping it stops it.
pub struct ServerHandle {
    addresses: Vec<BoundAddress>,
    options: ServerOptions,
    metrics: Arc<Metrics>,
    running: Option<Running>,
}

struct Running {
    workers: WorkerSet,
    acceptor: Acceptor,
    endpoints: Endpoints,
}

/// Changes what a server serves, from any thread.
#[derive(Clone)]
pub struct ReloadHandle {
    options: ServerOptions,
    dispatcher: Dispatcher,
    endpoints: Endpoints,
}

impl ReloadHandle {
    /// What is served, as far as this reload_handle knows.
    #[must_use]
    pub fn mounts(&self) -> &Mounts {
        &self.options.mounts
    }

    /// Serves these mounts from now on. Requests under way end as they began; whoever speaks of a mount that is gone is
    /// told so.
    ///
    /// # Errors
    /// When the first store's key is none. Then nothing has changed.
    pub fn serve(&mut self, mounts: Mounts) -> Result<(), ServerError> {
        let options = ServerOptions { mounts, ..self.options.clone() };
        self.endpoints.replace_zput(options.zput_settings()?);
        self.dispatcher.serve(&options.mounts);
        self.options = options;
        Ok(())
    }
}

impl fmt::Debug for ReloadHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReloadHandle").field(&self.options.mounts).finish()
    }
}

/// Asks a server to stop, from any thread.
#[derive(Clone, Debug)]
pub struct ShutdownHandle(Sender<StopReason>);

impl ShutdownHandle {
    /// Asks it. Asking again changes nothing.
    pub fn stop(&self) {
        // A full channel: it was asked before, or has ended by itself.
        let _asked = self.0.try_send(StopReason::Requested);
    }
}

/// What a server is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections there are.
    pub connections: usize,
    /// Times that a worker woke up since the start: stands still while there is nothing to do.
    pub rounds: u64,
    /// Objects that are open to be served, those being sent and idle ones.
    pub open_files: usize,
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
            connections: running.workers.connections(),
            rounds: running.workers.rounds(),
            open_files: running.workers.open_files(),
        })
    }

    /// Whether its workers turn; nobody's, once it has stopped.
    #[must_use]
    pub fn liveness(&self) -> Liveness {
        self.running.as_ref().map_or_else(Liveness::default, |running| running.workers.liveness())
    }

    /// A way to stop it from elsewhere; absent once it has stopped.
    #[must_use]
    pub fn shutdown_handle(&self) -> Option<ShutdownHandle> {
        self.running.as_ref().map(|running| ShutdownHandle(running.workers.stopper()))
    }

    /// A way to change what it serves, from any thread; absent once it has stopped.
    #[must_use]
    pub fn reload_handle(&self) -> Option<ReloadHandle> {
        let running = self.running.as_ref()?;
        let (dispatcher, endpoints) = (running.workers.dispatcher(), running.endpoints.clone());
        Some(ReloadHandle { options: self.options.clone(), dispatcher, endpoints })
    }

    /// What it counts.
    #[must_use]
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    /// Serves until a [`ShutdownHandle`] says so; then lets requests under way end and stops all threads.
    ///
    /// # Errors
    /// When a thread has ended or failed by itself.
    pub fn wait(self) -> Result<(), ServerError> {
        self.wait_then(|| {})
    }

    /// Serves as [`Self::wait`] does. Calls `ends` when it is to stop, for whatever reason, before it does.
    ///
    /// # Errors
    /// When a thread has ended or failed by itself.
    pub fn wait_then(mut self, ends: impl FnOnce()) -> Result<(), ServerError> {
        let ended =
            self.running.as_ref().map_or(StopReason::ThreadEnded, |running| running.workers.wait());
        ends();
        let stopped = self.stop();
        if ended == StopReason::ThreadEnded {
            stopped.and(Err(ServerError::ThreadEnded))
        } else {
            stopped
        }
    }

    /// Stops now: no more connections, then requests under way may end, then the threads do.
    ///
    /// # Errors
    /// When a thread has failed.
    pub fn shutdown(mut self) -> Result<(), ServerError> {
        self.stop()
    }

    fn stop(&mut self) -> Result<(), ServerError> {
        let Some(Running { workers, acceptor, .. }) = self.running.take() else { return Ok(()) };
        info!(connections = workers.connections(), "stopping");
        let until = Instant::now() + self.options.drain;
        let accepting = acceptor.stop();
        let serving = workers.stop(until);
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

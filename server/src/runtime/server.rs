//! A server: its options, its start, and the handles to reload and stop it.

use std::{fmt, io, sync::Arc, time::Instant};

use crossbeam_channel::Sender;
use thiserror::Error;
use tracing::{info, warn};
use zput_proto::{
    hello::ServerLimits,
    message::Scopes,
    session::{ServerConfig, ServerTls},
};

use crate::{
    connection::{http, zput},
    http::Timeouts,
    limits::{ADMIN_CLIENTS_MAX, ConnectionLimits, EVICTING_MAX},
    metrics::Metrics,
    mounts::{MountPoint, Mounts},
    runtime::{
        acceptor::{AcceptedHandler, Acceptor, Endpoints, ListenerProtocol},
        address::{BoundAddress, ListenAddress},
        listener::Listener,
        options::ServerOptions,
        store_metrics::StoreGauges,
        workers::{Dispatcher, StopReason, WorkerSet, WorkerSetOptions},
    },
    store::UPLOADS_MAX,
    sys,
    worker::heartbeat::Liveness,
};

/// Descriptors besides those of connections, open objects and uploads: epolls, wakers, listeners,
/// logs, the stores' directories, what the pool has open, the clients of the admin address, and
/// connections that make room for others.
const DESCRIPTORS_RESERVED: u64 = 256 + ADMIN_CLIENTS_MAX as u64 + EVICTING_MAX as u64;

impl ServerOptions {
    /// Settings of connections of zput's protocol. TLS needs a store, which has the server's key.
    fn zput_settings(&self) -> Result<zput::Settings, ServerError> {
        let tls =
            self.mounts.first_store().map(|home| ServerTls::new(home.server_key())).transpose();
        let open = |mount: &Arc<MountPoint>| mount.policy().anonymous_scopes() != Scopes::NONE;
        let idle_seconds = u32::try_from(self.limits.idle_timeout.as_secs()).unwrap_or(u32::MAX);
        let limits = ServerLimits { idle_seconds, ..ServerLimits::default() };
        Ok(zput::Settings {
            session: Arc::new(ServerConfig {
                tls: tls.map_err(|e| ServerError::Key(e.to_string()))?,
                allow_plaintext: self.mounts.iter().any(open),
                limits,
            }),
            min_rate: self.limits.min_rate,
            must_request: true,
            explains_failures: false,
        })
    }

    /// Limits for `all` connections. With a store, a quarter is reserved for devices with an
    /// account.
    fn connection_limits(&self, all: usize) -> ConnectionLimits {
        let reserved = if self.mounts.first_store().is_some() { all / 4 } else { 0 };
        ConnectionLimits {
            all,
            each: match self.limits.max_connections_per_client {
                None => self.limits.max_connections.div_ceil(4).max(1),
                Some(0) => usize::MAX,
                Some(most) => most,
            },
            count_loopback: self.limits.max_connections_per_client.is_some(),
            keyless: all - reserved,
        }
    }

    fn web_settings(&self) -> http::Settings {
        let timeouts =
            Timeouts { head: self.limits.http_header_timeout, idle: self.limits.idle_timeout };
        http::Settings { timeouts, min_rate: self.limits.min_rate }
    }
}

/// Why a server does not start, or does not run any more.
#[derive(Debug, Error)]
pub enum ServerError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}{}", next_step(source))]
    Listen {
        /// The address, as it was configured.
        address: ListenAddress,
        /// The error of the system call.
        source: io::Error,
    },
    /// The kernel has no such congestion control, or this process may not use it.
    #[error(
        "cannot use congestion control \"{name}\" ({source}): choose one of \
         /proc/sys/net/ipv4/tcp_allowed_congestion_control"
    )]
    Congestion {
        /// The name of the congestion control, as it was configured.
        name: String,
        /// The error of the system call.
        source: io::Error,
    },
    /// There are neither addresses nor inherited sockets.
    #[error(
        "there is no address to listen on: give --listen HOST:PORT, or listen = \"HOST:PORT\" in the file"
    )]
    NoAddress,
    /// The store's key cannot be used for TLS.
    #[error("the server's key cannot be used: {0}")]
    Key(String),
    /// A thread or an epoll instance cannot be created.
    #[error("cannot start the server's threads: {0}")]
    Start(#[source] io::Error),
    /// A thread failed while the server ran.
    #[error("a thread of the server failed: {0}")]
    Thread(#[source] io::Error),
    /// A thread ended while the server ran; the log has its panic message.
    #[error("a thread of the server ended unexpectedly: see its log")]
    ThreadEnded,
}

/// What the operator can do about an address that cannot be listened on.
fn next_step(failure: &io::Error) -> &'static str {
    match failure.kind() {
        io::ErrorKind::AddrInUse => "; stop what listens there, or choose another",
        io::ErrorKind::AddrNotAvailable => "; choose an address of this machine",
        io::ErrorKind::PermissionDenied => "; choose a port from 1024 on, or a path of your own",
        io::ErrorKind::NotFound => "; make its directory first",
        _ => "",
    }
}

/// A server that listens and does not accept connections yet.
#[derive(Debug)]
pub struct Server {
    options: ServerOptions,
    listeners: Vec<(Listener, ListenerProtocol)>,
}

impl Server {
    /// Listens on the addresses of the options. Peers that connect wait until [`Self::spawn`].
    ///
    /// # Errors
    /// [`ServerError::Listen`], [`ServerError::Congestion`], [`ServerError::NoAddress`].
    pub fn bind(options: ServerOptions) -> Result<Self, ServerError> {
        let congestion = options.congestion.as_deref();
        let zput = listen(&options.listen, congestion)?;
        let http = listen(&options.http, congestion)?;
        Self::on(options, zput, http)
    }

    /// Uses existing listeners instead of the addresses of the options.
    ///
    /// # Errors
    /// [`ServerError::NoAddress`] when there is no listener.
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

    /// The addresses it listens on: first for zput's protocol, in the order of the options, then
    /// for HTTP.
    #[must_use]
    pub fn addresses(&self) -> Vec<BoundAddress> {
        self.listeners.iter().map(|(listener, _)| listener.address()).collect()
    }

    /// Starts the threads that serve.
    ///
    /// # Errors
    /// When a thread cannot be started, or the store's key is not valid for TLS.
    pub fn spawn(self) -> Result<ServerHandle, ServerError> {
        let addresses = self.addresses();
        let Self { options, listeners } = self;
        let endpoints = Endpoints::new(options.zput_settings()?, options.web_settings());
        let descriptors = sys::net::raise_descriptor_limit();
        let limits = options.limits;
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
                connections: options.connection_limits(max_connections(
                    limits.max_connections,
                    limits.max_open_files.max(1) + uploads,
                    descriptors,
                )),
                limits,
                engine: options.engine,
                is_embedded: false,
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

/// Listens on all of `addresses`, with this congestion control.
///
/// # Errors
/// [`ServerError::Listen`], [`ServerError::Congestion`].
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

/// The maximum number of connections: `wanted`, or fewer if there are not enough descriptors beside
/// `others`; at least 1.
fn max_connections(wanted: usize, others: usize, descriptors: u64) -> usize {
    let room = descriptors.saturating_sub(DESCRIPTORS_RESERVED + others as u64);
    let room = usize::try_from(room).unwrap_or(usize::MAX).max(1);
    if room < wanted {
        warn!(
            wanted,
            allowed = room,
            descriptors,
            "connection limit lowered: the limit of descriptors is too low"
        );
    }
    wanted.clamp(1, room)
}

/// A running server. Dropping it stops it.
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

/// Replaces the mounts of a running server, from any thread.
#[derive(Clone)]
pub struct ReloadHandle {
    options: ServerOptions,
    dispatcher: Dispatcher,
    endpoints: Endpoints,
}

impl ReloadHandle {
    /// The mounts that this handle has set last.
    #[must_use]
    pub fn mounts(&self) -> &Mounts {
        &self.options.mounts
    }

    /// Serves these mounts from now on. Requests under way keep the mounts they began with; a later
    /// request for a mount that is gone is answered with `NotFound`.
    ///
    /// # Errors
    /// [`ServerError::Key`] when the first store's key is not valid; nothing has changed then.
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

/// Stops a server, from any thread.
#[derive(Clone, Debug)]
pub struct ShutdownHandle(Sender<StopReason>);

impl ShutdownHandle {
    /// Requests the stop. A second request changes nothing.
    pub fn stop(&self) {
        // The channel is full if a stop was requested before or a thread has ended.
        let _asked = self.0.try_send(StopReason::Requested);
    }
}

/// Counters of a running server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Number of open connections, of both protocols.
    pub connections: usize,
    /// Times that a worker woke up since the start; does not grow while there is nothing to do.
    pub rounds: u64,
    /// Objects that are open to be served: those being sent, and idle ones.
    pub open_files: usize,
}

impl ServerHandle {
    /// The addresses it listens on.
    #[must_use]
    pub fn addresses(&self) -> &[BoundAddress] {
        &self.addresses
    }

    /// The current counters; zeros once it has stopped.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.running.as_ref().map_or_else(Stats::default, |running| Stats {
            connections: running.workers.connections(),
            rounds: running.workers.rounds(),
            open_files: running.workers.open_files(),
        })
    }

    /// The liveness of its workers; without workers once it has stopped.
    #[must_use]
    pub fn liveness(&self) -> Liveness {
        self.running.as_ref().map_or_else(Liveness::default, |running| running.workers.liveness())
    }

    /// A handle that stops it; `None` once it has stopped.
    #[must_use]
    pub fn shutdown_handle(&self) -> Option<ShutdownHandle> {
        self.running.as_ref().map(|running| ShutdownHandle(running.workers.stopper()))
    }

    /// A handle that replaces its mounts; `None` once it has stopped.
    #[must_use]
    pub fn reload_handle(&self) -> Option<ReloadHandle> {
        let running = self.running.as_ref()?;
        let (dispatcher, endpoints) = (running.workers.dispatcher(), running.endpoints.clone());
        Some(ReloadHandle { options: self.options.clone(), dispatcher, endpoints })
    }

    /// The metrics of the server, which can be read after it has stopped.
    #[must_use]
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    /// Blocks until a [`ShutdownHandle`] requests the stop; then lets requests under way end and
    /// stops all threads.
    ///
    /// # Errors
    /// [`ServerError::Thread`] and [`ServerError::ThreadEnded`].
    pub fn wait(self) -> Result<(), ServerError> {
        self.wait_then(|| {})
    }

    /// As [`Self::wait`], and calls `ends` before the stop begins, whatever its reason is.
    ///
    /// # Errors
    /// Those of [`Self::wait`].
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

    /// Stops: accepts no more connections, lets requests under way end, and joins the threads.
    ///
    /// # Errors
    /// [`ServerError::Thread`].
    pub fn shutdown(mut self) -> Result<(), ServerError> {
        self.stop()
    }

    fn stop(&mut self) -> Result<(), ServerError> {
        let Some(Running { workers, acceptor, .. }) = self.running.take() else { return Ok(()) };
        info!(connections = workers.connections(), "stopping");
        let until = Instant::now() + self.options.limits.shutdown_timeout;
        let accepting = acceptor.stop();
        let serving = workers.stop(until);
        info!("stopped");
        accepting.and(serving).map_err(ServerError::Thread)
    }
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        if let Err(failure) = self.stop() {
            warn!(error = %failure, "the server did not stop cleanly");
        }
    }
}

//! The options of a server, and its limits: one type for the configuration file, the server, its
//! workers and the embedded server.

use std::{sync::OnceLock, thread, time::Duration};

use zput_proto::limits::IDLE_SECONDS;

use super::address::ListenAddress;
use crate::{
    http::HEAD_SECONDS, mounts::Mounts, store::DEFAULT_KEEP_UPLOADS, transfer::engines::Engine,
};

/// Default maximum number of connections. With the 20 to 40 KiB that a TLS session may
/// hold and the memory for uploads this stays under 96 MiB.
const DEFAULT_MAX_CONNECTIONS: usize = 1024;

/// Default memory for uploads over all workers, in bytes: what dozens of peers at 10 Gbit/s send
/// while a disk is busy for some milliseconds.
const DEFAULT_UPLOAD_MEMORY_BYTES: usize = 32 * 1024 * 1024;

/// Default time that requests under way get to end when a server stops.
const DEFAULT_SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);

/// Default maximum threads of each of the pools that read and write payload. A thread is started
/// when a job needs it. A commit spends its time in fsync, and commits that wait at the same time
/// share a journal's commit and a disk's flush.
fn default_pool_threads(cores: usize) -> usize {
    (2 * cores).clamp(32, 64)
}

/// Default maximum of objects that are open to be served: as many as connections.
const DEFAULT_MAX_OPEN_FILES: usize = 1024;

/// Default maximum of objects that are kept open while no client gets them.
const DEFAULT_OPEN_FILE_CACHE: usize = 512;

/// Default minimum rate of a peer while it has to act, in bytes a second: a quarter of the rate of
/// the slowest mobile networks.
const DEFAULT_MIN_RATE: u64 = 1024;

/// The options of a server.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// The mounts to serve.
    pub mounts: Mounts,
    /// Addresses for zput's protocol.
    pub listen: Vec<ListenAddress>,
    /// Addresses for HTTP, which serves public mounts.
    pub http: Vec<ListenAddress>,
    /// Limits of connections, files, memory and time.
    pub limits: Limits,
    /// Number of worker threads; at least one is started.
    pub workers: usize,
    /// How payload gets from a file into a socket.
    pub engine: Engine,
    /// The congestion control of all TCP connections. `None` leaves the system's, except that peers
    /// on the loopback interface get `cubic` where the kernel has it.
    pub congestion: Option<String>,
}

impl ServerOptions {
    /// Default options: one worker for each core, and no limit per client.
    #[must_use]
    pub fn new(mounts: Mounts, listen: Vec<ListenAddress>) -> Self {
        Self {
            mounts,
            listen,
            http: Vec::new(),
            limits: Limits { max_connections_per_client: Some(0), ..Limits::default() },
            workers: cores(),
            engine: Engine::default(),
            congestion: None,
        }
    }
}

/// Limits of connections, files, memory and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Maximum connections over both protocols; at least 1.
    pub max_connections: usize,
    /// Maximum connections of one IP address; 0 for no limit. `None` is a quarter of all, and no
    /// limit for peers on the loopback interface.
    pub max_connections_per_client: Option<usize>,
    /// Time without a byte in either direction after which a connection ends; whole seconds, 1 or
    /// more.
    pub idle_timeout: Duration,
    /// Minimum bytes a second of a peer while it has to act; 0 for no minimum.
    pub min_rate: u64,
    /// Time in which the head of an HTTP request must arrive.
    pub http_header_timeout: Duration,
    /// Maximum objects that are open to be served, over all workers.
    pub max_open_files: usize,
    /// Maximum objects kept open while no client gets them; at most `max_open_files`.
    pub open_file_cache: usize,
    /// How long an interrupted upload can be resumed. Zero disables resuming.
    pub upload_expiry: Duration,
    /// Bytes of upload buffers over all workers.
    pub upload_memory: usize,
    /// Maximum threads of each of the two pools that read and write payload.
    pub pool_threads: usize,
    /// Time that requests under way get to end when the server stops.
    pub shutdown_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: DEFAULT_MAX_CONNECTIONS,
            max_connections_per_client: None,
            idle_timeout: Duration::from_secs(IDLE_SECONDS.into()),
            min_rate: DEFAULT_MIN_RATE,
            http_header_timeout: Duration::from_secs(HEAD_SECONDS.into()),
            max_open_files: DEFAULT_MAX_OPEN_FILES,
            open_file_cache: DEFAULT_OPEN_FILE_CACHE,
            upload_expiry: DEFAULT_KEEP_UPLOADS,
            upload_memory: DEFAULT_UPLOAD_MEMORY_BYTES,
            pool_threads: default_pool_threads(cores()),
            shutdown_timeout: DEFAULT_SHUTDOWN_TIMEOUT,
        }
    }
}

/// The number of cores, as of the first call: a server in the sandbox has no access to /sys and
/// would get another number.
pub(crate) fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| thread::available_parallelism().map_or(1, usize::from))
}

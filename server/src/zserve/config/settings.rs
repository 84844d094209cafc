//! The settings of a server, as plain values.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::OnceLock,
    thread,
    time::Duration,
};

use zput_common::{limits::IDLE_SECONDS, mount::MountName, proto::message::Scopes};

use crate::{
    http::HEAD_SECONDS,
    runtime::{
        address::ListenAddress,
        server::{
            DEFAULT_DRAIN, DEFAULT_KEEP_FILES, DEFAULT_KEEP_UPLOADS, DEFAULT_MAX_CONNECTIONS,
            DEFAULT_MIN_RATE, DEFAULT_OPEN_FILES, DEFAULT_UPLOAD_MEMORY_BYTES,
            default_pool_threads,
        },
    },
    transfer::engines::Engine,
    zserve::log::LogFormat,
};

/// Where a server listens that was given a store and no address, and no file that might say one: for a
/// try on one machine.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:7460";

/// The longest file that is read.
pub const CONFIG_FILE_MAX_BYTES: u64 = 1024 * 1024;

/// The most mounts of a server.
pub const MOUNTS_MAX: usize = 256;

/// How long a file of a `dir` mount is taken for the one that was opened, unless told otherwise.
pub const DEFAULT_STAT_VALIDITY: Duration = Duration::from_secs(2);

/// How a server is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The file that it was read from.
    pub file: Option<PathBuf>,
    /// Where the server listens for its own protocol.
    pub listen: Vec<ListenAddress>,
    /// Where it listens for HTTP.
    pub http: Vec<ListenAddress>,
    /// Where it tells how it does.
    pub admin: Option<ListenAddress>,
    /// Whom it becomes when it was started as root.
    pub user: Option<String>,
    /// Whether it gives up all files that it does not need.
    pub sandbox: bool,
    /// Whether a store is made where there is none.
    pub create: bool,
    /// What moves payload.
    pub engine: Engine,
    /// The congestion control of all TCP connections; the system's without one.
    pub congestion: Option<String>,
    /// Threads that own sockets; at least 1.
    pub workers: usize,
    /// What is logged, as in `RUST_LOG`; that, or `info`, without one.
    pub log: Option<String>,
    /// How a line of the log looks.
    pub log_format: LogFormat,
    /// What it takes upon itself.
    pub limits: Limits,
    /// What it serves: no prefix twice, in the order of the file.
    pub mounts: Vec<MountConfig>,
}

/// What a server takes upon itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most connections at once, over both protocols; at least 1.
    pub connections: usize,
    /// Most connections of one IP address at once, 0 for no limit; a quarter of all when absent, and then peers on the loopback
    /// interface have none.
    pub per_client: Option<usize>,
    /// Time without a byte in either direction after which a connection ends; whole seconds, 1 or
    /// more.
    pub idle: Duration,
    /// Bytes a second that a connection with something to move has to move; 0 for no minimum.
    pub min_rate: u64,
    /// Time that the head of an HTTP request may take.
    pub http_head: Duration,
    /// Most descriptors of served files at once, over all workers.
    pub open_files: usize,
    /// How many of them stay open while nobody reads; at most `open_files`.
    pub keep_files: usize,
    /// How long an upload that was cut off can be resumed; none can, where it is no time at all.
    pub keep_uploads: Duration,
    /// Bytes of memory that slices are received into, over all workers.
    pub upload_memory: usize,
    /// Most threads that wait for the disk.
    pub pool_threads: usize,
    /// How long requests under way may take to end when the server stops.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: DEFAULT_MAX_CONNECTIONS,
            per_client: None,
            idle: Duration::from_secs(IDLE_SECONDS.into()),
            min_rate: DEFAULT_MIN_RATE,
            http_head: Duration::from_secs(HEAD_SECONDS.into()),
            open_files: DEFAULT_OPEN_FILES,
            keep_files: DEFAULT_KEEP_FILES,
            keep_uploads: DEFAULT_KEEP_UPLOADS,
            upload_memory: DEFAULT_UPLOAD_MEMORY_BYTES,
            pool_threads: default_pool_threads(cores()),
            drain: DEFAULT_DRAIN,
        }
    }
}

/// A part of what is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountConfig {
    /// What its names begin with.
    pub prefix: MountPrefix,
    /// Where its objects are.
    pub source: MountSource,
    /// Whether anybody may read and list it: by HTTP, and in clear without a key.
    pub public: bool,
    /// What anybody may do in clear without a key; get and list are in here when it is public.
    pub plaintext: Scopes,
    /// Whether objects are carried that nobody sealed.
    pub unsealed: bool,
}

/// Where the objects of a mount are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountSource {
    /// In a store, which is made if it is absent or empty.
    Store(PathBuf),
    /// In a directory, which is only read.
    Dir {
        /// Which.
        path: PathBuf,
        /// How long a file is taken for the one that was opened.
        stat_validity: Duration,
    },
    /// In an archive, which is only read.
    Tar {
        /// Which.
        path: PathBuf,
        /// What is taken off the names of its members; members without it are not served.
        strip_prefix: Option<String>,
    },
}

impl MountSource {
    /// The directory or the archive.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Store(path) | Self::Dir { path, .. } | Self::Tar { path, .. } => path,
        }
    }
}

/// What the names of a mount begin with: nothing, or components with `/` between them.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MountPrefix(pub(super) MountName);

impl MountPrefix {
    /// As written: without slashes at its ends.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// What clients call the mount.
    #[must_use]
    pub const fn name(&self) -> &MountName {
        &self.0
    }
}

impl fmt::Display for MountPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Config {
    /// The keys whose values differ from those of `other`, as the file spells them.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        let (ours, theirs) = (&self.limits, &other.limits);
        [
            ("listen", self.listen != other.listen),
            ("http", self.http != other.http),
            ("admin", self.admin != other.admin),
            ("user", self.user != other.user),
            ("sandbox", self.sandbox != other.sandbox),
            ("create", self.create != other.create),
            ("engine", self.engine != other.engine),
            ("congestion", self.congestion != other.congestion),
            ("workers", self.workers != other.workers),
            ("log", self.log != other.log),
            ("log_format", self.log_format != other.log_format),
            ("limits.connections", ours.connections != theirs.connections),
            ("limits.per_client", ours.per_client != theirs.per_client),
            ("limits.idle", ours.idle != theirs.idle),
            ("limits.min_rate", ours.min_rate != theirs.min_rate),
            ("limits.http_head", ours.http_head != theirs.http_head),
            ("limits.open_files", ours.open_files != theirs.open_files),
            ("limits.keep_files", ours.keep_files != theirs.keep_files),
            ("limits.keep_uploads", ours.keep_uploads != theirs.keep_uploads),
            ("limits.upload_memory", ours.upload_memory != theirs.upload_memory),
            ("limits.pool_threads", ours.pool_threads != theirs.pool_threads),
            ("limits.drain", ours.drain != theirs.drain),
            ("mount", self.mounts != other.mounts),
        ]
        .into_iter()
        .filter_map(|(key, differs)| differs.then_some(key))
        .collect()
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            file: None,
            listen: Vec::new(),
            http: Vec::new(),
            admin: None,
            user: None,
            sandbox: true,
            create: true,
            engine: Engine::default(),
            congestion: None,
            workers: cores(),
            log: None,
            log_format: LogFormat::default(),
            limits: Limits::default(),
            mounts: Vec::new(),
        }
    }
}

/// Asked once: a server that has given up access to /sys would be told another number.
fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| thread::available_parallelism().map_or(1, usize::from))
}

//! The settings of a server, as plain values.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use zput_proto::{message::Scopes, mount::MountName};

use crate::{
    runtime::{
        address::ListenAddress,
        options::{Limits, cores},
    },
    transfer::engines::Engine,
    zserve::log::LogFormat,
};

/// The address of a server that was started with a store, no address and no file: for a try on one
/// machine.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:7460";

/// Maximum bytes of a configuration file.
pub const CONFIG_FILE_MAX_BYTES: u64 = 1024 * 1024;

/// Maximum mounts of a server.
pub const MOUNTS_MAX: usize = 256;

/// Default time for which an open file of a `dir` mount is served before its name is checked again.
pub const DEFAULT_REVALIDATE_AFTER: Duration = Duration::from_secs(2);

/// The configuration of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The file that it was read from, if any.
    pub file: Option<PathBuf>,
    /// Addresses for zput's protocol.
    pub listen: Vec<ListenAddress>,
    /// Addresses for HTTP; empty for none.
    pub http: Vec<ListenAddress>,
    /// The address for `/metrics` and `/healthz`.
    pub admin: Option<ListenAddress>,
    /// The user to become when started as root.
    pub user: Option<String>,
    /// Whether it enters the sandbox.
    pub sandbox: bool,
    /// Whether a store is created where there is none.
    pub create: bool,
    /// How payload gets from a file into a socket.
    pub engine: Engine,
    /// The congestion control of all TCP connections; `None` for the system's.
    pub congestion: Option<String>,
    /// Number of worker threads; at least 1.
    pub workers: usize,
    /// The filter of the log, as in `RUST_LOG`; `None` for that variable, or `info`.
    pub log: Option<String>,
    /// The format of the log's lines.
    pub log_format: LogFormat,
    /// Limits of connections, files, memory and time.
    pub limits: Limits,
    /// The mounts, each with another prefix, in the order of the file.
    pub mounts: Vec<MountConfig>,
}

/// One table `[[mount]]` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountConfig {
    /// The prefix of its names.
    pub prefix: MountPrefix,
    /// The source of its objects.
    pub source: MountSource,
    /// Whether every peer may get and list: by HTTP, and on `plaintext` connections without a key.
    pub public: bool,
    /// The scopes of peers without a key on `plaintext` connections; with get and list if `public`.
    pub anonymous: Scopes,
    /// Whether unsealed objects are transferred.
    pub allow_unsealed: bool,
}

/// The source of a mount's objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountSource {
    /// The directory of a store, which is created if it is absent or empty.
    Store(PathBuf),
    /// A directory, which is only read.
    Dir {
        /// The path of the directory.
        path: PathBuf,
        /// How long an open file is served before its name is checked again.
        revalidate_after: Duration,
    },
    /// An archive, which is only read.
    Tar {
        /// The path of the archive, a tar file without compression.
        path: PathBuf,
        /// Removed from the names of members; members without it are not served.
        strip_prefix: Option<String>,
    },
}

impl MountSource {
    /// The path of the directory or the archive.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Store(path) | Self::Dir { path, .. } | Self::Tar { path, .. } => path,
        }
    }
}

/// The prefix of a mount's names: empty, or components separated by `/`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MountPrefix(pub(super) MountName);

impl MountPrefix {
    /// Its text, without slashes at its ends.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The mount's name for clients.
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
    /// The keys of the file whose values differ from those of `other`.
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
            ("limits.max_connections", ours.max_connections != theirs.max_connections),
            (
                "limits.max_connections_per_client",
                ours.max_connections_per_client != theirs.max_connections_per_client,
            ),
            ("limits.idle_timeout", ours.idle_timeout != theirs.idle_timeout),
            ("limits.min_rate", ours.min_rate != theirs.min_rate),
            ("limits.http_header_timeout", ours.http_header_timeout != theirs.http_header_timeout),
            ("limits.max_open_files", ours.max_open_files != theirs.max_open_files),
            ("limits.open_file_cache", ours.open_file_cache != theirs.open_file_cache),
            ("limits.upload_expiry", ours.upload_expiry != theirs.upload_expiry),
            ("limits.upload_memory", ours.upload_memory != theirs.upload_memory),
            ("limits.pool_threads", ours.pool_threads != theirs.pool_threads),
            ("limits.shutdown_timeout", ours.shutdown_timeout != theirs.shutdown_timeout),
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

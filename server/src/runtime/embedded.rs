//! A server inside another program, over socket pairs: the same workers, connections and store.
//!
//! Its connections are plaintext and have all scopes, for unsealed objects too: a program that
//! holds the other end of a pair has access to the store's directory anyway.

use std::{
    io,
    os::unix::net::UnixStream,
    sync::Arc,
    time::{Duration, Instant},
};

use tracing::warn;
use zput_proto::{hello::ServerLimits, message::Scopes, session::ServerConfig};

use crate::{
    connection::zput::Settings,
    limits::ConnectionLimits,
    metrics::Metrics,
    mounts::{Mounts, Policy},
    runtime::{
        options::Limits,
        workers::{WorkerSet, WorkerSetOptions},
    },
    store::Store,
    transfer::{engines::Engine, socket::Socket},
    worker::Endpoint,
};

/// Threads of each pool: one for each direction of a busy client, and one for small requests.
const POOL_THREADS: usize = 3;

/// Maximum connections of the program to its own server.
const CONNECTIONS_MAX: usize = 64;

/// Maximum objects kept open: a command may request the same object again at once.
const OPEN_FILE_CACHE: usize = 16;

/// Bytes of upload buffers: for two connections that write as fast as they can.
const UPLOAD_MEMORY_BYTES: usize = 2 * 1024 * 1024;

/// Time that requests under way get to end when the server is dropped.
const DRAIN: Duration = Duration::from_secs(30);

/// Seconds without a byte after which a connection ends: a day. The program may wait for a person
/// to type a passphrase, and no other client needs the connection.
const EMBEDDED_IDLE_SECONDS: u32 = 86_400;

/// A server inside this program. Dropping it lets requests under way end and stops its threads.
pub struct EmbeddedServer {
    workers: Option<WorkerSet>,
    endpoint: Arc<Settings>,
}

/// Serves `store`. Returns the client's end of a first connection, and the server.
///
/// # Errors
/// When a socket pair or a thread cannot be created.
pub fn serve(store: &Store) -> io::Result<(UnixStream, EmbeddedServer)> {
    let policy = Policy { anonymous: Scopes::ALL, allow_unsealed: true, ..Policy::PRIVATE };
    let mounts = Mounts::of_store(store.clone(), policy);
    let workers = WorkerSet::start(
        &mounts,
        WorkerSetOptions {
            workers: 1,
            connections: ConnectionLimits {
                all: CONNECTIONS_MAX,
                each: CONNECTIONS_MAX,
                count_loopback: true,
                keyless: CONNECTIONS_MAX,
            },
            limits: Limits {
                pool_threads: POOL_THREADS,
                upload_memory: UPLOAD_MEMORY_BYTES,
                max_open_files: CONNECTIONS_MAX,
                open_file_cache: OPEN_FILE_CACHE,
                ..Limits::default()
            },
            engine: Engine::default(),
            is_embedded: true,
        },
        &Metrics::new(1, Engine::default().name()),
    )?;
    let limits = ServerLimits { idle_seconds: EMBEDDED_IDLE_SECONDS, ..ServerLimits::default() };
    let endpoint = Arc::new(Settings {
        session: Arc::new(ServerConfig { tls: None, allow_plaintext: true, limits }),
        min_rate: 0,
        must_request: false,
        explains_failures: true,
    });
    let server = EmbeddedServer { workers: Some(workers), endpoint };
    Ok((server.connect()?, server))
}

impl EmbeddedServer {
    /// Returns the client's end of a new connection.
    ///
    /// # Errors
    /// When a socket pair cannot be created, or there are 64 connections already.
    pub fn connect(&self) -> io::Result<UnixStream> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let socket = Socket::Unix(mio::net::UnixStream::from_std(ours));
        let endpoint = Endpoint::Zput(Arc::clone(&self.endpoint));
        let admitted = self.workers.as_ref().is_some_and(|workers| {
            workers.dispatcher().dispatch(socket, endpoint, "embedded".to_owned(), None).is_ok()
        });
        if admitted {
            Ok(theirs)
        } else {
            Err(io::Error::other("too many connections to the embedded server"))
        }
    }
}

impl Drop for EmbeddedServer {
    fn drop(&mut self) {
        if let Some(workers) = self.workers.take()
            && let Err(failure) = workers.stop(Instant::now() + DRAIN)
        {
            warn!(error = %failure, "the embedded server did not stop cleanly");
        }
    }
}

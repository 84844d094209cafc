//! The worker threads and their pools: everything that serves a connection once it was accepted.

use std::{
    io,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Instant,
};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::{
    jobs::{BUFFER_BYTES, Device, PoolSizes, Pools, PoolsThreads},
    limits::{ConnectionLimiter, ConnectionLimits, EVICTING_MAX, LimitReached, Semaphore},
    metrics::Metrics,
    mounts::Mounts,
    runtime::{
        options::Limits,
        upload_expiry::{self, UploadExpiry, UploadExpiryHandle},
    },
    transfer::{
        engines::{Engine, EngineResources, Pipes},
        socket::Socket,
    },
    worker::{
        self, Endpoint, Inbox, NewConnection, WorkerOptions,
        heartbeat::{Heartbeat, Liveness},
    },
};

/// The options of a [`WorkerSet`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct WorkerSetOptions {
    /// Number of worker threads; at least one is started.
    pub(crate) workers: usize,
    /// Limits on the number of connections.
    pub(crate) connections: ConnectionLimits,
    /// Limits of files, memory, threads and time.
    pub(crate) limits: Limits,
    /// How payload gets from a file into a socket.
    pub(crate) engine: Engine,
    /// Whether the server serves the program that it is in, and no one else.
    pub(crate) is_embedded: bool,
}

/// Running workers and their pools.
pub(crate) struct WorkerSet {
    dispatcher: Dispatcher,
    threads: Vec<JoinHandle<io::Result<()>>>,
    pools: PoolsThreads,
    upload_expiry: UploadExpiry,
    open_files: Semaphore,
    rounds: Arc<AtomicU64>,
    liveness: Liveness,
    ended: (Sender<StopReason>, Receiver<StopReason>),
}

/// Why a running server stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopReason {
    /// A caller requested it.
    Requested,
    /// A thread ended that should run as long as the server.
    ThreadEnded,
}

/// Reports, when dropped, that the thread which held it has ended: also by a panic.
#[derive(Clone, Debug)]
pub(crate) struct ExitNotice(Sender<StopReason>);

impl Drop for ExitNotice {
    fn drop(&mut self) {
        // A full channel holds a reason already.
        let _reported = self.0.try_send(StopReason::ThreadEnded);
    }
}

/// Hands new connections to the workers.
#[derive(Clone, Debug)]
pub(crate) struct Dispatcher {
    inboxes: Arc<[Inbox]>,
    limiter: ConnectionLimiter,
    next: Arc<AtomicUsize>,
    handle: UploadExpiryHandle,
}

impl Dispatcher {
    /// Hands a connection to the next worker.
    ///
    /// # Errors
    /// Returns the socket when a connection limit is reached.
    pub(crate) fn dispatch(
        &self,
        socket: Socket,
        endpoint: Endpoint,
        peer: String,
        address: Option<IpAddr>,
    ) -> Result<(), (Socket, LimitReached)> {
        let number = self.next.fetch_add(1, Ordering::Relaxed) % self.inboxes.len().max(1);
        let keyless = matches!(endpoint, Endpoint::Web(_));
        let (permit, evicting) = match self.limiter.take(address, keyless, number, Instant::now()) {
            Ok(taken) => taken,
            Err(reason) => return Err((socket, reason)),
        };
        if let Some(evicting) = evicting
            && let Some(inbox) = self.inboxes.get(evicting.worker)
        {
            inbox.evict(evicting.permit);
        }
        if let Some(inbox) = self.inboxes.get(number) {
            let without_key = Device::without_key(address);
            inbox.connected(NewConnection { socket, endpoint, peer, without_key, permit });
        }
        Ok(())
    }

    /// Replaces the mounts for new requests. Requests under way keep the mounts they began with.
    pub(crate) fn serve(&self, mounts: &Mounts) {
        for inbox in self.inboxes.iter() {
            inbox.mounts(mounts.clone());
        }
        self.handle.set_stores(mounts);
    }
}

impl WorkerSet {
    /// Starts the workers and pools.
    ///
    /// # Errors
    /// When a thread or an epoll instance cannot be created.
    pub(crate) fn start(
        mounts: &Mounts,
        options: WorkerSetOptions,
        metrics: &Metrics,
    ) -> io::Result<Self> {
        let limits = options.limits;
        let open_files_max = limits.max_open_files.max(1);
        let ended = bounded(1);
        let rounds = Arc::new(AtomicU64::new(0));
        let most = options.connections.all + EVICTING_MAX;
        let sizes = PoolSizes {
            threads: limits.pool_threads,
            connections: most,
            is_embedded: options.is_embedded,
        };
        let (pools, pool_threads) = Pools::start(sizes, metrics)?;
        let open_files = Semaphore::new(open_files_max);
        let limiter = ConnectionLimiter::new(options.connections);
        let pipes = Pipes::default();
        let workers = options.workers.max(1);
        let share = limits.upload_memory / BUFFER_BYTES / workers;
        let mut inboxes = Vec::with_capacity(workers);
        let mut threads = Vec::with_capacity(workers);
        let liveness = Liveness::default();
        let upload_expiry =
            UploadExpiry::start(mounts, limits.upload_expiry, upload_expiry::INTERVAL, &pools)?;
        for number in 0..workers {
            let heartbeat = Heartbeat::default();
            let running = worker::start(
                WorkerOptions {
                    number,
                    max_connections: most,
                    buffers: share.max(1),
                    pools: pools.clone(),
                    mounts: mounts.clone(),
                    open_file_cache: limits.open_file_cache.min(open_files_max) / workers,
                    open_files: open_files.clone(),
                    keyless: limiter.keyless().clone(),
                    engine: options.engine,
                    resources: EngineResources::new(pipes.clone()),
                    rounds: Arc::clone(&rounds),
                    heartbeat: heartbeat.clone(),
                    metrics: metrics.worker(number).unwrap_or_default(),
                },
                ExitNotice(ended.0.clone()),
            )?;
            let inbox = running.inbox.clone();
            liveness.register(heartbeat, move || inbox.wake());
            inboxes.push(running.inbox);
            threads.push(running.thread);
        }
        let dispatcher = Dispatcher {
            inboxes: inboxes.into(),
            limiter,
            next: Arc::default(),
            handle: upload_expiry.handle(),
        };
        Ok(Self {
            dispatcher,
            threads,
            pools: pool_threads,
            upload_expiry,
            open_files,
            rounds,
            liveness,
            ended,
        })
    }

    /// Number of objects that are open to be served.
    pub(crate) fn open_files(&self) -> usize {
        self.open_files.count()
    }

    /// Where to hand new connections.
    pub(crate) fn dispatcher(&self) -> Dispatcher {
        self.dispatcher.clone()
    }

    /// A notice for a thread outside of the set, which must not end before the server.
    pub(crate) fn exit_notice(&self) -> ExitNotice {
        ExitNotice(self.ended.0.clone())
    }

    /// Where to send the request to stop.
    pub(crate) fn stopper(&self) -> Sender<StopReason> {
        self.ended.0.clone()
    }

    /// Blocks until a stop is requested or a thread has ended.
    pub(crate) fn wait(&self) -> StopReason {
        self.ended.1.recv().unwrap_or(StopReason::ThreadEnded)
    }

    /// Number of times that a worker woke up, over all workers.
    pub(crate) fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }

    /// Whether the event loops make progress.
    pub(crate) fn liveness(&self) -> Liveness {
        self.liveness.clone()
    }

    /// Number of open connections.
    pub(crate) fn connections(&self) -> usize {
        self.dispatcher.limiter.count()
    }

    /// Lets requests under way finish until `until`, then closes all connections and joins all
    /// threads.
    ///
    /// # Errors
    /// When a worker failed or panicked.
    pub(crate) fn stop(self, until: Instant) -> io::Result<()> {
        for inbox in self.dispatcher.inboxes.iter() {
            inbox.drain(until);
        }
        let mut result = Ok(());
        for thread in self.threads {
            let ended =
                thread.join().unwrap_or_else(|_| Err(io::Error::other("a worker panicked")));
            result = result.and(ended);
        }
        // These held the pools' other handles. Jobs that are queued still run.
        drop(self.upload_expiry);
        self.pools.join();
        result
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        os::unix::net::UnixStream,
        time::Duration,
    };

    use zput_proto::{hello::ServerLimits, session::ServerConfig};

    use super::*;
    use crate::{
        connection::zput::Settings,
        mounts::Policy,
        store::{Clock, Store},
    };

    /// A panic costs the connections of that worker. The other workers finish what is under way.
    #[test]
    fn worker_panic_stops_server_after_other_workers_finish() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Clock::system()).unwrap();
        let policy = Policy { anonymous: zput_proto::message::Scopes::GET, ..Policy::PRIVATE };
        let options = WorkerSetOptions {
            workers: 2,
            connections: ConnectionLimits { all: 4, each: 4, count_loopback: true, keyless: 4 },
            limits: Limits {
                pool_threads: 1,
                upload_memory: 1,
                max_open_files: 4,
                open_file_cache: 4,
                ..Limits::default()
            },
            engine: Engine::default(),
            is_embedded: false,
        };
        let metrics = Metrics::new(2, Engine::default().name());
        let workers =
            WorkerSet::start(&Mounts::of_store(store, policy), options, &metrics).unwrap();
        let config =
            ServerConfig { tls: None, allow_plaintext: true, limits: ServerLimits::default() };
        let endpoint = Arc::new(Settings {
            session: Arc::new(config),
            min_rate: 0,
            must_request: false,
            explains_failures: false,
        });
        let connect = || {
            let (ours, theirs) = UnixStream::pair().unwrap();
            ours.set_nonblocking(true).unwrap();
            theirs.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let socket = Socket::Unix(mio::net::UnixStream::from_std(ours));
            let endpoint = Endpoint::Zput(Arc::clone(&endpoint));
            assert!(
                workers.dispatcher().dispatch(socket, endpoint, "test".to_owned(), None).is_ok()
            );
            theirs
        };
        // Each worker has one, in their order.
        let (mut lost, mut kept) = (connect(), connect());
        assert!(workers.dispatcher.inboxes[0].panic());
        assert_eq!(workers.wait(), StopReason::ThreadEnded);
        assert_eq!(lost.read(&mut [0]).unwrap(), 0, "its worker is gone");
        // A client hello of PROTOCOL 1, and the server's.
        kept.write_all(b"zput/c1\n\x00\x07\x01\x01\x01\x00\x00\x00\x00").unwrap();
        let mut hello = [0; 36];
        kept.read_exact(&mut hello).unwrap();
        assert_eq!(&hello[..8], b"zput/s1\n");
        drop(kept);
        let until = Instant::now() + Duration::from_secs(20);
        let said = workers.stop(until).unwrap_err().to_string();
        assert_eq!(said, "a worker panicked");
        assert!(Instant::now() < until, "nothing was under way");
    }
}

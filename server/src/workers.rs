//! Workers and pool together: everything that serves a connection once it is there.

use std::{
    io,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::{
    engines::{Engine, Pipes, Tools},
    heartbeat::{Heartbeat, Pulse},
    metrics::{Metrics, PoolKind},
    mounts::Mounts,
    permits::Permits,
    pool::{Pool, PoolThreads, Size},
    sweeper::{self, Sweeper, Sweeping},
    wire::Socket,
    worker::{
        self, Arrival, BUFFER_BYTES, Doorway, Inbox, LEAVING_MAX, NoSeat, SeatLimits, Seats,
        WorkerOptions,
    },
};

/// How a crew is set up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CrewOptions {
    /// Worker threads.
    pub(crate) workers: usize,
    /// Most threads that change the store, and most that load from the disk.
    pub(crate) pool_threads: usize,
    /// How many connections there may be.
    pub(crate) seats: SeatLimits,
    /// Memory for uploads, over all workers; each has one buffer at least.
    pub(crate) upload_memory_bytes: usize,
    /// Most objects that are open at once to be served.
    pub(crate) open_files: usize,
    /// Most idle ones that stay open, over all workers.
    pub(crate) keep_files: usize,
    /// For how long uploads that were cut off are kept.
    pub(crate) keep_uploads: Duration,
    /// What moves payload.
    pub(crate) engine: Engine,
}

/// Running workers and their pool.
pub(crate) struct Crew {
    admission: Admission,
    threads: Vec<JoinHandle<io::Result<()>>>,
    pools: [PoolThreads; 2],
    sweeper: Sweeper,
    open_files: Permits,
    rounds: Arc<AtomicU64>,
    pulse: Pulse,
    ended: (Sender<Ended>, Receiver<Ended>),
}

/// Why a running server comes to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was asked to.
    Asked,
    /// A thread ended that should not have.
    Thread,
}

/// Says that a thread has ended, when dropped: by a panic too.
#[derive(Clone, Debug)]
pub(crate) struct AtEnd(Sender<Ended>);

impl Drop for AtEnd {
    fn drop(&mut self) {
        // A full channel has the news already.
        let _told = self.0.try_send(Ended::Thread);
    }
}

/// The way in for new connections.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    inboxes: Arc<[Inbox]>,
    seats: Seats,
    next: Arc<AtomicUsize>,
    sweeping: Sweeping,
}

impl Admission {
    /// Hands a connection to the next worker. Gives the socket back when there is no seat.
    pub(crate) fn admit(
        &self,
        socket: Socket,
        door: Doorway,
        peer: String,
        address: Option<IpAddr>,
    ) -> Result<(), (Socket, NoSeat)> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.inboxes.len().max(1);
        let keyless = matches!(door, Doorway::Web(_));
        let (seat, leaving) = match self.seats.take(address, keyless, turn, Instant::now()) {
            Ok(taken) => taken,
            Err(reason) => return Err((socket, reason)),
        };
        if let Some(leaving) = leaving
            && let Some(inbox) = self.inboxes.get(leaving.worker)
        {
            inbox.make_room(leaving.seat);
        }
        if let Some(inbox) = self.inboxes.get(turn) {
            inbox.arrived(Arrival { socket, door, peer, seat });
        }
        Ok(())
    }

    /// Serves these from now on; what is under way ends as it began.
    pub(crate) fn serve(&self, mounts: &Mounts) {
        for inbox in self.inboxes.iter() {
            inbox.mounts(mounts.clone());
        }
        self.sweeping.sweep(mounts);
    }
}

impl Crew {
    /// Starts workers and pools.
    pub(crate) fn start(
        mounts: &Mounts,
        options: CrewOptions,
        metrics: &Metrics,
    ) -> io::Result<Self> {
        let ended = bounded(1);
        let rounds = Arc::new(AtomicU64::new(0));
        // One job for each connection, and one for each that has left but whose job has not.
        let most = options.seats.all + LEAVING_MAX;
        let queue = 2 * most;
        let size = |name| Size::up_to(options.pool_threads, name, queue);
        let (pool, pool_threads) = Pool::start(size("disk"), metrics.pool(PoolKind::Store))?;
        let (loaders, loader_threads) = Pool::start(size("load"), metrics.pool(PoolKind::Loader))?;
        let open_files = Permits::new(options.open_files);
        let seats = Seats::new(options.seats);
        let pipes = Pipes::default();
        let workers = options.workers.max(1);
        let share = options.upload_memory_bytes / BUFFER_BYTES / workers;
        let mut inboxes = Vec::with_capacity(workers);
        let mut threads = Vec::with_capacity(workers);
        let pulse = Pulse::default();
        let sweeper = Sweeper::start(mounts, options.keep_uploads, sweeper::EVERY)?;
        for number in 0..workers {
            let heartbeat = Heartbeat::default();
            let running = worker::start(
                WorkerOptions {
                    number,
                    seats: most,
                    buffers: share.max(1),
                    pool: pool.clone(),
                    loaders: loaders.clone(),
                    mounts: mounts.clone(),
                    keep_files: options.keep_files / workers,
                    open_files: open_files.clone(),
                    keyless: seats.keyless().clone(),
                    engine: options.engine,
                    tools: Tools::new(pipes.clone()),
                    rounds: Arc::clone(&rounds),
                    heartbeat: heartbeat.clone(),
                    metrics: metrics.worker(number).unwrap_or_default(),
                },
                AtEnd(ended.0.clone()),
            )?;
            let inbox = running.inbox.clone();
            pulse.watch(heartbeat, move || inbox.wake());
            inboxes.push(running.inbox);
            threads.push(running.thread);
        }
        let admission = Admission {
            inboxes: inboxes.into(),
            seats,
            next: Arc::default(),
            sweeping: sweeper.sweeping(),
        };
        let pools = [pool_threads, loader_threads];
        Ok(Self { admission, threads, pools, sweeper, open_files, rounds, pulse, ended })
    }

    /// Objects that are open to be served.
    pub(crate) fn open_files(&self) -> usize {
        self.open_files.count()
    }

    /// The way in.
    pub(crate) fn admission(&self) -> Admission {
        self.admission.clone()
    }

    /// Says when a thread outside of the crew has ended that should not have.
    pub(crate) fn at_end(&self) -> AtEnd {
        AtEnd(self.ended.0.clone())
    }

    /// Where to say that the server is to stop.
    pub(crate) fn stopper(&self) -> Sender<Ended> {
        self.ended.0.clone()
    }

    /// Waits until the server is to stop, or a thread has ended.
    pub(crate) fn wait(&self) -> Ended {
        self.ended.1.recv().unwrap_or(Ended::Thread)
    }

    /// Times that a worker woke up, over all of them.
    pub(crate) fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }

    /// Whether the workers turn.
    pub(crate) fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    /// Connections there are.
    pub(crate) fn connections(&self) -> usize {
        self.admission.seats.taken()
    }

    /// Ends what is under way, by `until` at the latest, and then all threads.
    pub(crate) fn stop(self, until: Instant) -> io::Result<()> {
        for inbox in self.admission.inboxes.iter() {
            inbox.drain(until);
        }
        let mut result = Ok(());
        for thread in self.threads {
            let ended =
                thread.join().unwrap_or_else(|_| Err(io::Error::other("a worker panicked")));
            result = result.and(ended);
        }
        // The workers had the pools' other handles; the last jobs still run.
        self.pools.into_iter().for_each(PoolThreads::join);
        drop(self.sweeper);
        result
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        os::unix::net::UnixStream,
    };

    use zput_common::proto::{ServerConfig, ServerLimits};

    use super::*;
    use crate::{
        mounts::Policy,
        session::Door,
        store::{Clock, DEFAULT_KEEP_UPLOADS, Store},
    };

    /// A defect costs the connections of the worker that has it; the others end what they do.
    #[test]
    fn a_worker_that_panics_ends_the_server_and_not_what_the_others_do() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Clock::system()).unwrap();
        let policy =
            Policy { plaintext: zput_common::proto::message::Scopes::GET, ..Policy::PRIVATE };
        let options = CrewOptions {
            workers: 2,
            pool_threads: 1,
            seats: SeatLimits { all: 4, each: 4, count_loopback: true, keyless: 4 },
            upload_memory_bytes: 1,
            open_files: 4,
            keep_files: 4,
            keep_uploads: DEFAULT_KEEP_UPLOADS,
            engine: Engine::default(),
        };
        let metrics = Metrics::new(2, Engine::default());
        let crew = Crew::start(&Mounts::of_store(store, policy), options, &metrics).unwrap();
        let config =
            ServerConfig { tls: None, allow_plaintext: true, limits: ServerLimits::default() };
        let door = Arc::new(Door {
            session: Arc::new(config),
            min_rate: 0,
            hurried: false,
            insiders: false,
        });
        let connect = || {
            let (ours, theirs) = UnixStream::pair().unwrap();
            ours.set_nonblocking(true).unwrap();
            theirs.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let socket = Socket::Unix(mio::net::UnixStream::from_std(ours));
            let door = Doorway::Zput(Arc::clone(&door));
            assert!(crew.admission().admit(socket, door, "test".to_owned(), None).is_ok());
            theirs
        };
        // Each worker has one, in their order.
        let (mut lost, mut kept) = (connect(), connect());
        assert!(crew.admission.inboxes[0].panic());
        assert_eq!(crew.wait(), Ended::Thread);
        assert_eq!(lost.read(&mut [0]).unwrap(), 0, "its worker is gone");
        // A client hello of PROTOCOL 1, and the server's.
        kept.write_all(b"zput/c1\n\x00\x07\x01\x01\x01\x00\x00\x00\x00").unwrap();
        let mut hello = [0; 36];
        kept.read_exact(&mut hello).unwrap();
        assert_eq!(&hello[..8], b"zput/s1\n");
        drop(kept);
        let until = Instant::now() + Duration::from_secs(20);
        let said = crew.stop(until).unwrap_err().to_string();
        assert_eq!(said, "a worker panicked");
        assert!(Instant::now() < until, "nothing was under way");
    }
}

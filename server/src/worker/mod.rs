//! A worker: one thread with one epoll instance, and the connections it owns.
//!
//! Only the worker touches its sockets. An event, the end of a job, a message or a deadline puts a
//! connection into the run queue. The worker walks the queue round by round: each connection gets
//! one turn per round, and between rounds the worker takes new events. A connection leaves the
//! queue with a [`TurnOutcome`], and each outcome that waits carries the proof that something will
//! end the wait.

mod connection;
pub mod heartbeat;
mod inbox;
mod timers;

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime},
};

use crossbeam_channel::Receiver;
use mio::{Events, Poll, Token, Waker};
use tracing::{debug, error, warn};

use connection::Connection;
pub(crate) use connection::Endpoint;
pub(crate) use inbox::{Inbox, NewConnection};

use crate::{
    connection::{CloseReason, TurnContext, TurnOutcome},
    http::{Date, Now},
    jobs::{Buffers, Completion, Completions, ConnectionId, Done, Job, JobQueue, Slab},
    limits::{ConnectionPermit, Semaphore},
    metrics::{Connected, WorkerMetrics},
    mounts::{Mounts, OpenFileCache},
    sys::threads,
    transfer::{
        engines::{Engine, EngineResources},
        socket::ReadySocket,
    },
};
use heartbeat::Heartbeat;
use inbox::Message;
use timers::Timers;

/// The waker's token; a connection's token is its index in the slab.
const WAKER: Token = Token(usize::MAX);

/// Maximum events taken at once. The others come with the next round.
const EVENTS_PER_ROUND: usize = 256;

/// Bytes read at once, except those of a slice: a full pipeline of small requests, or several TLS
/// records.
const SCRATCH_BYTES: usize = 64 * 1024;

/// Settings of a worker, and what it shares with the others.
pub(crate) struct WorkerOptions {
    /// The worker's index, which its thread's name ends with.
    pub(crate) number: usize,
    /// Maximum connections of the whole server: all of them may belong to this worker.
    pub(crate) max_connections: usize,
    /// Maximum buffers for uploads.
    pub(crate) buffers: usize,
    /// Threads for jobs on the disk, except loads.
    pub(crate) pool: JobQueue,
    /// Threads that load file contents into memory.
    pub(crate) loaders: JobQueue,
    /// The mounts to serve at first.
    pub(crate) mounts: Mounts,
    /// Maximum idle objects kept open.
    pub(crate) open_file_cache: usize,
    /// Bounds the objects that are open over all workers.
    pub(crate) open_files: Semaphore,
    /// Bounds the connections of peers without a key over all workers.
    pub(crate) keyless: Semaphore,
    /// How payload gets from a file into a socket.
    pub(crate) engine: Engine,
    /// Pipes and memory that the send engines share.
    pub(crate) resources: EngineResources,
    /// Counts rounds over all workers. The count of a server without work stands still.
    pub(crate) rounds: Arc<AtomicU64>,
    /// Shows that the event loop makes progress.
    pub(crate) heartbeat: Heartbeat,
    /// The worker's counters.
    pub(crate) metrics: Arc<WorkerMetrics>,
}

/// A worker that was started.
pub(crate) struct RunningWorker {
    /// Where to send it messages.
    pub(crate) inbox: Inbox,
    /// Its thread. It ends with an error when epoll fails.
    pub(crate) thread: JoinHandle<io::Result<()>>,
}

/// Starts a worker. Its thread drops `exit_notice` when it ends, for whatever reason.
pub(crate) fn start(
    options: WorkerOptions,
    exit_notice: impl Send + 'static,
) -> io::Result<RunningWorker> {
    let poll = Poll::new()?;
    let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
    let (completions, completed) =
        Completions::channel(Arc::clone(&waker), options.max_connections);
    let (inbox, incoming) = Inbox::new(waker, options.max_connections);
    let name = format!("worker-{}", options.number);
    let mut worker = Worker {
        poll,
        incoming,
        completions,
        completed,
        pool: options.pool,
        loaders: options.loaders,
        mounts: options.mounts,
        files: OpenFileCache::new(options.open_file_cache),
        open_files: options.open_files,
        keyless: options.keyless,
        engine: options.engine,
        resources: options.resources,
        rounds: options.rounds,
        heartbeat: options.heartbeat,
        metrics: options.metrics,
        now: Now { instant: Instant::now(), date: Date::at(SystemTime::now()) },
        connections: Slab::new(),
        queue: VecDeque::new(),
        waiting_for_buffer: VecDeque::new(),
        timers: Timers::new(),
        buffers: Buffers::new(options.buffers),
        scratch: vec![0; SCRATCH_BYTES].into_boxed_slice(),
        drain: None,
    };
    let thread = threads::spawn(name, move || {
        let _exit_notice = exit_notice;
        worker.run()
    })?;
    Ok(RunningWorker { inbox, thread })
}

/// A connection, and its state in the worker's queues.
struct Entry {
    connection: Connection,
    /// Whether it is in the run queue.
    queued: bool,
    /// Whether it is in the queue of connections that wait for a buffer.
    waiting_for_buffer: bool,
    /// When its timer fires, if one is set.
    armed: Option<Instant>,
    /// Its permit, which is given back when the connection is dropped.
    permit: ConnectionPermit,
    _connected: Connected,
}

struct Worker {
    poll: Poll,
    incoming: Receiver<Message>,
    completions: Completions,
    completed: Receiver<Completion>,
    pool: JobQueue,
    loaders: JobQueue,
    mounts: Mounts,
    files: OpenFileCache,
    open_files: Semaphore,
    keyless: Semaphore,
    engine: Engine,
    resources: EngineResources,
    rounds: Arc<AtomicU64>,
    heartbeat: Heartbeat,
    metrics: Arc<WorkerMetrics>,
    /// The time as of the beginning of this round.
    now: Now,
    connections: Slab<Entry>,
    /// Connections that have something to do; each is in it at most once.
    queue: VecDeque<ConnectionId>,
    /// Connections that wait for a buffer, in the order of arrival.
    waiting_for_buffer: VecDeque<ConnectionId>,
    timers: Timers<ConnectionId>,
    buffers: Buffers,
    scratch: Box<[u8]>,
    /// Set when the server stops: when the remaining connections are closed.
    drain: Option<Instant>,
}

impl Worker {
    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_PER_ROUND);
        loop {
            self.wait(&mut events)?;
            self.rounds.fetch_add(1, Ordering::Relaxed);
            self.heartbeat.beat();
            self.read_clocks();
            for event in &events {
                if event.token() != WAKER
                    && let Some((id, entry)) = self.connections.at(event.token().0)
                {
                    if let Some(waited) =
                        entry.connection.socket().on_event(event, self.now.instant)
                    {
                        self.metrics.write_wait(waited);
                    }
                    self.enqueue(id);
                }
            }
            self.read_inbox();
            self.read_completions();
            self.fire_timers();
            self.run_round();
            self.files.sweep(self.now.instant);
            self.metrics.open_files(self.files.count());
            self.metrics.upload_buffers(self.buffers.in_use());
            if let Some(until) = self.drain
                && (self.connections.len() == 0 || until <= Instant::now())
            {
                return self.close_all();
            }
        }
    }

    fn read_clocks(&mut self) {
        self.now.instant = Instant::now();
        let time = SystemTime::now();
        if !self.now.date.is_of(time) {
            self.now.date = Date::at(time);
        }
    }

    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        let timeout = if self.queue.is_empty() {
            let now = Instant::now();
            let ends = [self.drain, self.files.next_sweep()];
            let ends = ends.into_iter().flatten().map(|end| end.saturating_duration_since(now));
            ends.chain(self.timers.wait(now)).min()
        } else {
            Some(Duration::ZERO)
        };
        match self.poll.poll(events, timeout) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {
                events.clear();
                Ok(())
            }
            result => result,
        }
    }

    /// Takes the messages that have arrived. Each puts at most one connection into the run queue.
    fn read_inbox(&mut self) {
        for _ in 0..self.incoming.len() {
            match self.incoming.try_recv() {
                Ok(Message::NewConnection(new)) => self.add(new),
                Ok(Message::Evict(permit)) => self.evict(permit),
                Ok(Message::Mounts(mounts)) => {
                    self.files.retain_mounts(&mounts);
                    self.files.revalidate_all();
                    self.mounts = mounts;
                }
                Ok(Message::Drain(until)) => {
                    self.drain = Some(self.drain.map_or(until, |before| before.min(until)));
                    self.connections.ids().into_iter().for_each(|id| self.enqueue(id));
                }
                #[cfg(test)]
                Ok(Message::Panic) => panic!("a test asks for it"),
                Err(_) => break,
            }
        }
    }

    /// Takes the results of jobs that have arrived.
    fn read_completions(&mut self) {
        for _ in 0..self.completed.len() {
            let Ok(Completion { connection, done }) = self.completed.try_recv() else { return };
            self.deliver(connection, done);
        }
    }

    fn add(&mut self, new: NewConnection) {
        let NewConnection { socket, endpoint, peer, permit } = new;
        debug!(peer, "connected");
        let connection = Connection::by(
            &endpoint,
            ReadySocket::new(socket),
            peer,
            permit.number(),
            self.now.instant,
        );
        let id = self.connections.insert(Entry {
            connection,
            queued: false,
            waiting_for_buffer: false,
            armed: None,
            permit,
            _connected: self.metrics.connected(endpoint.protocol()),
        });
        let Some(entry) = self.connections.get(id) else { return };
        match entry.connection.socket().register(self.poll.registry(), Token(id.index)) {
            Ok(()) => self.enqueue(id),
            Err(error) => self.close(id, &CloseReason::Socket(error)),
        }
    }

    /// Closes the connection that has this permit, unless it is no longer evictable.
    fn evict(&mut self, permit: u64) {
        let is_it = |entry: &Entry| entry.permit.number() == permit && entry.permit.is_evictable();
        let connections = &mut self.connections;
        let id =
            connections.ids().into_iter().find(|id| connections.get(*id).is_some_and(|s| is_it(s)));
        if let Some(id) = id {
            self.close(id, &CloseReason::Evicted);
        }
    }

    fn deliver(&mut self, id: ConnectionId, done: Done) {
        let (connections, mut cx) = self.cx(id);
        match connections.get(id) {
            Some(entry) => match entry.connection.deliver(done, &mut cx) {
                Ok(()) => self.enqueue(id),
                Err(end) => self.close(id, &end),
            },
            None => self.reclaim(done),
        }
        self.wake_buffer_waiters();
    }

    /// The connections, and the context for a turn of one of them.
    fn cx(&mut self, connection: ConnectionId) -> (&mut Slab<Entry>, TurnContext<'_>) {
        let cx = TurnContext {
            mounts: &self.mounts,
            pool: &self.pool,
            loaders: &self.loaders,
            completions: &self.completions,
            connection,
            buffers: &mut self.buffers,
            files: &mut self.files,
            open_files: &self.open_files,
            keyless: &self.keyless,
            engine: self.engine,
            resources: &mut self.resources,
            scratch: &mut self.scratch,
            metrics: &self.metrics,
            now: &self.now,
            draining: self.drain.is_some(),
        };
        (&mut self.connections, cx)
    }

    /// Releases what a job holds whose connection has ended.
    fn reclaim(&mut self, done: Done) {
        match done {
            Done::Begun(upload) | Done::Claimed(upload, _) => {
                self.pool.discard(Job::Release(upload))
            }
            Done::Appended { upload, buffers, .. } => {
                buffers.into_iter().for_each(|buffer| self.buffers.give(buffer));
                if let Ok(upload) = upload {
                    self.pool.discard(Job::Release(upload));
                }
            }
            Done::Panicked { buffers } => self.buffers.lost(buffers),
            Done::Answer(_)
            | Done::Refused(..)
            | Done::Account(_)
            | Done::Joined(_)
            | Done::Opened(_)
            | Done::Loaded(..) => {}
        }
    }

    fn await_buffer(&mut self, id: ConnectionId) {
        if let Some(entry) = self.connections.get(id)
            && !entry.waiting_for_buffer
        {
            entry.waiting_for_buffer = true;
            self.waiting_for_buffer.push_back(id);
        }
        self.wake_buffer_waiters();
    }

    /// Puts every connection that waits for a buffer into the run queue, if there are free buffers.
    fn wake_buffer_waiters(&mut self) {
        if self.buffers.available() {
            while let Some(id) = self.waiting_for_buffer.pop_front() {
                if let Some(entry) = self.connections.get(id) {
                    entry.waiting_for_buffer = false;
                }
                self.enqueue(id);
            }
        }
    }

    fn fire_timers(&mut self) {
        let now = self.now.instant;
        while let Some((when, id)) = self.timers.fired(now) {
            let Some(entry) = self.connections.get(id).filter(|s| s.armed == Some(when)) else {
                continue;
            };
            entry.armed = None;
            match entry.connection.expire(&self.now) {
                Ok(()) => self.enqueue(id),
                Err(end) => self.close(id, &end),
            }
        }
    }

    /// Gives one turn to each connection that is in the run queue now.
    fn run_round(&mut self) {
        let mut began = Instant::now();
        for _ in 0..self.queue.len() {
            let Some(id) = self.queue.pop_front() else { return };
            let (connections, mut cx) = self.cx(id);
            let Some(entry) = connections.get(id) else { continue };
            entry.queued = false;
            let verdict = entry.connection.turn(&mut cx);
            if entry.connection.is_registered() {
                entry.permit.register();
            }
            entry.permit.set_evictable(entry.connection.is_evictable());
            let ended = Instant::now();
            self.metrics.turn(ended - began);
            began = ended;
            match verdict {
                TurnOutcome::Park(_blocked) => self.arm(id),
                TurnOutcome::Yield(_spent) => {
                    self.arm(id);
                    self.enqueue(id);
                }
                TurnOutcome::AwaitBuffer(_no_buffer) => {
                    self.arm(id);
                    self.await_buffer(id);
                }
                TurnOutcome::Close(end) => self.close(id, &end),
            }
        }
    }

    fn enqueue(&mut self, id: ConnectionId) {
        if let Some(entry) = self.connections.get(id)
            && !entry.queued
        {
            entry.queued = true;
            self.queue.push_back(id);
        }
    }

    /// Makes sure that a timer fires no later than the connection's deadline.
    fn arm(&mut self, id: ConnectionId) {
        let Some(entry) = self.connections.get(id) else { return };
        let Some(deadline) = entry.connection.deadline() else { return };
        if entry.armed.is_none_or(|armed| deadline < armed) {
            entry.armed = Some(deadline);
            self.timers.set(deadline, id);
        }
    }

    fn close(&mut self, id: ConnectionId, end: &CloseReason) {
        let Some(entry) = self.connections.remove(id) else { return };
        let peer = entry.connection.peer();
        match end {
            CloseReason::Stuck(_) => error!(peer, %end, "closed"),
            end if end.is_the_peers() => debug!(peer, %end, "closed"),
            end => warn!(peer, %end, "closed"),
        }
        let (upload, buffers) = entry.connection.into_leftovers();
        buffers.into_iter().for_each(|buffer| self.buffers.give(buffer));
        if let Some(upload) = upload {
            self.pool.discard(Job::Release(upload));
        }
        self.wake_buffer_waiters();
    }

    /// Closes the connections that are left when the drain ends.
    fn close_all(&mut self) -> io::Result<()> {
        let left = self.connections.len();
        if left > 0 {
            warn!(left, "connections closed at the end of the shutdown timeout");
        }
        for id in self.connections.ids() {
            self.close(id, &CloseReason::Done);
        }
        Ok(())
    }
}

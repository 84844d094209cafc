//! A worker: one thread with one epoll instance, and the connections it owns.
//!
//! Only the worker touches its sockets. An event, the end of a job, a message or a deadline puts a
//! connection into the run queue. The worker walks the queue round by round: each connection gets
//! one turn per round, and between rounds the worker takes new events. A connection leaves the
//! queue with a [`TurnOutcome`], and each outcome that waits carries the proof that something will
//! end the wait.

mod connection;
mod connections;
pub mod heartbeat;
mod inbox;
mod timers;

use std::{
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
use connections::Connections;
pub(crate) use inbox::{Inbox, NewConnection};

use crate::{
    connection::{CloseReason, TurnContext, TurnOutcome, TurnResources},
    http::{Date, Now},
    jobs::{Buffers, Completion, Completions, ConnectionId, Device, Done, Job, Pools},
    limits::Semaphore,
    metrics::WorkerMetrics,
    mounts::{Mounts, OpenFileCache},
    store::Upload,
    sys::threads,
    transfer::{
        engines::{Engine, EngineResources},
        socket::ReadySocket,
    },
};
use heartbeat::Heartbeat;
use inbox::Message;

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
    /// Threads for jobs on the disk.
    pub(crate) pools: Pools,
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
    let lent = TurnResources {
        mounts: options.mounts,
        pools: options.pools,
        completions,
        buffers: Buffers::new(options.buffers),
        files: OpenFileCache::new(options.open_file_cache),
        open_files: options.open_files,
        keyless: options.keyless,
        engine: options.engine,
        engine_resources: options.resources,
        scratch: vec![0; SCRATCH_BYTES].into_boxed_slice(),
        metrics: options.metrics,
        now: Now { instant: Instant::now(), date: Date::at(SystemTime::now()) },
    };
    let mut worker = Worker {
        poll,
        incoming,
        completed,
        lent,
        connections: Connections::new(),
        rounds: options.rounds,
        heartbeat: options.heartbeat,
        drain: None,
    };
    let thread = threads::spawn(name, move || {
        let _exit_notice = exit_notice;
        worker.run()
    })?;
    Ok(RunningWorker { inbox, thread })
}

struct Worker {
    poll: Poll,
    incoming: Receiver<Message>,
    completed: Receiver<Completion>,
    /// What the connections may use in their turns.
    lent: TurnResources,
    connections: Connections,
    rounds: Arc<AtomicU64>,
    heartbeat: Heartbeat,
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
                        entry.connection.socket().on_event(event, self.lent.now.instant)
                    {
                        self.lent.metrics.write_wait(waited);
                    }
                    self.connections.enqueue(id);
                }
            }
            self.read_inbox();
            self.read_completions();
            self.fire_timers();
            self.run_round();
            self.lent.files.sweep(self.lent.now.instant);
            self.lent.metrics.open_files(self.lent.files.count());
            self.lent.metrics.upload_buffers(self.lent.buffers.in_use());
            if let Some(until) = self.drain
                && (self.connections.len() == 0 || until <= Instant::now())
            {
                return self.close_all();
            }
        }
    }

    fn read_clocks(&mut self) {
        self.lent.now.instant = Instant::now();
        let time = SystemTime::now();
        if !self.lent.now.date.is_of(time) {
            self.lent.now.date = Date::at(time);
        }
    }

    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        let timeout = if self.connections.is_idle() {
            let now = Instant::now();
            let ends = [self.drain, self.lent.files.next_sweep()];
            let ends = ends.into_iter().flatten().map(|end| end.saturating_duration_since(now));
            ends.chain(self.connections.wait(now)).min()
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
                    self.lent.files.retain_mounts(&mounts);
                    self.lent.files.revalidate_all();
                    self.lent.mounts = mounts;
                }
                Ok(Message::Drain(until)) => {
                    self.drain = Some(self.drain.map_or(until, |before| before.min(until)));
                    self.connections.ids().into_iter().for_each(|id| self.connections.enqueue(id));
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
            let Ok(completion) = self.completed.try_recv() else { return };
            self.deliver(completion);
        }
    }

    fn add(&mut self, new: NewConnection) {
        let NewConnection { socket, endpoint, peer, without_key, permit } = new;
        debug!(peer, "connected");
        let connection = Connection::by(
            &endpoint,
            ReadySocket::new(socket),
            peer,
            without_key,
            permit.number(),
            self.lent.now.instant,
        );
        let connected = self.lent.metrics.connected(endpoint.protocol());
        let id = self.connections.insert(connection, permit, connected);
        let Some(entry) = self.connections.get(id) else { return };
        match entry.connection.socket().register(self.poll.registry(), Token(id.index)) {
            Ok(()) => self.connections.enqueue(id),
            Err(error) => self.close(id, &CloseReason::Socket(error)),
        }
    }

    /// Closes the connection that has this permit, unless it is no longer evictable.
    fn evict(&mut self, permit: u64) {
        let id = self
            .connections
            .find(|entry| entry.permit.number() == permit && entry.permit.is_evictable());
        if let Some(id) = id {
            self.close(id, &CloseReason::Evicted);
        }
    }

    fn deliver(&mut self, Completion { connection: id, device, done }: Completion) {
        let (connections, mut cx) = self.cx(id);
        match connections.get(id) {
            Some(entry) => match entry.connection.deliver(done, &mut cx) {
                Ok(()) => self.connections.enqueue(id),
                Err(end) => self.close(id, &end),
            },
            None => self.reclaim(done, device),
        }
        self.wake_buffer_waiters();
    }

    /// The connections, and the context for a turn of one of them.
    fn cx(&mut self, connection: ConnectionId) -> (&mut Connections, TurnContext<'_>) {
        let cx = self.lent.cx(connection, self.drain.is_some());
        (&mut self.connections, cx)
    }

    /// Releases what a job holds whose connection has ended.
    fn reclaim(&mut self, done: Done, device: Device) {
        match done {
            Done::Begun(upload) | Done::Claimed(upload, _) => self.release(upload, device),
            Done::Appended { upload, buffers, .. } => {
                buffers.into_iter().for_each(|buffer| self.lent.buffers.give(buffer));
                if let Ok(upload) = upload {
                    self.release(upload, device);
                }
            }
            Done::Panicked { buffers } => self.lent.buffers.lost(buffers),
            Done::Answer(_)
            | Done::Refused(..)
            | Done::Account(_)
            | Done::Joined(_)
            | Done::Opened(_)
            | Done::Loaded(..)
            | Done::Finished => {}
        }
    }

    /// Has an upload released whose connection has ended.
    fn release(&self, upload: Box<Upload>, device: Device) {
        self.lent.pools.discard(Job::Release(upload), device, self.lent.now.instant);
    }

    /// Puts every connection that waits for a buffer into the run queue, if there are free buffers.
    fn wake_buffer_waiters(&mut self) {
        if self.lent.buffers.available() {
            self.connections.wake_buffer_waiters();
        }
    }

    fn fire_timers(&mut self) {
        let now = self.lent.now.instant;
        while let Some(id) = self.connections.expired(now) {
            let Some(entry) = self.connections.get(id) else { continue };
            match entry.connection.expire(&self.lent.now) {
                Ok(()) => self.connections.enqueue(id),
                Err(end) => self.close(id, &end),
            }
        }
    }

    /// Gives one turn to each connection that is in the run queue now.
    fn run_round(&mut self) {
        let mut began = Instant::now();
        for _ in 0..self.connections.queued() {
            let Some(id) = self.connections.pop() else { return };
            let (connections, mut cx) = self.cx(id);
            let Some(entry) = connections.get(id) else { continue };
            let verdict = entry.connection.turn(&mut cx);
            if entry.connection.is_registered() {
                entry.permit.register();
            }
            entry.permit.set_evictable(entry.connection.is_evictable());
            let ended = Instant::now();
            self.lent.metrics.turn(ended - began);
            began = ended;
            match verdict {
                TurnOutcome::Park(_blocked) => self.connections.arm(id),
                TurnOutcome::Yield(_spent) => {
                    self.connections.arm(id);
                    self.connections.enqueue(id);
                }
                TurnOutcome::AwaitBuffer(_no_buffer) => {
                    self.connections.arm(id);
                    self.connections.await_buffer(id);
                    self.wake_buffer_waiters();
                }
                TurnOutcome::Close(end) => self.close(id, &end),
            }
        }
    }

    fn close(&mut self, id: ConnectionId, end: &CloseReason) {
        let Some(entry) = self.connections.remove(id) else { return };
        self.lent.pools.cancel(&self.lent.completions, id);
        let peer = entry.connection.peer();
        match end {
            CloseReason::Stuck(_) => error!(peer, %end, "closed"),
            end if end.is_the_peers() => debug!(peer, %end, "closed"),
            end => warn!(peer, %end, "closed"),
        }
        let device = entry.connection.device();
        let (upload, buffers) = entry.connection.into_leftovers();
        buffers.into_iter().for_each(|buffer| self.lent.buffers.give(buffer));
        if let Some(upload) = upload {
            self.release(upload, device);
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

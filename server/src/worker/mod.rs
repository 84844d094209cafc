//! A worker: one thread, one epoll, and the connections it owns.
//!
//! Nothing but a worker touches its sockets. Whatever happens to a connection (an event, a job's
//! end, a deadline) puts it in the run queue; the queue is walked round by round, each connection
//! gets one turn a round, and between rounds new events are looked at. A connection leaves the
//! queue only with a verdict, and each verdict to wait carries the proof that something will end
//! the wait.

mod buffers;
#[path = "open_files.rs"]
mod files;
#[path = "connection.rs"]
mod guest;
mod inbox;
#[path = "limiter.rs"]
mod seat;
#[path = "slab.rs"]
mod slots;
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

pub(crate) use buffers::{BUFFER_BYTES, BUFFERS_PER_CONNECTION, Buffer, Buffers};
pub(crate) use files::Files;
pub(crate) use guest::Doorway;
use guest::Guest;
#[cfg(test)]
pub(crate) use inbox::Overheard;
pub(crate) use inbox::{Arrival, Inbox};
pub(crate) use seat::{LEAVING_MAX, NoSeat, Seat, SeatLimits, Seats};
pub(crate) use slots::SlotId;

use crate::{
    catalog::{Done, Job},
    desk::{Desk, End, Verdict},
    engines::{Engine, Tools},
    heartbeat::Heartbeat,
    http::{Date, Now},
    metrics::{Connected, WorkerMetrics},
    mounts::Mounts,
    permits::Permits,
    pool::Pool,
    sys::threads,
    wire::Wire,
};
use inbox::Message;
use slots::Slots;
use timers::Timers;

/// The waker's token; connections have their place's number.
const WAKER: Token = Token(usize::MAX);

/// Events taken at once; more come with the next round.
const EVENTS_PER_ROUND: usize = 256;

/// Bytes read at once where they are not a slice's: a full pipeline of small requests, or several
/// TLS records.
const SCRATCH_BYTES: usize = 64 * 1024;

/// How a worker is set up.
pub(crate) struct WorkerOptions {
    /// Which one, for its name.
    pub(crate) number: usize,
    /// Seats of the whole server: each may be a connection of this worker.
    pub(crate) seats: usize,
    /// Most buffers for uploads.
    pub(crate) buffers: usize,
    /// Where disk work goes.
    pub(crate) pool: Pool,
    /// Where bytes are loaded into memory.
    pub(crate) loaders: Pool,
    /// What is served, until it hears of something else.
    pub(crate) mounts: Mounts,
    /// Most idle objects that it keeps open.
    pub(crate) keep_files: usize,
    /// How many may be open over all workers.
    pub(crate) open_files: Permits,
    /// Shares of peers without a key.
    pub(crate) keyless: Permits,
    /// What moves payload.
    pub(crate) engine: Engine,
    /// What engines share.
    pub(crate) tools: Tools,
    /// Counts rounds: a server that has nothing to do stands still.
    pub(crate) rounds: Arc<AtomicU64>,
    /// Tells that it turns.
    pub(crate) heartbeat: Heartbeat,
    /// What it counts.
    pub(crate) metrics: Arc<WorkerMetrics>,
}

/// A worker that was started.
pub(crate) struct RunningWorker {
    /// The way in.
    pub(crate) inbox: Inbox,
    /// Its thread, which ends with an error when epoll fails.
    pub(crate) thread: JoinHandle<io::Result<()>>,
}

/// Starts a worker. `at_end` is dropped when its thread ends, whyever.
pub(crate) fn start(
    options: WorkerOptions,
    at_end: impl Send + 'static,
) -> io::Result<RunningWorker> {
    let poll = Poll::new()?;
    let waker = Waker::new(poll.registry(), WAKER)?;
    let (inbox, incoming) = Inbox::new(waker, options.seats);
    let name = format!("worker-{}", options.number);
    let mut worker = Worker {
        poll,
        inbox: inbox.clone(),
        incoming,
        pool: options.pool,
        loaders: options.loaders,
        mounts: options.mounts,
        files: Files::new(options.keep_files),
        open_files: options.open_files,
        keyless: options.keyless,
        engine: options.engine,
        tools: options.tools,
        rounds: options.rounds,
        heartbeat: options.heartbeat,
        metrics: options.metrics,
        now: Now { instant: Instant::now(), date: Date::at(SystemTime::now()) },
        connections: Slots::new(),
        queue: VecDeque::new(),
        starved: VecDeque::new(),
        timers: Timers::new(),
        buffers: Buffers::new(options.buffers),
        scratch: vec![0; SCRATCH_BYTES].into_boxed_slice(),
        drain: None,
    };
    let thread = threads::begin(name, move || {
        let _at_end = at_end;
        worker.run()
    })?;
    Ok(RunningWorker { inbox, thread })
}

/// A connection and where it is in the worker's queues.
struct Seated {
    guest: Guest,
    /// In the run queue.
    queued: bool,
    /// In the queue for buffers.
    starved: bool,
    /// When its timer fires.
    armed: Option<Instant>,
    /// Given back when the connection is gone.
    seat: Seat,
    _connected: Connected,
}

struct Worker {
    poll: Poll,
    inbox: Inbox,
    incoming: Receiver<Message>,
    pool: Pool,
    loaders: Pool,
    mounts: Mounts,
    files: Files,
    open_files: Permits,
    keyless: Permits,
    engine: Engine,
    tools: Tools,
    rounds: Arc<AtomicU64>,
    heartbeat: Heartbeat,
    metrics: Arc<WorkerMetrics>,
    /// When this round began.
    now: Now,
    connections: Slots<Seated>,
    /// Connections with something to do, each at most once.
    queue: VecDeque<SlotId>,
    /// Connections that wait for a buffer, in the order they came.
    starved: VecDeque<SlotId>,
    timers: Timers<SlotId>,
    buffers: Buffers,
    scratch: Box<[u8]>,
    /// Set when the server stops: when the last connections are cut off.
    drain: Option<Instant>,
}

impl Worker {
    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_PER_ROUND);
        loop {
            self.wait(&mut events)?;
            self.rounds.fetch_add(1, Ordering::Relaxed);
            self.heartbeat.beat();
            self.look_at_clocks();
            for event in &events {
                if event.token() != WAKER
                    && let Some((id, seated)) = self.connections.at(event.token().0)
                {
                    if let Some(waited) = seated.guest.wire().woken(event, self.now.instant) {
                        self.metrics.write_wait(waited);
                    }
                    self.enqueue(id);
                }
            }
            self.read_inbox();
            self.fire_timers();
            self.run_round();
            self.files.sweep(self.now.instant);
            self.metrics.open_files(self.files.count());
            self.metrics.upload_buffers(self.buffers.in_use());
            if let Some(until) = self.drain
                && (self.connections.len() == 0 || until <= Instant::now())
            {
                return self.cut_off();
            }
        }
    }

    fn look_at_clocks(&mut self) {
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

    /// Takes the messages that are there now; each adds one connection to the queue at most.
    fn read_inbox(&mut self) {
        for _ in 0..self.incoming.len() {
            match self.incoming.try_recv() {
                Ok(Message::Arrived(arrival)) => self.seat(arrival),
                Ok(Message::Done(id, done)) => self.deliver(id, done),
                Ok(Message::MakeRoom(seat)) => self.make_room(seat),
                Ok(Message::Mounts(mounts)) => {
                    self.files.only_of(&mounts);
                    self.files.look_again();
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

    fn seat(&mut self, arrival: Arrival) {
        let Arrival { socket, door, peer, seat } = arrival;
        debug!(peer, "arrived");
        let guest = Guest::by(&door, Wire::new(socket), peer, seat.number(), self.now.instant);
        let id = self.connections.insert(Seated {
            guest,
            queued: false,
            starved: false,
            armed: None,
            seat,
            _connected: self.metrics.connected(door.protocol()),
        });
        let Some(seated) = self.connections.get(id) else { return };
        match seated.guest.wire().register(self.poll.registry(), Token(id.index)) {
            Ok(()) => self.enqueue(id),
            Err(error) => self.close(id, &End::Socket(error)),
        }
    }

    /// Lets go of the connection that has this seat, unless it was a known peer's meanwhile, and that one's not to yield.
    fn make_room(&mut self, seat: u64) {
        let is_it = |seated: &Seated| seated.seat.number() == seat && seated.seat.may_go();
        let connections = &mut self.connections;
        let id =
            connections.ids().into_iter().find(|id| connections.get(*id).is_some_and(|s| is_it(s)));
        if let Some(id) = id {
            self.close(id, &End::Crowded);
        }
    }

    fn deliver(&mut self, id: SlotId, done: Done) {
        let (connections, mut desk) = self.desk(id);
        match connections.get(id) {
            Some(seated) => match seated.guest.deliver(done, &mut desk) {
                Ok(()) => self.enqueue(id),
                Err(end) => self.close(id, &end),
            },
            None => self.reclaim(done),
        }
        self.feed_starved();
    }

    /// The connections, and what one of them is lent.
    fn desk(&mut self, slot: SlotId) -> (&mut Slots<Seated>, Desk<'_>) {
        let desk = Desk {
            mounts: &self.mounts,
            pool: &self.pool,
            loaders: &self.loaders,
            inbox: &self.inbox,
            slot,
            buffers: &mut self.buffers,
            files: &mut self.files,
            open_files: &self.open_files,
            keyless: &self.keyless,
            engine: self.engine,
            tools: &mut self.tools,
            scratch: &mut self.scratch,
            metrics: &self.metrics,
            now: &self.now,
            draining: self.drain.is_some(),
        };
        (&mut self.connections, desk)
    }

    /// A job ended after its connection.
    fn reclaim(&mut self, done: Done) {
        match done {
            Done::Begun(upload) | Done::Held(upload, _) => self.pool.discard(Job::Leave(upload)),
            Done::Appended { upload, buffers, .. } => {
                buffers.into_iter().for_each(|buffer| self.buffers.give(buffer));
                if let Ok(upload) = upload {
                    self.pool.discard(Job::Leave(upload));
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

    fn starve(&mut self, id: SlotId) {
        if let Some(seated) = self.connections.get(id)
            && !seated.starved
        {
            seated.starved = true;
            self.starved.push_back(id);
        }
        self.feed_starved();
    }

    /// Gives everyone who waits for a buffer another turn, as long as there are buffers.
    fn feed_starved(&mut self) {
        if self.buffers.available() {
            while let Some(id) = self.starved.pop_front() {
                if let Some(seated) = self.connections.get(id) {
                    seated.starved = false;
                }
                self.enqueue(id);
            }
        }
    }

    fn fire_timers(&mut self) {
        let now = self.now.instant;
        while let Some((when, id)) = self.timers.fired(now) {
            let Some(seated) = self.connections.get(id).filter(|s| s.armed == Some(when)) else {
                continue;
            };
            seated.armed = None;
            match seated.guest.expire(&self.now) {
                Ok(()) => self.enqueue(id),
                Err(end) => self.close(id, &end),
            }
        }
    }

    /// One turn for each connection that is in the queue now.
    fn run_round(&mut self) {
        let mut began = Instant::now();
        for _ in 0..self.queue.len() {
            let Some(id) = self.queue.pop_front() else { return };
            let (connections, mut desk) = self.desk(id);
            let Some(seated) = connections.get(id) else { continue };
            seated.queued = false;
            let verdict = seated.guest.turn(&mut desk);
            if seated.guest.is_introduced() {
                seated.seat.known();
            }
            seated.seat.yields(seated.guest.yields());
            let ended = Instant::now();
            self.metrics.turn(ended - began);
            began = ended;
            match verdict {
                Verdict::Park(_blocked) => self.arm(id),
                Verdict::Again(_spent) => {
                    self.arm(id);
                    self.enqueue(id);
                }
                Verdict::Starved(_no_buffer) => {
                    self.arm(id);
                    self.starve(id);
                }
                Verdict::Close(end) => self.close(id, &end),
            }
        }
    }

    fn enqueue(&mut self, id: SlotId) {
        if let Some(seated) = self.connections.get(id)
            && !seated.queued
        {
            seated.queued = true;
            self.queue.push_back(id);
        }
    }

    /// Sees to it that a timer fires no later than the connection's deadline.
    fn arm(&mut self, id: SlotId) {
        let Some(seated) = self.connections.get(id) else { return };
        let Some(deadline) = seated.guest.deadline() else { return };
        if seated.armed.is_none_or(|armed| deadline < armed) {
            seated.armed = Some(deadline);
            self.timers.set(deadline, id);
        }
    }

    fn close(&mut self, id: SlotId, end: &End) {
        let Some(seated) = self.connections.remove(id) else { return };
        let peer = seated.guest.peer();
        match end {
            End::Stuck(_) => error!(peer, %end, "closed"),
            end if end.is_the_peers() => debug!(peer, %end, "closed"),
            end => warn!(peer, %end, "closed"),
        }
        let (upload, buffers) = seated.guest.into_leftovers();
        buffers.into_iter().for_each(|buffer| self.buffers.give(buffer));
        if let Some(upload) = upload {
            self.pool.discard(Job::Leave(upload));
        }
        self.feed_starved();
    }

    /// Ends what is still there, and the worker.
    fn cut_off(&mut self) -> io::Result<()> {
        let left = self.connections.len();
        if left > 0 {
            warn!(left, "connections cut off at the end of the drain");
        }
        for id in self.connections.ids() {
            self.close(id, &End::Done);
        }
        Ok(())
    }
}

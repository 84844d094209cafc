//! Takes connections in and hands them to the workers in turn.
//!
//! One thread for all listening sockets. It never stalls and never spins: at the connection limit a
//! peer is told that the server is busy; without descriptors the one held in reserve lets a waiting
//! peer be turned away, and then the listener rests.

mod bind;

use std::{
    fs::File,
    io,
    net::Shutdown,
    os::fd::AsFd,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, Waker};
use tracing::{debug, warn};
use zput_common::proto::{
    hello::ServerHello,
    message::{ErrorCode, RemoteError},
};

use bind::Accepted;
pub use bind::Listener;

use crate::{
    crew::Admission,
    metrics::{DoorMetrics, Protocol, Refusal},
    session,
    sys::{self, threads},
    web,
    wire::Socket,
    worker::{Doorway, NoSeat},
};

/// The waker's token; listeners have their number.
const WAKER: Token = Token(usize::MAX);

/// Connections taken from one listener before the others have their turn.
const ACCEPTS_PER_ROUND: usize = 64;

/// How long a listener rests when descriptors or memory ran out: long enough for requests to end,
/// short enough for peers that wait in the backlog.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// A congestion control that does not pace. BBR's pacing on loopback costs 2.4 times the CPU.
const LOOPBACK_CONGESTION: &str = "cubic";

/// Which protocol a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// That of zput.
    Zput,
    /// HTTP.
    Http,
}

impl Speaks {
    const fn protocol(self) -> Protocol {
        match self {
            Self::Zput => Protocol::Zput,
            Self::Http => Protocol::Http,
        }
    }
}

/// What connections of each protocol have in common, for those that come from now on.
#[derive(Clone)]
pub(crate) struct Doors(Arc<Mutex<(Arc<session::Door>, Arc<web::Door>)>>);

impl Doors {
    /// These.
    pub(crate) fn new(zput: session::Door, web: web::Door) -> Self {
        Self(Arc::new(Mutex::new((Arc::new(zput), Arc::new(web)))))
    }

    /// Others from now on for who speaks zput's protocol.
    pub(crate) fn replace_zput(&self, zput: session::Door) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0 = Arc::new(zput);
    }

    fn of(&self, speaks: Speaks) -> Doorway {
        let (zput, web) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match speaks {
            Speaks::Zput => Doorway::Zput(Arc::clone(zput)),
            Speaks::Http => Doorway::Web(Arc::clone(web)),
        }
    }
}

/// What becomes of an accepted socket.
pub(crate) struct Reception {
    /// The way to the workers.
    pub(crate) admission: Admission,
    /// What is behind the listeners.
    pub(crate) doors: Doors,
    /// What is counted of arrivals.
    pub(crate) metrics: Arc<DoorMetrics>,
    /// Whether loopback peers get [`LOOPBACK_CONGESTION`]: unless the operator chose one for all.
    pub(crate) tune_loopback: bool,
}

/// The acceptor's thread.
#[derive(Debug)]
pub(crate) struct Acceptor {
    stop: Arc<AtomicBool>,
    waker: Waker,
    thread: JoinHandle<io::Result<()>>,
}

impl Acceptor {
    /// Starts to accept. `at_end` is dropped when the thread ends, whyever.
    pub(crate) fn start(
        listeners: Vec<(Listener, Speaks)>,
        reception: Reception,
        at_end: impl Send + 'static,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let stop = Arc::new(AtomicBool::new(false));
        let mut gates = Vec::with_capacity(listeners.len());
        for (n, (mut listener, speaks)) in listeners.into_iter().enumerate() {
            poll.registry().register(listener.source(), Token(n), Interest::READABLE)?;
            gates.push(Gate { listener, speaks, ready: true, rests_until: None });
        }
        let mut room = Room { poll, gates, reception, spare: spare(), stop: Arc::clone(&stop) };
        let thread = threads::begin("acceptor", move || {
            let _at_end = at_end;
            room.run()
        })?;
        Ok(Self { stop, waker, thread })
    }

    /// Stops accepting and closes the listening sockets.
    pub(crate) fn stop(self) -> io::Result<()> {
        self.stop.store(true, Ordering::Release);
        self.waker.wake()?;
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the acceptor panicked")))
    }
}

/// A listening socket and its readiness.
struct Gate {
    listener: Listener,
    speaks: Speaks,
    /// `WouldBlock` was not the last word of accepting.
    ready: bool,
    /// Set while descriptors are exhausted.
    rests_until: Option<Instant>,
}

struct Room {
    poll: Poll,
    gates: Vec<Gate>,
    reception: Reception,
    /// A descriptor to give up when there are none left.
    spare: Option<File>,
    stop: Arc<AtomicBool>,
}

impl Room {
    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(self.gates.len() + 1);
        while !self.stop.load(Ordering::Acquire) {
            match self.poll.poll(&mut events, self.timeout()) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => events.clear(),
                result => result?,
            }
            for event in &events {
                if let Some(gate) = self.gates.get_mut(event.token().0) {
                    gate.ready = true;
                }
            }
            let now = Instant::now();
            for gate in &mut self.gates {
                if gate.rests_until.is_some_and(|until| until <= now) {
                    gate.rests_until = None;
                }
                if gate.ready && gate.rests_until.is_none() {
                    gate.accept_some(&self.reception, &mut self.spare, now);
                }
            }
        }
        Ok(())
    }

    /// At once when a gate has more; when the first one has rested; or as long as it takes.
    fn timeout(&self) -> Option<Duration> {
        let now = Instant::now();
        let ready = self.gates.iter().filter(|gate| gate.ready);
        ready.map(|gate| gate.rests_until.map_or(Duration::ZERO, |u| u.duration_since(now))).min()
    }
}

impl Gate {
    fn accept_some(&mut self, reception: &Reception, spare: &mut Option<File>, now: Instant) {
        for _ in 0..ACCEPTS_PER_ROUND {
            match self.listener.accept() {
                Ok(accepted) => reception.receive(accepted, self.speaks),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.ready = false;
                    return;
                }
                // The peer left before it was accepted; there may be others behind it.
                Err(e)
                    if matches!(
                        e.kind(),
                        io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
                    ) => {}
                Err(failure) => {
                    if sys::net::is_exhaustion(&failure) {
                        turn_one_away(&self.listener, spare);
                        reception.metrics.refused(self.speaks.protocol(), Refusal::Exhausted);
                    }
                    warn!(%failure, "cannot accept: resting");
                    self.rests_until = Some(now + EXHAUSTED_PAUSE);
                    return;
                }
            }
        }
    }
}

/// Without descriptors the peer at the head of the queue would wait, and be accepted in vain again
/// and again: the spare descriptor is given up to accept it and to close it at once.
fn turn_one_away(listener: &Listener, spare: &mut Option<File>) {
    drop(spare.take());
    if let Ok(accepted) = listener.accept() {
        drop(accepted);
    }
    *spare = self::spare();
}

fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}

impl Reception {
    fn receive(&self, accepted: Accepted, speaks: Speaks) {
        let Accepted { socket, peer, address } = accepted;
        if let Socket::Tcp(stream) = &socket {
            let mut tuned = sys::net::set_nodelay(stream);
            if self.tune_loopback && address.is_some_and(|address| address.is_loopback()) {
                tuned = tuned.and_then(|()| sys::net::set_congestion(stream, LOOPBACK_CONGESTION));
            }
            if let Err(failure) = tuned {
                // It works without, only slower.
                debug!(peer, %failure, "cannot tune a socket");
            }
        }
        let door = self.doors.of(speaks);
        match self.admission.admit(socket, door, peer, address) {
            Ok(()) => self.metrics.accepted(speaks.protocol()),
            Err((socket, reason)) => {
                let why = match reason {
                    NoSeat::Full => Refusal::Limit,
                    NoSeat::ClientFull => Refusal::PerClient,
                };
                self.metrics.refused(speaks.protocol(), why);
                refuse(&socket, speaks, reason);
            }
        }
    }
}

/// RFC 9110, 15.6.4. The text has 31 bytes.
const HTTP_REFUSAL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Type: text/plain\r\n\
    Content-Length: 31\r\nConnection: close\r\n\r\nthere are too many connections\n";

/// Tells a peer that there is no seat for it.
fn refuse(socket: &Socket, speaks: Speaks, reason: NoSeat) {
    let why = match reason {
        NoSeat::Full => "the server has too many connections",
        NoSeat::ClientFull => "your address has too many connections",
    };
    debug!(why, "refused a connection");
    // What the peer has sent already must be read, or closing resets the connection and the reset
    // overtakes the refusal. All of this is a courtesy: if it fails the peer sees a closed connection.
    let mut unread = [0; 512];
    let _hello = socket.read_once(&mut unread);
    let refusal = match speaks {
        Speaks::Zput => ServerHello::Refused(RemoteError::new(ErrorCode::Busy, why)).encode(),
        Speaks::Http => HTTP_REFUSAL.to_vec(),
    };
    let _sent = sys::net::send(socket.as_fd(), &refusal, false);
    let _ended = socket.shutdown(Shutdown::Write);
}

//! Accepts connections and hands them to the workers in turn.
//!
//! One thread serves all listening sockets. It never stalls and never spins: at a connection limit
//! it tells the peer that the server is busy. When the process has no file descriptors left it
//! gives up a spare one to accept the peer at the head of the queue and close it; then the listener
//! pauses.

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
use zput_proto::{
    hello::ServerHello,
    message::{ErrorCode, RemoteError},
};

use crate::{
    connection::{http, zput},
    limits::LimitReached,
    metrics::{EndpointMetrics, Protocol, Refusal},
    runtime::{
        listener::{Accepted, Listener},
        workers::Dispatcher,
    },
    sys::{self, threads},
    transfer::socket::Socket,
    worker::Endpoint,
};

/// The waker's token; a listener's token is its index.
const WAKER: Token = Token(usize::MAX);

/// Connections accepted from one listener before the others have their turn.
const ACCEPTS_PER_ROUND: usize = 64;

/// Pause of a listener after descriptors or memory ran out: long enough for requests to end, short
/// enough for peers that wait in the backlog.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// A congestion control without pacing. BBR's pacing on loopback costs 2.4 times the CPU.
const LOOPBACK_CONGESTION: &str = "cubic";

/// The protocol of a listener's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListenerProtocol {
    /// The protocol of docs/PROTOCOL.md.
    Zput,
    /// HTTP/1.1, with GET and HEAD.
    Http,
}

impl ListenerProtocol {
    const fn label(self) -> Protocol {
        match self {
            Self::Zput => Protocol::Zput,
            Self::Http => Protocol::Http,
        }
    }
}

/// The settings of each protocol for the connections that are accepted from now on.
#[derive(Clone)]
pub(crate) struct Endpoints(Arc<Mutex<(Arc<zput::Settings>, Arc<http::Settings>)>>);

impl Endpoints {
    /// Begins with these settings.
    pub(crate) fn new(zput: zput::Settings, web: http::Settings) -> Self {
        Self(Arc::new(Mutex::new((Arc::new(zput), Arc::new(web)))))
    }

    /// Replaces the settings of zput's protocol for new connections.
    pub(crate) fn replace_zput(&self, zput: zput::Settings) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0 = Arc::new(zput);
    }

    fn endpoint(&self, protocol: ListenerProtocol) -> Endpoint {
        let (zput, web) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match protocol {
            ListenerProtocol::Zput => Endpoint::Zput(Arc::clone(zput)),
            ListenerProtocol::Http => Endpoint::Web(Arc::clone(web)),
        }
    }
}

/// Handles an accepted socket: applies settings and limits, counts it, and gives it to a worker.
pub(crate) struct AcceptedHandler {
    /// Gives the connection to a worker.
    pub(crate) dispatcher: Dispatcher,
    /// The settings of each protocol.
    pub(crate) endpoints: Endpoints,
    /// Counts accepted and refused connections.
    pub(crate) metrics: Arc<EndpointMetrics>,
    /// Whether loopback peers get [`LOOPBACK_CONGESTION`]: unless the operator chose one for all.
    pub(crate) tune_loopback: bool,
}

/// The thread that accepts.
#[derive(Debug)]
pub(crate) struct Acceptor {
    stop: Arc<AtomicBool>,
    waker: Waker,
    thread: JoinHandle<io::Result<()>>,
}

impl Acceptor {
    /// Starts the thread. It drops `exit_notice` when it ends, for whatever reason.
    pub(crate) fn start(
        listeners: Vec<(Listener, ListenerProtocol)>,
        handler: AcceptedHandler,
        exit_notice: impl Send + 'static,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let stop = Arc::new(AtomicBool::new(false));
        let mut states = Vec::with_capacity(listeners.len());
        for (n, (mut listener, protocol)) in listeners.into_iter().enumerate() {
            poll.registry().register(listener.source(), Token(n), Interest::READABLE)?;
            states.push(ListenerState { listener, protocol, ready: true, paused_until: None });
        }
        let mut accept_loop =
            AcceptLoop { poll, states, handler, spare: open_spare(), stop: Arc::clone(&stop) };
        let thread = threads::spawn("acceptor", move || {
            let _at_end = exit_notice;
            accept_loop.run()
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
struct ListenerState {
    listener: Listener,
    protocol: ListenerProtocol,
    /// Whether accept(2) may succeed: it did not return `WouldBlock` last.
    ready: bool,
    /// End of the pause, while descriptors or memory are exhausted.
    paused_until: Option<Instant>,
}

struct AcceptLoop {
    poll: Poll,
    states: Vec<ListenerState>,
    handler: AcceptedHandler,
    /// A descriptor to give up when there are none left.
    spare: Option<File>,
    stop: Arc<AtomicBool>,
}

impl AcceptLoop {
    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(self.states.len() + 1);
        while !self.stop.load(Ordering::Acquire) {
            match self.poll.poll(&mut events, self.timeout()) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => events.clear(),
                result => result?,
            }
            for event in &events {
                if let Some(state) = self.states.get_mut(event.token().0) {
                    state.ready = true;
                }
            }
            let now = Instant::now();
            for state in &mut self.states {
                if state.paused_until.is_some_and(|until| until <= now) {
                    state.paused_until = None;
                }
                if state.ready && state.paused_until.is_none() {
                    state.accept_some(&self.handler, &mut self.spare, now);
                }
            }
        }
        Ok(())
    }

    /// Zero when a listener is ready, the rest of the shortest pause, or none.
    fn timeout(&self) -> Option<Duration> {
        let now = Instant::now();
        let ready = self.states.iter().filter(|state| state.ready);
        ready
            .map(|state| state.paused_until.map_or(Duration::ZERO, |u| u.duration_since(now)))
            .min()
    }
}

impl ListenerState {
    fn accept_some(&mut self, handler: &AcceptedHandler, spare: &mut Option<File>, now: Instant) {
        for _ in 0..ACCEPTS_PER_ROUND {
            match self.listener.accept() {
                Ok(accepted) => handler.receive(accepted, self.protocol),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.ready = false;
                    return;
                }
                // The peer closed the connection before it was accepted. Others may wait behind it.
                Err(e)
                    if matches!(
                        e.kind(),
                        io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
                    ) => {}
                Err(failure) => {
                    if sys::net::is_exhaustion(&failure) {
                        reject_one(&self.listener, spare);
                        handler.metrics.refused(self.protocol.label(), Refusal::Exhausted);
                    }
                    warn!(error = %failure, "cannot accept a connection: pausing");
                    self.paused_until = Some(now + EXHAUSTED_PAUSE);
                    return;
                }
            }
        }
    }
}

/// Without descriptors the peer at the head of the queue would stay there and accept(2) would fail
/// again and again. So the spare descriptor is given up to accept that peer and close it at once.
fn reject_one(listener: &Listener, spare: &mut Option<File>) {
    drop(spare.take());
    if let Ok(accepted) = listener.accept() {
        drop(accepted);
    }
    *spare = open_spare();
}

fn open_spare() -> Option<File> {
    File::open("/dev/null").ok()
}

impl AcceptedHandler {
    fn receive(&self, accepted: Accepted, protocol: ListenerProtocol) {
        let Accepted { socket, peer, address } = accepted;
        if let Socket::Tcp(stream) = &socket {
            let mut tuned = sys::net::set_nodelay(stream);
            if self.tune_loopback && address.is_some_and(|address| address.is_loopback()) {
                tuned = tuned.and_then(|()| sys::net::set_congestion(stream, LOOPBACK_CONGESTION));
            }
            if let Err(failure) = tuned {
                // The connection works without it, only slower.
                debug!(peer, error = %failure, "cannot tune a socket");
            }
        }
        let endpoint = self.endpoints.endpoint(protocol);
        match self.dispatcher.dispatch(socket, endpoint, peer, address) {
            Ok(()) => self.metrics.accepted(protocol.label()),
            Err((socket, reason)) => {
                let why = match reason {
                    LimitReached::Full => Refusal::Limit,
                    LimitReached::ClientFull => Refusal::PerClient,
                };
                self.metrics.refused(protocol.label(), why);
                refuse(&socket, protocol, reason);
            }
        }
    }
}

/// RFC 9110, 15.6.4. The body has 31 bytes.
const HTTP_REFUSAL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Type: text/plain\r\n\
    Content-Length: 31\r\nConnection: close\r\n\r\nthere are too many connections\n";

/// Tells a peer that a connection limit is reached.
fn refuse(socket: &Socket, protocol: ListenerProtocol, reason: LimitReached) {
    let why = match reason {
        LimitReached::Full => "the server has too many connections",
        LimitReached::ClientFull => "your address has too many connections",
    };
    debug!(why, "refused a connection");
    // Bytes that the peer has sent must be read: closing with unread bytes resets the connection,
    // and the reset can overtake the refusal. All this is best effort: if it fails, the peer sees a
    // connection that was closed.
    let mut unread = [0; 512];
    let _hello = socket.read_once(&mut unread);
    let refusal = match protocol {
        ListenerProtocol::Zput => {
            ServerHello::Refused(RemoteError::new(ErrorCode::Busy, why)).encode()
        }
        ListenerProtocol::Http => HTTP_REFUSAL.to_vec(),
    };
    let _sent = sys::net::send(socket.as_fd(), &refusal, false);
    let _ended = socket.shutdown(Shutdown::Write);
}

//! The admin endpoints `/metrics` and `/healthz`, on an address of their own.
//!
//! One thread serves at most `ADMIN_CLIENTS_MAX` clients at a time, one request for each
//! connection. A client has two seconds in all. No client waits for another: at the limit a new
//! client replaces the one that has been silent for longest, so that no number of idle connections
//! makes a healthy server look unhealthy.

mod connection;

use std::{
    collections::VecDeque,
    io,
    os::unix::net::UnixStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tracing::{debug, warn};

use crate::{
    limits::ADMIN_CLIENTS_MAX,
    metrics::{CONTENT_TYPE, Metrics},
    runtime::listener::Listener,
    sys::{self, threads},
    worker::heartbeat::{Liveness, Stalled},
};
use connection::{AdminConnection, Response};

/// How long a connection may last.
const CLIENT_TIME: Duration = Duration::from_secs(2);

/// Most clients that are accepted before existing ones are served again, so that a flood of
/// connections does not delay their responses.
const ACCEPTS_PER_ROUND: usize = 32;

/// How long the thread stops accepting when accept(2) fails.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// The state that the endpoints report.
#[derive(Clone, Debug)]
pub struct Health {
    metrics: Arc<Metrics>,
    liveness: Liveness,
    draining: Arc<AtomicBool>,
}

impl Health {
    /// The state of a server with these metrics and workers.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>, liveness: Liveness) -> Self {
        Self { metrics, liveness, draining: Arc::default() }
    }

    /// Reports from now on that the server accepts no more connections and will stop.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether the server should get more clients.
    ///
    /// # Errors
    /// The reason why it should not, in words.
    pub fn check(&self, now: Instant) -> Result<(), String> {
        if self.draining.load(Ordering::Relaxed) {
            return Err("shutting down".to_owned());
        }
        self.liveness.check(now).map_err(|stalled| stalled.to_string())
    }

    /// The worker that hangs, if one does. `None` while the server drains, because its workers then
    /// end one by one.
    #[must_use]
    pub fn stalled(&self, now: Instant) -> Option<Stalled> {
        if self.draining.load(Ordering::Relaxed) { None } else { self.liveness.check(now).err() }
    }

    fn respond(&self, path: &str) -> Response {
        match path {
            "/metrics" => match self.metrics.encode() {
                Ok(text) => Response::new("200 OK", CONTENT_TYPE, text),
                Err(failure) => Response::text("500 Internal Server Error", &failure.to_string()),
            },
            "/healthz" => match self.check(Instant::now()) {
                Ok(()) => Response::text("200 OK", "ok"),
                Err(why) => Response::text("503 Service Unavailable", &why),
            },
            _ => Response::text("404 Not Found", "there are /metrics and /healthz"),
        }
    }
}

/// The admin thread, which ends when this is dropped.
#[derive(Debug)]
pub struct Admin {
    /// No bytes are sent over it. Closing it wakes the thread, which holds the other end.
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Admin {
    /// Serves `listener` from now on.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(listener: Listener, health: Health) -> io::Result<Self> {
        let (stop, stopped) = UnixStream::pair()?;
        let admin_loop =
            AdminLoop { listener, health, clients: VecDeque::new(), paused_until: None };
        let answer = move || admin_loop.run(&stopped);
        let thread = threads::spawn("admin", answer)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            warn!("the admin thread panicked");
        }
    }
}

struct AdminLoop {
    listener: Listener,
    health: Health,
    /// In the order of their arrival.
    clients: VecDeque<AdminConnection>,
    /// Set while accepting is paused.
    paused_until: Option<Instant>,
}

impl AdminLoop {
    fn run(mut self, stopped: &UnixStream) {
        loop {
            // No event is requested for the first descriptor: closing is reported in any case
            // (poll(2), POLLHUP).
            let mut waiting = vec![PollFd::new(stopped, PollFlags::empty())];
            let accepts =
                if self.paused_until.is_some() { PollFlags::empty() } else { PollFlags::IN };
            waiting.push(PollFd::new(&self.listener, accepts));
            let clients = self.clients.iter();
            waiting.extend(clients.map(|client| PollFd::new(client, client.interest())));
            match poll(&mut waiting, self.timeout(Instant::now()).as_ref()) {
                Err(rustix::io::Errno::INTR) => continue,
                Err(failure) => {
                    return warn!(error = %failure, "the admin thread cannot wait: it ends");
                }
                Ok(_) => {}
            }
            let ready: Vec<bool> = waiting.iter().map(|fd| !fd.revents().is_empty()).collect();
            if ready.first() == Some(&true) {
                return;
            }
            let now = Instant::now();
            self.drive_clients(ready.get(2..).unwrap_or_default(), now);
            if ready.get(1) == Some(&true) && self.paused_until.is_none() {
                self.accept_clients(now);
            }
        }
    }

    /// The time until the first client's deadline, or until accepting is resumed.
    fn timeout(&self, now: Instant) -> Option<Timespec> {
        let deadlines = self.clients.iter().map(AdminConnection::deadline).chain(self.paused_until);
        let left = deadlines.min()?.saturating_duration_since(now);
        // Rounded up; otherwise the last millisecond would be spent spinning.
        let left = left + Duration::from_millis(1);
        Some(Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        })
    }

    /// Serves the clients whose sockets are ready, and closes those whose time is over.
    fn drive_clients(&mut self, ready: &[bool], now: Instant) {
        self.paused_until = self.paused_until.filter(|deadline| *deadline > now);
        let Self { clients, health, .. } = self;
        let mut ready = ready.iter();
        clients.retain_mut(|client| {
            if ready.next() == Some(&true) {
                match client.advance(|path| health.respond(path)) {
                    Ok(true) => {}
                    Ok(false) => return false,
                    Err(failure) => {
                        debug!(error = %failure, "an admin client was not answered");
                        return false;
                    }
                }
            }
            client.deadline() > now
        });
    }

    fn accept_clients(&mut self, now: Instant) {
        for _ in 0..ACCEPTS_PER_ROUND {
            match self.listener.accept() {
                Ok(accepted) => {
                    if self.clients.len() >= ADMIN_CLIENTS_MAX {
                        self.evict_one();
                    }
                    let mut client = AdminConnection::new(accepted.socket, now + CLIENT_TIME);
                    // Most clients have sent their request by now.
                    if let Ok(true) = client.advance(|path| self.health.respond(path)) {
                        self.clients.push_back(client);
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e)
                    if matches!(
                        e.kind(),
                        io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
                    ) => {}
                // Closing any client frees a descriptor.
                Err(e) if sys::net::is_exhaustion(&e) && !self.clients.is_empty() => {
                    self.evict_one();
                }
                Err(failure) => {
                    warn!(error = %failure, "cannot accept an admin client: pausing");
                    self.paused_until = Some(now + EXHAUSTED_PAUSE);
                    return;
                }
            }
        }
    }

    /// Closes the client that has been silent for longest; where all have sent their request, the
    /// one that connected first.
    fn evict_one(&mut self) {
        let silent = self.clients.iter().position(AdminConnection::is_awaiting_request);
        drop(self.clients.remove(silent.unwrap_or(0)));
    }
}

#[cfg(test)]
mod tests;

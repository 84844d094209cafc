//! How the server does, for whoever runs it: `/metrics` and `/healthz`, on an address of their own.
//!
//! One thread, [`CLIENTS_MAX`] clients at a time, one request a connection. A client has two seconds for
//! all of it. Nobody waits for another one: who comes when there are too many takes the place of
//! the one that has said nothing for longest, so no number of idle connections hides a server that is well.

#[path = "connection.rs"]
mod conversation;

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
    heartbeat::{Pulse, Stalled},
    listener::Listener,
    metrics::{CONTENT_TYPE, Metrics},
    sys::{self, threads},
};
use conversation::{Conversation, Reply};

/// All the time that a client has.
const CLIENT_TIME: Duration = Duration::from_secs(2);

/// The most clients at once, each with a descriptor.
pub const CLIENTS_MAX: usize = 64;

/// The most clients taken in before those that are there are looked at: a flood of connections is no
/// reason not to answer.
const ACCEPTS_PER_ROUND: usize = 32;

/// How long nobody is taken in when nobody can be.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// What there is to tell.
#[derive(Clone, Debug)]
pub struct Condition {
    metrics: Arc<Metrics>,
    pulse: Pulse,
    draining: Arc<AtomicBool>,
}

impl Condition {
    /// Of a server with these metrics, whose workers have this pulse.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>, pulse: Pulse) -> Self {
        Self { metrics, pulse, draining: Arc::default() }
    }

    /// The server takes no more connections and ends soon.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether the server should be sent more clients.
    ///
    /// # Errors
    /// Why not, in words.
    pub fn health(&self, now: Instant) -> Result<(), String> {
        if self.draining.load(Ordering::Relaxed) {
            return Err("draining: the server stops".to_owned());
        }
        self.pulse.check(now).map_err(|stalled| stalled.to_string())
    }

    /// The worker that hangs. None while the server drains: then its workers end one by one.
    #[must_use]
    pub fn stalled(&self, now: Instant) -> Option<Stalled> {
        if self.draining.load(Ordering::Relaxed) { None } else { self.pulse.check(now).err() }
    }

    fn reply(&self, path: &str) -> Reply {
        match path {
            "/metrics" => match self.metrics.encode() {
                Ok(text) => Reply::new("200 OK", CONTENT_TYPE, text),
                Err(failure) => Reply::text("500 Internal Server Error", &failure.to_string()),
            },
            "/healthz" => match self.health(Instant::now()) {
                Ok(()) => Reply::text("200 OK", "ok"),
                Err(why) => Reply::text("503 Service Unavailable", &why),
            },
            _ => Reply::text("404 Not Found", "there are /metrics and /healthz"),
        }
    }
}

/// The thread that answers; it ends when this is dropped.
#[derive(Debug)]
pub struct Admin {
    /// Nothing is said over it: its other end hears when it is closed.
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Admin {
    /// Answers on `listener` from now on.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn start(listener: Listener, condition: Condition) -> io::Result<Self> {
        let (stop, stopped) = UnixStream::pair()?;
        let room = Room { listener, condition, clients: VecDeque::new(), rests_until: None };
        let answer = move || room.run(&stopped);
        let thread = threads::begin("admin", answer)?;
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

struct Room {
    listener: Listener,
    condition: Condition,
    /// In the order they came.
    clients: VecDeque<Conversation>,
    /// Set while nobody can be taken in.
    rests_until: Option<Instant>,
}

impl Room {
    fn run(mut self, stopped: &UnixStream) {
        loop {
            // Nothing is asked of the first one: that it was closed is told in any case (poll(2), POLLHUP).
            let mut waiting = vec![PollFd::new(stopped, PollFlags::empty())];
            let accepts =
                if self.rests_until.is_some() { PollFlags::empty() } else { PollFlags::IN };
            waiting.push(PollFd::new(&self.listener, accepts));
            let clients = self.clients.iter();
            waiting.extend(clients.map(|client| PollFd::new(client, client.waits_for())));
            match poll(&mut waiting, self.timeout(Instant::now()).as_ref()) {
                Err(rustix::io::Errno::INTR) => continue,
                Err(failure) => return warn!(%failure, "the admin thread cannot wait: it ends"),
                Ok(_) => {}
            }
            let told: Vec<bool> = waiting.iter().map(|fd| !fd.revents().is_empty()).collect();
            if told.first() == Some(&true) {
                return;
            }
            let now = Instant::now();
            self.converse(told.get(2..).unwrap_or_default(), now);
            if told.get(1) == Some(&true) && self.rests_until.is_none() {
                self.take_in(now);
            }
        }
    }

    /// Until the first client has had its time, or somebody may be taken in again.
    fn timeout(&self, now: Instant) -> Option<Timespec> {
        let ends = self.clients.iter().map(Conversation::until).chain(self.rests_until);
        let left = ends.min()?.saturating_duration_since(now);
        // Rounded up, or the last millisecond would be spent spinning.
        let left = left + Duration::from_millis(1);
        Some(Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        })
    }

    /// Goes on with those of whose sockets there is something to tell, and lets go of those that have had
    /// their time.
    fn converse(&mut self, told: &[bool], now: Instant) {
        self.rests_until = self.rests_until.filter(|until| *until > now);
        let Self { clients, condition, .. } = self;
        let mut told = told.iter();
        clients.retain_mut(|client| {
            if told.next() == Some(&true) {
                match client.go_on(|path| condition.reply(path)) {
                    Ok(true) => {}
                    Ok(false) => return false,
                    Err(failure) => {
                        debug!(%failure, "an admin client was not answered");
                        return false;
                    }
                }
            }
            client.until() > now
        });
    }

    fn take_in(&mut self, now: Instant) {
        for _ in 0..ACCEPTS_PER_ROUND {
            match self.listener.accept() {
                Ok(accepted) => {
                    if self.clients.len() >= CLIENTS_MAX {
                        self.send_one_away();
                    }
                    let mut client = Conversation::new(accepted.socket, now + CLIENT_TIME);
                    // Most have asked by now.
                    if let Ok(true) = client.go_on(|path| self.condition.reply(path)) {
                        self.clients.push_back(client);
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e)
                    if matches!(
                        e.kind(),
                        io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
                    ) => {}
                // One descriptor is as good as another.
                Err(e) if sys::net::is_exhaustion(&e) && !self.clients.is_empty() => {
                    self.send_one_away();
                }
                Err(failure) => {
                    warn!(%failure, "cannot accept an admin client: resting");
                    self.rests_until = Some(now + EXHAUSTED_PAUSE);
                    return;
                }
            }
        }
    }

    /// Lets go of the client that has said nothing for longest; where all have asked, of the first that
    /// came.
    fn send_one_away(&mut self) {
        let silent = self.clients.iter().position(Conversation::is_silent);
        drop(self.clients.remove(silent.unwrap_or(0)));
    }
}

#[cfg(test)]
mod tests;

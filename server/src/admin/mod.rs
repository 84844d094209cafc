//! How the server does, for whoever runs it: `/metrics` and `/healthz`, on an address of their own.
//!
//! One thread, one client at a time, one request a connection. A client has two seconds for all
//! of it, so that one that dawdles holds up the others for no longer, and no number of them costs more
//! than one descriptor.

mod conversation;

use std::{
    io,
    os::unix::net::UnixStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, poll};
use tracing::{debug, warn};

use crate::{
    heartbeat::{Pulse, Stalled},
    listener::Listener,
    metrics::{CONTENT_TYPE, Metrics},
};
use conversation::{Reply, converse};

/// All the time that a client has.
const CLIENT_TIME: Duration = Duration::from_secs(2);

/// How long the thread rests when it cannot accept.
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
        let answer = move || run(&listener, &stopped, &condition);
        let thread = thread::Builder::new().name("admin".to_owned()).spawn(answer)?;
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

fn run(listener: &Listener, stopped: &UnixStream, condition: &Condition) {
    loop {
        let mut waiting = [
            PollFd::new(listener, PollFlags::IN),
            // Nothing is asked of it: that it was closed is told in any case (poll(2), POLLHUP).
            PollFd::new(stopped, PollFlags::empty()),
        ];
        match poll(&mut waiting, None) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(failure) => return warn!(%failure, "the admin thread cannot wait: it ends"),
            Ok(_) => {}
        }
        let [_, stop] = waiting;
        if !stop.revents().is_empty() {
            return;
        }
        match listener.accept() {
            Ok(accepted) => {
                let until = Instant::now() + CLIENT_TIME;
                let reply = |path: &str| condition.reply(path);
                if let Err(failure) = converse(&accepted.socket, until, reply) {
                    debug!(peer = accepted.peer, %failure, "an admin client was not answered");
                }
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(failure) => {
                warn!(%failure, "cannot accept an admin client: resting");
                thread::sleep(EXHAUSTED_PAUSE);
            }
        }
    }
}

#[cfg(test)]
mod tests;

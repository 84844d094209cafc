//! A connection's socket, and what is known of its readiness.
//!
//! Readiness is edge-triggered: the kernel speaks up once when a direction becomes ready, and again
//! only after that direction has answered `WouldBlock`. A connection that is put aside before that
//! is never woken. So the wire keeps, for each direction, whether `WouldBlock` was its last word,
//! and hands out a [`Blocked`] only when all that the connection waits for has said so. A worker
//! cannot put a connection aside without one.
//!
//! A socket that is full says so again only when bytes leave it, so no byte in it may wait for
//! bytes behind it. splice(2) and sendfile(2) mark all pages that they hand over, but the last
//! ones, with `MSG_MORE`. TCP holds a segment that is not full back then. Where a segment is larger
//! than [`UNSENT_BYTES`] (on loopback it has 64 KiB) the socket was full of such a segment, nothing
//! was on its way whose acknowledgement would have moved it, and a timer of the kernel sent it 200
//! ms later. The wire pushes it out whenever a call took less than it was given.

use std::{
    io::{self, Read as _},
    net::Shutdown,
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use mio::{
    Interest, Registry, Token,
    event::{Event, Source},
    net::{TcpStream, UnixStream},
};

use crate::{
    engines::{Mover, Tools},
    pool::Ticket,
    sys,
};

/// Bytes that a TCP socket takes beyond those on their way (tcp(7), `TCP_NOTSENT_LOWAT`): it says
/// that there is room again once half of them have left. Unbounded, a slow peer's socket swallows
/// megabytes, and speaks up again when a third of these were taken, which may be never. It also
/// counts towards the TCP memory of the whole machine, which 10,000 slow readers at 128 KiB used up
/// on one of 24 GiB: then everybody's segments are dropped.
pub(crate) const UNSENT_BYTES: u32 = 32 * 1024;

/// The same for a peer that has taken [`PROVEN_BYTES`]. On loopback 64 KiB to 1 MiB are as fast as
/// no bound; at 25 Gbit/s 256 KiB last for 84 us, more than a worker needs to come round.
const UNSENT_PROVEN_BYTES: u32 = 256 * 1024;

/// What a peer has to take before its socket may hold back more: somebody who wants to use up
/// memory pays for it.
const PROVEN_BYTES: usize = 1024 * 1024;

/// A stream socket, non-blocking.
#[derive(Debug)]
pub(crate) enum Socket {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix domain socket.
    Unix(UnixStream),
}

impl Socket {
    /// As the event source that it is.
    pub(crate) fn source(&mut self) -> &mut dyn Source {
        match self {
            Self::Tcp(stream) => stream,
            Self::Unix(stream) => stream,
        }
    }

    /// Reads once; see [`io::Read::read`].
    pub(crate) fn read_once(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => (&mut &*stream).read(buffer),
            Self::Unix(stream) => (&mut &*stream).read(buffer),
        }
    }

    /// Shuts down one or both directions; see shutdown(2).
    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(how),
            Self::Unix(stream) => stream.shutdown(how),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

/// A socket with its readiness.
#[derive(Debug)]
pub(crate) struct Wire {
    socket: Socket,
    /// `WouldBlock` was not the last word of reading.
    readable: bool,
    /// `WouldBlock` was not the last word of writing.
    writable: bool,
    /// The peer sends no more, or the connection is broken: reading says so, once all bytes are
    /// read.
    ended: bool,
    /// The socket may hold bytes back until others follow (`MSG_MORE`).
    corked: bool,
    /// Since when the connection waits for the socket to take bytes, if it does.
    full_since: Option<Instant>,
    /// What the socket has still to take before its peer is [proven](PROVEN_BYTES).
    unproven: usize,
}

/// What came of one read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// So many bytes, at least one.
    Bytes(usize),
    /// Nothing now.
    Blocked,
    /// The peer sends no more.
    End,
}

/// What came of one write.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// So many bytes, at least one.
    Bytes(usize),
    /// Nothing now.
    Blocked,
    /// The file has no more bytes: it is shorter than it was.
    FileEnded,
}

/// Which directions a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Bytes from the peer.
    pub(crate) read: bool,
    /// Room for bytes to the peer.
    pub(crate) write: bool,
}

/// Proof that a connection will be woken: every direction it waits for has returned `WouldBlock`
/// and there is at least one, or a job of its is under way in the pool.
#[derive(Debug)]
pub(crate) struct Blocked(());

impl Wire {
    /// Takes a socket over. Nothing is known of it, so both directions are worth a try.
    pub(crate) const fn new(socket: Socket) -> Self {
        let unproven = if matches!(socket, Socket::Tcp(_)) { PROVEN_BYTES } else { 0 };
        Self {
            socket,
            readable: true,
            writable: true,
            ended: false,
            corked: false,
            full_since: None,
            unproven,
        }
    }

    /// Registers both directions, once and for all: nothing is ever registered again, so no
    /// edge falls between two registrations.
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(self.socket.source(), token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Takes note of an event. Errors and hang-ups count as readiness: the next call brings them
    /// out. Returns how long the connection had waited for the socket to take bytes, if that is
    /// over now.
    pub(crate) fn woken(&mut self, event: &Event, now: Instant) -> Option<Duration> {
        let broken = event.is_error();
        self.ended |= event.is_read_closed() || broken;
        self.readable |= event.is_readable() || self.ended;
        self.writable |= event.is_writable() || event.is_write_closed() || broken;
        let since = self.full_since.take_if(|_| self.writable)?;
        Some(now.saturating_duration_since(since))
    }

    /// Reads once into `buffer`, which must not be empty.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        if !self.readable {
            return Ok(Received::Blocked);
        }
        loop {
            return match self.socket.read_once(buffer) {
                Ok(0) => Ok(Received::End),
                Ok(n) => {
                    // epoll(7): "For stream-oriented files … the condition that the read/write I/O
                    // space is exhausted can also be detected by checking the amount of data read
                    // from / written to the target file descriptor." Not of an end, of which there
                    // is one event; and a Unix socket stops between writers.
                    let exhausted = n < buffer.len() && !self.ended;
                    self.readable = !(exhausted && matches!(self.socket, Socket::Tcp(_)));
                    Ok(Received::Bytes(n))
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.readable = false;
                    Ok(Received::Blocked)
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => Err(e),
            };
        }
    }

    /// Writes once from `bytes`, which must not be empty; `more` as in [`sys::net::send`].
    pub(crate) fn send(&mut self, bytes: &[u8], more: bool) -> io::Result<Sent> {
        let sent = self.write(|socket| sys::net::send(socket, bytes, more))?;
        let Some(n) = sent else { return Ok(Sent::Blocked) };
        self.corked = more;
        Ok(self.sent(n))
    }

    /// Moves up to `count` > 0 bytes of `file` from `offset` into the socket, by an engine.
    pub(crate) fn move_from(
        &mut self,
        mover: &mut Mover,
        tools: &mut Tools,
        file: BorrowedFd<'_>,
        offset: u64,
        count: usize,
    ) -> io::Result<Sent> {
        match self.write(|socket| mover.step(tools, socket, file, offset, count))? {
            None => Ok(Sent::Blocked),
            Some(0) => Ok(Sent::FileEnded),
            Some(n) => {
                self.corked = n < count && mover.corks();
                self.uncork();
                Ok(self.sent(n))
            }
        }
    }

    /// One `call` that writes, unless the last one would have blocked. `None`: the socket takes
    /// nothing now.
    fn write(
        &mut self,
        mut call: impl FnMut(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> io::Result<Option<usize>> {
        if !self.writable {
            return Ok(None);
        }
        loop {
            match call(self.socket.as_fd()) {
                Ok(n) => return Ok(Some(n)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    if !self.uncork() {
                        self.writable = false;
                        return Ok(None);
                    }
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// Sends what the socket holds back, if it may hold anything back; whether it may. There may be
    /// room after that, which no event will tell of.
    fn uncork(&mut self) -> bool {
        let corked = std::mem::take(&mut self.corked) && matches!(self.socket, Socket::Tcp(_));
        if corked {
            // Without it the kernel's timer sends them.
            let _late = sys::net::push(self.socket.as_fd());
        }
        corked
    }

    /// Bytes that the peer may have taken, or not, without this side's knowledge.
    pub(crate) const fn unsent(&self) -> u64 {
        if self.unproven > 0 { UNSENT_BYTES as u64 } else { UNSENT_PROVEN_BYTES as u64 }
    }

    fn sent(&mut self, bytes: usize) -> Sent {
        if self.unproven > 0 {
            self.unproven = self.unproven.saturating_sub(bytes);
            if self.unproven == 0 {
                // As it was, all works as well, and slower.
                let _kept = sys::net::set_unsent(self.socket.as_fd(), UNSENT_PROVEN_BYTES);
            }
        }
        Sent::Bytes(bytes)
    }

    /// The witness that this connection may be put aside, if it may. Nothing is held back in the
    /// socket then.
    pub(crate) fn blocked(
        &mut self,
        wanted: Wanted,
        job: Option<&Ticket>,
        now: Instant,
    ) -> Option<Blocked> {
        // An announcement whose payload has to be loaded first.
        self.uncork();
        if wanted.write && !self.writable {
            self.full_since.get_or_insert(now);
        }
        let ready = (wanted.read && self.readable) || (wanted.write && self.writable);
        let waits = wanted.read || wanted.write || job.is_some();
        if ready || !waits { None } else { Some(Blocked(())) }
    }

    /// As if an event had said that both directions are ready.
    #[cfg(test)]
    pub(crate) const fn wake_for_test(&mut self) {
        self.readable = true;
        self.writable = true;
    }

    /// Tells the peer that no more bytes come. A peer that is gone already is no error.
    pub(crate) fn end_writing(&self) {
        // ENOTCONN: the peer reset the connection first, which ends it as well.
        let _already_gone = self.socket.shutdown(Shutdown::Write);
    }
}

#[cfg(test)]
#[path = "socket/tests.rs"]
mod tests;

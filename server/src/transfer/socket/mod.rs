//! A connection's socket with its readiness.
//!
//! Readiness is edge-triggered: the kernel reports once that a direction became ready, and again
//! only after a call in that direction returned `WouldBlock`. A connection that is parked before
//! that is never woken. So a [`ReadySocket`] remembers for each direction whether the last call
//! returned `WouldBlock`, and returns a [`Blocked`] only when that is so for every direction that
//! the connection waits for. A worker cannot park a connection without one.
//!
//! A full socket reports room only after bytes have left it, so no byte in it may wait for bytes
//! that come later. splice(2) and sendfile(2) mark all pages except the last ones with `MSG_MORE`,
//! and TCP then holds back a segment that is not full. Where a segment is larger than
//! [`UNSENT_BYTES`] (64 KiB on loopback) the socket was full of such a segment, no acknowledgement
//! was due that would have released it, and a kernel timer sent it after 200 ms. So whenever a call
//! took less than it was given, the held segment is pushed out.

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
    jobs::Ticket,
    sys,
    transfer::engines::{EngineResources, SendEngine},
};

/// Bytes that a TCP socket accepts beyond those in flight (tcp(7), `TCP_NOTSENT_LOWAT`). It reports
/// room again when half of them have left. Without the bound a slow peer's socket buffers
/// megabytes, and reports room when a third of these were acknowledged, which may be never. The
/// bytes also count towards the TCP memory of the whole machine: 10,000 slow readers at 128 KiB
/// used it up on a machine of 24 GiB, and then the segments of every connection are dropped.
pub(crate) const UNSENT_BYTES: u32 = 32 * 1024;

/// The same for a peer that has acknowledged [`PROVEN_BYTES`]. On loopback 64 KiB to 1 MiB are as
/// fast as no bound; at 25 Gbit/s 256 KiB last for 84 us, more than a worker needs for a round.
const UNSENT_PROVEN_BYTES: u32 = 256 * 1024;

/// Bytes that a peer must acknowledge before its socket may buffer more, so that a peer cannot use
/// up memory without receiving that much.
const PROVEN_BYTES: usize = 1024 * 1024;

/// A stream socket in non-blocking mode.
#[derive(Debug)]
pub(crate) enum Socket {
    /// A connected TCP socket.
    Tcp(TcpStream),
    /// A connected Unix domain socket.
    Unix(UnixStream),
}

impl Socket {
    /// The socket as an event source.
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
pub(crate) struct ReadySocket {
    socket: Socket,
    /// Whether reading may succeed: it did not return `WouldBlock` last.
    readable: bool,
    /// Whether writing may succeed: it did not return `WouldBlock` last.
    writable: bool,
    /// Whether the peer has shut down its side or the connection is broken. Reads return that after
    /// all bytes that have arrived.
    ended: bool,
    /// Whether the socket may hold back bytes until others follow (`MSG_MORE`).
    corked: bool,
    /// Since when the connection waits for room in the socket, if it does.
    full_since: Option<Instant>,
    /// Bytes that the socket has still to accept before its peer is [proven](PROVEN_BYTES).
    unproven: usize,
}

/// The result of one read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// Number of bytes read, at least one.
    Bytes(usize),
    /// Nothing to read now.
    Blocked,
    /// The peer has shut down its side.
    End,
}

/// The result of one write.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// Number of bytes accepted, at least one.
    Bytes(usize),
    /// The send buffer has no space now.
    Blocked,
    /// The file has no more bytes: it is shorter than before.
    FileEnded,
}

/// The directions that a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Directions {
    /// Bytes from the peer.
    pub(crate) read: bool,
    /// Room for bytes to the peer.
    pub(crate) write: bool,
}

/// Proof that the connection will be woken: every direction that it waits for has returned
/// `WouldBlock` and there is at least one, or a job of the connection is under way.
#[derive(Debug)]
pub(crate) struct Blocked(());

impl ReadySocket {
    /// Takes over a socket. Both directions count as ready until a call returns `WouldBlock`.
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

    /// Registers both directions, once: there is no second registration between which and the first
    /// an edge could be lost.
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(self.socket.source(), token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Notes an event. Errors and hang-ups count as readiness, because the next call returns them.
    /// When the connection was waiting for room and no longer has to, returns how long it has
    /// waited.
    pub(crate) fn on_event(&mut self, event: &Event, now: Instant) -> Option<Duration> {
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
                    // from / written to the target file descriptor." That does not hold at the end
                    // of the stream, for which there is one event, nor for a Unix socket, where one
                    // read returns the bytes of one write at most.
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

    /// Moves up to `count` > 0 bytes of `file` from `offset` into the socket, by a send engine.
    pub(crate) fn move_from(
        &mut self,
        engine_state: &mut SendEngine,
        resources: &mut EngineResources,
        file: BorrowedFd<'_>,
        offset: u64,
        count: usize,
    ) -> io::Result<Sent> {
        match self.write(|socket| engine_state.step(resources, socket, file, offset, count))? {
            None => Ok(Sent::Blocked),
            Some(0) => Ok(Sent::FileEnded),
            Some(n) => {
                self.corked = n < count && engine_state.corks();
                self.uncork();
                Ok(self.sent(n))
            }
        }
    }

    /// Makes one `call` that writes, unless the last one returned `WouldBlock`. `None` means that
    /// the socket has no room now.
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

    /// Pushes out what the socket holds back. Returns whether it may have held back anything: if
    /// so, there may be room now of which no event will tell.
    fn uncork(&mut self) -> bool {
        let corked = std::mem::take(&mut self.corked) && matches!(self.socket, Socket::Tcp(_));
        if corked {
            // Without the push the kernel's timer sends the bytes later.
            let _late = sys::net::push(self.socket.as_fd());
        }
        corked
    }

    /// Bytes that the peer may have taken without this side's knowledge.
    pub(crate) const fn unsent(&self) -> u64 {
        if self.unproven > 0 { UNSENT_BYTES as u64 } else { UNSENT_PROVEN_BYTES as u64 }
    }

    fn sent(&mut self, bytes: usize) -> Sent {
        if self.unproven > 0 {
            self.unproven = self.unproven.saturating_sub(bytes);
            if self.unproven == 0 {
                // If this fails the old bound stays, which is slower and otherwise fine.
                let _kept = sys::net::set_unsent(self.socket.as_fd(), UNSENT_PROVEN_BYTES);
            }
        }
        Sent::Bytes(bytes)
    }

    /// The proof that this connection may be parked, if it may. The socket then holds back no
    /// bytes.
    pub(crate) fn blocked(
        &mut self,
        wanted: Directions,
        job: Option<&Ticket>,
        now: Instant,
    ) -> Option<Blocked> {
        // A response whose payload has to be loaded first may be held back.
        self.uncork();
        if wanted.write && !self.writable {
            self.full_since.get_or_insert(now);
        }
        let ready = (wanted.read && self.readable) || (wanted.write && self.writable);
        let waits = wanted.read || wanted.write || job.is_some();
        if ready || !waits { None } else { Some(Blocked(())) }
    }

    /// Marks both directions as ready, as an event would.
    #[cfg(test)]
    pub(crate) const fn wake_for_test(&mut self) {
        self.readable = true;
        self.writable = true;
    }

    /// Shuts down this side. A peer that is gone already is no error.
    pub(crate) fn end_writing(&self) {
        // ENOTCONN: the peer has reset the connection, which ends it as well.
        let _already_gone = self.socket.shutdown(Shutdown::Write);
    }
}

#[cfg(test)]
mod tests;

//! A connection's socket, and what is known of its readiness.
//!
//! Readiness is edge-triggered: the kernel speaks up once when a direction becomes ready, and again
//! only after that direction has answered `WouldBlock`. A connection that is put aside before that
//! is never woken. So the wire keeps, for each direction, whether `WouldBlock` was its last word, and
//! hands out a [`Blocked`] only when all that the connection waits for has said so. A worker cannot
//! put a connection aside without one.

use std::{
    io::{self, Read as _},
    net::Shutdown,
    os::fd::{AsFd, BorrowedFd},
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

/// Bytes that a TCP socket takes beyond those on their way (tcp(7), `TCP_NOTSENT_LOWAT`): it says that there is room again once
/// half of them have left. Unbounded, a slow peer's socket swallows megabytes, and speaks up again when a third of these were taken, which
/// may be never. It also counts towards the TCP memory of the whole machine, which 10,000 slow readers at 128 KiB used up on one of
/// 24 GiB: then everybody's segments are dropped.
pub(crate) const UNSENT_BYTES: u32 = 32 * 1024;

/// The same for a peer that has taken [`PROVEN_BYTES`]. On loopback 64 KiB to 1 MiB are as fast as no bound; at 25 Gbit/s 256 KiB
/// last for 84 us, more than a worker needs to come round.
const UNSENT_PROVEN_BYTES: u32 = 256 * 1024;

/// What a peer has to take before its socket may hold back more: somebody who wants to use up memory pays for it.
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
    /// The peer sends no more, or the connection is broken: reading says so, once all bytes are read.
    ended: bool,
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
        Self { socket, readable: true, writable: true, ended: false, unproven }
    }

    /// Registers both directions, once and for all: nothing is ever registered again, so no
    /// edge falls between two registrations.
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(self.socket.source(), token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Takes note of an event. Errors and hang-ups count as readiness: the next call brings them out.
    pub(crate) fn woken(&mut self, event: &Event) {
        let broken = event.is_error();
        self.ended |= event.is_read_closed() || broken;
        self.readable |= event.is_readable() || self.ended;
        self.writable |= event.is_writable() || event.is_write_closed() || broken;
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
                    // epoll(7): "For stream-oriented files … the condition that the read/write I/O space is exhausted can
                    // also be detected by checking the amount of data read from / written to the target file
                    // descriptor." Not of an end, of which there is one event; and a Unix socket stops between writers.
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
        if !self.writable {
            return Ok(Sent::Blocked);
        }
        match sys::net::send(self.socket.as_fd(), bytes, more) {
            Ok(n) => Ok(self.sent(n)),
            Err(e) => self.not_sent(e),
        }
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
        if !self.writable {
            return Ok(Sent::Blocked);
        }
        match mover.step(tools, self.socket.as_fd(), file, offset, count) {
            Ok(0) => Ok(Sent::FileEnded),
            Ok(n) => Ok(self.sent(n)),
            Err(e) => self.not_sent(e),
        }
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

    fn not_sent(&mut self, error: io::Error) -> io::Result<Sent> {
        if error.kind() == io::ErrorKind::WouldBlock {
            self.writable = false;
            return Ok(Sent::Blocked);
        }
        Err(error)
    }

    /// The witness that this connection may be put aside, if it may.
    pub(crate) const fn blocked(&self, wanted: Wanted, job: Option<&Ticket>) -> Option<Blocked> {
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
mod tests {
    use std::io::Write as _;

    use super::*;

    const NOTHING: Wanted = Wanted { read: false, write: false };
    const READ: Wanted = Wanted { read: true, write: false };
    const WRITE: Wanted = Wanted { read: false, write: true };
    const BOTH: Wanted = Wanted { read: true, write: true };

    fn wire() -> (Wire, std::os::unix::net::UnixStream) {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (Wire::new(Socket::Unix(UnixStream::from_std(ours))), theirs)
    }

    #[test]
    fn only_would_block_gives_a_witness() {
        let (mut wire, mut peer) = wire();
        assert!(wire.blocked(READ, None).is_none(), "never tried");
        peer.write_all(b"ab").unwrap();
        let mut buffer = [0; 8];
        // A short read is not yet WouldBlock.
        assert_eq!(wire.read(&mut buffer).unwrap(), Received::Bytes(2));
        assert!(wire.blocked(READ, None).is_none());
        assert_eq!(wire.read(&mut buffer).unwrap(), Received::Blocked);
        assert!(wire.blocked(READ, None).is_some());
        assert!(wire.blocked(BOTH, None).is_none(), "writing has not blocked");
        assert!(wire.blocked(WRITE, None).is_none());
    }

    /// `TCP_NOTSENT_LOWAT` before and after a megabyte.
    #[test]
    fn who_has_taken_much_may_be_held_more() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (ours, _) = listener.accept().unwrap();
        let mut wire = Wire::new(Socket::Tcp(TcpStream::from_std(ours)));
        let reads = std::thread::spawn(move || io::copy(&mut peer, &mut io::sink()));
        let mut taken = 0;
        while taken < 1_048_576 {
            assert_eq!(wire.unsent(), 32_768);
            let most = (1_048_576 - taken).min(65_536);
            let Sent::Bytes(n) = wire.send(&[7; 65_536][..most], false).unwrap() else { continue };
            taken += n;
        }
        assert_eq!(wire.unsent(), 262_144);
        let socket = wire.socket.as_fd();
        assert_eq!(socket2::SockRef::from(&socket).tcp_notsent_lowat().unwrap(), 262_144);
        drop(wire);
        reads.join().unwrap().unwrap();
    }

    #[test]
    fn all_wanted_directions_must_have_blocked() {
        let (mut wire, _peer) = wire();
        let mut buffer = [0; 8];
        assert_eq!(wire.read(&mut buffer).unwrap(), Received::Blocked);
        let filler = [0; 65_536];
        let mut sends = 0;
        while wire.send(&filler, false).unwrap() != Sent::Blocked {
            sends += 1;
            assert!(sends < 1000, "a socket buffer has an end");
        }
        assert!(wire.blocked(BOTH, None).is_some());
        assert!(wire.blocked(WRITE, None).is_some());
    }

    #[test]
    fn waiting_for_nothing_gives_no_witness_unless_a_job_is_under_way() {
        let (wire, _peer) = wire();
        assert!(wire.blocked(NOTHING, None).is_none());
        assert!(wire.blocked(NOTHING, Some(&Ticket::for_test())).is_some());
        assert!(wire.blocked(READ, Some(&Ticket::for_test())).is_none(), "reading has not blocked");
    }

    #[test]
    fn the_end_of_the_peer_is_told_from_nothing_now() {
        let (mut wire, peer) = wire();
        let mut buffer = [0; 8];
        assert_eq!(wire.read(&mut buffer).unwrap(), Received::Blocked);
        wire.readable = true;
        drop(peer);
        assert_eq!(wire.read(&mut buffer).unwrap(), Received::End);
    }
}

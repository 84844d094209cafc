//! Two ends of a connection.

use std::{
    io::{self, Read as _},
    net::{TcpListener, TcpStream},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
};

use rustix::net::sockopt;

use super::*;

/// Two ends of a connection.
pub(super) struct Pair {
    pub(super) ours: Box<dyn AsFd>,
    pub(super) theirs: Box<dyn Peer>,
}

pub(super) trait Peer: io::Read {
    fn nonblocking(&self, yes: bool);
}

impl Peer for UnixStream {
    fn nonblocking(&self, yes: bool) {
        self.set_nonblocking(yes).unwrap();
    }
}

impl Peer for TcpStream {
    fn nonblocking(&self, yes: bool) {
        self.set_nonblocking(yes).unwrap();
    }
}

impl Pair {
    pub(super) fn unix() -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        sockopt::set_socket_send_buffer_size(&ours, 64 * KIB).unwrap();
        Self { ours: Box::new(ours), theirs: Box::new(theirs) }
    }

    pub(super) fn tcp() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (ours, _) = listener.accept().unwrap();
        ours.set_nonblocking(true).unwrap();
        sockopt::set_socket_send_buffer_size(&ours, 64 * KIB).unwrap();
        Self { ours: Box::new(ours), theirs: Box::new(theirs) }
    }

    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.ours.as_fd()
    }

    /// What has arrived, at most `most`.
    pub(super) fn take(&mut self, most: usize, into: &mut Vec<u8>) -> usize {
        self.theirs.nonblocking(true);
        let mut buffer = vec![0; most];
        let n = match self.theirs.read(&mut buffer) {
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => 0,
            Err(e) => panic!("{e}"),
        };
        into.extend_from_slice(&buffer[..n]);
        n
    }

    /// All that has been sent, up to `total` bytes in `into`.
    pub(super) fn take_until(&mut self, total: usize, into: &mut Vec<u8>) {
        self.theirs.nonblocking(false);
        let have = into.len();
        into.resize(total, 0);
        self.theirs.read_exact(&mut into[have..]).unwrap();
    }
}

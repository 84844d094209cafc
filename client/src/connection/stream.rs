//! The socket: connected, tuned, and never waited on but in [`Stream::wait`].

use std::{
    io,
    net::{TcpStream, ToSocketAddrs},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{RecvFlags, SendFlags, recv, send, sockopt},
};
use zput_common::keys::Remote;

use super::ConnectionError;

/// Time for each address of a host to take the connection.
const CONNECT_SECONDS: u64 = 10;

/// A stream socket.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Tries the addresses of the host, one after the other.
    pub(super) fn tcp(remote: &Remote, host: &str, port: u16) -> Result<Self, ConnectionError> {
        let addresses = (host, port)
            .to_socket_addrs()
            .map_err(|error| ConnectionError::Resolve { host: host.to_owned(), error })?;
        let failed = |error| ConnectionError::Connect { remote: Box::new(remote.clone()), error };
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in addresses {
            match TcpStream::connect_timeout(&address, Duration::from_secs(CONNECT_SECONDS)) {
                Ok(stream) => {
                    tune(&stream).map_err(failed)?;
                    return Ok(Self::Tcp(stream));
                }
                Err(error) => last = error,
            }
        }
        Err(failed(last))
    }

    pub(super) fn unix(remote: &Remote, path: &str) -> Result<Self, ConnectionError> {
        UnixStream::connect(path)
            .map(Self::Unix)
            .map_err(|error| ConnectionError::Connect { remote: Box::new(remote.clone()), error })
    }

    /// Takes what there is; 0 at the end, [`Errno::AGAIN`] where there is nothing yet.
    pub(super) fn receive(&self, target: &mut [u8]) -> Result<usize, Errno> {
        recv(self, target, RecvFlags::DONTWAIT).map(|(_, received)| received)
    }

    /// Sends what there is room for; [`Errno::AGAIN`] where there is none.
    pub(super) fn send(&self, bytes: &[u8]) -> Result<usize, Errno> {
        send(self, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
    }

    /// Waits until one of `flags` holds; none of them when the time is over or a signal came.
    pub(super) fn wait(
        &self,
        flags: PollFlags,
        timeout: Option<Duration>,
    ) -> Result<PollFlags, Errno> {
        let timeout = timeout.map(timespec);
        let mut fds = [PollFd::new(self, flags)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) | Err(Errno::INTR) => Ok(PollFlags::empty()),
            Ok(_) => Ok(fds[0].revents()),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

/// Requests are small and come in flights: they leave at once. On loopback a congestion control that
/// paces (BBR) costs more than half of the throughput.
fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    if stream.peer_addr()?.ip().is_loopback() {
        // A kernel without it goes on with its default.
        let _kept = sockopt::set_tcp_congestion(stream, "cubic");
    }
    Ok(())
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

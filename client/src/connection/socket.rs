//! The socket: connected, tuned, and never waited on but in [`Stream::wait`].

use std::{
    io,
    net::{SocketAddr, TcpStream},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect,
        recv, send, socket_with, sockopt,
    },
};
use zput_common::keys::Remote;

use super::{
    ConnectionError,
    race::{Race, interleaved},
    route::Route,
};

/// Time for a server to take a connection by a Unix socket: connect(2) waits while its queue is full.
const UNIX_CONNECT_SECONDS: u64 = 10;

/// Time for a peer's kernel to acknowledge what was sent, or a probe: tcp(7), `TCP_USER_TIMEOUT`. Behind it is a line that has
/// forgotten the connection, as a NAT does, or that is down; the server, however busy, has no part in it. A line may be
/// away for a handover, not for longer.
const UNACKNOWLEDGED_SECONDS: u64 = 60;
/// Silence after which the peer's kernel is asked whether it is there, and the time between two questions: four within the
/// limit above. They keep a NAT from forgetting a connection that waits for a commit.
const KEEP_ALIVE_SECONDS: u64 = 15;

/// A stream socket.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Connects to whichever address of the host takes it first (RFC 8305); the one that took the last connection goes before
    /// the others, and before its name is looked up.
    pub(super) fn tcp(
        remote: &Remote,
        host: &str,
        port: u16,
        route: &mut Route,
    ) -> Result<Self, ConnectionError> {
        let was_there = route.was_there;
        let failed =
            |error| ConnectionError::Connect { remote: Box::new(remote.clone()), error, was_there };
        let (address, stream) = match to_any(host, port, route)? {
            Ok(won) => won,
            Err(error) => return Err(failed(error)),
        };
        tune(&stream, address).map_err(failed)?;
        (route.worked, route.was_there) = (Some(address), true);
        Ok(Self::Tcp(stream))
    }

    pub(super) fn unix(
        remote: &Remote,
        path: &str,
        route: &mut Route,
    ) -> Result<Self, ConnectionError> {
        let connected = to_socket(path).map_err(|error| ConnectionError::Connect {
            remote: Box::new(remote.clone()),
            error: error.into(),
            was_there: route.was_there,
        })?;
        route.was_there = true;
        Ok(Self::Unix(connected))
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

/// The first address that takes a connection. What is wrong with the name counts where there is no address to fall back on.
fn to_any(
    host: &str,
    port: u16,
    route: &Route,
) -> Result<io::Result<(SocketAddr, TcpStream)>, ConnectionError> {
    let mut race = Race::default();
    let known = route.worked.filter(|address| address.port() == port);
    if let Some(won) = known.and_then(|address| race.begin(address, Instant::now())) {
        return Ok(Ok(won));
    }
    let addresses = match route.resolver.addresses(host) {
        Ok(addresses) => addresses,
        Err(_) if known.is_some() => Vec::new(),
        Err(error) => return Err(ConnectionError::Resolve { host: host.to_owned(), error }),
    };
    let addresses = addresses.into_iter().map(|ip| SocketAddr::new(ip, port));
    for address in interleaved(addresses.filter(|address| Some(*address) != known)) {
        if let Some(won) = race.begin(address, Instant::now()) {
            return Ok(Ok(won));
        }
    }
    Ok(race.finish())
}

fn to_socket(path: &str) -> Result<UnixStream, Errno> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    let patience = Some(Duration::from_secs(UNIX_CONNECT_SECONDS));
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, patience)?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, None)?;
    Ok(UnixStream::from(socket))
}

/// Requests are small and come in flights: they leave at once. On loopback a congestion control that
/// paces (BBR) costs more than half of the throughput.
fn tune(stream: &TcpStream, address: SocketAddr) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    let interval = Duration::from_secs(KEEP_ALIVE_SECONDS);
    sockopt::set_tcp_keepidle(stream, interval)?;
    sockopt::set_tcp_keepintvl(stream, interval)?;
    sockopt::set_tcp_user_timeout(stream, (UNACKNOWLEDGED_SECONDS * 1000) as u32)?;
    if address.ip().is_loopback() {
        // A kernel without it goes on with its default.
        let _kept = sockopt::set_tcp_congestion(stream, "cubic");
    }
    Ok(())
}

pub(super) fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

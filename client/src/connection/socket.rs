//! The socket: connecting, options, and non-blocking I/O. Only [`Socket::wait`] blocks.

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
    event::{PollFd, PollFlags, poll},
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect,
        recv, send, socket_with, sockopt,
    },
};
use zput_proto::keys::Remote;

use super::{
    error::ConnectionError,
    race::{Race, interleaved, timespec},
    route::Route,
};

/// Seconds that connect(2) waits for a Unix socket whose queue is full.
const UNIX_CONNECT_SECONDS: u64 = 10;

/// Seconds for a peer's kernel to acknowledge data or a probe: tcp(7), `TCP_USER_TIMEOUT`. After
/// that the line is down, or a NAT has forgotten the connection; a busy server still acknowledges.
/// A line may be away for a handover, not for longer.
const UNACKNOWLEDGED_SECONDS: u64 = 60;
/// Seconds of silence before a keep-alive probe, and between two probes: four within the limit
/// above. Probes keep a NAT from forgetting a connection that waits for a commit.
const KEEP_ALIVE_SECONDS: u64 = 15;

/// A stream socket.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// Connects to the first address of the host that accepts (RFC 8305). The address of the last
    /// connection is tried before the others, and before the name is resolved.
    pub(super) fn tcp(
        remote: &Remote,
        host: &str,
        port: u16,
        route: &mut Route,
    ) -> Result<Self, ConnectionError> {
        let was_connected = route.was_connected;
        let failed = |source| ConnectionError::Connect {
            remote: Box::new(remote.clone()),
            source,
            was_connected,
        };
        let (address, stream) = match connect_to_any(host, port, route)? {
            Ok(connected) => connected,
            Err(error) => return Err(failed(error)),
        };
        tune(&stream, address).map_err(failed)?;
        (route.last_address, route.was_connected) = (Some(address), true);
        Ok(Self::Tcp(stream))
    }

    pub(super) fn unix(
        remote: &Remote,
        path: &str,
        route: &mut Route,
    ) -> Result<Self, ConnectionError> {
        let connected = connect_unix(path).map_err(|error| ConnectionError::Connect {
            remote: Box::new(remote.clone()),
            source: error.into(),
            was_connected: route.was_connected,
        })?;
        route.was_connected = true;
        Ok(Self::Unix(connected))
    }

    /// Receives what has arrived; 0 at the end of the stream, [`Errno::AGAIN`] if there is nothing
    /// yet.
    pub(super) fn receive(&self, target: &mut [u8]) -> Result<usize, Errno> {
        recv(self, target, RecvFlags::DONTWAIT).map(|(_, received)| received)
    }

    /// Sends what fits into the socket's buffer; [`Errno::AGAIN`] if nothing does.
    pub(super) fn send(&self, bytes: &[u8]) -> Result<usize, Errno> {
        send(self, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
    }

    /// Waits until one of `flags` holds; returns none after the timeout or a signal.
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

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

/// The first address that accepts a connection. A resolution error counts only if there is no known
/// address to try instead.
fn connect_to_any(
    host: &str,
    port: u16,
    route: &Route,
) -> Result<io::Result<(SocketAddr, TcpStream)>, ConnectionError> {
    let mut race = Race::default();
    let known = route.last_address.filter(|address| address.port() == port);
    if let Some(connected) = known.and_then(|address| race.start(address, Instant::now())) {
        return Ok(Ok(connected));
    }
    let addresses = match route.resolver.addresses(host) {
        Ok(addresses) => addresses,
        Err(_) if known.is_some() => Vec::new(),
        Err(source) => return Err(ConnectionError::Resolve { host: host.to_owned(), source }),
    };
    let addresses = addresses.into_iter().map(|ip| SocketAddr::new(ip, port));
    for address in interleaved(addresses.filter(|address| Some(*address) != known)) {
        if let Some(connected) = race.start(address, Instant::now()) {
            return Ok(Ok(connected));
        }
    }
    Ok(race.finish())
}

fn connect_unix(path: &str) -> Result<UnixStream, Errno> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    let patience = Some(Duration::from_secs(UNIX_CONNECT_SECONDS));
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, patience)?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, None)?;
    Ok(UnixStream::from(socket))
}

/// Disables Nagle's algorithm, since requests are small and sent in groups. On loopback, pacing
/// congestion control (BBR) costs more than half of the throughput, so another one is chosen.
fn tune(stream: &TcpStream, address: SocketAddr) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    let interval = Duration::from_secs(KEEP_ALIVE_SECONDS);
    sockopt::set_tcp_keepidle(stream, interval)?;
    sockopt::set_tcp_keepintvl(stream, interval)?;
    sockopt::set_tcp_user_timeout(stream, (UNACKNOWLEDGED_SECONDS * 1000) as u32)?;
    if address.ip().is_loopback() {
        // A kernel without it keeps its default.
        let _unsupported = sockopt::set_tcp_congestion(stream, "cubic");
    }
    Ok(())
}

//! Listening sockets, and the connections that they accept.

use std::{
    fs, io,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{
            fs::{FileTypeExt, MetadataExt},
            net::UnixStream,
        },
    },
    path::{Path, PathBuf},
};

use mio::{
    event::Source,
    net::{TcpListener, UnixListener},
};
use socket2::{Domain, Protocol, SockAddr, Socket as RawSocket, Type};
use tracing::warn;

use crate::{
    runtime::address::{BoundAddress, ListenAddress},
    sys,
    transfer::socket::{Socket, UNSENT_BYTES},
};

/// Connections that the kernel queues until they are accepted; it caps this at its `somaxconn`.
const BACKLOG: i32 = 1024;

/// A listening socket that a service manager has opened for this process.
#[derive(Debug)]
pub enum InheritedSocket {
    /// A TCP socket, IPv4 or IPv6.
    Tcp(std::net::TcpListener),
    /// A Unix domain socket.
    Unix(std::os::unix::net::UnixListener),
}

/// A listening socket in non-blocking mode. Dropping it removes the file of a Unix socket that it
/// created.
#[derive(Debug)]
pub struct Listener(Kind);

#[derive(Debug)]
enum Kind {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener, SocketFile),
}

/// A connection that was accepted.
#[derive(Debug)]
pub(crate) struct Accepted {
    /// The connected socket, in non-blocking mode.
    pub(crate) socket: Socket,
    /// The peer's address, for the log.
    pub(crate) peer: String,
    /// The peer's IP address; `None` for a Unix socket.
    pub(crate) address: Option<IpAddr>,
}

impl Listener {
    /// Listens on `address`, with this congestion control for all TCP connections that it accepts.
    ///
    /// # Errors
    /// When the address is not available, or the congestion control is not.
    pub fn bind(address: &ListenAddress, congestion: Option<&str>) -> io::Result<Self> {
        match address {
            ListenAddress::Tcp(text) => bind_tcp(text, congestion),
            ListenAddress::Unix(path) => bind_unix(path),
        }
    }

    /// Takes over a socket that listens already. The file of a Unix socket is left to the process
    /// that created it.
    ///
    /// # Errors
    /// When the congestion control is not available.
    pub fn adopt(socket: InheritedSocket, congestion: Option<&str>) -> io::Result<Self> {
        match socket {
            InheritedSocket::Tcp(socket) => {
                socket.set_nonblocking(true)?;
                tune(&socket, congestion)?;
                let address = socket.local_addr()?;
                Ok(Self(Kind::Tcp(TcpListener::from_std(socket), address)))
            }
            InheritedSocket::Unix(socket) => {
                socket.set_nonblocking(true)?;
                let path = socket.local_addr()?.as_pathname().unwrap_or(Path::new("")).to_owned();
                let file = SocketFile { path, owned: None };
                Ok(Self(Kind::Unix(UnixListener::from_std(socket), file)))
            }
        }
    }

    /// The address it is bound to.
    #[must_use]
    pub fn address(&self) -> BoundAddress {
        match &self.0 {
            Kind::Tcp(_, address) => BoundAddress::Tcp(*address),
            Kind::Unix(_, file) => BoundAddress::Unix(file.path.clone()),
        }
    }

    /// The listener as an event source.
    pub(crate) fn source(&mut self) -> &mut dyn Source {
        match &mut self.0 {
            Kind::Tcp(listener, _) => listener,
            Kind::Unix(listener, _) => listener,
        }
    }

    /// Accepts once; the socket is non-blocking.
    pub(crate) fn accept(&self) -> io::Result<Accepted> {
        match &self.0 {
            Kind::Tcp(listener, _) => {
                let (stream, peer) = listener.accept()?;
                Ok(Accepted {
                    socket: Socket::Tcp(stream),
                    peer: peer.to_string(),
                    address: Some(peer.ip().to_canonical()),
                })
            }
            Kind::Unix(listener, file) => {
                let (stream, _) = listener.accept()?;
                let peer = format!("unix:{}", file.path.display());
                Ok(Accepted { socket: Socket::Unix(stream), peer, address: None })
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Kind::Tcp(listener, _) => listener.as_fd(),
            Kind::Unix(listener, _) => listener.as_fd(),
        }
    }
}

fn bind_tcp(text: &str, congestion: Option<&str>) -> io::Result<Listener> {
    let mut failure = io::Error::other("the name has no address");
    for address in text.to_socket_addrs()? {
        let bound = (|| {
            let kind = Type::STREAM.nonblocking();
            let socket = RawSocket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
            // Without it a restarted server cannot bind while old connections are in TIME_WAIT.
            socket.set_reuse_address(true)?;
            socket.bind(&address.into())?;
            tune(&socket, congestion)?;
            socket.listen(BACKLOG)?;
            let listener = TcpListener::from_std(socket.into());
            let address = listener.local_addr()?;
            Ok(Listener(Kind::Tcp(listener, address)))
        })();
        match bound {
            Ok(listener) => return Ok(listener),
            Err(e) => failure = e,
        }
    }
    Err(failure)
}

/// Sets the options that accepted connections inherit from a listener.
fn tune(listener: &impl AsFd, congestion: Option<&str>) -> io::Result<()> {
    sys::net::set_unsent(listener, UNSENT_BYTES)?;
    sys::net::set_keep_alive(listener)?;
    congestion.map_or(Ok(()), |name| sys::net::set_congestion(listener, name))
}

fn bind_unix(path: &Path) -> io::Result<Listener> {
    let listen = || -> io::Result<Listener> {
        let socket = RawSocket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
        socket.bind(&SockAddr::unix(path)?)?;
        socket.listen(BACKLOG)?;
        let file = SocketFile::of(path)?;
        Ok(Listener(Kind::Unix(UnixListener::from_std(socket.into()), file)))
    };
    match listen() {
        Err(e) if e.kind() == io::ErrorKind::AddrInUse => {
            let is_socket = |found: fs::Metadata| found.file_type().is_socket();
            if !fs::symlink_metadata(path).is_ok_and(is_socket) {
                let what = "a file is there that is no socket; remove it, or choose another path";
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
            }
            if !is_stale(path) {
                return Err(e);
            }
            fs::remove_file(path)?;
            listen()
        }
        result => result,
    }
}

/// Whether no process listens on the socket at `path`: a server that was killed leaves its file.
fn is_stale(path: &Path) -> bool {
    let refused = |e: io::Error| e.kind() == io::ErrorKind::ConnectionRefused;
    UnixStream::connect(path).is_err_and(refused)
}

/// The file of a Unix domain socket; removed when dropped, if this server made it and it is still
/// this socket's.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Device and inode of the file, if this server created it.
    owned: Option<(u64, u64)>,
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        let found = fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_owned(), owned: Some((found.dev(), found.ino())) })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = |found: fs::Metadata| self.owned == Some((found.dev(), found.ino()));
        if fs::symlink_metadata(&self.path).is_ok_and(ours)
            && let Err(failure) = fs::remove_file(&self.path)
        {
            warn!(path = %self.path.display(), error = %failure, "cannot remove a socket");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unix(path: &Path) -> io::Result<Listener> {
        Listener::bind(&ListenAddress::Unix(path.to_owned()), None)
    }

    /// Listener replaces the socket file of a dead server but not that of a running one.
    #[test]
    fn listener_replaces_stale_unix_socket_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        // A listener that is dropped by std leaves its file behind, as a killed server does.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let living = unix(&path).unwrap();
        assert_eq!(unix(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert!(UnixStream::connect(&path).is_ok(), "the living one was left alone");
        drop(living);
        assert!(!path.exists(), "it cleans up after itself");
    }

    /// Listener refuses a path with a regular file and leaves the file as it is.
    #[test]
    fn listener_does_not_replace_file_that_is_no_socket() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("precious");
        fs::write(&path, "data").unwrap();
        assert_eq!(
            unix(&path).unwrap_err().to_string(),
            "a file is there that is no socket; remove it, or choose another path"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "data");
    }

    /// A Listener that adopts a Unix socket accepts on it and does not remove its file.
    #[test]
    fn listener_adopted_unix_socket_keeps_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let theirs = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let listener = Listener::adopt(InheritedSocket::Unix(theirs), None).unwrap();
        assert_eq!(listener.address().unix(), Some(path.as_path()));
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let _peer = UnixStream::connect(&path).unwrap();
        assert!(listener.accept().is_ok());
        drop(listener);
        assert!(path.exists(), "only the process that created the file removes it");
    }

    /// A Listener on port 0 reports the port that the kernel chose.
    #[test]
    fn listener_on_port_zero_reports_kernel_port() {
        let any = ListenAddress::Tcp("127.0.0.1:0".into());
        let listener = Listener::bind(&any, None).unwrap();
        assert_ne!(listener.address().tcp().unwrap().port(), 0);
    }

    /// Accepted sockets inherit the listener's keepalive and TCP_NOTSENT_LOWAT options.
    #[test]
    fn accepted_socket_inherits_keepalive_and_lowat() {
        let listener = Listener::bind(&ListenAddress::Tcp("127.0.0.1:0".into()), None).unwrap();
        let _peer = std::net::TcpStream::connect(listener.address().tcp().unwrap()).unwrap();
        let accepted = loop {
            match listener.accept() {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => std::thread::yield_now(),
                accepted => break accepted.unwrap(),
            }
        };
        let socket = socket2::SockRef::from(&accepted.socket);
        assert_eq!(socket.tcp_notsent_lowat().unwrap(), 32_768);
        // A line that is dead is noticed before the client, which waits for a minute, comes back.
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap().as_secs(), 15);
        assert_eq!(socket.tcp_keepalive_interval().unwrap().as_secs(), 10);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
    }

    /// Listener::bind fails when the congestion control is unknown to the kernel.
    #[test]
    fn listener_with_unknown_congestion_control_fails() {
        let any = ListenAddress::Tcp("127.0.0.1:0".into());
        assert!(Listener::bind(&any, Some("no-such-control")).is_err());
    }
}

//! Socket calls that `std` and `mio` do not have. All of them are safe wrappers of `rustix`.
//!
//! Every call is made on non-blocking descriptors. `EINTR` is retried here and nowhere else.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use rustix::{
    io::{Errno, retry_on_intr},
    net::{SendFlags, sockopt},
    process::{Resource, Rlimit, getrlimit, setrlimit},
};
use socket2::SockRef;

/// Writes to a socket without raising `SIGPIPE`.
///
/// `more` says that bytes follow at once: the kernel holds back a partial segment so that they
/// leave together (`MSG_MORE`, send(2)). A Unix socket ignores it.
pub(crate) fn send(socket: BorrowedFd<'_>, bytes: &[u8], more: bool) -> io::Result<usize> {
    let mut flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    if more {
        flags |= SendFlags::MORE;
    }
    Ok(retry_on_intr(|| rustix::net::send(socket, bytes, flags))?)
}

/// Moves up to `count` bytes of `file` from `offset` into `socket` inside the kernel (sendfile(2)).
///
/// Returns how many were moved; 0 means that the file ends at or before `offset`.
pub(crate) fn sendfile(
    socket: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
    offset: u64,
    count: usize,
) -> io::Result<usize> {
    let mut position = offset;
    Ok(retry_on_intr(|| rustix::fs::sendfile(socket, file, Some(&mut position), count))?)
}

/// Sets the congestion control of a TCP socket or listener (tcp(7), `TCP_CONGESTION`).
///
/// Fails with `ENOENT` where the kernel has none of that name, and with `EPERM` where this process
/// may not use it.
pub(crate) fn set_congestion(socket: impl AsFd, name: &str) -> io::Result<()> {
    Ok(sockopt::set_tcp_congestion(socket, name)?)
}

/// Checks that [`set_congestion`] would succeed.
pub(crate) fn try_congestion(name: &str) -> io::Result<()> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    set_congestion(
        socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?,
        name,
    )
}

/// Limits the bytes that a TCP socket, or those accepted by a listener, buffers beyond what is on
/// its way (tcp(7), `TCP_NOTSENT_LOWAT`).
pub(crate) fn set_unsent(socket: impl AsFd, bytes: u32) -> io::Result<()> {
    SockRef::from(&socket).set_tcp_notsent_lowat(bytes)
}

/// Makes the kernel probe a silent TCP peer, or those of a listener (tcp(7), `TCP_KEEPIDLE`): after
/// 15 seconds, and three times within the next 30. So a connection that the network has dropped
/// ends here before its client, which waits for a minute, comes back for what the connection holds.
/// A peer that reads nothing, but whose kernel answers, is not ended by this.
pub(crate) fn set_keep_alive(socket: impl AsFd) -> io::Result<()> {
    let socket = socket.as_fd();
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, Duration::from_secs(15))?;
    sockopt::set_tcp_keepintvl(socket, Duration::from_secs(10))?;
    Ok(sockopt::set_tcp_keepcnt(socket, 3)?)
}

/// Sends small segments at once (`TCP_NODELAY`).
pub(crate) fn set_nodelay(socket: impl AsFd) -> io::Result<()> {
    Ok(sockopt::set_tcp_nodelay(socket, true)?)
}

/// Sends what a TCP socket holds back because more was to follow (`MSG_MORE`), as far as its peer
/// accepts it. tcp(7), `TCP_NODELAY`: "setting this option forces an explicit flush of pending
/// output".
pub(crate) fn push(socket: impl AsFd) -> io::Result<()> {
    set_nodelay(socket)
}

/// Whether accept(2) failed because descriptors or kernel memory ran out: an immediate retry would
/// fail as well.
pub(crate) fn is_exhaustion(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
    )
}

/// Raises the soft limit of open descriptors to the hard one; returns the limit in force.
pub(crate) fn raise_descriptor_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return current.unwrap_or(u64::MAX);
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum.unwrap_or(u64::MAX),
        Err(_) => current.unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        os::unix::net::UnixStream,
    };

    use super::*;

    /// The call sendfile sends from the given offset and returns 0 at the end of the file.
    #[test]
    fn sendfile_starts_at_offset_and_returns_zero_at_end() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        assert_eq!(sendfile(ours.as_fd(), file.as_fd(), 7, 100).unwrap(), 3);
        assert_eq!(sendfile(ours.as_fd(), file.as_fd(), 10, 100).unwrap(), 0);
        let mut got = [0; 3];
        theirs.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"789");
    }

    /// Sending to a closed peer fails with EPIPE and raises no signal.
    #[test]
    fn send_to_closed_peer_is_epipe_without_sigpipe() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        assert_eq!(send(ours.as_fd(), b"x", false).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    /// The check is_exhaustion holds for EMFILE and ENFILE and for no other error.
    #[test]
    fn is_exhaustion_is_true_for_emfile_and_enfile() {
        assert!(is_exhaustion(&io::Error::from_raw_os_error(24)));
        assert!(is_exhaustion(&io::Error::from_raw_os_error(23)));
        assert!(!is_exhaustion(&io::Error::from_raw_os_error(103)));
    }
}

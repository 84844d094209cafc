//! Connects to one of several addresses (RFC 8305, "Happy Eyeballs"): the next attempt starts when
//! the one before has failed or taken 250 ms, and the first that succeeds is used.

use std::{
    io,
    net::{SocketAddr, TcpStream},
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt},
};

/// RFC 8305, 5: "Connection Attempt Delay", of which 250 ms is the recommended value.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// Seconds to wait after the last attempt was started.
const CONNECT_SECONDS: u64 = 10;

/// Concurrent connection attempts.
#[derive(Debug, Default)]
pub(super) struct Race {
    attempts: Vec<(SocketAddr, OwnedFd)>,
    /// The error of the attempt that failed last.
    failure: Option<io::Error>,
}

/// The address that accepted, and its connection.
pub(super) type Connected = (SocketAddr, TcpStream);

impl Race {
    /// Starts connecting to `address` at `now`, and waits until an attempt succeeds or fails, or
    /// the next one is due.
    pub(super) fn start(&mut self, address: SocketAddr, now: Instant) -> Option<Connected> {
        match connect_nonblocking(address) {
            Ok(socket) => self.attempts.push((address, socket)),
            Err(error) => self.failure = Some(error.into()),
        }
        self.wait(now + ATTEMPT_DELAY)
    }

    /// Waits for the started attempts until none is left.
    ///
    /// # Errors
    /// The error of the attempt that failed last, or a timeout.
    pub(super) fn finish(mut self) -> io::Result<Connected> {
        let until = Instant::now() + Duration::from_secs(CONNECT_SECONDS);
        while !self.attempts.is_empty() {
            if let Some(connected) = self.wait(until) {
                return Ok(connected);
            }
            if Instant::now() >= until {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        Err(self.failure.unwrap_or(io::ErrorKind::NotFound.into()))
    }

    /// Returns the first connection that is established; `None` once an attempt has failed, none is
    /// left, or it is `until`.
    fn wait(&mut self, until: Instant) -> Option<Connected> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if self.attempts.is_empty() || left.is_zero() {
                return None;
            }
            let mut polled: Vec<PollFd<'_>> = self
                .attempts
                .iter()
                .map(|(_, socket)| PollFd::new(socket, PollFlags::OUT))
                .collect();
            match poll(&mut polled, Some(&timespec(left))) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => {
                    self.failure = Some(error.into());
                    self.attempts.clear();
                    return None;
                }
            }
            let ready: Vec<bool> =
                polled.iter().map(|polled| !polled.revents().is_empty()).collect();
            let mut has_failed = false;
            for index in (0..ready.len()).rev().filter(|index| ready[*index]) {
                let (address, socket) = self.attempts.remove(index);
                // connect(2), EINPROGRESS: "read the SO_ERROR option … to determine whether
                // connect() completed".
                match sockopt::socket_error(&socket) {
                    Ok(Ok(())) => return Some((address, TcpStream::from(socket))),
                    Ok(Err(error)) | Err(error) => self.failure = Some(error.into()),
                }
                has_failed = true;
            }
            if has_failed {
                return None;
            }
        }
    }
}

fn connect_nonblocking(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    match connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => Ok(socket),
        Err(error) => Err(error),
    }
}

/// RFC 8305, 4: address families alternate, starting with that of the system's first address.
pub(super) fn interleaved(addresses: impl IntoIterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut all = addresses.into_iter().peekable();
    let Some(first_is_v6) = all.peek().map(SocketAddr::is_ipv6) else { return Vec::new() };
    let (first, second): (Vec<_>, Vec<_>) =
        all.partition(|address| address.is_ipv6() == first_is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut order = Vec::new();
    loop {
        let pair = [first.next(), second.next()];
        if pair.iter().all(Option::is_none) {
            return order;
        }
        order.extend(pair.into_iter().flatten());
    }
}

pub(super) fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A listener with a full queue: connections are neither accepted nor refused, as if packets
    /// were dropped.
    struct Unresponsive {
        listener: TcpListener,
        _backlog: Vec<OwnedFd>,
    }

    impl Unresponsive {
        fn new() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            rustix::net::listen(&listener, 0).unwrap();
            let address = listener.local_addr().unwrap();
            let waiting: Vec<OwnedFd> =
                (0..8).map(|_| connect_nonblocking(address).unwrap()).collect();
            Self { listener, _backlog: waiting }
        }

        fn address(&self) -> SocketAddr {
            self.listener.local_addr().unwrap()
        }
    }

    fn race(addresses: &[SocketAddr]) -> io::Result<Connected> {
        let mut race = Race::default();
        for address in addresses {
            if let Some(connected) = race.start(*address, Instant::now()) {
                return Ok(connected);
            }
        }
        race.finish()
    }

    /// Connecting uses a later address if the first ones do not respond.
    #[test]
    fn race_skips_unresponsive_addresses() {
        let (dead, alive) = (Unresponsive::new(), TcpListener::bind("127.0.0.1:0").unwrap());
        let alive = alive.local_addr().map(|address| (alive, address)).unwrap();
        let connected = race(&[dead.address(), dead.address(), alive.1]).unwrap();
        assert_eq!((connected.0, connected.1.peer_addr().unwrap()), (alive.1, alive.1));
    }

    /// With a clock of the test's own: an attempt that began a second ago is not waited for any
    /// more, even if it has succeeded.
    #[test]
    fn race_starts_next_address_after_250_ms() {
        let alive = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = alive.local_addr().unwrap();
        let now = Instant::now();
        let a_second_ago = now.checked_sub(Duration::from_secs(1)).unwrap();
        let mut race = Race::default();
        assert!(race.start(address, a_second_ago).is_none(), "it is waited for");
        assert_eq!(race.finish().unwrap().0, address, "but it is in the race still");
        let in_a_minute = now + Duration::from_secs(60);
        assert_eq!(Race::default().start(address, in_a_minute).unwrap().0, address);
    }

    /// Connecting passes an address that refuses or has no route.
    #[test]
    fn race_skips_refused_and_unroutable_addresses() {
        let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let alive = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = alive.local_addr().unwrap();
        // TCP has no route to a broadcast address: ENETUNREACH.
        let nowhere: SocketAddr = "255.255.255.255:9".parse().unwrap();
        assert_eq!(race(&[gone, nowhere, address]).unwrap().0, address);
        let error = race(&[gone]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    /// IPv6 and IPv4 addresses are tried in turns, as RFC 8305 says.
    #[test]
    fn interleaved_addresses_alternate_families() {
        let parse = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let order =
            interleaved(parse(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"]));
        assert_eq!(order, parse(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"]));
        let order = interleaved(parse(&["1.1.1.1:1", "2.2.2.2:1", "[::1]:1"]));
        assert_eq!(order, parse(&["1.1.1.1:1", "[::1]:1", "2.2.2.2:1"]));
        assert_eq!(interleaved([]), []);
    }
}

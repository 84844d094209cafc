//! Connecting to one of several addresses (RFC 8305, "Happy Eyeballs"): the next one is begun when the one before has
//! failed, or has said nothing for a quarter of a second; the first that takes the connection has it.

use std::{
    io,
    net::{SocketAddr, TcpStream},
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt},
};

use super::stream::timespec;

/// RFC 8305, 5: "Connection Attempt Delay", of which 250 ms is the recommended value.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// Time for the address that was begun last to take the connection.
const CONNECT_SECONDS: u64 = 10;

/// Connections that are being made.
#[derive(Debug, Default)]
pub(super) struct Race {
    runners: Vec<(SocketAddr, OwnedFd)>,
    /// How the last one that failed did.
    failure: Option<io::Error>,
}

/// The address that took the connection, and the connection.
pub(super) type Won = (SocketAddr, TcpStream);

impl Race {
    /// Begins to connect to `address` at `now`, and waits until something is known of it, or it is time for another one.
    pub(super) fn begin(&mut self, address: SocketAddr, now: Instant) -> Option<Won> {
        match start(address) {
            Ok(socket) => self.runners.push((address, socket)),
            Err(error) => self.failure = Some(error.into()),
        }
        self.wait(now + ATTEMPT_DELAY)
    }

    /// Waits for those that were begun, until none is left.
    ///
    /// # Errors
    /// How the last one failed.
    pub(super) fn finish(mut self) -> io::Result<Won> {
        let until = Instant::now() + Duration::from_secs(CONNECT_SECONDS);
        while !self.runners.is_empty() {
            if let Some(won) = self.wait(until) {
                return Ok(won);
            }
            if Instant::now() >= until {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        Err(self.failure.unwrap_or(io::ErrorKind::NotFound.into()))
    }

    /// Gives the first that is connected; none once one has failed, the time is over, or all have failed.
    fn wait(&mut self, until: Instant) -> Option<Won> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if self.runners.is_empty() || left.is_zero() {
                return None;
            }
            let mut polled: Vec<PollFd<'_>> = self
                .runners
                .iter()
                .map(|(_, socket)| PollFd::new(socket, PollFlags::OUT))
                .collect();
            match poll(&mut polled, Some(&timespec(left))) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => {
                    self.failure = Some(error.into());
                    self.runners.clear();
                    return None;
                }
            }
            let ready: Vec<bool> =
                polled.iter().map(|polled| !polled.revents().is_empty()).collect();
            let mut has_failed = false;
            for index in (0..ready.len()).rev().filter(|index| ready[*index]) {
                let (address, socket) = self.runners.remove(index);
                // connect(2), EINPROGRESS: "read the SO_ERROR option … to determine whether connect() completed".
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

fn start(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    match connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => Ok(socket),
        Err(error) => Err(error),
    }
}

/// RFC 8305, 4: the families take turns, beginning with the one that the system has put first.
pub(super) fn interleaved(addresses: impl IntoIterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut all = addresses.into_iter().peekable();
    let Some(is_first) = all.peek().map(SocketAddr::is_ipv6) else { return Vec::new() };
    let (first, second): (Vec<_>, Vec<_>) = all.partition(|address| address.is_ipv6() == is_first);
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

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A listener whose queue is full: what comes is neither taken nor refused, like packets that are dropped.
    struct Dead {
        listener: TcpListener,
        _waiting: Vec<OwnedFd>,
    }

    impl Dead {
        fn new() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            rustix::net::listen(&listener, 0).unwrap();
            let address = listener.local_addr().unwrap();
            let waiting: Vec<OwnedFd> = (0..8).map(|_| start(address).unwrap()).collect();
            Self { listener, _waiting: waiting }
        }

        fn address(&self) -> SocketAddr {
            self.listener.local_addr().unwrap()
        }
    }

    fn race(addresses: &[SocketAddr]) -> io::Result<Won> {
        let mut race = Race::default();
        for address in addresses {
            if let Some(won) = race.begin(*address, Instant::now()) {
                return Ok(won);
            }
        }
        race.finish()
    }

    #[test]
    fn a_first_address_that_is_dead_is_passed_by() {
        let (dead, alive) = (Dead::new(), TcpListener::bind("127.0.0.1:0").unwrap());
        let alive = alive.local_addr().map(|address| (alive, address)).unwrap();
        let won = race(&[dead.address(), dead.address(), alive.1]).unwrap();
        assert_eq!((won.0, won.1.peer_addr().unwrap()), (alive.1, alive.1));
    }

    /// By a clock of its own: of what was begun a second ago nothing is awaited any more, not even what is there.
    #[test]
    fn the_next_address_is_begun_after_a_quarter_of_a_second() {
        let alive = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = alive.local_addr().unwrap();
        let now = Instant::now();
        let a_second_ago = now.checked_sub(Duration::from_secs(1)).unwrap();
        let mut race = Race::default();
        assert!(race.begin(address, a_second_ago).is_none(), "it is waited for");
        assert_eq!(race.finish().unwrap().0, address, "but it is in the race still");
        let in_a_minute = now + Duration::from_secs(60);
        assert_eq!(Race::default().begin(address, in_a_minute).unwrap().0, address);
    }

    #[test]
    fn a_first_address_that_refuses_or_has_no_route_is_passed_by_at_once() {
        let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let alive = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = alive.local_addr().unwrap();
        // TCP leads to nobody there: ENETUNREACH.
        let nowhere: SocketAddr = "255.255.255.255:9".parse().unwrap();
        assert_eq!(race(&[gone, nowhere, address]).unwrap().0, address);
        let error = race(&[gone]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn families_take_turns() {
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

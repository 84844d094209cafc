use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use super::*;
use crate::sys::net::raise_descriptor_limit;
use crate::{Engine, ListenAddress, heartbeat::Heartbeat, metrics::Protocol};

fn start(condition: &Condition) -> (Admin, SocketAddr) {
    let any: ListenAddress = "127.0.0.1:0".parse().unwrap();
    let listener = Listener::bind(&any, None).unwrap();
    let address = listener.address().tcp().unwrap();
    (Admin::start(listener, condition.clone()).unwrap(), address)
}

fn condition() -> Condition {
    Condition::new(Arc::new(Metrics::new(1, Engine::Sendfile)), Pulse::default())
}

fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn get(address: SocketAddr, path: &str) -> String {
    ask(address, &format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"))
}

#[test]
fn metrics_are_told() {
    let condition = condition();
    condition.metrics.doors().accepted(Protocol::Zput);
    let (_admin, address) = start(&condition);
    let answer = get(address, "/metrics?name=x");
    let (head, content) = answer.split_once("\r\n\r\n").unwrap();
    assert_eq!(
        head,
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/openmetrics-text; version=1.0.0; \
             charset=utf-8\r\nContent-Length: {}\r\nCache-Control: no-store\r\nConnection: close",
            content.len()
        )
    );
    assert!(content.contains("\nzserve_connections_accepted_total{protocol=\"zput\"} 1\n"));
    let head_only = ask(address, "HEAD /metrics HTTP/1.1\r\n\r\n");
    assert_eq!(head_only, format!("{head}\r\n\r\n"));
}

#[test]
fn health_is_told_with_its_reason() {
    let condition = condition();
    let (_admin, address) = start(&condition);
    let fine = get(address, "/healthz");
    assert!(fine.starts_with("HTTP/1.1 200 OK\r\n") && fine.ends_with("\r\n\r\nok\n"), "{fine}");
    condition.drain();
    let draining = get(address, "/healthz");
    assert!(draining.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{draining}");
    assert!(draining.ends_with("\r\n\r\ndraining: the server stops\n"), "{draining}");
}

#[test]
fn a_worker_that_hangs_is_unhealthy() {
    let condition = condition();
    condition.pulse.watch(Heartbeat::default(), || {});
    let now = Instant::now();
    assert_eq!(condition.health(now), Ok(()));
    let why = condition.health(now + Duration::from_secs(12)).unwrap_err();
    assert_eq!(why, "worker 0 has not turned for 12 s although it was woken");
    assert!(condition.stalled(now + Duration::from_secs(13)).is_some());
    // Workers that drain end one by one, and the deadline of that is another's.
    condition.drain();
    assert_eq!(condition.stalled(now + Duration::from_secs(14)), None);
}

#[test]
fn other_requests_are_refused() {
    let (_admin, address) = start(&condition());
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(8 * 1024));
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", "404 Not Found"),
        ("GET /metrics/ HTTP/1.1\r\n\r\n", "404 Not Found"),
        ("POST /metrics HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
        ("\0\r\n\r\n", "400 Bad Request"),
        (&long, "431 Request Header Fields Too Large"),
    ] {
        let answer = ask(address, request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{request}: {answer}");
        assert_eq!(answer.contains("\r\nAllow: GET, HEAD\r\n"), status.starts_with("405"));
    }
}

/// A load balancer's checks, a port scan, a browser's spare connections: a probe that waits for 100 ms
/// does not see them.
#[test]
fn a_probe_is_answered_at_once_beside_a_thousand_idle_clients() {
    raise_descriptor_limit();
    let took = || {
        let (_admin, address) = start(&condition());
        let connect = |n| {
            let mut stream = TcpStream::connect(address).unwrap();
            if n % 3 == 0 {
                stream.write_all(b"GET /hea").unwrap();
            }
            stream
        };
        let _idle: Vec<_> = (0..1000).map(connect).collect();
        let start = Instant::now();
        assert!(get(address, "/healthz").ends_with("ok\n"));
        start.elapsed()
    };
    // Again where this machine was busy with something else: whoever waits for an idle client waits for
    // its two seconds each time.
    let best = (0..5).map(|_| took()).find(|took| *took < Duration::from_millis(100));
    assert!(best.is_some(), "no probe of five was answered within 100 ms");
}

/// Clients that take no answer, and clients that have not asked to the end yet, keep nobody from being
/// answered, and one that goes on is answered though others came after it.
#[test]
fn a_client_that_takes_its_time_is_answered_beside_others() {
    let (_admin, address) = start(&condition());
    let mut slow = TcpStream::connect(address).unwrap();
    slow.write_all(b"GET /healthz HTTP/1.1\r\n").unwrap();
    for _ in 0..CLIENTS_MAX - 2 {
        let mut unread = TcpStream::connect(address).unwrap();
        unread.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
        drop(unread);
    }
    assert!(get(address, "/healthz").ends_with("ok\n"));
    slow.write_all(b"\r\n").unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("ok\n"), "{answer}");
}

/// A door without a thread and without a clock.
struct Door {
    room: Room,
    address: SocketAddr,
    now: Instant,
    /// The ends of all that ever came, in their order.
    came: Vec<TcpStream>,
}

impl Door {
    fn new() -> Self {
        let any: ListenAddress = "127.0.0.1:0".parse().unwrap();
        let listener = Listener::bind(&any, None).unwrap();
        let address = listener.address().tcp().unwrap();
        let (condition, clients) = (condition(), VecDeque::new());
        let room = Room { listener, condition, clients, rests_until: None };
        Self { room, address, now: Instant::now(), came: Vec::new() }
    }

    /// What came is taken in by and by: connect(2) and write(2) return before the other end has it.
    fn until(&mut self, is: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !is(self) {
            assert!(begun.elapsed() < Duration::from_secs(60), "not within a minute");
            self.room.take_in(self.now);
            self.room.converse(&vec![true; self.room.clients.len()], self.now);
        }
    }

    /// A client that comes and says nothing.
    fn comes(&mut self) -> &mut TcpStream {
        let client = TcpStream::connect(self.address).unwrap();
        self.came.push(client);
        let number = self.came.len() - 1;
        self.until(|door| door.inside().contains(&number));
        &mut self.came[number]
    }

    /// A client that asks, and does not leave when it is answered.
    fn comes_and_asks(&mut self) {
        self.comes().write_all(b"GET /healthz HTTP/1.1\r\n\r\n").unwrap();
        self.until(|door| door.room.clients.back().is_some_and(|client| !client.is_silent()));
    }

    /// Which of those that came are inside.
    fn inside(&self) -> Vec<usize> {
        let ends: Vec<_> = self.came.iter().map(|end| end.local_addr().unwrap()).collect();
        let clients = self.room.clients.iter();
        let peers = clients.map(|client| {
            SocketAddr::try_from(rustix::net::getpeername(client).unwrap().unwrap()).unwrap()
        });
        peers.map(|peer| ends.iter().position(|end| *end == peer).unwrap()).collect()
    }
}

/// The one that is let go of is the one that has been silent for longest.
#[test]
fn the_longest_silent_client_makes_room() {
    let mut door = Door::new();
    door.comes_and_asks();
    for _ in 1..CLIENTS_MAX {
        door.comes();
    }
    assert_eq!(door.inside(), Vec::from_iter(0..CLIENTS_MAX));
    // The first has asked and waits for nothing but its end.
    for gone in 1..3 {
        door.comes();
        let silent = gone + 1..CLIENTS_MAX + gone;
        assert_eq!(door.inside(), Vec::from_iter(std::iter::once(0).chain(silent)));
    }
}

#[test]
fn where_all_have_asked_the_first_makes_room() {
    let mut door = Door::new();
    for _ in 0..CLIENTS_MAX {
        door.comes_and_asks();
    }
    door.comes();
    assert_eq!(door.inside(), Vec::from_iter(1..=CLIENTS_MAX));
}

#[test]
fn a_client_has_its_time_and_no_more() {
    let mut door = Door::new();
    assert_eq!(door.room.timeout(door.now), None, "there is nobody");
    let first = door.now;
    door.comes();
    door.comes_and_asks();
    door.now += Duration::from_secs(1);
    door.comes().write_all(b"GET /hea").unwrap();
    // It is waited for the first of them, rounded up.
    assert_eq!(door.room.timeout(door.now), Some(Timespec { tv_sec: 1, tv_nsec: 1_000_000 }));
    let nothing = [false; 3];
    door.room.converse(&nothing, first + Duration::from_millis(1_999));
    assert_eq!(door.inside(), [0, 1, 2]);
    door.room.converse(&nothing, first + Duration::from_secs(2));
    assert_eq!(door.inside(), [2]);
    door.room.converse(&[true], first + Duration::from_secs(3));
    assert!(door.room.clients.is_empty());

    // The thread keeps to it.
    let (_admin, address) = start(&condition());
    let mut silent = TcpStream::connect(address).unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    assert_eq!(silent.read(&mut [0]).unwrap(), 0, "it was closed");
}

#[test]
fn it_ends_when_it_is_dropped() {
    let (admin, address) = start(&condition());
    drop(admin);
    assert!(TcpStream::connect(address).is_err());
}

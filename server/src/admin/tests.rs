use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use super::*;
use crate::sys::net::raise_descriptor_limit;
use crate::{metrics::Protocol, runtime::address::ListenAddress, worker::heartbeat::Heartbeat};

fn start(health: &Health) -> (Admin, SocketAddr) {
    let any: ListenAddress = "127.0.0.1:0".parse().unwrap();
    let listener = Listener::bind(&any, None).unwrap();
    let address = listener.address().tcp().unwrap();
    (Admin::start(listener, health.clone()).unwrap(), address)
}

fn health() -> Health {
    Health::new(Arc::new(Metrics::new(1, "sendfile")), Liveness::default())
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

/// GET /metrics returns OpenMetrics text, and HEAD returns the same head alone.
#[test]
fn admin_metrics_answers_openmetrics_text() {
    let health = health();
    health.metrics.endpoints().accepted(Protocol::Zput);
    let (_admin, address) = start(&health);
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

/// GET /healthz returns 200, and 503 with the reason while the server drains.
#[test]
fn admin_healthz_answers_503_while_draining() {
    let health = health();
    let (_admin, address) = start(&health);
    let fine = get(address, "/healthz");
    assert!(fine.starts_with("HTTP/1.1 200 OK\r\n") && fine.ends_with("\r\n\r\nok\n"), "{fine}");
    health.drain();
    let draining = get(address, "/healthz");
    assert!(draining.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{draining}");
    assert!(draining.ends_with("\r\n\r\nshutting down\n"), "{draining}");
}

/// Health reports a worker that ran no turn after it was woken, except while draining.
#[test]
fn health_check_reports_stalled_worker() {
    let health = health();
    health.liveness.register(Heartbeat::default(), || {});
    let now = Instant::now();
    assert_eq!(health.check(now), Ok(()));
    let why = health.check(now + Duration::from_secs(12)).unwrap_err();
    assert_eq!(why, "worker 0 has not run for 12 s although it was woken");
    assert!(health.stalled(now + Duration::from_secs(13)).is_some());
    // While workers drain they end one by one, and another deadline covers that.
    health.drain();
    assert_eq!(health.stalled(now + Duration::from_secs(14)), None);
}

/// The admin endpoint answers 404, 405, 400 or 431 to any other request.
#[test]
fn admin_refuses_unknown_path_method_and_long_head() {
    let (_admin, address) = start(&health());
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

/// The idle connections may be a load balancer's checks, a port scan, or a browser's spare
/// connections. A probe that waits for 100 ms does not notice them.
#[test]
fn admin_probe_is_answered_in_100_ms_beside_1000_idle_clients() {
    raise_descriptor_limit();
    let took = || {
        let (_admin, address) = start(&health());
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
    // Tried several times, in case this machine is busy: a server that waits for idle clients takes
    // their two seconds each time.
    let best = (0..5).map(|_| took()).find(|took| *took < Duration::from_millis(100));
    assert!(best.is_some(), "no probe of five was answered within 100 ms");
}

/// Clients that read no response, and clients whose request is incomplete, do not delay other
/// responses; a client that continues its request is answered though others came after it.
#[test]
fn admin_answers_slow_client_beside_full_client_table() {
    let (_admin, address) = start(&health());
    let mut slow = TcpStream::connect(address).unwrap();
    slow.write_all(b"GET /healthz HTTP/1.1\r\n").unwrap();
    for _ in 0..ADMIN_CLIENTS_MAX - 2 {
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

/// The admin loop, driven without its thread and without a clock.
struct TestLoop {
    admin_loop: AdminLoop,
    address: SocketAddr,
    now: Instant,
    /// The client ends of all connections, in their order.
    connected: Vec<TcpStream>,
}

impl TestLoop {
    fn new() -> Self {
        let any: ListenAddress = "127.0.0.1:0".parse().unwrap();
        let listener = Listener::bind(&any, None).unwrap();
        let address = listener.address().tcp().unwrap();
        let (health, clients) = (health(), VecDeque::new());
        let admin_loop = AdminLoop { listener, health, clients, paused_until: None };
        Self { admin_loop, address, now: Instant::now(), connected: Vec::new() }
    }

    /// Drives the loop until `is` holds: connect(2) and write(2) return before the other end has
    /// the bytes.
    fn until(&mut self, is: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !is(self) {
            assert!(begun.elapsed() < Duration::from_secs(60), "not within a minute");
            self.admin_loop.accept_clients(self.now);
            self.admin_loop.drive_clients(&vec![true; self.admin_loop.clients.len()], self.now);
        }
    }

    /// Connects a client that sends nothing.
    fn connect(&mut self) -> &mut TcpStream {
        let client = TcpStream::connect(self.address).unwrap();
        self.connected.push(client);
        let number = self.connected.len() - 1;
        self.until(|test| test.open_clients().contains(&number));
        &mut self.connected[number]
    }

    /// Connects a client that sends a request, and does not close when it is answered.
    fn connect_and_request(&mut self) {
        self.connect().write_all(b"GET /healthz HTTP/1.1\r\n\r\n").unwrap();
        self.until(|test| {
            test.admin_loop.clients.back().is_some_and(|client| !client.is_awaiting_request())
        });
    }

    /// The numbers of the connections that are open.
    fn open_clients(&self) -> Vec<usize> {
        let ends: Vec<_> = self.connected.iter().map(|end| end.local_addr().unwrap()).collect();
        let clients = self.admin_loop.clients.iter();
        let peers = clients.map(|client| {
            SocketAddr::try_from(rustix::net::getpeername(client).unwrap().unwrap()).unwrap()
        });
        peers.map(|peer| ends.iter().position(|end| *end == peer).unwrap()).collect()
    }
}

/// The client that has been silent for longest is closed.
#[test]
fn admin_client_limit_closes_longest_silent_client() {
    let mut test = TestLoop::new();
    test.connect_and_request();
    for _ in 1..ADMIN_CLIENTS_MAX {
        test.connect();
    }
    assert_eq!(test.open_clients(), Vec::from_iter(0..ADMIN_CLIENTS_MAX));
    // The first has sent its request, so it is not silent.
    for gone in 1..3 {
        test.connect();
        let silent = gone + 1..ADMIN_CLIENTS_MAX + gone;
        assert_eq!(test.open_clients(), Vec::from_iter(std::iter::once(0).chain(silent)));
    }
}

/// When every admin client has sent its request, a new client replaces the oldest.
#[test]
fn admin_client_limit_closes_oldest_when_all_have_requested() {
    let mut test = TestLoop::new();
    for _ in 0..ADMIN_CLIENTS_MAX {
        test.connect_and_request();
    }
    test.connect();
    assert_eq!(test.open_clients(), Vec::from_iter(1..=ADMIN_CLIENTS_MAX));
}

/// The admin loop closes a client two seconds after it connected.
#[test]
fn admin_client_is_closed_after_two_seconds() {
    let mut test = TestLoop::new();
    assert_eq!(test.admin_loop.timeout(test.now), None, "there is no client");
    let first = test.now;
    test.connect();
    test.connect_and_request();
    test.now += Duration::from_secs(1);
    test.connect().write_all(b"GET /hea").unwrap();
    // The loop waits for the first deadline, rounded up.
    assert_eq!(test.admin_loop.timeout(test.now), Some(Timespec { tv_sec: 1, tv_nsec: 1_000_000 }));
    let nothing = [false; 3];
    test.admin_loop.drive_clients(&nothing, first + Duration::from_millis(1_999));
    assert_eq!(test.open_clients(), [0, 1, 2]);
    test.admin_loop.drive_clients(&nothing, first + Duration::from_secs(2));
    assert_eq!(test.open_clients(), [2]);
    test.admin_loop.drive_clients(&[true], first + Duration::from_secs(3));
    assert!(test.admin_loop.clients.is_empty());

    // The thread does the same.
    let (_admin, address) = start(&health());
    let mut silent = TcpStream::connect(address).unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    assert_eq!(silent.read(&mut [0]).unwrap(), 0, "it was closed");
}

/// Dropping Admin ends its thread and closes its listening socket.
#[test]
fn admin_stops_listening_when_dropped() {
    let (admin, address) = start(&health());
    drop(admin);
    assert!(TcpStream::connect(address).is_err());
}

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use super::*;
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

/// One that sends nothing, one that drips, one that takes nothing: the next one waits its turn, and
/// not for long.
#[test]
fn a_slow_client_does_not_hold_up_the_others() {
    let (_admin, address) = start(&condition());
    let silent = TcpStream::connect(address).unwrap();
    let mut partial = TcpStream::connect(address).unwrap();
    partial.write_all(b"GET /hea").unwrap();
    let start = Instant::now();
    assert!(get(address, "/healthz").ends_with("ok\n"));
    let took = start.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
    drop((silent, partial));
}

#[test]
fn it_ends_when_it_is_dropped() {
    let (admin, address) = start(&condition());
    drop(admin);
    assert!(TcpStream::connect(address).is_err());
}

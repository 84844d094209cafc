//! What one client may take from the others.

use std::{
    io::Read as _,
    time::{Duration, Instant},
};

use super::tree::{bytes, serve};
use zput_testkit::PATIENCE;

/// At the connection limit an HTTP client gets 503 with Retry-After.
#[test]
fn http_connection_limit_answers_503_with_retry_after() {
    let home = serve(|options| options.limits.max_connections = 2);
    home.write("f", "text");
    let mut first = home.client();
    let mut second = home.client();
    assert_eq!((first.get("/f").unwrap().status, second.get("/f").unwrap().status), (200, 200));
    let mut third = home.client();
    third.send("GET /f HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    let refusal = third.receive().unwrap();
    assert_eq!((refusal.status, refusal.field("Retry-After")), (503, Some("1")));
    assert_eq!(third.rest(), b"");
    drop(first);
    let deadline = Instant::now() + PATIENCE;
    while home.client().get("/f").unwrap().status != 200 {
        assert!(Instant::now() < deadline, "a seat is not given back");
    }
    assert_eq!(second.get("/f").unwrap().status, 200);
}

/// Beyond the limit for one address an HTTP client gets 503.
#[test]
fn http_per_client_limit_answers_503() {
    let home = serve(|options| options.limits.max_connections_per_client = Some(1));
    home.write("f", "text");
    let mut first = home.client();
    assert_eq!(first.get("/f").unwrap().status, 200);
    let mut second = home.client();
    second.send("GET /f HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    assert_eq!(second.receive().unwrap().status, 503);
}

/// An HTTP request whose head does not end in time is answered with 408 and closed.
#[test]
fn http_incomplete_head_is_408_and_closed() {
    let home = serve(|options| options.limits.http_header_timeout = Duration::from_secs(1));
    let mut client = home.client();
    client.send("GET /f HTTP/1.1\r\nHost:").unwrap();
    let began = Instant::now();
    let refusal = client.receive().unwrap();
    assert_eq!(refusal.status, 408);
    assert_eq!(client.rest(), b"");
    assert!(began.elapsed() < Duration::from_secs(10));
}

/// An idle HTTP connection is closed at its timeout and counts no more.
#[test]
fn http_idle_connection_is_closed_at_timeout() {
    let home = serve(|options| options.limits.idle_timeout = Duration::from_secs(1));
    home.write("f", "text");
    let mut client = home.client();
    assert_eq!(client.get("/f").unwrap().status, 200);
    let began = Instant::now();
    assert_eq!(client.rest(), b"");
    assert!(began.elapsed() < Duration::from_secs(10));
    while home.server.stats().connections > 0 {
        assert!(began.elapsed() < PATIENCE, "its seat is not given back");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The limit of open files is met by sharing one, and then by telling clients to come again.
#[test]
fn http_open_file_limit_answers_503() {
    let home = serve(|options| {
        options.limits.max_open_files = 2;
        options.limits.open_file_cache = 1;
        options.workers = 1;
    });
    for name in ["a", "b", "c"] {
        home.write(name, bytes(32 * 1024 * 1024));
    }
    let mut readers: Vec<_> = ["/a", "/a", "/b"]
        .into_iter()
        .map(|path| {
            let mut client = home.client();
            client.send(&format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")).unwrap();
            assert!(client.head().unwrap().text.starts_with("HTTP/1.1 200 "), "{path}");
            client
        })
        .collect();
    assert!(home.server.stats().open_files <= 2);
    assert_eq!(home.client().get("/c").unwrap().status, 503);
    for reader in &mut readers {
        let mut body = vec![0; 32 * 1024 * 1024];
        reader.stream().read_exact(&mut body).unwrap();
        assert!(body == bytes(body.len()));
    }
    assert_eq!(home.client().get("/c").unwrap().status, 200);
}

/// A server with an idle HTTP connection runs no event-loop turns.
#[test]
fn http_server_when_idle_does_not_spin() {
    let home = serve(|_| {});
    home.write("f", "text");
    let mut client = home.client();
    assert_eq!(client.get("/f").unwrap().status, 200);
    let began = Instant::now();
    loop {
        let before = home.server.stats().rounds;
        std::thread::sleep(Duration::from_millis(500));
        let rounds = home.server.stats().rounds - before;
        if rounds <= 2 {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{rounds} rounds of nothing");
    }
    assert_eq!(client.get("/f").unwrap().status, 200);
}

/// A shutdown lets an HTTP response complete and closes idle connections.
#[test]
fn http_response_completes_during_shutdown() {
    let home = serve(|_| {});
    home.write("f", bytes(64 * 1024 * 1024));
    let mut busy = home.client();
    let mut idle = home.client();
    busy.send("GET /f HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    busy.head().unwrap();
    assert_eq!(idle.head_of("/f").unwrap().status, 200);
    let server = home.server;
    let stopping = std::thread::spawn(move || server.shutdown());
    assert_eq!(idle.rest(), b"");
    let mut body = vec![0; 64 * 1024 * 1024];
    busy.stream().read_exact(&mut body).unwrap();
    assert!(body == bytes(body.len()));
    assert_eq!(busy.rest(), b"");
    stopping.join().unwrap().unwrap();
}

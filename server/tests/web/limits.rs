//! What one client may take from the others.

use std::{
    io::Read as _,
    time::{Duration, Instant},
};

use super::client::{PATIENCE, bytes, serve};

/// At the connection limit an HTTP client gets 503 with Retry-After.
#[test]
fn http_connection_limit_answers_503_with_retry_after() {
    let home = serve(|options| options.limits.max_connections = 2);
    home.write("f", "text");
    let mut first = home.client();
    let mut second = home.client();
    assert_eq!((first.get("/f").status, second.get("/f").status), (200, 200));
    let mut third = home.client();
    third.say("GET /f HTTP/1.1\r\nHost: h\r\n\r\n");
    let refusal = third.hear(true);
    assert_eq!((refusal.status, refusal.field("Retry-After")), (503, Some("1")));
    assert_eq!(third.rest(), b"");
    drop(first);
    let deadline = Instant::now() + PATIENCE;
    while home.client().get("/f").status != 200 {
        assert!(Instant::now() < deadline, "a seat is not given back");
    }
    assert_eq!(second.get("/f").status, 200);
}

/// Beyond the limit for one address an HTTP client gets 503.
#[test]
fn http_per_client_limit_answers_503() {
    let home = serve(|options| options.limits.max_connections_per_client = Some(1));
    home.write("f", "text");
    let mut first = home.client();
    assert_eq!(first.get("/f").status, 200);
    let mut second = home.client();
    second.say("GET /f HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(second.hear(true).status, 503);
}

/// An HTTP request whose head does not end in time is answered with 408 and closed.
#[test]
fn http_incomplete_head_is_408_and_closed() {
    let home = serve(|options| options.limits.http_header_timeout = Duration::from_secs(1));
    let mut client = home.client();
    client.say("GET /f HTTP/1.1\r\nHost:");
    let began = Instant::now();
    let refusal = client.hear(true);
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
    assert_eq!(client.get("/f").status, 200);
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
            client.say(&format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"));
            assert!(client.head().starts_with("HTTP/1.1 200 "), "{path}");
            client
        })
        .collect();
    assert!(home.server.stats().open_files <= 2);
    assert_eq!(home.client().get("/c").status, 503);
    for reader in &mut readers {
        let mut body = vec![0; 32 * 1024 * 1024];
        reader.0.read_exact(&mut body).unwrap();
        assert!(body == bytes(body.len()));
    }
    assert_eq!(home.client().get("/c").status, 200);
}

/// A server with an idle HTTP connection runs no event-loop turns.
#[test]
fn http_server_when_idle_does_not_spin() {
    let home = serve(|_| {});
    home.write("f", "text");
    let mut client = home.client();
    assert_eq!(client.get("/f").status, 200);
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
    assert_eq!(client.get("/f").status, 200);
}

/// A shutdown lets an HTTP response complete and closes idle connections.
#[test]
fn http_response_completes_during_shutdown() {
    let home = serve(|_| {});
    home.write("f", bytes(64 * 1024 * 1024));
    let mut busy = home.client();
    let mut idle = home.client();
    busy.say("GET /f HTTP/1.1\r\nHost: h\r\n\r\n");
    busy.head();
    assert_eq!(idle.ask("HEAD", "/f", "").status, 200);
    let server = home.server;
    let stopping = std::thread::spawn(move || server.shutdown());
    assert_eq!(idle.rest(), b"");
    let mut body = vec![0; 64 * 1024 * 1024];
    busy.0.read_exact(&mut body).unwrap();
    assert!(body == bytes(body.len()));
    assert_eq!(busy.rest(), b"");
    stopping.join().unwrap().unwrap();
}

//! What one client may take from the others.

use std::{
    io::Read as _,
    time::{Duration, Instant},
};

use super::client::{PATIENCE, bytes, serve};

#[test]
fn beyond_the_limit_clients_are_told_to_come_again() {
    let home = serve(|options| options.limits.connections = 2);
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

#[test]
fn one_address_does_not_take_all_connections() {
    let home = serve(|options| options.limits.per_client = Some(1));
    home.write("f", "text");
    let mut first = home.client();
    assert_eq!(first.get("/f").status, 200);
    let mut second = home.client();
    second.say("GET /f HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(second.hear(true).status, 503);
}

#[test]
fn a_head_that_does_not_end_is_not_waited_for() {
    let home = serve(|options| options.limits.http_head = Duration::from_secs(1));
    let mut client = home.client();
    client.say("GET /f HTTP/1.1\r\nHost:");
    let began = Instant::now();
    let refusal = client.hear(true);
    assert_eq!(refusal.status, 408);
    assert_eq!(client.rest(), b"");
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn who_asks_for_nothing_is_let_go_of() {
    let home = serve(|options| options.limits.idle = Duration::from_secs(1));
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
fn open_files_are_bounded() {
    let home = serve(|options| {
        options.limits.open_files = 2;
        options.limits.keep_files = 1;
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

#[test]
fn an_idle_server_stands_still() {
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

#[test]
fn a_server_that_stops_lets_responses_end() {
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

//! Files that change while they are served.

use std::{
    fs::{self, OpenOptions},
    io::Read as _,
    time::{Duration, Instant},
};

use super::client::{Home, PATIENCE, bytes, serve};

const LENGTH: usize = 64 * 1024 * 1024;

/// A server, and a client that has read the head and nothing else of a long file.
fn begun() -> (Home, super::client::Client) {
    let home = serve(|_| {});
    home.write("f", bytes(LENGTH));
    let mut client = home.client();
    client.say("GET /f HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(client.head().contains("Content-Length: 67108864\r\n"));
    (home, client)
}

#[test]
fn a_replaced_file_is_sent_to_its_end() {
    let (home, mut client) = begun();
    home.write("f", "new");
    let mut body = vec![0; LENGTH];
    client.0.read_exact(&mut body).unwrap();
    assert!(body == bytes(LENGTH));
    assert_eq!(client.get("/f").body, b"new");
}

#[test]
fn a_deleted_file_is_sent_to_its_end_and_then_gone() {
    let (home, mut client) = begun();
    fs::remove_file(home.dir.path().join("f")).unwrap();
    let mut body = vec![0; LENGTH];
    client.0.read_exact(&mut body).unwrap();
    assert!(body == bytes(LENGTH));
    assert_eq!(client.get("/f").status, 404);
    assert_eq!(home.server.stats().open_files, 0);
}

/// What comes is a beginning of the old bytes, and the connection ends: never another response
/// inside of it.
#[test]
fn a_truncated_file_ends_the_connection() {
    for left in [0, 5_000_000, 33_554_432] {
        let (home, mut client) = begun();
        let file = OpenOptions::new().write(true).open(home.dir.path().join("f")).unwrap();
        file.set_len(left).unwrap();
        let before = home.server.stats().rounds;
        let body = client.rest();
        assert!(body.len() < LENGTH, "{left}");
        let whole = body.len().min(left as usize);
        assert!(body[..whole] == bytes(LENGTH)[..whole], "{left}");
        // The kernel fills the last page with zeros while it is being sent.
        assert!(body[whole..].iter().zip(&bytes(LENGTH)[whole..]).all(|(a, b)| a == b || *a == 0));
        let deadline = Instant::now() + PATIENCE;
        while home.server.stats().connections > 0 {
            assert!(Instant::now() < deadline, "a connection leaks");
            std::thread::sleep(Duration::from_millis(5));
        }
        let rounds = home.server.stats().rounds - before;
        assert!(rounds < 10_000, "{rounds} rounds: it spins");
        // Others are served, and the file as it is now.
        assert_eq!(home.client().get("/f").body.len(), left as usize);
    }
}

#[test]
fn a_growing_file_is_sent_as_long_as_it_was() {
    let (home, mut client) = begun();
    let mut file = OpenOptions::new().append(true).open(home.dir.path().join("f")).unwrap();
    std::io::Write::write_all(&mut file, b"more").unwrap();
    let mut body = vec![0; LENGTH];
    client.0.read_exact(&mut body).unwrap();
    assert!(body == bytes(LENGTH));
    assert_eq!(client.get("/f").body.len(), LENGTH + 4);
}

//! Files that change while they are served.

use std::{
    fs::{self, OpenOptions},
    io::Read as _,
    time::{Duration, Instant},
};

use super::tree::{ServedTree, bytes, serve};
use zput_testkit::PATIENCE;

const LENGTH: usize = 64 * 1024 * 1024;

/// A server, and a client that has read the head and nothing else of a long file.
fn begun() -> (ServedTree, zput_testkit::WebClient) {
    let home = serve(|_| {});
    home.write("f", bytes(LENGTH));
    let mut client = home.client();
    client.send("GET /f HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    assert!(client.head().unwrap().text.contains("Content-Length: 67108864\r\n"));
    (home, client)
}

/// An HTTP response of a file that is replaced meanwhile has all of the old bytes.
#[test]
fn http_get_of_replaced_file_sends_old_bytes() {
    let (home, mut client) = begun();
    home.write("f", "new");
    let mut body = vec![0; LENGTH];
    client.stream().read_exact(&mut body).unwrap();
    assert!(body == bytes(LENGTH));
    assert_eq!(client.get("/f").unwrap().body, b"new");
}

/// An HTTP response of a file that is deleted meanwhile completes, and the next is a 404.
#[test]
fn http_get_of_deleted_file_completes_and_next_is_404() {
    let (home, mut client) = begun();
    fs::remove_file(home.dir.path().join("f")).unwrap();
    let mut body = vec![0; LENGTH];
    client.stream().read_exact(&mut body).unwrap();
    assert!(body == bytes(LENGTH));
    assert_eq!(client.get("/f").unwrap().status, 404);
    assert_eq!(home.server.stats().open_files, 0);
}

/// What comes is a beginning of the old bytes, and the connection ends: never another response
/// inside of it.
#[test]
fn http_get_of_truncated_file_closes_connection() {
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
        assert_eq!(home.client().get("/f").unwrap().body.len(), left as usize);
    }
}

/// An HTTP response of a file that grows meanwhile has the length that was announced.
#[test]
fn http_get_of_growing_file_sends_announced_length() {
    let (home, mut client) = begun();
    let mut file = OpenOptions::new().append(true).open(home.dir.path().join("f")).unwrap();
    std::io::Write::write_all(&mut file, b"more").unwrap();
    let mut body = vec![0; LENGTH];
    client.stream().read_exact(&mut body).unwrap();
    assert!(body == bytes(LENGTH));
    assert_eq!(client.get("/f").unwrap().body.len(), LENGTH + 4);
}

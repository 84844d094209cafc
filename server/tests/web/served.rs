//! Which objects are served by HTTP, and to which clients.

use std::fs;

use zput_server::{
    mounts::{MountPoint, Mounts, Policy, Source, TarMount},
    store::{Clock, Store},
};

use super::tree::{PUBLIC, bytes, client, put, serve, serve_as, start, tree};
use zput_testkit::PATIENCE;

/// HTTP sends files of any length completely and keeps the connection.
#[test]
fn http_server_sends_whole_file_and_keeps_connection() {
    let home = serve(|_| {});
    for length in [0, 1, 4096, 32_768, 32_769, 3_000_000] {
        home.write("f", bytes(length));
        let mut client = home.client();
        for _ in 0..3 {
            let response = client.get("/f").unwrap();
            assert_eq!(response.status, 200);
            assert_eq!(response.field("Connection"), None);
            assert!(response.body == bytes(length), "{length} bytes");
        }
    }
}

/// HEAD returns the head of GET and no body.
#[test]
fn http_server_head_equals_head_of_get() {
    let home = serve(|_| {});
    home.write("f", bytes(100_000));
    let mut client = home.client();
    let head = client.head_of("/f").unwrap();
    let get = client.get("/f").unwrap();
    assert_eq!(head, get.head);
    assert_eq!(client.head_of("/none").unwrap().status, 404);
    assert_eq!(client.get("/f").unwrap().body.len(), 100_000, "no byte too many, no byte too few");
}

/// HTTP sends the requested range of a file, and 416 beyond its end.
#[test]
fn http_server_sends_requested_range() {
    let home = serve(|_| {});
    let all = bytes(2_000_000);
    home.write("f", &all);
    let mut client = home.client();
    for (range, expected) in [
        ("0-0", 0..1),
        ("1-1999999", 1..2_000_000),
        ("524287-524288", 524_287..524_289),
        ("100-4999", 100..5000),
        ("-1", 1_999_999..2_000_000),
        ("1500000-", 1_500_000..2_000_000),
    ] {
        let response = client.get_with("/f", &format!("Range: bytes={range}\r\n")).unwrap();
        assert_eq!(response.status, 206, "{range}");
        let (first, last) = (expected.start, expected.end - 1);
        let content_range = format!("bytes {first}-{last}/2000000");
        assert_eq!(response.field("Content-Range"), Some(&content_range[..]));
        assert!(response.body == all[expected], "{range}");
    }
    let beyond = client.get_with("/f", "Range: bytes=2000000-\r\n").unwrap();
    assert_eq!((beyond.status, beyond.field("Content-Range")), (416, Some("bytes */2000000")));
    assert_eq!(client.get("/f").unwrap().body.len(), 2_000_000);
}

/// HTTP answers 304 until the file changes, and If-Range never mixes two versions.
#[test]
fn http_server_answers_304_until_file_changes() {
    let home = serve(|_| {});
    home.write("f", "one");
    let mut client = home.client();
    let etag = client.get("/f").unwrap().field("ETag").unwrap().to_owned();
    let condition = format!("If-None-Match: {etag}\r\n");
    assert_eq!(client.get_with("/f", &condition).unwrap().status, 304);
    home.write("f", "two");
    let changed = client.get_with("/f", &condition).unwrap();
    assert_eq!((changed.status, &changed.body[..]), (200, &b"two"[..]));
    // A range of the new file must not complete a range of the old one.
    let ranged = format!("If-Range: {etag}\r\nRange: bytes=1-\r\n");
    let whole = client.get_with("/f", &ranged).unwrap();
    assert_eq!((whole.status, &whole.body[..]), (200, &b"two"[..]));
    let etag = changed.field("ETag").unwrap();
    let ranged = format!("If-Range: {etag}\r\nRange: bytes=1-\r\n");
    let part = client.get_with("/f", &ranged).unwrap();
    assert_eq!((part.status, &part.body[..]), (206, &b"wo"[..]));
}

/// Two hundred pipelined HTTP requests are answered in order.
#[test]
fn http_server_answers_pipelined_requests_in_order() {
    let home = serve(|_| {});
    for n in 0..10 {
        home.write(&n.to_string(), bytes(n * 20_000 + n));
    }
    let mut client = home.client();
    let request = |n: usize| format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", n % 12);
    client.send(&(0..200).map(request).collect::<String>()).unwrap();
    for n in 0..200 {
        let response = client.receive().unwrap();
        let n = n % 12;
        if n < 10 {
            assert_eq!(response.status, 200, "{n}");
            assert!(response.body == bytes(n * 20_000 + n), "{n}");
        } else {
            assert_eq!(response.status, 404, "{n}");
        }
    }
}

/// An HTTP request sent one byte at a time is answered.
#[test]
fn http_server_accepts_request_in_single_bytes() {
    let home = serve(|_| {});
    home.write("f", "text");
    let mut client = home.client();
    for byte in "GET /f HTTP/1.1\r\nHost: h\r\n\r\n".chars() {
        client.send(&byte.to_string()).unwrap();
    }
    assert_eq!(client.receive().unwrap().body, b"text");
}

/// The request that a body would be taken for is never answered.
#[test]
fn http_server_refuses_body_and_does_not_parse_it() {
    let home = serve(|_| {});
    home.write("f", "text");
    for (framing, status) in [("Content-Length: 31", 413), ("Transfer-Encoding: chunked", 400)] {
        let mut client = home.client();
        client.send(&format!("GET /f HTTP/1.1\r\nHost: h\r\n{framing}\r\n\r\n")).unwrap();
        client.send("GET /f HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        let refusal = client.receive().unwrap();
        assert_eq!(refusal.status, status, "{refusal:?}");
        assert_eq!(refusal.field("Connection"), Some("close"));
        assert_eq!(client.rest(), b"");
    }
}

/// The connection ends after an HTTP/1.0 request and after Connection: close.
#[test]
fn http_server_closes_after_http_1_0_and_close() {
    let home = serve(|_| {});
    home.write("f", "text");
    let mut client = home.client();
    client.send("GET /f HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(client.receive().unwrap().body, b"text");
    assert_eq!(client.rest(), b"");
    let mut client = home.client();
    assert_eq!(client.get_with("/f", "Connection: close\r\n").unwrap().body, b"text");
    assert_eq!(client.rest(), b"");
}

/// An HTTP client that has ended its sending side gets all of its responses.
#[test]
fn http_half_closed_client_gets_all_responses() {
    let home = serve(|_| {});
    home.write("f", bytes(1_000_000));
    let mut client = home.client();
    client.send("GET /f HTTP/1.1\r\nHost: h\r\n\r\nGET /f HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    client.stream().shutdown(std::net::Shutdown::Write).unwrap();
    for _ in 0..2 {
        assert!(client.receive().unwrap().body == bytes(1_000_000));
    }
    assert_eq!(client.rest(), b"");
}

/// HTTP serves public mounts, and a private mount is a 404.
#[test]
fn http_serves_public_mounts_only() {
    let (open, closed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(open.path().join("f"), "open").unwrap();
    fs::create_dir(open.path().join("closed")).unwrap();
    fs::write(open.path().join("closed/f"), "hidden by a mount").unwrap();
    fs::write(closed.path().join("f"), "closed").unwrap();
    let private = Policy { public: false, ..PUBLIC };
    let mounts =
        Mounts::new([tree("", open.path(), PUBLIC), tree("closed", closed.path(), private)]);
    let server = start(mounts.unwrap(), |_| {});
    let mut client = client(&server);
    assert_eq!(client.get("/f").unwrap().body, b"open");
    assert_eq!(client.get("/closed/f").unwrap().status, 404);
}

/// HTTP serves plain files only where unsealed ones are allowed, and whole blobs always.
#[test]
fn http_serves_plain_files_only_with_unsealed_policy() {
    let sealed_only = Policy { allow_unsealed: false, ..PUBLIC };
    let home = serve_as(sealed_only, |_| {});
    home.write("plain", "text");
    let mut blob = vec![3; 5350];
    blob[..14].copy_from_slice(b"\x8Azput\r\n\x1A\x00\x01\x00\x00\x00\xC8");
    blob[5338..].copy_from_slice(b"\x00\x00\x00\x96\x8Azputend");
    home.write("blob.txt", &blob);
    let mut client = home.client();
    for _ in 0..2 {
        assert_eq!(client.get("/plain").unwrap().status, 404);
        let response = client.get("/blob.txt").unwrap();
        assert!(response.body == blob, "with its header and its footer");
        assert_eq!(response.field("Content-Type"), Some("application/octet-stream"));
    }
}

/// An HTTP GET sees the latest put or delete of any process at once.
#[test]
fn http_get_sees_latest_put_and_delete() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Clock::system()).unwrap();
    let server = start(Mounts::of_store(store.clone(), PUBLIC), |_| {});
    // Another process, as far as the server can tell.
    let other = Store::open(dir.path(), Clock::system()).unwrap();
    let mut clients: Vec<_> = (0..4).map(|_| client(&server)).collect();
    for n in 0..50 {
        let by = if n % 2 == 0 { &store } else { &other };
        let text = format!("version {n}");
        put(by, "k", text.as_bytes());
        for client in &mut clients {
            assert_eq!(String::from_utf8(client.get("/k").unwrap().body).unwrap(), text);
        }
    }
    let key = zput_proto::name::ObjectKey::new("k").unwrap();
    other.delete(&key, zput_proto::message::Condition::Any).unwrap();
    for client in &mut clients {
        assert_eq!(client.get("/k").unwrap().status, 404);
    }
}

/// HTTP serves an archive's members as files, with ranges and a stripped prefix.
#[test]
fn http_serves_tar_members_as_files() {
    let dir = tempfile::tempdir().unwrap();
    let mut archive = tar::Builder::new(Vec::new());
    for (name, length) in [("top/a", 5usize), ("top/deep/b", 700_000), ("elsewhere", 3)] {
        let mut header = tar::Header::new_ustar();
        header.set_size(length as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, &bytes(length)[..]).unwrap();
    }
    let path = dir.path().join("a.tar");
    fs::write(&path, archive.into_inner().unwrap()).unwrap();
    let source = Source::Tar(TarMount::open(&path, Some("top")).unwrap());
    let mounts = Mounts::new([MountPoint::new("docs/v1", source, PUBLIC)]).unwrap();
    let server = start(mounts, |_| {});
    let mut client = client(&server);
    for _ in 0..2 {
        assert!(client.get("/docs/v1/a").unwrap().body == bytes(5));
        assert!(client.get("/docs/v1/deep/b").unwrap().body == bytes(700_000));
    }
    let part = client.get_with("/docs/v1/deep/b", "Range: bytes=600000-600009\r\n").unwrap();
    assert_eq!(part.body, &bytes(700_000)[600_000..600_010]);
    for absent in ["/docs/v1/elsewhere", "/docs/v1/top/a", "/docs/v1/deep", "/docs/v1", "/a"] {
        assert_eq!(client.get(absent).unwrap().status, 404, "{absent}");
    }
}

/// Where its members lie is not known any more: not for a moment longer are bytes of it sent, open
/// or not.
#[test]
fn http_get_of_archive_changed_in_place_is_500() {
    let dir = tempfile::tempdir().unwrap();
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(5);
    header.set_mode(0o644);
    archive.append_data(&mut header, "a", &bytes(5)[..]).unwrap();
    let path = dir.path().join("a.tar");
    fs::write(&path, archive.into_inner().unwrap()).unwrap();
    let source = Source::Tar(TarMount::open(&path, None).unwrap());
    let server = start(Mounts::new([MountPoint::new("", source, PUBLIC)]).unwrap(), |_| {});
    let mut client = client(&server);
    for _ in 0..2 {
        assert!(client.get("/a").unwrap().body == bytes(5));
    }
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    std::io::Write::write_all(&mut file, b"more").unwrap();
    assert_eq!(client.get("/a").unwrap().status, 500);
}

/// After a reload an open HTTP connection is served from the new mounts.
#[test]
fn http_reload_serves_new_mounts_on_open_connection() {
    let home = serve(|_| {});
    home.write("f", "before");
    let mut client = home.client();
    assert_eq!(client.get("/f").unwrap().body, b"before");
    let other = tempfile::tempdir().unwrap();
    fs::write(other.path().join("f"), "after").unwrap();
    let server = home.server;
    let mounts = Mounts::new([tree("new", other.path(), PUBLIC)]).unwrap();
    server.reload_handle().unwrap().serve(mounts).unwrap();
    // Workers hear of it when they turn next.
    let deadline = std::time::Instant::now() + PATIENCE;
    while client.get("/f").unwrap().status != 404 {
        assert!(std::time::Instant::now() < deadline, "it is still served");
    }
    assert_eq!(client.get("/new/f").unwrap().body, b"after");
    assert_eq!(server.stats().open_files, 1, "what was open of the old one is closed");
}

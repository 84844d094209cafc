//! Responses with an object, with a part of it, and with an error.

use super::*;
use crate::http::{ContentType, NothingToAnswer};

const WHOLE: &str = "HTTP/1.1 200 OK\r\n\
    Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
    Content-Type: application/octet-stream\r\n\
    Content-Length: 10\r\n\
    ETag: \"v1\"\r\n\
    Last-Modified: Sun, 06 Nov 1994 07:49:37 GMT\r\n\
    Accept-Ranges: bytes\r\n\
    X-Content-Type-Options: nosniff\r\n\
    \r\n";

#[track_caller]
fn answered(input: &str, expected: &str) {
    let (out, open) = exchange(input.as_bytes());
    assert_eq!(out, expected, "{input:?}");
    assert!(open, "{input:?}");
}

/// GET sends an object's head and all of its bytes.
#[test]
fn http_get_sends_whole_object() {
    answered("GET /digits HTTP/1.1\r\nHost: h\r\n\r\n", &format!("{WHOLE}0123456789"));
}

/// HEAD sends the head of GET without content, and ignores ranges.
#[test]
fn http_head_sends_same_head_without_content() {
    answered("HEAD /digits HTTP/1.1\r\nHost: h\r\n\r\n", WHOLE);
    // 14.2: HEAD knows no ranges.
    for range in ["bytes=0-0", "bytes=10-", "bytes=-0"] {
        answered(&format!("HEAD /digits HTTP/1.1\r\nHost: h\r\nRange: {range}\r\n\r\n"), WHOLE);
    }
    answered(
        "HEAD /none HTTP/1.1\r\nHost: h\r\n\r\n",
        "HTTP/1.1 404 Not Found\r\n\
         Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\
         Content-Length: 15\r\n\
         X-Content-Type-Options: nosniff\r\n\
         \r\n",
    );
    // The next response begins where it should.
    answered(
        "HEAD /digits HTTP/1.1\r\nHost: h\r\n\r\nGET /digits HTTP/1.1\r\nHost: h\r\n\r\n",
        &format!("{WHOLE}{WHOLE}0123456789"),
    );
}

/// GET of an empty object sends a length of 0, and a range of it is a 416.
#[test]
fn http_get_of_empty_object_sends_length_zero() {
    let head = "HTTP/1.1 200 OK\r\n\
         Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
         Content-Type: application/octet-stream\r\n\
         Content-Length: 0\r\n\
         ETag: \"v1\"\r\n\
         Last-Modified: Sun, 06 Nov 1994 07:49:37 GMT\r\n\
         Accept-Ranges: bytes\r\n\
         X-Content-Type-Options: nosniff\r\n\
         \r\n";
    answered(&get("/empty", ""), head);
    answered(&get("/empty", "Range: bytes=-1\r\n"), head);
    for range in ["bytes=0-", "bytes=0-0", "bytes=-0"] {
        answered(
            &get("/empty", &format!("Range: {range}\r\n")),
            "HTTP/1.1 416 Range Not Satisfiable\r\n\
             Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
             Content-Range: bytes */0\r\n\
             Content-Type: text/plain; charset=utf-8\r\n\
             Content-Length: 23\r\n\
             X-Content-Type-Options: nosniff\r\n\
             \r\n\
             the object has 0 bytes\n",
        );
    }
}

/// GET with a range sends 206 with Content-Range and the bytes of the range.
#[test]
fn http_range_get_sends_206_with_content_range() {
    for (range, length, said, bytes) in [
        ("bytes=0-0", 1, "0-0", "0"),
        ("bytes=2-5", 4, "2-5", "2345"),
        // static-web-server#295.
        ("bytes=2-99", 8, "2-9", "23456789"),
        ("bytes=9-", 1, "9-9", "9"),
        ("bytes=-3", 3, "7-9", "789"),
        ("bytes=-99", 10, "0-9", "0123456789"),
        ("bytes=0-18446744073709551616", 10, "0-9", "0123456789"),
    ] {
        answered(
            &get("/digits", &format!("Range: {range}\r\n")),
            &format!(
                "HTTP/1.1 206 Partial Content\r\n\
                 Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
                 Content-Type: application/octet-stream\r\n\
                 Content-Length: {length}\r\n\
                 Content-Range: bytes {said}/10\r\n\
                 ETag: \"v1\"\r\n\
                 Last-Modified: Sun, 06 Nov 1994 07:49:37 GMT\r\n\
                 Accept-Ranges: bytes\r\n\
                 X-Content-Type-Options: nosniff\r\n\
                 \r\n{bytes}"
            ),
        );
    }
}

/// GET of a range beyond 4 GiB of an object of a tebibyte sends exactly that range.
#[test]
fn http_range_get_beyond_4_gib_is_exact() {
    answered(
        &get("/huge", "Range: bytes=4294967296-4294967297\r\n"),
        "HTTP/1.1 206 Partial Content\r\n\
         Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
         Content-Type: application/octet-stream\r\n\
         Content-Length: 2\r\n\
         Content-Range: bytes 4294967296-4294967297/1099511627776\r\n\
         ETag: \"v1\"\r\n\
         Last-Modified: Sun, 06 Nov 1994 07:49:37 GMT\r\n\
         Accept-Ranges: bytes\r\n\
         X-Content-Type-Options: nosniff\r\n\
         \r\n<4294967296..4294967298>",
    );
}

/// GET of a range beyond the end is answered with 416 and the object's length.
#[test]
fn http_range_get_beyond_end_is_416() {
    for range in ["bytes=10-", "bytes=18446744073709551616-", "bytes=-0"] {
        let (out, open) = exchange(
            get("/digits", &format!("Range: {range}\r\nConnection: close\r\n")).as_bytes(),
        );
        assert_eq!(
            out,
            "HTTP/1.1 416 Range Not Satisfiable\r\n\
             Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
             Content-Range: bytes */10\r\n\
             Content-Type: text/plain; charset=utf-8\r\n\
             Content-Length: 24\r\n\
             X-Content-Type-Options: nosniff\r\n\
             Connection: close\r\n\
             \r\n\
             the object has 10 bytes\n"
        );
        assert!(!open);
    }
}

/// GET with several, repeated or malformed ranges sends the whole object.
#[test]
fn http_get_ignores_unusable_range_field() {
    for range in [
        "Range: bytes=0-0,2-2",
        "Range: bytes=0-0\r\nRange: bytes=2-2",
        "Range: bytes=0-0\r\nRange: bytes=0-0",
        "Range: bytes=5-2",
        "Range: items=0-0",
        "Range: bytes=a-b",
        "Range:",
    ] {
        let expected = format!("{WHOLE}0123456789");
        answered(&get("/digits", &format!("{range}\r\n")), &expected);
    }
}

/// A 404, 503 or 500 answer is one line of text, and the connection stays open.
#[test]
fn http_get_error_is_one_line_and_keeps_connection() {
    for path in ["/none", "/", "/?a", "http://h"] {
        answered(
            &get(path, ""),
            "HTTP/1.1 404 Not Found\r\n\
             Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
             Content-Type: text/plain; charset=utf-8\r\n\
             Content-Length: 15\r\n\
             X-Content-Type-Options: nosniff\r\n\
             \r\n\
             no such object\n",
        );
    }
    answered(
        &get("/busy", ""),
        "HTTP/1.1 503 Service Unavailable\r\n\
         Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
         Retry-After: 1\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\
         Content-Length: 16\r\n\
         X-Content-Type-Options: nosniff\r\n\
         \r\n\
         busy, try again\n",
    );
    answered(
        &get("/broken", "Range: bytes=0-0\r\nIf-None-Match: *\r\n"),
        "HTTP/1.1 500 Internal Server Error\r\n\
         Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\
         Content-Length: 18\r\n\
         X-Content-Type-Options: nosniff\r\n\
         \r\n\
         the server failed\n",
    );
}

/// GET of the root path asks for no object.
#[test]
fn http_get_of_root_looks_up_nothing() {
    let mut connection = Connection::new();
    connection.feed(get("/", "").as_bytes());
    assert_eq!(connection.requests, []);
}

/// The Content-Type follows the path's suffix unless the object's facts give one.
#[test]
fn content_type_follows_path_unless_facts_override() {
    let (out, _) = exchange(get("/notes.txt", "").as_bytes());
    assert!(out.contains("\r\nContent-Type: text/plain; charset=utf-8\r\n"), "{out}");
    let mut connection = Connection::new();
    connection.session.handle_input(&connection.now, get("/notes.txt", "").as_bytes());
    connection.session.poll_request().unwrap();
    let sealed = Facts { content_type: Some(ContentType::OCTET_STREAM), ..facts(10) };
    connection.session.answer(&connection.now, &Answer::Found(sealed)).unwrap();
    connection.drain();
    let out = connection.out();
    assert!(out.contains("\r\nContent-Type: application/octet-stream\r\n"), "{out}");
}

/// 8.8.2.1, and see `last_modified`.
#[test]
fn last_modified_of_current_second_or_later_is_omitted() {
    for (before_now, said) in [
        (Some(Duration::from_millis(1001)), true),
        (Some(Duration::from_millis(1)), true),
        (Some(Duration::ZERO), false),
        (None, false),
    ] {
        let now = UNIX_EPOCH + Duration::from_secs(NOW_SECONDS);
        let modified = before_now.map_or(now + Duration::from_secs(3600), |age| now - age);
        let mut connection = Connection::new();
        connection.session.handle_input(&connection.now, get("/digits", "").as_bytes());
        connection.session.poll_request().unwrap();
        let facts = Facts { modified: Some(modified), ..facts(10) };
        connection.session.answer(&connection.now, &Answer::Found(facts)).unwrap();
        connection.drain();
        assert_eq!(connection.out().contains("Last-Modified"), said, "{before_now:?}");
    }
}

/// A date that no HTTP-date can express is not sent, and conditions on it are ignored.
#[test]
fn last_modified_outside_calendar_is_omitted() {
    for modified in
        [UNIX_EPOCH - Duration::from_secs(1), UNIX_EPOCH + Duration::from_secs(253_402_300_800)]
    {
        let mut connection = Connection::new();
        let request = get("/digits", "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
        connection.session.handle_input(&connection.now, request.as_bytes());
        connection.session.poll_request().unwrap();
        let facts = Facts { modified: Some(modified), ..facts(10) };
        connection.session.answer(&connection.now, &Answer::Found(facts)).unwrap();
        connection.drain();
        assert!(connection.out().starts_with("HTTP/1.1 200 OK\r\n"));
        assert!(!connection.out().contains("Last-Modified"));
    }
}

/// EntityTag rejects quotes, spaces, control characters and bytes beyond ASCII.
#[test]
fn entity_tag_rejects_quotes_controls_and_non_ascii() {
    for opaque in ["", "v1", "1732191000-2a", "!#~"] {
        assert!(EntityTag::strong(opaque).is_some(), "{opaque}");
    }
    for opaque in ["a\"b", "a b", "a\r\nSet-Cookie: b", "a\n", "\0", "\x7f", "grüße"] {
        assert!(EntityTag::strong(opaque).is_none(), "{opaque}");
    }
}

/// Session::answer returns the byte range to send, or none when no content follows.
#[test]
fn http_session_answer_returns_byte_range_to_send() {
    for (request, expected) in [
        (get("/digits", ""), Some(0..10)),
        (get("/digits", "Range: bytes=3-4\r\n"), Some(3..5)),
        (get("/digits", "Range: bytes=10-\r\n"), None),
        (get("/digits", "If-None-Match: *\r\n"), None),
        (get("/digits", "If-Match: \"v2\"\r\n"), None),
        (get("/empty", ""), None),
        (get("/none", ""), None),
        ("HEAD /digits HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), None),
    ] {
        let mut connection = Connection::new();
        connection.session.handle_input(&connection.now, request.as_bytes());
        let answer = lookup(connection.session.poll_request().unwrap().path());
        assert_eq!(connection.session.answer(&connection.now, &answer), Ok(expected.clone()));
        let Some(Transmit::Bytes { more, .. }) = connection.session.poll_transmit() else {
            panic!("a head comes first")
        };
        assert_eq!(more, expected.is_some(), "{request:?}");
    }
}

/// Session hands out each request once and takes one answer for it.
#[test]
fn http_session_polls_and_answers_each_request_once() {
    let mut connection = Connection::new();
    let now = connection.now;
    let session = &mut connection.session;
    assert!(session.poll_request().is_none());
    assert_eq!(session.answer(&now, &Answer::NotFound), Err(NothingToAnswer));
    session.handle_input(&now, get("/digits", "").as_bytes());
    assert_eq!(session.answer(&now, &Answer::NotFound), Err(NothingToAnswer));
    assert_eq!(session.poll_request().map(|request| request.path()), Some("digits"));
    assert!(session.poll_request().is_none());
    assert_eq!(session.request().map(|request| request.path()), Some("digits"));
    assert!(session.poll_transmit().is_none());
    session.answer(&now, &Answer::Found(facts(10))).unwrap();
    assert_eq!(session.answer(&now, &Answer::Found(facts(10))), Err(NothingToAnswer));
    assert!(session.request().is_none());
}

/// The next head is not looked at before the body has left to its last byte.
#[test]
fn http_session_serves_pipelined_requests_in_order() {
    let input =
        [get("/digits", ""), get("/none", ""), get("/digits", "Range: bytes=-1\r\n")].concat();
    let first = get("/digits", "").len();
    let mut connection = Connection::new();
    let now = connection.now;
    let mut rest = input.as_bytes();
    assert_eq!(connection.session.handle_input(&now, rest), first);
    rest = &rest[first..];
    assert!(!connection.session.wants_read());
    assert_eq!(connection.session.handle_input(&now, rest), 0);
    assert!(connection.serve());
    connection.step.set(1);
    while !connection.out.ends_with(b"\r\n\r\n0123456789") {
        assert!(!connection.session.wants_read());
        assert_eq!(connection.session.handle_input(&now, rest), 0);
        assert!(connection.session.poll_request().is_none());
        assert!(connection.transmit_one());
    }
    assert!(connection.session.wants_read());
    assert!(connection.session.poll_transmit().is_none());
    connection.step.set(usize::MAX);
    assert_eq!(connection.feed(rest), b"");
    let requests: Vec<_> = connection.requests.iter().map(|(_, path)| path.as_str()).collect();
    assert_eq!(requests, ["digits", "none", "digits"]);
    let statuses: Vec<_> =
        connection.out().split("HTTP/1.1 ").skip(1).map(|response| &response[..3]).collect();
    assert_eq!(statuses, ["200", "404", "206"]);
    assert!(connection.out().ends_with("\r\n\r\n9"));
}

/// Session takes no input after a request with Connection: close.
#[test]
fn http_session_reads_nothing_after_connection_close() {
    let closing = get("/digits", "Connection: close\r\n");
    let mut connection = Connection::new();
    let input = [closing.as_str(), &get("/digits", "")].concat();
    let left = connection.feed(input.as_bytes());
    assert_eq!(left, get("/digits", "").as_bytes());
    assert!(connection.session.should_close());
    assert!(!connection.session.wants_read());
    assert_eq!(connection.requests.len(), 1);
}

/// Session carries no fields, conditions or options over to the next request.
#[test]
fn http_session_resets_request_state_between_requests() {
    let all = "Range: bytes=0-0\r\nIf-Match: \"v1\"\r\nIf-None-Match: \"v2\"\r\nIf-Range: \"v1\"\r\n\
               If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
               If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 0\r\n";
    let mut connection = Connection::new();
    connection.feed(get("/digits", all).as_bytes());
    assert!(connection.out().starts_with("HTTP/1.1 206 Partial Content\r\n"));
    connection.out.clear();
    connection.feed(get("/digits", "").as_bytes());
    assert_eq!(connection.out(), format!("{WHOLE}0123456789"));
    connection.out.clear();
    connection.feed(b"GET /digits HTTP/1.1\r\nContent-Length: 0\r\n\r\n");
    assert!(connection.out().starts_with("HTTP/1.1 400 Bad Request\r\n"), "no host");
    let mut connection = Connection::new();
    for _ in 0..2 {
        connection.feed(get("/digits", "Content-Length: 0\r\n").as_bytes());
    }
    assert_eq!(connection.out().matches("HTTP/1.1 200 OK\r\n").count(), 2, "one length each");
    let mut connection = Connection::new();
    connection.feed(b"GET /digits HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert!(connection.session.wants_read());
    connection.feed(b"GET /digits HTTP/1.0\r\n\r\n");
    assert!(connection.session.should_close(), "asked for once");
    // HEAD, then a refused GET: that has content.
    let mut connection = Connection::new();
    connection.feed(b"HEAD /none HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    connection.out.clear();
    connection.feed(b"BREW / HTTP/1.1\r\n");
    assert!(connection.out().ends_with("\r\n\r\nthe methods known here are GET and HEAD\n"));
}

//! Heads that are refused, and heads that are not.

use super::*;
use crate::http::{FIELDS_MAX, HEAD_MAX_BYTES, TARGET_MAX_BYTES};

const OK: &str = "HTTP/1.1 200 OK";

/// Refused with this status line and text, the connection over, and nothing looked up; what follows
/// is not even taken.
#[track_caller]
fn refused(head: &str, status: &str, text: &str) {
    refused_bytes(head.as_bytes(), status, text);
}

#[track_caller]
fn refused_bytes(head: &[u8], status: &str, text: &str) {
    let shown = head.escape_ascii();
    let mut connection = Connection::new();
    let next = b"GET /digits HTTP/1.1\r\nHost: h\r\n\r\n";
    let left = connection.feed(&[head, next].concat()).len();
    let allow = if status.starts_with("405") { "Allow: GET, HEAD\r\n" } else { "" };
    let content = if head.starts_with(b"HEAD ") { String::new() } else { format!("{text}\n") };
    assert_eq!(
        connection.out(),
        format!(
            "HTTP/1.1 {status}\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n{allow}\
             Content-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
             X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n{content}",
            text.len() + 1
        ),
        "{shown}"
    );
    assert!(connection.session.should_close(), "{shown}");
    assert!(connection.requests.is_empty(), "{shown}");
    assert!(left >= next.len(), "{shown}");
    assert_eq!(connection.session.handle_input(&connection.now, next), 0);
    assert_eq!(connection.session.deadline(), None);
}

/// The request is answered, and the connection stays open.
#[track_caller]
fn accepted(head: &str) {
    let mut connection = Connection::new();
    connection.feed(head.as_bytes());
    assert_eq!(connection.out().split("\r\n").next(), Some(OK), "{head:?}");
    assert!(!connection.session.should_close(), "{head:?}");
    assert_eq!(connection.requests, [(Method::Get, "digits".to_owned())], "{head:?}");
}

/// A malformed request line is answered with 400, also for TLS and native protocol bytes.
#[test]
fn request_line_malformed_is_400() {
    for line in [
        "GET /digits\r\n",
        "GET\r\n",
        "/digits\r\n",
        " GET /digits HTTP/1.1\r\n",
        "\tGET /digits HTTP/1.1\r\n",
        "GET  /digits HTTP/1.1\r\n",
        "GET\t/digits HTTP/1.1\r\n",
        "GET /digits  HTTP/1.1\r\n",
        "GET /digits HTTP/1.1 \r\n",
        "GET /digits\tHTTP/1.1\r\n",
        "GET /digits HTTP/1.1 x\r\n",
        "GET /digits /other HTTP/1.1\r\n",
        "GET  HTTP/1.1\r\n",
        "GET HTTP/1.1\r\n",
        "GET /digits http/1.1\r\n",
        "GET /digits HTTP/1\r\n",
        "GET /digits HTTP/11\r\n",
        "GET /digits HTTP/1.10\r\n",
        "GET /digits HTTP/+1.1\r\n",
        "GET /digits HTTPS/1.1\r\n",
        "GET /digits ICY/1.1\r\n",
        "GET /digits HTTP/1.1\r\r\n",
        "GET /dig\rits HTTP/1.1\r\n",
        "GET /dig\0its HTTP/1.1\r\n",
        "G\0T /digits HTTP/1.1\r\n",
        "G(T /digits HTTP/1.1\r\n",
        "\0\r\n",
        // What a browser sends to a port that it takes for HTTPS, as far as there are lines in it.
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\r\n",
        // What a client of the native protocol says first.
        "zput\u{1}\0\u{2}\r\n",
    ] {
        refused(line, "400 Bad Request", "no HTTP/1.1 request line");
    }
    refused_bytes(b"GET /\xff HTTP/1.1\r\n", "400 Bad Request", "no HTTP/1.1 request line");
}

/// An HTTP version other than 1.0 and 1.1 is answered with 505.
#[test]
fn http_version_other_than_1_0_and_1_1_is_505() {
    let text = "the versions of HTTP spoken here are 1.1 and 1.0";
    for line in [
        // RFC 9113, 3.4.
        "PRI * HTTP/2.0\r\n",
        "GET /digits HTTP/2.0\r\n",
        "GET /digits HTTP/0.9\r\n",
        "GET /digits HTTP/1.2\r\n",
        "GET /digits HTTP/3.0\r\n",
    ] {
        refused(line, "505 HTTP Version Not Supported", text);
    }
}

/// A known method other than GET and HEAD is answered with 405, an unknown one with 501.
#[test]
fn method_other_than_get_and_head_is_405_or_501() {
    for method in ["POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"] {
        refused(
            &format!("{method} /digits HTTP/1.1\r\n"),
            "405 Method Not Allowed",
            "the methods allowed here are GET and HEAD",
        );
    }
    refused(
        "OPTIONS * HTTP/1.1\r\n",
        "405 Method Not Allowed",
        "the methods allowed here are GET and HEAD",
    );
    refused(
        "CONNECT host:443 HTTP/1.1\r\n",
        "405 Method Not Allowed",
        "the methods allowed here are GET and HEAD",
    );
    for method in ["get", "Get", "GETS", "GE", "HEADER", "PROPFIND", "X", "!#$%&'*+-.^_`|~"] {
        refused(
            &format!("{method} /digits HTTP/1.1\r\n"),
            "501 Not Implemented",
            "the methods known here are GET and HEAD",
        );
    }
}

/// The unit tests of target.rs have all cases; these are the responses.
#[test]
fn request_target_error_is_400_with_reason() {
    for (target, text) in [
        ("/../etc/passwd", "a dot segment in the request target"),
        ("/%2e%2e/etc/passwd", "a dot segment in the request target"),
        ("/a%2f..%2fb", "an encoded slash in the request target"),
        ("/..%5c", "a dot segment in the request target"),
        ("/a%00", "a NUL in the request target"),
        ("/%ff", "the request target is not UTF-8"),
        ("//", "an empty segment in the request target"),
        ("/digits#0", "a fragment in the request target"),
        ("/%", "a wrong percent-encoding in the request target"),
        ("*", "the request target is no path"),
        ("host:80", "the request target is no path"),
        ("http://u@h/digits", "the request target names no host"),
    ] {
        refused(&format!("GET {target} HTTP/1.1\r\n"), "400 Bad Request", text);
        refused(&format!("HEAD {target} HTTP/1.1\r\n"), "400 Bad Request", text);
    }
}

/// Targets in origin form and in absolute form of http and https are accepted.
#[test]
fn request_target_in_origin_or_absolute_form_is_accepted() {
    for target in [
        "/digits",
        "/digits?a=b",
        "/d%69gits",
        "http://h/digits",
        "http://other/digits?x",
        "HTTP://[::1]:80/digits",
        "https://h/digits",
    ] {
        accepted(&get(target, ""));
    }
}

/// A line of the head that ends in LF without CR is answered with 400.
#[test]
fn request_head_with_bare_lf_is_400() {
    let text = "a line of the head does not end in CR LF";
    for head in [
        "\n",
        "GET /digits HTTP/1.1\n",
        "GET /digits HTTP/1.1\r\nHost: h\n",
        "GET /digits HTTP/1.1\r\nHost: h\r\n\n",
        "GET /digits HTTP/1.1\r\nHost: h\r\nA: b\nContent-Length: 5\r\n\r\n",
        "GET /digits HTTP/1.1\r\nHost: h\r\nA: b\n\r\n",
    ] {
        let end = head.find("\n\r").map_or(head.len(), |at| at + 1);
        let end = head.find("b\n").map_or(end, |at| at + 2);
        refused(&head[..end], "400 Bad Request", text);
    }
}

/// One empty line before each request line is allowed, and a second one is a 400.
#[test]
fn request_head_allows_one_leading_empty_line() {
    accepted("\r\nGET /digits HTTP/1.1\r\nHost: h\r\n\r\n");
    // And in front of each request.
    let (out, open) = exchange(format!("{0}\r\n{0}\r\n{0}\r\n", get("/none", "")).as_bytes());
    assert_eq!(out.matches("HTTP/1.1 404 Not Found\r\n").count(), 3);
    assert!(open);
    refused("\r\n\r\n", "400 Bad Request", "empty lines in front of the request line");
}

/// A malformed field line, a folded one included, is answered with 400.
#[test]
fn field_line_malformed_is_400() {
    for field in [
        // tiny-http#173.
        "Content-Length : 5",
        "Host : h",
        "A\t: b",
        " A: b",
        "\tA: b",
        // RFC 9112, 5.2: line folding.
        "A: b\r\n c",
        "A: b\r\n\tc",
        "A:\r\n b",
        ": b",
        "A",
        "A b: c",
        "A(b): c",
        "A: b\rc",
        "A: b\r\rc",
        "A\r: b",
        "A: b\0c",
        "A\0: b",
        "A: \u{1b}[2J",
        "A: \u{7f}",
        "Transfer-Encoding\u{b}: chunked",
    ] {
        let head = format!("GET /digits HTTP/1.1\r\nHost: h\r\n{field}\r\n\r\n");
        refused(&head, "400 Bad Request", "a malformed field line");
        let head = format!("GET /digits HTTP/1.1\r\n{field}\r\nHost: h\r\n\r\n");
        refused(&head, "400 Bad Request", "a malformed field line");
    }
}

/// Fields that the server does not use are accepted and ignored.
#[test]
fn request_fields_unknown_are_ignored() {
    accepted(&get(
        "/digits",
        "A: \"b\"; c=\t d \r\nB:\r\nC:\t \r\nX-grüße: x\r\n"
            .replace('ü', "u")
            .replace('ß', "s")
            .as_str(),
    ));
    accepted(&get("/digits", "A: grüße\r\n"));
    accepted(&get("/digits", "Expect: 100-continue\r\n"));
    accepted(&get("/digits", "Upgrade: h2c\r\nConnection: upgrade, http2-settings\r\n"));
    accepted(&get("/digits", "Content-Type: text/plain\r\n"));
    accepted(&get("/digits", "Trailer: Content-Length\r\n"));
}

/// A request with content is refused, and its content is never parsed as a request.
#[test]
fn request_content_is_refused_and_not_parsed_as_request() {
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
    // tarweb#3.
    for field in [
        format!("Content-Length: {}", smuggled.len()),
        "Content-Length: 1".to_owned(),
        "content-length:1".to_owned(),
        "CONTENT-LENGTH: \t007 ".to_owned(),
        "Content-Length: 18446744073709551616".to_owned(),
        "Content-Length: 99999999999999999999999999999999".to_owned(),
    ] {
        let head = format!("GET /digits HTTP/1.1\r\nHost: h\r\n{field}\r\n\r\n{smuggled}");
        refused(&head, "413 Content Too Large", "requests with content are not taken");
    }
    for fields in [
        "Transfer-Encoding: chunked",
        "transfer-encoding: identity",
        "Transfer-Encoding:",
        // sozu#726.
        "Transfer-Encoding: chunked\t",
        "Transfer-Encoding:\tchunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
        // hyper#3860.
        "Content-Length: 0\r\nTransfer-Encoding: chunked",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
    ] {
        let text = "requests with a transfer coding are not taken";
        for version in ["HTTP/1.1", "HTTP/1.0"] {
            let head =
                format!("GET /digits {version}\r\nHost: h\r\n{fields}\r\n\r\n0\r\n\r\n{smuggled}");
            refused(&head, "400 Bad Request", text);
        }
    }
    accepted(&get("/digits", "Content-Length: 0\r\n"));
    accepted(&get("/digits", "Content-Length: 000\r\n"));
}

/// A Content-Length that is not one decimal number, or is repeated, is answered with 400.
#[test]
fn content_length_must_be_one_number() {
    for length in [
        "", "-1", "+1", "+0", "0x0", "0 0", "0,0", "0, 0", "1e0", "0.0", "a", "0a", "0;", "\"0\"",
        "٠",
    ] {
        let head = get("/digits", &format!("Content-Length: {length}\r\n"));
        refused(&head, "400 Bad Request", "the Content-Length field is no number");
    }
    for (one, other) in [("0", "0"), ("0", "5"), ("5", "0"), ("5", "5"), ("5", "6")] {
        let head = get(
            "/digits",
            &format!("Content-Length: {one}\r\nA: b\r\ncontent-length: {other}\r\n"),
        );
        refused(&head, "400 Bad Request", "more than one Content-Length field");
    }
}

/// HTTP/1.1 needs exactly one valid Host field; otherwise the answer is 400.
#[test]
fn host_field_must_be_single_and_valid() {
    refused("GET /digits HTTP/1.1\r\n\r\n", "400 Bad Request", "the Host field is missing");
    // RFC 9112, 3.2: also beside an absolute form.
    refused(
        "GET http://h/digits HTTP/1.1\r\nA: b\r\n\r\n",
        "400 Bad Request",
        "the Host field is missing",
    );
    for version in ["HTTP/1.1", "HTTP/1.0"] {
        for (one, other) in [("h", "h"), ("h", "other"), ("", "")] {
            refused(
                &format!("GET /digits {version}\r\nHost: {one}\r\nhost: {other}\r\n\r\n"),
                "400 Bad Request",
                "more than one Host field",
            );
        }
    }
    for host in ["h/a", "u@h", "h h", "h:80:80", "h, other:8x", "h\"", "[::1", "h?"] {
        refused(
            &format!("GET /digits HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            "400 Bad Request",
            "the Host field names no host",
        );
    }
    for host in ["", "h", "h:8080", "127.0.0.1", "[::1]:80", "a-b.example."] {
        accepted(&format!("GET /digits HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    }
    accepted("GET /digits HTTP/1.1\r\nhOST:h\r\n\r\n");
}

/// HTTP/1.0 needs no Host field and closes unless keep-alive is requested.
#[test]
fn http_1_0_needs_no_host_and_closes_without_keep_alive() {
    for (fields, open) in [
        ("", false),
        ("Host: h\r\n", false),
        ("Connection: keep-alive\r\n", true),
        ("Connection: Keep-Alive\r\n", true),
        ("Connection: x,\tkeep-alive , y\r\n", true),
        ("Connection: x\r\nConnection: keep-alive\r\n", true),
        ("Connection: keep-alive, close\r\n", false),
        ("Connection: close\r\nConnection: keep-alive\r\n", false),
        ("Connection: keep\r\n", false),
        ("Connection: keep-alives\r\n", false),
        ("Keep-Alive: timeout=5\r\n", false),
    ] {
        let (out, kept) = exchange(format!("GET /none HTTP/1.0\r\n{fields}\r\n").as_bytes());
        let connection = if open { "keep-alive" } else { "close" };
        assert_eq!(
            out,
            format!(
                "HTTP/1.1 404 Not Found\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
                 Content-Type: text/plain; charset=utf-8\r\nContent-Length: 15\r\n\
                 X-Content-Type-Options: nosniff\r\nConnection: {connection}\r\n\r\n\
                 no such object\n"
            ),
            "{fields:?}"
        );
        assert_eq!(kept, open, "{fields:?}");
    }
}

/// HTTP/1.1 keeps the connection open unless the close option is given.
#[test]
fn http_1_1_keeps_connection_without_close_option() {
    for (fields, open) in [
        ("", true),
        ("Connection: keep-alive\r\n", true),
        ("Connection: closed\r\n", true),
        ("Connection: \"close\"\r\n", true),
        ("Connection:\r\n", true),
        ("Connection: close\r\n", false),
        ("connection:CLOSE\r\n", false),
        ("Connection: keep-alive, close\r\n", false),
        ("Connection: x,close,y\r\n", false),
        ("Connection: keep-alive\r\nConnection:\tclose \r\n", false),
    ] {
        let (out, kept) = exchange(get("/none", fields).as_bytes());
        let connection = if open { "" } else { "Connection: close\r\n" };
        assert_eq!(
            out,
            format!(
                "HTTP/1.1 404 Not Found\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
                 Content-Type: text/plain; charset=utf-8\r\nContent-Length: 15\r\n\
                 X-Content-Type-Options: nosniff\r\n{connection}\r\nno such object\n"
            ),
            "{fields:?}"
        );
        assert_eq!(kept, open, "{fields:?}");
    }
}

/// A request target of more than 8192 bytes is answered with 414.
#[test]
fn request_target_over_8192_bytes_is_414() {
    assert_eq!(TARGET_MAX_BYTES, 8192);
    assert_eq!(status(&get(&format!("/{}", "a".repeat(8191)), "")), "HTTP/1.1 404 Not Found");
    accepted(&get(&format!("/digits?{}", "a".repeat(8184)), ""));
    let text = "the request target is longer than 8192 bytes";
    for target in [format!("/{}", "a".repeat(8192)), format!("/digits?{}", "a".repeat(8185))] {
        refused(&format!("GET {target} HTTP/1.1\r\n"), "414 URI Too Long", text);
    }
    // Without an end.
    refused(&format!("GET /{}", "a".repeat(8251)), "414 URI Too Long", text);
    refused(&"A".repeat(8256), "501 Not Implemented", "the methods known here are GET and HEAD");
}

/// A request head of more than 16384 bytes is answered with 431.
#[test]
fn request_head_over_16384_bytes_is_431() {
    assert_eq!(HEAD_MAX_BYTES, 16_384);
    let text = "the head of the request is longer than 16384 bytes";
    // Behind the first lines, "A: " … CR LF CR LF.
    let first = "GET /digits HTTP/1.1\r\nHost: h\r\n";
    let fill = 16_384 - first.len() - 7;
    accepted(&format!("{first}A: {}\r\n\r\n", "b".repeat(fill)));
    let long = format!("{first}A: {}\r\n\r\n", "b".repeat(fill + 1));
    refused(&long[..16_384], "431 Request Header Fields Too Large", text);
    let endless = format!("{first}A: {}", "b".repeat(fill + 7));
    refused(&endless[..16_384], "431 Request Header Fields Too Large", text);
    let lines = format!("{first}{}", "A:\r\n".repeat(5000));
    refused(&lines[..16_384], "431 Request Header Fields Too Large", text);
}

/// A request head of more than 64 fields is answered with 431.
#[test]
fn request_head_over_64_fields_is_431() {
    assert_eq!(FIELDS_MAX, 64);
    accepted(&get("/digits", &"A: b\r\n".repeat(63)));
    refused(
        &get("/digits", &"A: b\r\n".repeat(64)),
        "431 Request Header Fields Too Large",
        "the request has more than 64 fields",
    );
}

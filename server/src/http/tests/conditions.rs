//! Conditional requests. The object's tag is "v1"; it has changed at 07:49:37, an hour ago.

use super::*;

const BEFORE: &str = "Sun, 06 Nov 1994 07:49:36 GMT";
const SAME: &str = "Sun, 06 Nov 1994 07:49:37 GMT";
const AFTER: &str = "Sun, 06 Nov 1994 07:49:38 GMT";

const WHOLE: &str = "HTTP/1.1 200 OK";
const PART: &str = "HTTP/1.1 206 Partial Content";
const NOT_MODIFIED: &str = "HTTP/1.1 304 Not Modified";
const FAILED: &str = "HTTP/1.1 412 Precondition Failed";
const UNSATISFIABLE: &str = "HTTP/1.1 416 Range Not Satisfiable";

#[track_caller]
fn check(path: &str, cases: &[(&str, &str)]) {
    for (fields, expected) in cases {
        let fields = fields.replace("{before}", BEFORE);
        let fields = fields.replace("{same}", SAME).replace("{after}", AFTER);
        assert_eq!(status(&get(path, &format!("{fields}\r\n"))), *expected, "{fields}");
        let head = format!("HEAD {path} HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n");
        // 14.2: but HEAD knows no ranges.
        let expected = if [PART, UNSATISFIABLE].contains(expected) { WHOLE } else { expected };
        assert_eq!(status(&head), expected, "HEAD {fields}");
    }
}

/// If-Match compares entity tags strongly, and a malformed list fails the condition.
#[test]
fn if_match_uses_strong_comparison() {
    check(
        "/digits",
        &[
            ("If-Match: \"v1\"", WHOLE),
            ("If-Match: *", WHOLE),
            ("If-Match:  * ", WHOLE),
            ("If-Match: \"v0\", \"v1\"", WHOLE),
            ("If-Match: \"v0\"\r\nA: b\r\nif-match: \"v1\"", WHOLE),
            ("If-Match: ,\"v1\",, ", WHOLE),
            ("If-Match: \"v0\"", FAILED),
            ("If-Match: \"V1\"", FAILED),
            ("If-Match: W/\"v1\"", FAILED),
            ("If-Match: \"v0\", W/\"v1\"", FAILED),
            ("If-Match: v1", FAILED),
            ("If-Match: \"v1", FAILED),
            ("If-Match: \"\"", FAILED),
            ("If-Match:", FAILED),
            ("If-Match: ,", FAILED),
            ("If-Match: *, \"v1\"", FAILED),
            ("If-Match: \"v1\", *", FAILED),
            ("If-Match: \"v1\" \"v0\"", FAILED),
            ("If-Match: \"v1\"x", FAILED),
            ("If-Match: \"v1\";\"v0\"", FAILED),
            ("If-Match: \"v0,\"v1\"", FAILED),
        ],
    );
}

/// If-None-Match compares entity tags weakly, and a malformed list matches nothing.
#[test]
fn if_none_match_uses_weak_comparison() {
    check(
        "/digits",
        &[
            ("If-None-Match: \"v1\"", NOT_MODIFIED),
            ("If-None-Match: W/\"v1\"", NOT_MODIFIED),
            ("If-None-Match: *", NOT_MODIFIED),
            ("If-None-Match: \"v0\", \"v1\"", NOT_MODIFIED),
            ("If-None-Match: \"v0\",W/\"v1\"\t, \"v2\"", NOT_MODIFIED),
            ("If-None-Match: \"v0\"\r\nIf-None-Match: \"v1\"", NOT_MODIFIED),
            ("If-None-Match: \"a,b\", \"v1\"", NOT_MODIFIED),
            ("If-None-Match: \"v0\"", WHOLE),
            ("If-None-Match: \"v0\", \"v2\"", WHOLE),
            ("If-None-Match: \"v0,v1\"", WHOLE),
            ("If-None-Match: w/\"v1\"", WHOLE),
            ("If-None-Match: W/ \"v1\"", WHOLE),
            ("If-None-Match: W/v1", WHOLE),
            ("If-None-Match: v1", WHOLE),
            ("If-None-Match: \"v1", WHOLE),
            ("If-None-Match: \"v1\" \"v0\"", WHOLE),
            ("If-None-Match: \"v1\", v0", WHOLE),
            ("If-None-Match: *, \"v0\"", WHOLE),
            ("If-None-Match: \"v 1\", \"v1\"", WHOLE),
            ("If-None-Match:", WHOLE),
        ],
    );
}

/// 8.8.3: obs-text may be in a client's tag; it is not ours.
#[test]
fn if_none_match_accepts_obs_text_in_tags() {
    let request = b"GET /digits HTTP/1.1\r\nHost: h\r\nIf-None-Match: \"\xff\xfe\", \"v1\"\r\n\r\n";
    assert!(exchange(request).0.starts_with("HTTP/1.1 304 "));
}

/// If-Modified-Since and If-Unmodified-Since compare dates by the second.
#[test]
fn date_conditions_compare_whole_seconds() {
    check(
        "/digits",
        &[
            ("If-Modified-Since: {before}", WHOLE),
            ("If-Modified-Since: {same}", NOT_MODIFIED),
            ("If-Modified-Since: {after}", NOT_MODIFIED),
            ("If-Modified-Since: Sun Nov  6 07:49:37 1994", NOT_MODIFIED),
            ("If-Modified-Since: Sunday, 06-Nov-94 07:49:37 GMT", NOT_MODIFIED),
            ("If-Unmodified-Since: {before}", FAILED),
            ("If-Unmodified-Since: {same}", WHOLE),
            ("If-Unmodified-Since: {after}", WHOLE),
        ],
    );
}

/// An invalid or repeated date, or an object without one, makes a date condition void.
#[test]
fn date_conditions_ignore_invalid_or_repeated_date() {
    check(
        "/digits",
        &[
            ("If-Modified-Since:", WHOLE),
            ("If-Modified-Since: yesterday", WHOLE),
            ("If-Modified-Since: \"v1\"", WHOLE),
            ("If-Modified-Since: {same}, {same}", WHOLE),
            ("If-Modified-Since: {same}\r\nIf-Modified-Since: {same}", WHOLE),
            ("If-Unmodified-Since: yesterday", WHOLE),
            ("If-Unmodified-Since: {before}, {before}", WHOLE),
            ("If-Unmodified-Since: {before}\r\nIf-Unmodified-Since: {before}", WHOLE),
        ],
    );
    // 13.1.3, 13.1.4: nor is one on an object without a date.
    check(
        "/undated",
        &[("If-Modified-Since: {after}", WHOLE), ("If-Unmodified-Since: {before}", WHOLE)],
    );
}

/// RFC 9110, 13.2.2: the order in which conditions are evaluated.
#[test]
fn conditions_are_evaluated_in_rfc_9110_order() {
    check(
        "/digits",
        &[
            // If-Match, and If-Unmodified-Since only without it.
            ("If-Match: \"v1\"\r\nIf-Unmodified-Since: {before}", WHOLE),
            ("If-Unmodified-Since: {before}\r\nIf-Match: \"v1\"", WHOLE),
            ("If-Match: \"v0\"\r\nIf-Unmodified-Since: {after}", FAILED),
            ("If-Match: x\r\nIf-Unmodified-Since: {after}", FAILED),
            // If-None-Match, and If-Modified-Since only without it.
            ("If-None-Match: \"v0\"\r\nIf-Modified-Since: {after}", WHOLE),
            ("If-Modified-Since: {after}\r\nIf-None-Match: \"v0\"", WHOLE),
            ("If-None-Match: x\r\nIf-Modified-Since: {after}", WHOLE),
            ("If-None-Match: \"v1\"\r\nIf-Modified-Since: {before}", NOT_MODIFIED),
            // Those before these.
            ("If-Match: \"v0\"\r\nIf-None-Match: \"v1\"", FAILED),
            ("If-Match: \"v1\"\r\nIf-None-Match: \"v1\"", NOT_MODIFIED),
            ("If-Match: \"v1\"\r\nIf-Modified-Since: {after}", NOT_MODIFIED),
            ("If-Unmodified-Since: {before}\r\nIf-None-Match: \"v1\"", FAILED),
            ("If-Unmodified-Since: {after}\r\nIf-Modified-Since: {after}", NOT_MODIFIED),
            // Ranges last.
            ("If-None-Match: \"v1\"\r\nRange: bytes=0-0", NOT_MODIFIED),
            ("If-None-Match: \"v1\"\r\nRange: bytes=10-", NOT_MODIFIED),
            ("If-Match: \"v0\"\r\nRange: bytes=0-0", FAILED),
            ("If-Match: \"v1\"\r\nRange: bytes=0-0", PART),
            ("If-Match: \"v1\"\r\nRange: bytes=10-", UNSATISFIABLE),
            ("If-Match: \"v0\"\r\nIf-Range: \"v1\"\r\nRange: bytes=0-0", FAILED),
        ],
    );
    // 13.2.1: conditions do not count on what is not there.
    for (path, expected) in [
        ("/none", "HTTP/1.1 404 Not Found"),
        ("/busy", "HTTP/1.1 503 Service Unavailable"),
        ("/broken", "HTTP/1.1 500 Internal Server Error"),
    ] {
        check(
            path,
            &[
                ("If-Match: *", expected),
                ("If-Match: \"v0\"", expected),
                ("If-None-Match: *", expected),
                ("If-Unmodified-Since: {before}", expected),
                ("If-Modified-Since: {after}", expected),
                ("Range: bytes=10-", expected),
            ],
        );
    }
}

/// RFC 9110, 13.1.5: If-Range takes a strong tag or an exact date.
#[test]
fn if_range_matches_strong_tag_or_exact_date() {
    check(
        "/digits",
        &[
            ("Range: bytes=0-0\r\nIf-Range: \"v1\"", PART),
            ("If-Range: \"v1\"\r\nRange: bytes=0-0", PART),
            ("Range: bytes=10-\r\nIf-Range: \"v1\"", UNSATISFIABLE),
            ("Range: bytes=0-0\r\nIf-Range: {same}", PART),
            ("Range: bytes=0-0\r\nIf-Range: Sun Nov  6 07:49:37 1994", PART),
            ("Range: bytes=0-0\r\nIf-Range: \"v0\"", WHOLE),
            ("Range: bytes=10-\r\nIf-Range: \"v0\"", WHOLE),
            ("Range: bytes=0-0\r\nIf-Range: W/\"v1\"", WHOLE),
            ("Range: bytes=0-0\r\nIf-Range: \"v1\", \"v0\"", WHOLE),
            ("Range: bytes=0-0\r\nIf-Range: \"v1\"\r\nIf-Range: \"v1\"", WHOLE),
            ("Range: bytes=0-0\r\nIf-Range: *", WHOLE),
            ("Range: bytes=0-0\r\nIf-Range: v1", WHOLE),
            ("Range: bytes=0-0\r\nIf-Range:", WHOLE),
            ("Range: bytes=0-0\r\nIf-Range: {before}", WHOLE),
            ("Range: bytes=0-0\r\nIf-Range: {after}", WHOLE),
            ("Range: bytes=10-\r\nIf-Range: {after}", WHOLE),
            ("Range: bytes=0-0\r\nIf-Range: yesterday", WHOLE),
            // Without Range, If-Range is ignored.
            ("If-Range: \"v1\"", WHOLE),
            ("If-Range: \"v0\"", WHOLE),
        ],
    );
    check(
        "/undated",
        &[
            ("Range: bytes=0-0\r\nIf-Range: {same}", WHOLE),
            ("Range: bytes=0-0\r\nIf-Range: yesterday", WHOLE),
            ("Range: bytes=0-0\r\nIf-Range: \"v1\"", PART),
        ],
    );
}

/// 8.8.2.2: bytes of this second may be others in a moment, so its date validates no range.
#[test]
fn if_range_rejects_date_of_current_second() {
    let mut connection = Connection::new();
    let fields = "Range: bytes=0-0\r\nIf-Range: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    connection.session.handle_input(&connection.now, get("/digits", fields).as_bytes());
    connection.session.poll_request().unwrap();
    let modified = UNIX_EPOCH + Duration::from_secs(NOW_SECONDS);
    let facts = Facts { modified: Some(modified), ..facts(10) };
    connection.session.answer(&connection.now, &Answer::Found(facts)).unwrap();
    connection.drain();
    assert!(connection.out().starts_with("HTTP/1.1 200 OK\r\n"));
}

/// A 304 response carries the entity tag and no content, to GET and to HEAD.
#[test]
fn not_modified_response_has_tag_and_no_content() {
    let expected = "HTTP/1.1 304 Not Modified\r\n\
         Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
         ETag: \"v1\"\r\n\
         \r\n";
    let (out, open) = exchange(get("/digits", "If-None-Match: \"v1\"\r\n").as_bytes());
    assert_eq!(out, expected);
    assert!(open);
    let (out, open) = exchange(b"HEAD /digits HTTP/1.1\r\nHost: h\r\nIf-None-Match: *\r\n\r\n");
    assert_eq!(out, expected);
    assert!(open);
}

/// A failed condition is answered with 412 and one line, and the connection stays open.
#[test]
fn if_match_failed_answers_412_and_keeps_connection() {
    let (out, open) = exchange(get("/digits", "If-Match: \"v0\"\r\n").as_bytes());
    assert_eq!(
        out,
        "HTTP/1.1 412 Precondition Failed\r\n\
         Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\
         Content-Length: 62\r\n\
         X-Content-Type-Options: nosniff\r\n\
         \r\n\
         If-Match or If-Unmodified-Since does not hold for this object\n"
    );
    assert!(open);
}

//! A connection that was warmed up serves requests without asking for memory.
//!
//! In a binary of its own: its allocator counts.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::{Duration, Instant, UNIX_EPOCH};

use zput_server::http::{
    Answer, Date, EntityTag, Facts, KEPT_BYTES, Now, Session, Timeouts, Transmit,
};

const REQUESTS: usize = 1000;

/// Serves `input`, which is whole requests, in pieces of `step` bytes. Returns how many there were.
fn serve(session: &mut Session, now: &Now, input: &[u8], step: usize) -> usize {
    let facts = Facts {
        length: 1 << 30,
        etag: EntityTag::strong("v1").unwrap(),
        modified: Some(UNIX_EPOCH + Duration::from_secs(1)),
        content_type: None,
    };
    let mut served = 0;
    for mut piece in input.chunks(step) {
        while !piece.is_empty() {
            let taken = session.handle_input(now, piece);
            piece = &piece[taken..];
            if let Some(path) = session.poll_request().map(|request| request.path()) {
                let answer = if path == "none" { Answer::NotFound } else { Answer::Found(facts) };
                session.answer(now, &answer).unwrap();
                served += 1;
            }
            loop {
                match session.poll_transmit() {
                    None => break,
                    Some(Transmit::Bytes { bytes, .. }) => {
                        let count = bytes.len();
                        session.bytes_sent(now, count);
                    }
                    Some(Transmit::Payload(range)) => {
                        session.payload_sent(now, range.end - range.start);
                    }
                }
            }
            assert!(session.wants_read());
        }
    }
    served
}

/// A warm HTTP Session serves a thousand requests of all kinds without an allocation.
#[test]
fn http_session_when_warm_allocates_nothing() {
    let now = Now { instant: Instant::now(), date: Date::at(UNIX_EPOCH + Duration::from_secs(9)) };
    let long = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(KEPT_BYTES - 27));
    assert_eq!(long.len(), KEPT_BYTES);
    let requests = [
        "GET /images/app.img HTTP/1.1\r\nHost: h\r\nAccept: */*\r\n\r\n",
        "HEAD /caf%C3%A9.txt HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /none HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: h\r\nRange: bytes=5-\r\nIf-Range: \"v1\"\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: h\r\nRange: bytes=-0\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: h\r\nIf-None-Match: \"v0\", W/\"v1\"\r\nIf-None-Match: \"v2\"\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: h\r\nIf-Match: \"v0\"\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: h\r\nIf-Modified-Since: Thu, 01 Jan 1970 00:00:05 GMT\r\n\
         If-Unmodified-Since: Thu, 01 Jan 1970 00:00:05 GMT\r\n\r\n",
        "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
        &long,
    ];
    let asked = requests.len() - 1; // The root is not looked up.
    let input = requests.concat();
    for step in [1, 7, 100, usize::MAX] {
        let mut session = Session::new(Timeouts::default(), now.instant);
        for _ in 0..3 {
            assert_eq!(serve(&mut session, &now, input.as_bytes(), step), asked);
        }
        let mut served = 0;
        let counted = allocation_counter::measure(|| {
            for _ in 0..REQUESTS / asked {
                served += serve(&mut session, &now, input.as_bytes(), step);
            }
        });
        assert_eq!(served, REQUESTS / asked * asked);
        assert_eq!(counted.count_total, 0, "in steps of {step}");
    }
}

/// The counter counts.
#[test]
fn http_session_first_request_allocates() {
    let now = Now { instant: Instant::now(), date: Date::at(UNIX_EPOCH) };
    let counted = allocation_counter::measure(|| {
        let mut session = Session::new(Timeouts::default(), now.instant);
        serve(&mut session, &now, b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n", usize::MAX);
    });
    assert!(counted.count_total >= 3, "{counted:?}");
    assert_eq!(counted.bytes_current, 0, "it is all given back");
}

/// A connection does not hold on to the memory of its longest head.
#[test]
fn http_session_frees_memory_of_long_head() {
    let now = Now { instant: Instant::now(), date: Date::at(UNIX_EPOCH) };
    let long = |path: usize, tags: usize| {
        format!(
            "GET /{} HTTP/1.1\r\nHost: h\r\nIf-None-Match: \"{}\"\r\n\r\n",
            "a".repeat(path),
            "b".repeat(tags)
        )
    };
    let mut session = Session::new(Timeouts::default(), now.instant);
    let counted = allocation_counter::measure(|| {
        serve(&mut session, &now, long(8000, 8000).as_bytes(), usize::MAX);
    });
    assert!(counted.bytes_max > 30_000, "{counted:?}");
    // Head, path, tags and response.
    let kept = u64::try_from(counted.bytes_current).unwrap();
    assert!(kept <= 4 * KEPT_BYTES as u64, "{kept} bytes are kept");
}

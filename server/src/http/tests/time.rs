//! Deadlines, in simulated time, and ends.

use super::*;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const NEARLY: Duration = Duration::from_millis(1);

/// Session closes a connection without a request after 60 seconds.
#[test]
fn http_session_closes_silent_connection_after_60_s() {
    let mut connection = Connection::new();
    let start = connection.now.instant;
    assert_eq!(connection.session.deadline(), Some(start + seconds(60)));
    connection.advance(seconds(60) - NEARLY);
    connection.session.handle_timeout(&connection.now);
    assert!(!connection.session.should_close());
    connection.advance(NEARLY);
    connection.session.handle_timeout(&connection.now);
    assert!(connection.session.should_close());
    assert!(!connection.session.wants_read());
    assert!(connection.session.poll_transmit().is_none());
    assert_eq!(connection.session.deadline(), None);
    let now = connection.now;
    assert_eq!(connection.session.handle_input(&now, get("/digits", "").as_bytes()), 0);
}

/// Session answers 408 when a head is incomplete 10 seconds after its first byte.
#[test]
fn http_session_head_timeout_is_10_s_from_first_byte() {
    let mut connection = Connection::new();
    connection.advance(seconds(50));
    let first = connection.now.instant;
    // Bytes that come one at a time do not prolong it.
    for byte in &get("/digits", "").as_bytes()[..10] {
        connection.feed(&[*byte]);
        assert_eq!(connection.session.deadline(), Some(first + seconds(10)));
        connection.advance(Duration::from_millis(999));
        connection.session.handle_timeout(&connection.now);
        assert!(connection.session.wants_read());
    }
    connection.advance(Duration::from_millis(10));
    connection.session.handle_timeout(&connection.now);
    assert!(!connection.session.wants_read());
    assert!(!connection.session.should_close(), "the 408 is sent first");
    connection.drain();
    assert_eq!(
        connection.out(),
        "HTTP/1.1 408 Request Timeout\r\n\
         Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\
         Content-Length: 38\r\n\
         X-Content-Type-Options: nosniff\r\n\
         Connection: close\r\n\
         \r\n\
         the head of the request took too long\n"
    );
    assert!(connection.session.should_close());
}

/// An empty line is no head, and is good for no more than one more wait.
#[test]
fn http_session_empty_line_does_not_count_as_request() {
    let mut connection = Connection::new();
    connection.feed(b"\r");
    assert_eq!(connection.session.deadline(), Some(connection.now.instant + seconds(10)));
    connection.advance(seconds(5));
    connection.feed(b"\n");
    assert_eq!(connection.session.deadline(), Some(connection.now.instant + seconds(60)));
    connection.advance(seconds(60));
    connection.session.handle_timeout(&connection.now);
    assert!(connection.session.should_close());
    assert_eq!(connection.out(), "");
}

/// The idle timeout of 60 seconds restarts with each response.
#[test]
fn http_session_idle_timeout_restarts_after_each_response() {
    let mut connection = Connection::new();
    for _ in 0..3 {
        connection.advance(seconds(59));
        connection.session.handle_timeout(&connection.now);
        connection.feed(get("/digits", "").as_bytes());
        let last = connection.now.instant;
        assert_eq!(connection.session.deadline(), Some(last + seconds(60)));
    }
    assert_eq!(connection.requests.len(), 3);
}

/// Session has no deadline while the server looks an object up.
#[test]
fn http_session_has_no_deadline_during_lookup() {
    let mut connection = Connection::new();
    connection.session.handle_input(&connection.now, get("/digits", "").as_bytes());
    assert_eq!(connection.session.deadline(), None);
    connection.session.poll_request().unwrap();
    assert_eq!(connection.session.deadline(), None);
    connection.advance(seconds(1000));
    connection.session.handle_timeout(&connection.now);
    connection.session.answer(&connection.now, &Answer::Found(facts(10))).unwrap();
    assert_eq!(connection.session.deadline(), Some(connection.now.instant + seconds(60)));
    connection.drain();
    assert!(connection.out().ends_with("\r\n\r\n0123456789"));
}

/// Session closes a connection when the client takes no byte of a response for 60 seconds.
#[test]
fn http_session_closes_client_that_reads_nothing_for_60_s() {
    let mut connection = Connection::new();
    connection.step.set(1);
    connection.session.handle_input(&connection.now, get("/digits", "").as_bytes());
    connection.serve();
    // Any byte prolongs it, of the head and of the payload.
    while !connection.out.ends_with(b"\r\n\r\n01234") {
        connection.advance(seconds(59));
        connection.session.handle_timeout(&connection.now);
        assert!(connection.transmit_one());
    }
    connection.advance(seconds(60) - NEARLY);
    connection.session.handle_timeout(&connection.now);
    assert_eq!(connection.session.poll_transmit(), Some(Transmit::Payload(5..10)));
    connection.advance(NEARLY);
    connection.session.handle_timeout(&connection.now);
    assert!(connection.session.should_close());
    assert_eq!(connection.session.poll_transmit(), None);
    // A write that had been under way changes nothing any more.
    connection.session.payload_sent(&connection.now, 5);
    assert!(connection.session.should_close());
}

/// Session uses the idle and head timeouts that it was given.
#[test]
fn http_session_uses_configured_timeouts() {
    let now = Instant::now();
    let mut session = Session::new(Timeouts { head: seconds(1), idle: seconds(2) }, now);
    assert_eq!(session.deadline(), Some(now + seconds(2)));
    session.handle_input(&Now { instant: now, date: date() }, b"G");
    assert_eq!(session.deadline(), Some(now + seconds(1)));
}

/// Session answers a complete request after the client has stopped writing, then closes.
#[test]
fn http_session_answers_pending_request_after_eof() {
    let mut connection = Connection::new();
    connection.session.handle_input(&connection.now, get("/digits", "").as_bytes());
    connection.session.handle_eof();
    assert!(!connection.session.should_close());
    assert!(connection.serve());
    connection.drain();
    assert!(connection.out().contains("\r\nConnection: close\r\n"));
    assert!(connection.out().ends_with("\r\n\r\n0123456789"));
    assert!(connection.session.should_close());
}

/// Session closes without an answer when the input ends within a head or between requests.
#[test]
fn http_session_closes_on_eof_without_complete_request() {
    for input in ["", "G", "GET /digits HTTP/1.1\r\nHost: h\r\n", &get("/digits", "")] {
        let mut connection = Connection::new();
        connection.feed(input.as_bytes());
        connection.out.clear();
        connection.session.handle_eof();
        assert!(connection.session.should_close(), "{input:?}");
        connection.drain();
        assert_eq!(connection.out(), "", "{input:?}");
    }
}

/// Session::close finishes the request or response under way and then closes.
#[test]
fn http_session_close_finishes_request_under_way() {
    // Between two requests.
    let mut connection = Connection::new();
    connection.feed(get("/digits", "").as_bytes());
    connection.session.close();
    assert!(connection.session.should_close());
    // Within a head.
    let mut connection = Connection::new();
    let request = get("/digits", "");
    connection.feed(&request.as_bytes()[..9]);
    connection.session.close();
    assert!(!connection.session.should_close());
    connection.feed(&request.as_bytes()[9..]);
    assert!(connection.out().contains("\r\nConnection: close\r\n"));
    assert!(connection.out().ends_with("\r\n\r\n0123456789"));
    assert!(connection.session.should_close());
    // Within a response: no 408 can be sent, and the client sees only the end.
    let mut connection = Connection::new();
    connection.session.handle_input(&connection.now, request.as_bytes());
    connection.serve();
    connection.session.close();
    assert!(!connection.session.should_close());
    connection.drain();
    assert!(connection.out().ends_with("\r\n\r\n0123456789"));
    assert!(connection.session.should_close());
}

/// What was not announced is not counted.
#[test]
fn http_session_ignores_sent_bytes_beyond_announced() {
    let mut connection = Connection::new();
    connection.session.handle_input(&connection.now, get("/digits", "").as_bytes());
    connection.serve();
    let now = connection.now;
    connection.session.payload_sent(&now, u64::MAX);
    assert!(matches!(
        connection.session.poll_transmit(),
        Some(Transmit::Bytes { more: false, .. })
    ));
    connection.session.bytes_sent(&now, usize::MAX);
    assert!(connection.session.wants_read());
}

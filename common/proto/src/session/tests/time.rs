//! Deadlines, the pipeline and what waits to be written, in simulated time.

use std::time::Duration;

use super::pair::Pair;
use crate::{
    digest::Digest,
    hello::Mode,
    message::{Entry, Info, Kind, Request, Response, Section, Version},
    name::ObjectKey,
    session::{Event, OUTBOX_MAX_BYTES, SessionError, Transmit, Wants},
};

const BOTH: [Mode; 2] = [Mode::Plaintext, Mode::Tls];

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn connected(mode: Mode) -> Pair {
    let mut pair = Pair::new(mode);
    pair.settle().unwrap();
    assert_eq!(pair.server.events.len(), 1);
    assert_eq!(pair.client.events.len(), 1);
    pair
}

/// Both sessions time out ten seconds after the start, whether or not bytes trickle in.
#[test]
fn handshake_times_out_after_ten_seconds() {
    for mode in BOTH {
        let mut pair = Pair::new(mode);
        let start = pair.now;
        // Bytes that come one at a time do not prolong it.
        let hello = pair.client.transmit(start);
        for (i, byte) in (0..9).zip(hello) {
            pair.server.deliver(start + seconds(i), &[byte]).unwrap();
        }
        assert_eq!(pair.server.session.deadline(), Some(start + seconds(10)));
        assert_eq!(pair.client.session.deadline(), Some(start + seconds(10)));
        assert!(!pair.server.session.handle_timeout(start + Duration::from_millis(9_999)));
        assert!(!pair.client.session.handle_timeout(start + Duration::from_millis(9_999)));
        assert!(pair.server.session.handle_timeout(start + seconds(10)));
        assert!(pair.client.session.handle_timeout(start + seconds(10)));
        assert_eq!(
            pair.server.session.handle_input(start, b"x"),
            Err(SessionError::HandshakeTimeout)
        );
        assert_eq!(pair.server.session.deadline(), None);
        assert_eq!(pair.server.session.wants(), Wants::Nothing);
    }
}

/// The server session times out after 120 seconds in which no byte moved either way.
#[test]
fn server_session_times_out_after_120_idle_seconds() {
    for mode in BOTH {
        let mut pair = connected(mode);
        let moved = pair.server.session.deadline().unwrap() - seconds(120);
        assert!(pair.now - moved < seconds(1));
        // A byte in either direction moves the clock.
        pair.now += seconds(100);
        pair.client.session.send(&Request::Ping).unwrap();
        let up = pair.client.transmit(pair.now);
        pair.server.deliver(pair.now, &up[..1]).unwrap();
        assert_eq!(pair.server.session.deadline(), Some(pair.now + seconds(120)));
        pair.server.deliver(pair.now, &up[1..]).unwrap();
        pair.now += seconds(100);
        pair.server.session.send(&Response::Pong).unwrap();
        assert_eq!(pair.server.session.deadline(), Some(pair.now + seconds(20)));
        pair.server.transmit(pair.now);
        assert_eq!(pair.server.session.deadline(), Some(pair.now + seconds(120)));
        pair.now += seconds(30);
        pair.server.session.restart_idle(pair.now);
        assert!(!pair.server.session.handle_timeout(pair.now + seconds(119)));
        assert!(pair.server.session.handle_timeout(pair.now + seconds(120)));
        assert_eq!(
            pair.server.session.handle_input(pair.now, b"x"),
            Err(SessionError::IdleTimeout)
        );
    }
}

/// Payload that moves extends the deadlines of both sessions; a move of zero bytes does not.
#[test]
fn payload_progress_extends_both_deadlines() {
    let mut pair = connected(Mode::Tls);
    let slice = Request::Slice { length: 1000, digest: Digest::of(b"") };
    pair.client.session.send(&slice).unwrap();
    pair.settle().unwrap();
    for _ in 0..5 {
        pair.now += seconds(55);
        pair.client.session.payload_sent(pair.now, 100);
        pair.server.session.payload_received(pair.now, 100);
        assert_eq!(pair.server.session.deadline(), Some(pair.now + seconds(120)));
        assert_eq!(pair.client.session.deadline(), Some(pair.now + seconds(60)));
    }
    assert_eq!(pair.server.session.wants(), Wants::Payload { remaining: 500 });
    assert_eq!(pair.client.session.poll_transmit(pair.now), Some(Transmit::Payload(500)));
    // None is no progress.
    let later = pair.now + seconds(1);
    pair.client.session.payload_sent(later, 0);
    pair.server.session.payload_received(later, 0);
    assert_eq!(pair.server.session.deadline(), Some(pair.now + seconds(120)));
    assert_eq!(pair.client.session.deadline(), Some(pair.now + seconds(60)));
    pair.server.session.payload_received(later, 500);
    assert_eq!(pair.server.session.poll_event(), Some(Event::PayloadDone));
    assert_eq!(pair.server.session.wants(), Wants::Control);
}

/// An idle client session has no deadline; one that awaits a commit has 600 seconds.
#[test]
fn client_session_has_deadline_only_while_waiting() {
    let mut pair = connected(Mode::Plaintext);
    assert_eq!(pair.client.session.deadline(), None);
    assert!(!pair.client.session.handle_timeout(pair.now + seconds(1_000_000)));
    pair.client.session.send(&Request::Commit).unwrap();
    pair.client.transmit(pair.now);
    assert_eq!(pair.client.session.deadline(), Some(pair.now + seconds(600)));
    assert!(pair.client.session.handle_timeout(pair.now + seconds(600)));
}

/// The client refuses the 65th unanswered request, and the server reads no further.
#[test]
fn client_session_stops_at_64_unanswered_requests() {
    for mode in BOTH {
        let mut pair = connected(mode);
        for room in (1..=64).rev() {
            assert_eq!(pair.client.session.room(), room);
            pair.client.session.send(&Request::Ping).unwrap();
        }
        assert_eq!(pair.client.session.send(&Request::Ping), Err(SessionError::PipelineFull));
        pair.settle().unwrap();
        assert_eq!(pair.server.messages().len(), 64);
        assert_eq!(pair.server.session.wants(), Wants::Nothing);
        assert_eq!(pair.server.session.handle_input(pair.now, &[0, 0, 0, 1, 1]), Ok(0));
        pair.server.session.send(&Response::Pong).unwrap();
        assert_eq!(pair.server.session.wants(), Wants::Control);
        pair.settle().unwrap();
        assert_eq!(pair.client.session.room(), 1);
    }
}

/// The server takes the payload of the 64th request although its pipeline is full.
#[test]
fn server_session_takes_payload_of_last_request_that_fits() {
    let mut pair = connected(Mode::Tls);
    for _ in 0..63 {
        pair.client.session.send(&Request::Ping).unwrap();
    }
    pair.client.session.send(&Request::Slice { length: 3, digest: Digest::of(b"abc") }).unwrap();
    pair.client.supply.extend(b"abc");
    pair.settle().unwrap();
    assert_eq!(pair.server.payload, b"abc");
    assert_eq!(pair.server.session.wants(), Wants::Nothing);
}

/// Requests queued before the handshake leave only as the server's limit of 8 allows.
#[test]
fn early_requests_wait_for_the_server_pipeline_limit() {
    for mode in BOTH {
        let mut server = super::pair::server_config();
        server.limits.max_pipeline = 8;
        let mut pair = Pair::with(super::pair::client_config(mode), server);
        for _ in 0..10 {
            pair.client.session.send(&Request::Ping).unwrap();
        }
        assert_eq!(pair.client.session.room(), 54);
        pair.settle().unwrap();
        assert_eq!(pair.server.messages().len(), 8);
        assert_eq!(pair.client.session.room(), 0);
        pair.run(|_| (Response::Pong, Vec::new())).unwrap();
        assert_eq!(pair.client.messages().len(), 10);
        assert_eq!(pair.client.session.room(), 8);
    }
}

/// The client does not send a slice over the server's limit, and the server refuses one.
#[test]
fn slice_over_server_limit_is_neither_sent_nor_taken() {
    let slice = |length| Request::Slice { length, digest: Digest::of(b"") };
    let small = || {
        let mut server = super::pair::server_config();
        server.limits.max_slice = 16_793_672;
        Pair::with(super::pair::client_config(Mode::Tls), server)
    };
    let mut pair = small();
    pair.settle().unwrap();
    let sent = pair.client.session.send(&slice(16_793_673));
    assert_eq!(sent, Err(SessionError::SliceUnsendable(16_793_673)));
    assert_eq!(pair.client.session.send(&slice(16_793_672)), Ok(()));
    // Early it cannot be known; then it ends the connection before a byte of it left.
    let mut pair = small();
    pair.client.session.send(&slice(16_793_673)).unwrap();
    assert_eq!(pair.settle(), Err(SessionError::EarlyUnsendable));
    // A client that sends it all the same is refused.
    let mut pair = small();
    pair.settle().unwrap();
    let mut other = connected(Mode::Plaintext);
    other.client.session.send(&slice(16_793_673)).unwrap();
    let frame = other.client.transmit(other.now);
    let mut server = super::pair::server_config();
    server.limits.max_slice = 16_793_672;
    let mut pair = Pair::with(super::pair::client_config(Mode::Plaintext), server);
    pair.settle().unwrap();
    let refused = pair.server.deliver(pair.now, &frame);
    assert_eq!(refused, Err(SessionError::SliceTooLong(16_793_673)));
}

/// The server delivers no more requests while over 262,144 bytes of answers are unread.
#[test]
fn server_session_holds_requests_while_outbox_is_full() {
    let mut pair = connected(Mode::Tls);
    for _ in 0..64 {
        let list = Request::List { after: None, limit: 1000, headers: true };
        pair.client.session.send(&list).unwrap();
    }
    let up = pair.client.transmit(pair.now);
    assert_eq!(pair.server.session.handle_input(pair.now, &up), Ok(up.len()));
    let info = Info {
        version: Version(1),
        kind: Kind::Sealed,
        length: 1,
        header_length: 1,
        footer_length: 1,
    };
    let entry = Entry { key: ObjectKey::new("k").unwrap(), info, header: Some(vec![0; 65_000]) };
    let page = Response::Page { entries: vec![entry; 2], next: None, unreadable: 0 };
    let mut served = 0;
    while let Some(event) = pair.server.session.poll_event() {
        assert!(matches!(event, Event::Message(_)));
        pair.server.session.send(&page).unwrap();
        served += 1;
    }
    // Three pages of 130,000 bytes are over 262,144, two are not.
    assert_eq!(served, 3);
    assert_eq!(OUTBOX_MAX_BYTES, 262_144);
    assert!(pair.server.session.poll_transmit(pair.now).is_some());
    assert!(pair.server.session.poll_transmit(pair.now).is_some());
    assert!(pair.server.session.poll_event().is_some());
}

/// The server refuses to send an answer to which there is no request of that kind.
#[test]
fn server_session_refuses_answer_without_request() {
    let mut pair = connected(Mode::Plaintext);
    assert_eq!(pair.server.session.send(&Response::Pong), Err(SessionError::NothingToAnswer));
    pair.client.session.send(&Request::Ping).unwrap();
    pair.settle().unwrap();
    let echo = Response::Echo { client: vec![], server: vec![] };
    assert_eq!(pair.server.session.send(&echo), Err(SessionError::NothingToAnswer));
    assert_eq!(pair.server.session.send(&Response::Pong), Ok(()));
    assert_eq!(pair.server.session.send(&Response::Pong), Err(SessionError::NothingToAnswer));
}

/// PROTOCOL 6: "header: where asked for, and only there".
#[test]
fn object_answer_has_header_only_when_requested() {
    for (sections, header, is_fit) in [
        (vec![Section::Footer, Section::Header], Some(vec![7; 300]), true),
        (vec![Section::Footer, Section::Header], None, false),
        (vec![Section::Footer], Some(vec![7; 300]), false),
        (vec![Section::Footer], None, true),
    ] {
        let mut pair = connected(Mode::Plaintext);
        let key = ObjectKey::new("k").unwrap();
        let get = Request::Get { key, version: None, sections, kind: Kind::Sealed };
        pair.client.session.send(&get).unwrap();
        let info = Info {
            version: Version(1),
            kind: Kind::Sealed,
            length: 1000,
            header_length: 300,
            footer_length: 3,
        };
        let answer = Response::Object { info, header, payload: 3 };
        let result = pair.run(|_| (answer.clone(), b"abc".to_vec()));
        assert_eq!(result.is_ok(), is_fit);
        assert_eq!(pair.client.messages().len(), usize::from(is_fit));
    }
}

/// The client refuses a plain object as the answer to a get of a sealed one.
#[test]
fn object_answer_of_other_kind_is_refused() {
    let mut pair = connected(Mode::Plaintext);
    let get = Request::Get {
        key: ObjectKey::new("k").unwrap(),
        version: None,
        sections: vec![Section::All],
        kind: Kind::Sealed,
    };
    pair.client.session.send(&get).unwrap();
    let info = Info {
        version: Version(1),
        kind: Kind::Plain,
        length: 3,
        header_length: 0,
        footer_length: 0,
    };
    let result =
        pair.run(|_| (Response::Object { info, header: None, payload: 3 }, b"abc".to_vec()));
    assert_eq!(result, Err(SessionError::UnexpectedAnswer));
    assert!(pair.client.messages().is_empty());
}

/// A closed client session takes no input and no requests; in TLS the server sees the close.
#[test]
fn closed_client_session_takes_and_sends_nothing() {
    for mode in BOTH {
        let mut pair = connected(mode);
        pair.client.session.close();
        assert_eq!(pair.client.session.send(&Request::Ping), Err(SessionError::Closed));
        assert_eq!(pair.client.session.wants(), Wants::Nothing);
        assert_eq!(pair.client.session.handle_input(pair.now, b"x"), Err(SessionError::Closed));
        assert_eq!(pair.client.session.has_output(), mode == Mode::Tls);
        assert_eq!(pair.settle(), Ok(()));
        assert_eq!(pair.server.session.handle_eof(), Ok(()));
        pair.server.transmit(pair.now);
        assert_eq!(pair.server.events.last(), Some(&Event::Closed));
        assert_eq!(pair.server.events.len(), 2);
    }
}

/// A server that closes before it answers a request leaves the client with a truncation.
#[test]
fn server_close_with_unanswered_request_is_truncation() {
    let mut pair = connected(Mode::Tls);
    pair.client.session.send(&Request::Commit).unwrap();
    let up = pair.client.transmit(pair.now);
    pair.server.deliver(pair.now, &up).unwrap();
    pair.server.session.close();
    assert_eq!(pair.settle(), Err(SessionError::Truncated));
}

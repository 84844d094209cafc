//! A proxy between two honest ends: it rewrites the hellos, which travel in the clear, or cuts the
//! streams.

use std::time::Duration;

use super::pair::{Pair, client_config, server_config};
use crate::{
    hello::{HelloError, Mode},
    limits::HANDSHAKE_SECONDS,
    message::{Request, Response},
    session::{Event, SessionError},
};

const CLIENT_HELLO_BYTES: usize = 17;
const SERVER_HELLO_BYTES: usize = 36;
/// Where the modes are in a client hello, and the mode in a server hello.
const MODES: usize = 12;

const BOTH: [Mode; 2] = [Mode::Plaintext, Mode::Tls];

/// Joins both ends by a proxy that rewrites their first flights. Returns the pair, and how each end
/// failed.
fn through(
    mode: Mode,
    up: impl Fn(&mut Vec<u8>),
    down: impl Fn(&mut Vec<u8>),
) -> (Pair, Option<SessionError>, Option<SessionError>) {
    let mut pair = Pair::new(mode);
    pair.client.session.send(&Request::Ping).unwrap();
    let (mut client, mut server) = (None, None);
    let (mut first_up, mut first_down) = (true, true);
    loop {
        let mut bytes = pair.client.transmit(pair.now);
        let moved = !bytes.is_empty();
        if std::mem::take(&mut first_up) {
            up(&mut bytes);
        }
        if server.is_none() {
            server = pair.server.deliver(pair.now, &bytes).err();
        }
        let mut bytes = pair.server.transmit(pair.now);
        if !moved && bytes.is_empty() {
            return (pair, client, server);
        }
        if !bytes.is_empty() && std::mem::take(&mut first_down) {
            down(&mut bytes);
        }
        if client.is_none() {
            client = pair.client.deliver(pair.now, &bytes).err();
        }
    }
}

fn connected<M>(events: &[Event<M>]) -> bool {
    events.iter().any(|event| matches!(event, Event::Connected { .. }))
}

/// A TLS client fails when a proxy rewrites its offer or the server's choice to plaintext.
#[test]
fn tls_client_refuses_downgrade_to_plaintext() {
    // The client's offer becomes `plaintext`, which this server would carry.
    let (pair, client, _) = through(Mode::Tls, |up| up[MODES] = 1, |_| {});
    assert_eq!(client, Some(HelloError::ModeNotOffered(Mode::Plaintext).into()));
    assert!(!connected(&pair.client.events) && !connected(&pair.server.events));
    // The server's choice becomes `plaintext`.
    let (pair, client, _) = through(Mode::Tls, |_| {}, |down| down[MODES] = 1);
    assert_eq!(client, Some(HelloError::ModeNotOffered(Mode::Plaintext).into()));
    assert!(!connected(&pair.client.events) && !connected(&pair.server.events));
}

/// The echo exposes a client hello to which a proxy added a mode.
#[test]
fn echo_detects_modes_added_to_client_hello() {
    let (pair, _, server) = through(Mode::Tls, |up| up[MODES] = 3, |_| {});
    assert_eq!(server, Some(SessionError::EchoMismatch));
    assert!(!connected(&pair.client.events) && !connected(&pair.server.events));
}

/// A proxy that speaks both hellos itself: the server's echo is the client's only witness.
#[test]
fn echo_mismatch_ends_connection_on_both_sides() {
    for (at, value) in [(25, 1), (12, 1)] {
        let mut pair = Pair::new(Mode::Plaintext);
        let up = pair.client.transmit(pair.now);
        pair.server.deliver(pair.now, &up).unwrap();
        let mut down = pair.server.transmit(pair.now);
        pair.client.deliver(pair.now, &down).unwrap();
        let mut echo = pair.client.transmit(pair.now);
        assert_eq!(echo[..5], [0, 0, 0, 56, 0]);
        // The client's echo is honest, so the server is content; its answer is rewritten.
        pair.server.deliver(pair.now, &echo).unwrap();
        assert!(connected(&pair.server.events));
        down = pair.server.transmit(pair.now);
        down[at] ^= value;
        assert_eq!(pair.client.deliver(pair.now, &down), Err(SessionError::EchoMismatch));
        assert!(!connected(&pair.client.events));
        // And the other way round.
        let mut pair = Pair::new(Mode::Plaintext);
        let up = pair.client.transmit(pair.now);
        pair.server.deliver(pair.now, &up).unwrap();
        echo[at] ^= value;
        assert_eq!(pair.server.deliver(pair.now, &echo), Err(SessionError::EchoMismatch));
        assert!(!connected(&pair.server.events));
    }
}

/// With any bit of either hello flipped, in both modes, neither end connects.
#[test]
fn hello_with_any_bit_flipped_never_connects() {
    for mode in BOTH {
        let flips = |bytes: usize| (0..bytes).flat_map(|at| (0..8).map(move |bit| (at, bit)));
        let mut runs: Vec<_> = Vec::new();
        for (at, bit) in flips(CLIENT_HELLO_BYTES) {
            runs.push((format!("up {at}.{bit}"), through(mode, |up| up[at] ^= 1 << bit, |_| {})));
        }
        for (at, bit) in flips(SERVER_HELLO_BYTES) {
            runs.push((
                format!("down {at}.{bit}"),
                through(mode, |_| {}, |down| down[at] ^= 1 << bit),
            ));
        }
        assert_eq!(runs.len(), 424);
        for (what, (mut pair, client, server)) in runs {
            assert!(!connected(&pair.client.events), "{mode:?}, {what}");
            assert!(!connected(&pair.server.events), "{mode:?}, {what}");
            // An end that has not noticed waits for a hello that does not come, until its deadline.
            pair.now += Duration::from_secs(HANDSHAKE_SECONDS);
            let late = pair.client.session.handle_timeout(pair.now)
                && pair.server.session.handle_timeout(pair.now);
            assert!(client.is_some() || server.is_some() || late, "{mode:?}, {what}");
        }
    }
}

/// A server session without plaintext refuses a plaintext client and sends the reason.
#[test]
fn server_session_without_plaintext_refuses_it_with_a_reason() {
    let mut server = server_config();
    server.allow_plaintext = false;
    let mut pair = Pair::with(client_config(Mode::Plaintext), server);
    let error = pair.settle().unwrap_err();
    assert!(matches!(&error, SessionError::Refused(refusal) if refusal.code == 13), "{error}");
    // What is queued still goes out.
    let down = pair.server.transmit(pair.now);
    let error = pair.client.deliver(pair.now, &down).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the server refuses the connection: Mode: this listener speaks tls only"
    );
}

/// Cuts one direction after `limit` bytes and says how the end after the cut fails; nothing when
/// the whole exchange was shorter.
fn cut(mode: Mode, up: bool, limit: usize) -> Option<Result<(), SessionError>> {
    let mut pair = Pair::new(mode);
    let object = [0x17; 40];
    pair.client.session.send(&Request::Ping).unwrap();
    pair.client
        .session
        .send(&Request::Slice { length: 40, digest: crate::digest::Digest::of(&object) })
        .unwrap();
    pair.client.supply.extend(object);
    let mut left = limit;
    let mut answered = 0;
    loop {
        let mut bytes = pair.client.transmit(pair.now);
        let mut moved = !bytes.is_empty();
        if up {
            if bytes.len() > left {
                pair.server.deliver(pair.now, &bytes[..left]).unwrap();
                return Some(pair.server.session.handle_eof());
            }
            left -= bytes.len();
        }
        pair.server.deliver(pair.now, &bytes).unwrap();
        let answers = [Response::Pong, Response::SliceHeld];
        while answered < pair.server.messages().len()
            && pair.server.payload.len().is_multiple_of(40)
        {
            pair.server.session.send(&answers[answered]).unwrap();
            answered += 1;
        }
        if answered == 2 && pair.client.messages().len() == 2 {
            pair.client.session.close();
        }
        bytes = pair.server.transmit(pair.now);
        moved |= !bytes.is_empty() || pair.client.session.has_output();
        if !up {
            if bytes.len() > left {
                pair.client.deliver(pair.now, &bytes[..left]).unwrap();
                return Some(pair.client.session.handle_eof());
            }
            left -= bytes.len();
        }
        pair.client.deliver(pair.now, &bytes).unwrap();
        if !moved {
            return None;
        }
    }
}

/// End of file at any byte of a TLS connection, in either direction, is a truncation.
#[test]
fn tls_stream_cut_at_any_byte_is_truncated() {
    for up in [true, false] {
        let mut limit = 0;
        while let Some(result) = cut(Mode::Tls, up, limit) {
            assert_eq!(result, Err(SessionError::Truncated), "up: {up}, at {limit}");
            limit += 1;
        }
        assert!(limit > 1_000, "a whole handshake was cut, {limit} bytes");
    }
}

/// A plaintext stream may end only where no message is open and no answer is owed.
#[test]
fn plaintext_stream_may_end_only_between_messages() {
    let clean = |up| {
        let mut places = Vec::new();
        let mut limit = 0;
        while let Some(result) = cut(Mode::Plaintext, up, limit) {
            match result {
                Ok(()) => places.push(limit),
                Err(error) => assert_eq!(error, SessionError::Truncated, "up: {up}, at {limit}"),
            }
            limit += 1;
        }
        (places, limit)
    };
    // Hello 17, echo 4 + 56, ping 5, slice 4 + 34, 40 raw: behind echo and ping.
    assert_eq!(clean(true), (vec![77, 82], 160));
    // Answers are owed until the last.
    assert_eq!(clean(false), (vec![], 106));
}

//! A client's session against any server: it takes no more than it was given, gets no more answers
//! than it has asked for, and is silent once it is over.
//!
//! The first byte says how the connection begins (bit 0: a `plaintext` one whose hellos are
//! through; bit 1: `tls`, with the hello through; else `plaintext` from the start). The second
//! picks what is asked, by its bits. Each byte after it is a step: that many bytes are handed over.

use std::{sync::LazyLock, time::Instant};

use zput_proto::{
    digest::Digest,
    hello::{ClientHello, Mode, ServerHello, ServerLimits},
    keys::ServerPublicKey,
    limits::FRAME_MAX_BYTES,
    message::{Kind, Request, Response, Section, frame},
    name::ObjectKey,
    session::{ClientConfig, ClientSession, ClientTls, Event, Transmit, Wants},
};
use zput_seal::keys::DeviceSeed;

pub(crate) fn run(input: &[u8]) {
    let Some((&[start, asked], mut input)) = input.split_first_chunk::<2>() else {
        return;
    };
    let now = Instant::now();
    let config = match (start & 2, &*TLS) {
        (2, Some(tls)) => ClientConfig::Tls(tls.clone()),
        _ => ClientConfig::Plaintext,
    };
    let Ok(mut session) = ClientSession::new(&config, now) else {
        return;
    };
    let mut answers = 0;
    for (bit, request) in requests().iter().enumerate() {
        if asked >> bit & 1 == 1 {
            assert_eq!(session.send(request), Ok(()));
        }
    }
    let mut stream = beginning(start & 3);
    if !step(&mut session, now, &mut stream, &mut answers) {
        return;
    }
    while let Some((length, rest)) = input.split_first() {
        let (bytes, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        input = rest;
        stream.extend_from_slice(bytes);
        let goes_on = step(&mut session, now, &mut stream, &mut answers);
        assert!(answers <= asked.count_ones(), "answers that nobody asked for");
        if !goes_on {
            return;
        }
    }
    let owed = session.unanswered() > 0;
    let ended = session.handle_eof();
    assert!(!(owed && ended.is_ok()), "an end that owes answers");
}

/// Hands `stream` over as far as it is wanted; false when the session is over.
fn step(
    session: &mut ClientSession,
    now: Instant,
    stream: &mut Vec<u8>,
    answers: &mut u32,
) -> bool {
    loop {
        let result = match session.wants() {
            Wants::Nothing => Ok(0),
            Wants::Control => session.handle_input(now, stream),
            Wants::Payload { remaining } => {
                let taken = usize::try_from(remaining).unwrap_or(usize::MAX).min(stream.len());
                session.payload_received(now, taken as u64);
                Ok(taken)
            }
        };
        while let Some(event) = session.poll_event() {
            *answers += u32::from(matches!(event, Event::Message(_)));
        }
        drain(session, now);
        let Ok(taken) = result else {
            assert_eq!(session.wants(), Wants::Nothing);
            assert!(session.handle_input(now, b"x").is_err());
            assert!(session.send(&Request::Ping).is_err());
            assert_eq!(session.deadline(), None);
            return false;
        };
        assert!(taken <= stream.len());
        stream.drain(..taken);
        if taken == 0 {
            return true;
        }
    }
}

fn drain(session: &mut ClientSession, now: Instant) {
    while let Some(transmit) = session.poll_transmit(now) {
        match transmit {
            Transmit::Bytes(bytes) => assert!(!bytes.is_empty()),
            Transmit::Payload(length) => session.payload_sent(now, length),
        }
    }
    assert!(!session.has_output());
}

/// One for each kind of answer that may hold more than a number.
fn requests() -> Vec<Request> {
    let Ok(key) = ObjectKey::new("key") else {
        return Vec::new();
    };
    vec![
        Request::Ping,
        Request::Get {
            key: key.clone(),
            version: None,
            sections: vec![Section::Header, Section::Body],
            kind: Kind::Sealed,
        },
        Request::Stat { key: key.clone(), version: None },
        Request::List { after: None, limit: 1000, headers: true },
        Request::Versions { key, after: None, limit: 1000 },
        Request::Slice { length: 10, digest: Digest::of(b"") },
        Request::Commit,
        Request::Join { secret: [1; 32], label: "fuzz".into() },
    ]
}

/// What an honest server says first: nothing, all for `plaintext`, or the hello for `tls`.
fn beginning(start: u8) -> Vec<u8> {
    let mode = match start {
        1 => Mode::Plaintext,
        2 | 3 => Mode::Tls,
        _ => return Vec::new(),
    };
    let hello =
        ServerHello::Accepted { version: 1, mode, features: 0, limits: ServerLimits::default() };
    let server = hello.encode();
    if mode == Mode::Tls {
        return server;
    }
    let client = ClientHello::only(Mode::Plaintext).encode();
    let echo = Response::Echo { client, server: server.clone() };
    [server, frame::encode(&echo, FRAME_MAX_BYTES).unwrap_or_default()].concat()
}

static TLS: LazyLock<Option<ClientTls>> = LazyLock::new(|| {
    let device = DeviceSeed::from_bytes([1; 32]).tls_key();
    ClientTls::new(&device, &ServerPublicKey::from_bytes([2; 32])).ok()
});

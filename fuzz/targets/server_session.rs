//! A server's session against any client: it takes no more than it was given, keeps within its
//! pipeline, and is silent once it is over.
//!
//! The first byte says how the connection begins (bit 0: a `plaintext` one whose hellos are
//! through; bit 1: the listener has a key). Each byte after it is a step: that many bytes (up to
//! 127) are handed over, and where its highest bit is set, a request is answered.

use std::{
    sync::{Arc, LazyLock},
    time::Instant,
};

use zput_proto::{
    hello::{ClientHello, Mode, ServerHello, ServerLimits},
    keys::ServerKeySeed,
    limits::{FRAME_MAX_BYTES, PIPELINE_MAX},
    message::{Request, Response, frame},
    session::{ServerConfig, ServerSession, ServerTls, Transmit, Wants},
};

pub(crate) fn run(input: &[u8]) {
    let Some((start, mut input)) = input.split_first() else {
        return;
    };
    let now = Instant::now();
    let mut session = ServerSession::new(CONFIGS[usize::from(start >> 1 & 1)].clone(), now);
    let mut stream = Vec::new();
    if start & 1 == 1 {
        stream = beginning();
        assert!(step(&mut session, now, &mut stream) && stream.is_empty(), "connected");
    }
    while let Some((step_byte, rest)) = input.split_first() {
        let (bytes, rest) = rest.split_at(usize::from(step_byte & 0x7f).min(rest.len()));
        input = rest;
        stream.extend_from_slice(bytes);
        if !step(&mut session, now, &mut stream) {
            return;
        }
        if step_byte & 0x80 != 0
            && session.unanswered() > 0
            && session.send(&Response::Pong).is_err()
        {
            over(&mut session, now);
            return;
        }
    }
    if session.handle_eof().is_err() {
        over(&mut session, now);
    }
}

/// Hands `stream` over as far as it is wanted; false when the session is over.
fn step(session: &mut ServerSession, now: Instant, stream: &mut Vec<u8>) -> bool {
    loop {
        let taken = match session.wants() {
            Wants::Nothing => 0,
            Wants::Control => match session.handle_input(now, stream) {
                Ok(taken) => taken,
                Err(_) => {
                    over(session, now);
                    return false;
                }
            },
            Wants::Payload { remaining } => {
                let taken = usize::try_from(remaining).unwrap_or(usize::MAX).min(stream.len());
                session.payload_received(now, taken as u64);
                taken
            }
        };
        assert!(taken <= stream.len());
        stream.drain(..taken);
        assert!(session.unanswered() <= PIPELINE_MAX);
        while session.poll_event().is_some() {}
        drain(session, now);
        if taken == 0 {
            return true;
        }
    }
}

fn drain(session: &mut ServerSession, now: Instant) {
    while let Some(transmit) = session.poll_transmit(now) {
        match transmit {
            Transmit::Bytes(bytes) => assert!(!bytes.is_empty()),
            Transmit::Payload(length) => session.payload_sent(now, length),
        }
    }
    assert!(!session.has_output());
}

fn over(session: &mut ServerSession, now: Instant) {
    assert_eq!(session.wants(), Wants::Nothing);
    assert!(session.handle_input(now, b"x").is_err());
    assert!(session.send(&Response::Pong).is_err());
    assert_eq!(session.deadline(), None);
    while session.poll_event().is_some() {}
    drain(session, now);
}

/// The hello and the echo of a `plaintext` client.
fn beginning() -> Vec<u8> {
    let client = ClientHello::only(Mode::Plaintext).encode();
    let server = ServerHello::Accepted {
        version: 1,
        mode: Mode::Plaintext,
        features: 0,
        limits: ServerLimits::default(),
    };
    let echo = Request::Echo { client: client.clone(), server: server.encode() };
    let frame = frame::encode(&echo, FRAME_MAX_BYTES);
    [client, frame.unwrap_or_default()].concat()
}

/// Without a key and with one.
static CONFIGS: LazyLock<[Arc<ServerConfig>; 2]> = LazyLock::new(|| {
    let limits = ServerLimits::default();
    let tls = ServerTls::new(&ServerKeySeed::from_bytes([1; 32])).ok();
    [
        Arc::new(ServerConfig { tls: None, allow_plaintext: true, limits }),
        Arc::new(ServerConfig { tls, allow_plaintext: true, limits }),
    ]
});

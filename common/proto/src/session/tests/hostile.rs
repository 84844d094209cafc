//! Peers of another make: TLS by its own means, frames by hand.

use std::{
    io::{Read as _, Write as _},
    sync::Arc,
};

use rustls::{
    ClientConfig, ClientConnection, Error,
    client::{AlwaysResolvesClientRawPublicKeys, ResolvesClientCert, Resumption},
    crypto::aws_lc_rs,
    sign::CertifiedKey,
};

use super::pair::{End, device_key, server_config, server_key};
use crate::{
    digest::Digest,
    hello::{ClientHello, Mode},
    keys::{DeviceTlsKey, ServerKeySeed},
    limits::FRAME_MAX_BYTES,
    message::{
        Request, Response,
        frame::{self, FrameError},
    },
    session::{ClientSession, ClientTls, Event, ServerSession, SessionError, Wants, tls},
};

/// A client that does what it likes with its TLS records, and the server it talks to.
struct Foreign {
    tls: ClientConnection,
    server: End<ServerSession>,
    now: std::time::Instant,
    /// What the server has sent in the clear: its hello.
    hello: Vec<u8>,
}

impl Foreign {
    fn new(config: ClientConfig) -> Self {
        let now = std::time::Instant::now();
        let session = ServerSession::new(Arc::new(server_config()), now);
        Self {
            tls: ClientConnection::new(Arc::new(config), tls::server_name().unwrap()).unwrap(),
            server: End::new(session),
            now,
            hello: Vec::new(),
        }
    }

    /// After the handshake and the echoes.
    fn connected(config: ClientConfig) -> Self {
        let mut foreign = Self::new(config);
        foreign.shake_hands().unwrap();
        let echo = Request::Echo {
            client: ClientHello::only(Mode::Tls).encode(),
            server: foreign.hello.clone(),
        };
        foreign.say(&encode(&echo)).unwrap();
        assert_eq!(foreign.hear()[4], 0, "the server's echo");
        assert_eq!(foreign.server.events.len(), 1, "connected");
        foreign
    }

    fn shake_hands(&mut self) -> Result<(), SessionError> {
        self.server.deliver(self.now, &ClientHello::only(Mode::Tls).encode())?;
        self.hello = self.server.transmit(self.now);
        while self.tls.is_handshaking() || self.tls.wants_write() {
            let flight = self.records();
            self.server.deliver(self.now, &flight)?;
            self.hear();
        }
        Ok(())
    }

    /// What TLS has to send.
    fn records(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut bytes).unwrap();
        }
        bytes
    }

    /// The records of `plaintext`: one, when it is not longer than that.
    fn seal(&mut self, plaintext: &[u8]) -> Vec<u8> {
        self.tls.writer().write_all(plaintext).unwrap();
        self.records()
    }

    fn say(&mut self, plaintext: &[u8]) -> Result<(), SessionError> {
        let records = self.seal(plaintext);
        self.server.deliver(self.now, &records)
    }

    /// What the server says, in the clear.
    fn hear(&mut self) -> Vec<u8> {
        let bytes = self.server.transmit(self.now);
        let mut rest = &bytes[..];
        let mut plaintext = Vec::new();
        while !rest.is_empty() {
            self.tls.read_tls(&mut rest).unwrap();
            if self.tls.process_new_packets().unwrap().plaintext_bytes_to_read() > 0 {
                let mut chunk = vec![0; 1 << 20];
                let length = self.tls.reader().read(&mut chunk).unwrap();
                plaintext.extend_from_slice(&chunk[..length]);
            }
        }
        plaintext
    }
}

/// The configuration of an honest client, to be bent.
fn honest() -> ClientConfig {
    let tls = ClientTls::new(&device_key(), &server_key().public_key()).unwrap();
    ClientConfig::clone(&tls.0)
}

fn encode(request: &Request) -> Vec<u8> {
    frame::encode(request, FRAME_MAX_BYTES).unwrap()
}

fn slice(length: u32) -> Request {
    Request::Slice { length, digest: Digest::of(b"") }
}

fn other_device() -> DeviceTlsKey {
    DeviceTlsKey::from_bytes([0xee; 32])
}

fn certified(device: &DeviceTlsKey) -> CertifiedKey {
    tls::raw_key(device.as_bytes()).unwrap()
}

fn resolver(key: CertifiedKey) -> Arc<dyn ResolvesClientCert> {
    Arc::new(AlwaysResolvesClientRawPublicKeys::new(Arc::new(key)))
}

/// The server session serves a plain rustls client, with a hybrid key exchange.
#[test]
fn server_session_serves_foreign_rustls_client() {
    let mut foreign = Foreign::connected(honest());
    let group = foreign.tls.negotiated_key_exchange_group().unwrap();
    assert_eq!(group.name(), rustls::NamedGroup::X25519MLKEM768);
    foreign.say(&encode(&Request::Ping)).unwrap();
    foreign.server.session.send(&Response::Pong).unwrap();
    assert_eq!(foreign.hear(), [0, 0, 0, 1, 1]);
}

/// The handshake fails for a client that shows another device's key and signs with its own.
#[test]
fn client_key_without_its_signature_is_refused() {
    // It shows the key of a device with an account and signs with its own.
    let stolen = CertifiedKey::new(certified(&device_key()).cert, certified(&other_device()).key);
    let mut config = honest();
    config.client_auth_cert_resolver = resolver(stolen);
    let mut foreign = Foreign::new(config);
    let error = foreign.shake_hands().unwrap_err();
    let bad = rustls::CertificateError::BadSignature;
    assert_eq!(error, SessionError::Tls(Error::InvalidCertificate(bad)));
    assert!(foreign.server.events.is_empty());
}

/// The TLS handshake fails for a client that presents no key.
#[test]
fn client_without_a_key_is_refused_in_handshake() {
    #[derive(Debug)]
    struct Nothing;

    impl ResolvesClientCert for Nothing {
        fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
            None
        }

        fn has_certs(&self) -> bool {
            false
        }

        fn only_raw_public_keys(&self) -> bool {
            true
        }
    }

    let mut config = honest();
    config.client_auth_cert_resolver = Arc::new(Nothing);
    let mut foreign = Foreign::new(config);
    assert!(matches!(foreign.shake_hands(), Err(SessionError::Tls(_))));
    assert!(foreign.server.events.is_empty());
}

/// The TLS handshake fails for a client that offers X25519 without ML-KEM.
#[test]
fn client_without_hybrid_key_exchange_is_refused() {
    let provider = rustls::crypto::CryptoProvider {
        kx_groups: vec![aws_lc_rs::kx_group::X25519],
        ..aws_lc_rs::default_provider()
    };
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(tls::pinned(&server_key().public_key()))
        .with_client_cert_resolver(resolver(certified(&device_key())));
    let error = Foreign::new(config).shake_hands().unwrap_err();
    let none = rustls::PeerIncompatible::NoKxGroupsInCommon;
    assert_eq!(error, SessionError::Tls(Error::PeerIncompatible(none)));
}

/// A client that would keep tickets gets none: its second handshake is whole again.
#[test]
fn tls_sessions_are_never_resumed() {
    let mut config = honest();
    config.resumption = Resumption::in_memory_sessions(8);
    config.enable_early_data = true;
    for _ in 0..2 {
        let foreign = Foreign::connected(config.clone());
        assert_eq!(foreign.tls.handshake_kind(), Some(rustls::HandshakeKind::Full));
        assert_eq!(foreign.tls.tls13_tickets_received(), 0);
    }
}

/// The client session refuses a server whose key is not the pinned one and sends an alert.
#[test]
fn client_session_refuses_server_with_another_key() {
    use super::pair::Pair;
    use crate::session::{ClientConfig, ServerConfig, ServerTls};

    let server = ServerConfig {
        tls: Some(ServerTls::new(&ServerKeySeed::from_bytes([0x52; 32])).unwrap()),
        ..server_config()
    };
    let client = ClientTls::new(&device_key(), &server_key().public_key()).unwrap();
    let mut pair = Pair::with(ClientConfig::Tls(client), server);
    assert_eq!(pair.settle(), Err(SessionError::AnotherServerKey));
    assert!(pair.client.events.is_empty());
    // The server hears of it.
    let alert = pair.client.transmit(pair.now);
    assert!(matches!(
        pair.server.deliver(pair.now, &alert),
        Err(SessionError::Tls(Error::AlertReceived(_)))
    ));
    assert!(pair.server.events.is_empty());
}

/// The client refuses a server that shows the pinned key and signs with another.
#[test]
fn pinned_server_key_without_its_signature_is_refused() {
    use super::pair::Pair;
    use crate::session::{ClientConfig, ServerConfig, ServerTls};

    let other = ServerKeySeed::from_bytes([0x52; 32]);
    let shown = tls::raw_key(server_key().as_bytes()).unwrap().cert;
    let stolen = CertifiedKey::new(shown, tls::raw_key(other.as_bytes()).unwrap().key);
    let mut config = rustls::ServerConfig::clone(&ServerTls::new(&other).unwrap().0);
    config.cert_resolver =
        Arc::new(rustls::server::AlwaysResolvesServerRawPublicKeys::new(Arc::new(stolen)));
    let server = ServerConfig { tls: Some(ServerTls(Arc::new(config))), ..server_config() };
    let client = ClientTls::new(&device_key(), &server_key().public_key()).unwrap();
    let mut pair = Pair::with(ClientConfig::Tls(client), server);
    let bad = rustls::CertificateError::BadSignature;
    assert_eq!(pair.settle(), Err(SessionError::Tls(Error::InvalidCertificate(bad))));
    assert!(pair.client.events.is_empty());
}

/// The server refuses a TLS record with bytes after the frame that announces payload.
#[test]
fn announcement_must_end_its_tls_record() {
    let mut foreign = Foreign::connected(honest());
    let both = [encode(&slice(4)), encode(&Request::Ping)].concat();
    assert_eq!(foreign.say(&both), Err(SessionError::BehindAnnouncement));
    // It hears why: `Malformed`.
    assert_eq!(foreign.hear()[4..6], [12, 1]);
    assert_eq!(foreign.server.events.len(), 1);
    let mut foreign = Foreign::connected(honest());
    let mut one = encode(&slice(4));
    one.push(0);
    assert_eq!(foreign.say(&one), Err(SessionError::BehindAnnouncement));
}

/// The frame that announces payload may be the last of several in one TLS record.
#[test]
fn announcement_may_follow_frames_in_its_tls_record() {
    let mut foreign = Foreign::connected(honest());
    let both = [encode(&Request::Ping), encode(&slice(4))].concat();
    let mut bytes = foreign.seal(&both);
    bytes.extend_from_slice(b"\x15\x03\x03\x00");
    bytes.extend_from_slice(&foreign.seal(&encode(&Request::Commit)));
    foreign.server.deliver(foreign.now, &bytes).unwrap();
    assert_eq!(foreign.server.payload, b"\x15\x03\x03\x00");
    assert_eq!(
        foreign.server.events[1..],
        [
            Event::Message(Request::Ping),
            Event::Message(slice(4)),
            Event::PayloadDone,
            Event::Message(Request::Commit),
        ]
    );
}

/// A frame may be spread over TLS records, and one record may hold several frames.
#[test]
fn frames_may_span_tls_records_and_share_them() {
    let mut foreign = Foreign::connected(honest());
    let frame = encode(&Request::Join { secret: [1; 32], label: "x".into() });
    for byte in &frame {
        foreign.say(&[*byte]).unwrap();
    }
    foreign.say(&encode(&Request::Ping).repeat(3)).unwrap();
    assert_eq!(foreign.server.messages().len(), 4);
}

/// The server delivers 64 requests of a larger TLS record and one more for each answer.
#[test]
fn server_session_delivers_64_requests_until_answers_follow() {
    let mut foreign = Foreign::connected(honest());
    foreign.say(&encode(&Request::Ping).repeat(200)).unwrap();
    foreign.say(&encode(&Request::Abort)).unwrap();
    assert_eq!(foreign.server.messages().len(), 64);
    assert_eq!(foreign.server.session.wants(), Wants::Nothing);
    for answered in 1..=200 {
        foreign.server.session.send(&Response::Pong).unwrap();
        foreign.server.deliver(foreign.now, &[]).unwrap();
        assert_eq!(foreign.server.messages().len(), (answered + 64).min(201));
    }
    assert_eq!(foreign.hear().len(), 1000);
    assert_eq!(foreign.server.messages()[200], &Request::Abort);
    assert_eq!(foreign.server.session.unanswered(), 1);
}

/// The last request of a full record is bad: it shows when there is room for it.
#[test]
fn malformed_frame_behind_full_pipeline_fails_in_turn() {
    let mut foreign = Foreign::connected(honest());
    let mut plaintext = encode(&Request::Ping).repeat(64);
    plaintext.extend_from_slice(&[0, 0, 0, 1, 14]);
    foreign.say(&plaintext).unwrap();
    let error = foreign.server.session.send(&Response::Pong).unwrap_err();
    assert!(matches!(error, SessionError::Frame(FrameError::Encoding(_))), "{error:?}");
    assert!(foreign.server.session.send(&Response::Pong).is_err());
}

/// TLS key updates between records, also around payload, do not disturb the exchange.
#[test]
fn tls_key_update_between_records_is_accepted() {
    let mut foreign = Foreign::connected(honest());
    let mut bytes = foreign.seal(&encode(&Request::Ping));
    foreign.tls.refresh_traffic_keys().unwrap();
    bytes.extend_from_slice(&foreign.seal(&encode(&slice(9))));
    bytes.extend_from_slice(b"raw bytes");
    foreign.tls.refresh_traffic_keys().unwrap();
    bytes.extend_from_slice(&foreign.seal(&encode(&Request::Commit)));
    for byte in bytes {
        foreign.server.deliver(foreign.now, &[byte]).unwrap();
    }
    assert_eq!(foreign.server.messages().len(), 3);
    assert_eq!(foreign.server.payload, b"raw bytes");
    // The server's keys are updated in turn.
    for answer in [Response::Pong, Response::SliceHeld] {
        foreign.server.session.send(&answer).unwrap();
    }
    assert_eq!(foreign.hear(), [0, 0, 0, 1, 1, 0, 0, 0, 1, 8]);
}

/// A close_notify within a frame is a truncation; between frames answers may still follow.
#[test]
fn close_notify_within_a_message_is_truncation() {
    let close = |foreign: &mut Foreign| {
        foreign.tls.send_close_notify();
        let records = foreign.records();
        foreign.server.deliver(foreign.now, &records)
    };
    let mut foreign = Foreign::connected(honest());
    foreign.say(&encode(&Request::Ping)[..3]).unwrap();
    assert_eq!(close(&mut foreign), Err(SessionError::Truncated));

    let mut foreign = Foreign::connected(honest());
    foreign.say(&encode(&Request::Ping)).unwrap();
    assert_eq!(close(&mut foreign), Ok(()));
    assert_eq!(foreign.server.events.last(), Some(&Event::Closed));
    assert_eq!(foreign.server.session.wants(), Wants::Nothing);
    // It may still hear what it asked for.
    foreign.server.session.send(&Response::Pong).unwrap();
    assert_eq!(foreign.hear(), [0, 0, 0, 1, 1]);
    assert_eq!(foreign.server.session.handle_eof(), Ok(()));

    // Within the payload a close_notify is payload.
    let mut foreign = Foreign::connected(honest());
    foreign.say(&encode(&slice(100))).unwrap();
    assert_eq!(close(&mut foreign), Ok(()));
    assert_eq!(foreign.server.session.wants(), Wants::Payload { remaining: 76 });
    assert_eq!(foreign.server.session.handle_eof(), Err(SessionError::Truncated));
}

/// A damaged or too long TLS record ends the server session; a damaged one queues an alert.
#[test]
fn damaged_or_too_long_tls_record_ends_the_session() {
    let mut foreign = Foreign::connected(honest());
    let mut record = foreign.seal(&encode(&Request::Ping));
    let last = record.len() - 1;
    record[last] ^= 1;
    let error = foreign.server.deliver(foreign.now, &record).unwrap_err();
    assert_eq!(error, SessionError::Tls(Error::DecryptError));
    assert!(foreign.server.session.has_output(), "an alert");
    assert_eq!(foreign.server.session.wants(), Wants::Nothing);
    assert_eq!(foreign.server.session.send(&Response::Pong), Err(error));

    let mut foreign = Foreign::connected(honest());
    let error = foreign.server.deliver(foreign.now, b"\x17\x03\x03\x41\x01").unwrap_err();
    assert_eq!(error, SessionError::RecordTooLong(16_641));
}

/// The server requires an echo as the first message and refuses a later echo.
#[test]
fn server_session_requires_echo_first_and_only_once() {
    let mut foreign = Foreign::new(honest());
    foreign.shake_hands().unwrap();
    assert_eq!(foreign.say(&encode(&Request::Ping)), Err(SessionError::EchoMisplaced));
    assert!(foreign.server.events.is_empty());
    let mut foreign = Foreign::connected(honest());
    let echo = Request::Echo { client: vec![], server: vec![] };
    assert_eq!(foreign.say(&encode(&echo)), Err(SessionError::EchoMisplaced));
}

/// Accepts version 1, `plaintext`, no features, with the limits of PROTOCOL 9.
const SERVER_HELLO: &[u8; 36] = b"zput/s1\n\x00\x1a\x00\x01\x01\x00\x00\x00\x00\
\x00\x02\x00\x00\x01\x01\x00\x00\x00\x40\x00\x00\x00\x78\x00\x00\x00\x00\x00";

/// The client refuses a version, a mode or features that its hello did not offer.
#[test]
fn client_session_refuses_choices_it_did_not_offer() {
    use crate::{hello::HelloError, session::ClientConfig};

    let given = |at: usize, value: u8| {
        let now = std::time::Instant::now();
        let mut client = End::new(ClientSession::new(&ClientConfig::Plaintext, now).unwrap());
        let mut hello = *SERVER_HELLO;
        hello[at] = value;
        client.deliver(now, &hello)
    };
    assert_eq!(given(11, 1), Ok(()));
    assert_eq!(given(11, 2), Err(HelloError::VersionNotOffered(2).into()));
    assert_eq!(given(12, 2), Err(HelloError::ModeNotOffered(Mode::Tls).into()));
    assert_eq!(given(16, 1), Err(HelloError::FeaturesNotOffered(1).into()));
}

/// A client session on the other end of which a script speaks `plaintext`.
fn scripted(answers: &[u8]) -> (End<ClientSession>, Result<(), SessionError>) {
    use crate::session::ClientConfig;

    let now = std::time::Instant::now();
    let mut client = End::new(ClientSession::new(&ClientConfig::Plaintext, now).unwrap());
    client.session.send(&Request::Ping).unwrap();
    let hello = SERVER_HELLO;
    let echo = Response::Echo {
        client: ClientHello::only(Mode::Plaintext).encode(),
        server: hello.to_vec(),
    };
    let script =
        [&hello[..], &frame::encode(&echo, FRAME_MAX_BYTES).unwrap()[..], answers].concat();
    let result = client.deliver(now, &script);
    (client, result)
}

/// The client refuses an answer that matches no request; an error answers any request.
#[test]
fn client_session_refuses_unexpected_answers() {
    let (client, result) = scripted(&[0, 0, 0, 1, 1]);
    assert_eq!(result, Ok(()));
    assert_eq!(client.messages(), [&Response::Pong]);
    assert_eq!(scripted(&[0, 0, 0, 1, 1, 0, 0, 0, 1, 1]).1, Err(SessionError::UnexpectedAnswer));
    // Begun, SliceHeld, Aborted, Mounted.
    for number in [7, 8, 10, 13] {
        let answer = [0, 0, 0, 1, number];
        assert_eq!(scripted(&answer).1, Err(SessionError::UnexpectedAnswer), "{number}");
    }
    let echo = [0, 0, 0, 3, 0, 0, 0];
    assert_eq!(scripted(&echo).1, Err(SessionError::UnexpectedAnswer));
    let error = [0, 0, 0, 4, 12, 6, 0, 0];
    assert_eq!(scripted(&error).1, Ok(()));
}

/// The client refuses frames that are empty, too long, with bytes left over or undecodable.
#[test]
fn client_session_refuses_frames_out_of_bounds() {
    let length = |n| SessionError::Frame(FrameError::Length(n));
    assert_eq!(scripted(&[0, 2, 0, 1]).1, Err(length(131_073)));
    assert_eq!(scripted(&[0, 0, 0, 0]).1, Err(length(0)));
    assert_eq!(scripted(&[0, 0, 0, 2, 1, 1]).1, Err(SessionError::Frame(FrameError::LeftOver(1))));
    assert!(matches!(
        scripted(&[0, 0, 0, 1, 14]).1,
        Err(SessionError::Frame(FrameError::Encoding(_)))
    ));
}

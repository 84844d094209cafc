use super::*;

const BOTH: Carries = Carries { tls: true, plaintext: true };

/// Client and server hellos encode to the literal bytes of PROTOCOL 1 and parse back.
#[test]
fn hellos_encode_to_the_bytes_of_the_protocol() {
    let client = ClientHello::only(Mode::Tls).encode();
    assert_eq!(client, *b"zput/c1\n\x00\x07\x01\x01\x02\x00\x00\x00\x00");
    let server = ServerHello::Accepted {
        version: 1,
        mode: Mode::Tls,
        features: 0,
        limits: ServerLimits::default(),
    };
    assert_eq!(
        server.encode(),
        *b"zput/s1\n\x00\x1a\x00\x01\x02\x00\x00\x00\x00\x00\x02\x00\x00\x01\x01\x00\x00\x00\x40\x00\x00\x00\x78\x00\x00\x00\x00\x00"
    );
    assert_eq!(ServerHello::parse(&server.encode()), Ok(server));
    let refused = ServerHello::Refused(RemoteError { code: 13, text: "no".into(), number: 0 });
    let bytes = refused.encode();
    assert_eq!(bytes[8..11], [0, 28, 13]);
    assert_eq!(bytes[35..], [2, b'n', b'o']);
    assert_eq!(ServerHello::parse(&bytes), Ok(refused));
}

/// The server picks TLS when the client offers it and never falls back to plaintext.
#[test]
fn server_hello_picks_tls_whenever_it_is_offered() {
    let limits = ServerLimits::default();
    let pick = |modes, carries| {
        let client = ClientHello { min_version: 1, max_version: 1, modes, features: 0 };
        match ServerHello::answer(&client, carries, limits) {
            ServerHello::Accepted { mode, .. } => Ok(mode),
            ServerHello::Refused(error) => Err(error.code),
        }
    };
    assert_eq!(pick(0b11, BOTH), Ok(Mode::Tls));
    assert_eq!(pick(0b1111_1110, BOTH), Ok(Mode::Tls));
    assert_eq!(pick(0b01, BOTH), Ok(Mode::Plaintext));
    assert_eq!(pick(0b01, Carries { tls: true, plaintext: false }), Err(13));
    assert_eq!(pick(0b10, Carries { tls: false, plaintext: true }), Err(13));
    // A client that would rather have tls is not talked out of it.
    assert_eq!(pick(0b11, Carries { tls: false, plaintext: true }), Err(13));
    assert_eq!(pick(0b1111_1100, BOTH), Err(13));
}

/// The server refuses a version range without version 1 and accepts a wider range with it.
#[test]
fn server_hello_refuses_unsupported_versions() {
    for (min_version, max_version) in [(2, 9), (0, 0), (2, 1)] {
        let client = ClientHello { min_version, max_version, modes: 3, features: 0 };
        let answer = ServerHello::answer(&client, BOTH, ServerLimits::default());
        assert!(matches!(answer, ServerHello::Refused(RemoteError { code: 12, .. })));
    }
    let client = ClientHello { min_version: 0, max_version: 7, modes: 3, features: u32::MAX };
    let answer = ServerHello::answer(&client, BOTH, ServerLimits::default());
    assert!(matches!(answer, ServerHello::Accepted { version: 1, features: 0, .. }));
}

/// A client hello with 64 bytes of fields parses; one of 65 or of 6 bytes is refused.
#[test]
fn client_hello_accepts_trailing_fields_up_to_its_bound() {
    let mut long = b"zput/c1\n\x00\x40\x01\x02\x03\x00\x00\x00\x01".to_vec();
    long.resize(74, 0xaa);
    assert_eq!(
        ClientHello::parse(&long),
        Ok(ClientHello { min_version: 1, max_version: 2, modes: 3, features: 1 })
    );
    long[9] = 65;
    long.push(0);
    assert_eq!(ClientHello::parse(&long), Err(HelloError::Length(65)));
    assert_eq!(
        ClientHello::parse(b"zput/c1\n\x00\x06\x01\x01\x02\0\0\0"),
        Err(HelloError::Length(6))
    );
}

/// Parsing refuses a server hello with a wrong magic, length, mode or reason text.
#[test]
fn server_hello_parse_refuses_malformed_fields() {
    let good = ServerHello::Accepted {
        version: 1,
        mode: Mode::Tls,
        features: 0,
        limits: ServerLimits::default(),
    }
    .encode();
    let with = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        ServerHello::parse(&bytes)
    };
    assert_eq!(with(0, b'Z'), Err(HelloError::Magic));
    assert_eq!(with(9, 27), Err(HelloError::Length(27)));
    assert_eq!(with(12, 3), Err(HelloError::Mode(3)));
    assert_eq!(with(35, 1), Err(HelloError::Length(26)));
    let mut reasoned = good.clone();
    reasoned[9] += 1;
    reasoned[35] = 1;
    reasoned.push(b'x');
    assert_eq!(ServerHello::parse(&reasoned), Err(HelloError::Reason));
    reasoned[10] = 2;
    reasoned[36] = 0xff;
    assert_eq!(ServerHello::parse(&reasoned), Err(HelloError::Reason));
    reasoned[36] = 0x1b;
    assert_eq!(
        ServerHello::parse(&reasoned),
        Ok(ServerHello::Refused(RemoteError { code: 2, text: "?".into(), number: 0 }))
    );
}

/// PROTOCOL 1: "at least" for each limit, and "elsewhere no limit is 0".
#[test]
fn server_hello_parse_refuses_limits_below_the_minimum() {
    let least =
        ServerLimits { max_frame: 1, max_slice: 16_793_672, max_pipeline: 8, idle_seconds: 1 };
    let parse = |limits| {
        let hello = ServerHello::Accepted { version: 1, mode: Mode::Tls, features: 0, limits };
        ServerHello::parse(&hello.encode()).map(|parsed| assert_eq!(parsed, hello))
    };
    let below = |limit, found, least| Err(HelloError::Limit { limit, found, least });
    assert_eq!(parse(least), Ok(()));
    assert_eq!(parse(ServerLimits { max_frame: 0, ..least }), below("max_frame", 0, 1));
    assert_eq!(
        parse(ServerLimits { max_slice: 16_793_671, ..least }),
        below("max_slice", 16_793_671, 16_793_672)
    );
    assert_eq!(parse(ServerLimits { max_pipeline: 7, ..least }), below("max_pipeline", 7, 8));
    assert_eq!(parse(ServerLimits { idle_seconds: 0, ..least }), below("idle_seconds", 0, 1));
}

/// The hello reader consumes exactly one hello and fails at the first wrong byte.
#[test]
fn hello_reader_stops_after_the_hello_and_at_a_wrong_byte() {
    let bytes = [ClientHello::only(Mode::Plaintext).encode(), b"next".to_vec()].concat();
    for split in 0..=bytes.len() {
        let mut reader = HelloReader::of_client();
        let (mut first, mut second) = bytes.split_at(split);
        let hello = match reader.read(&mut first).unwrap() {
            Some(hello) => hello,
            None => reader.read(&mut second).unwrap().unwrap(),
        };
        assert_eq!(hello.len(), 17);
        assert_eq!([first, second].concat(), b"next");
    }
    assert_eq!(HelloReader::of_client().read(&mut &b"GET /"[..]), Err(HelloError::Magic));
    assert_eq!(
        HelloReader::of_server().read(&mut &b"zput/s1\n\x01\x1a"[..]),
        Err(HelloError::Length(282))
    );
}

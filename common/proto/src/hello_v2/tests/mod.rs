mod golden;

use super::*;
use crate::{error_code_v2::ErrorCode, tagged::TaggedError};

pub(crate) use golden::golden;

const BOTH: Carries = Carries { tls: true, plaintext: true };

fn client(min_version: u8, max_version: u8, modes: u8, features: u32) -> ClientHello {
    ClientHello { min_version, max_version, modes, features, extensions: Extensions::NONE }
}

fn accepted(mode: Mode, limits: ServerLimits) -> Accepted {
    Accepted { version: 2, mode, features: 0, limits }
}

fn server(answer: Answer) -> ServerHello {
    ServerHello { answer, extensions: Extensions::NONE }
}

fn with(extension: &[u8]) -> Extensions {
    Extensions::parse(extension).unwrap()
}

/// Each golden client hello says what is written here, and is written as the same bytes.
#[test]
fn client_hellos_are_those_of_the_page() {
    let mut golden = golden("client");
    let longest = [&[5, 0x03, 0xf4][..], &[0xee; 1012]].concat();
    for (name, hello) in [
        ("tls", ClientHello::only(Mode::Tls)),
        ("both-modes-all-features", client(2, 2, 0xff, 0xffff_ffff)),
        ("later-versions", client(2, 9, 1, 0)),
        (
            "extension-skipped",
            ClientHello { extensions: with(b"\x7f\x00\x03new"), ..client(2, 2, 2, 0) },
        ),
        ("longest", ClientHello { extensions: with(&longest), ..client(2, 2, 2, 0) }),
    ] {
        let bytes = golden.remove(name).unwrap();
        assert_eq!(ClientHello::parse(&bytes).as_ref(), Ok(&hello), "{name}");
        assert_eq!(hello.encode().as_ref(), Ok(&bytes), "{name}");
    }
    assert_eq!(golden.into_keys().collect::<Vec<_>>(), [""; 0]);
}

/// Each golden server hello says what is written here, and is written as the same bytes.
#[test]
fn server_hellos_are_those_of_the_page() {
    let mut golden = golden("server");
    let limits = ServerLimits::default();
    let least = ServerLimits { max_slice: 16_793_672, idle_seconds: 1, ..limits };
    let greatest = ServerLimits {
        max_frame: u32::MAX,
        max_slice: u32::MAX,
        max_pipeline: u16::MAX,
        idle_seconds: u32::MAX,
    };
    let tls = || Answer::Accepted(accepted(Mode::Tls, limits));
    let refused = |code, reason: &str| Answer::Refused(Refusal::new(code, reason));
    let longest = [&[5, 0x07, 0xe5][..], &[0xee; 2021]].concat();
    for (name, hello) in [
        ("tls", server(tls())),
        ("plaintext-least-limits", server(Answer::Accepted(accepted(Mode::Plaintext, least)))),
        (
            "greatest-limits",
            server(Answer::Accepted(Accepted {
                version: 255,
                features: 0xffff_ffff,
                ..accepted(Mode::Tls, greatest)
            })),
        ),
        ("refusal", server(refused(ErrorCode::Mode, "no tls here"))),
        ("refusal-without-reason", server(refused(ErrorCode::Busy, ""))),
        ("extension-skipped", ServerHello { answer: tls(), extensions: with(b"\x01\x00\x04edge") }),
        (
            "refusal-with-extension",
            ServerHello {
                answer: refused(ErrorCode::Busy, "full"),
                extensions: with(b"\x02\x00\x00"),
            },
        ),
        ("longest", ServerHello { answer: tls(), extensions: with(&longest) }),
    ] {
        let bytes = golden.remove(name).unwrap();
        assert_eq!(ServerHello::parse(&bytes).as_ref(), Ok(&hello), "{name}");
        assert_eq!(hello.encode().as_ref(), Ok(&bytes), "{name}");
    }
    let bytes = golden.remove("refusal-unknown-code-reason-255").unwrap();
    let hello = ServerHello::parse(&bytes).unwrap();
    let Answer::Refused(refusal) = &hello.answer else { panic!("{hello:?}") };
    assert_eq!((refusal.code(), refusal.reason()), (255, "r".repeat(255).as_str()));
    assert_eq!(hello.encode(), Ok(bytes));
    assert_eq!(golden.into_keys().collect::<Vec<_>>(), [""; 0]);
}

/// Each refused client hello has the fault that its name says.
#[test]
fn client_hello_refuses_each_fault() {
    use TaggedError::{Critical, Cut, Order};
    let (mut golden, mut wrong) = (golden("no-client"), Vec::new());
    for (name, error) in [
        ("longer", HelloError::Length(1025)),
        ("magic-of-version-1", HelloError::Magic),
        ("cut", HelloError::Length(9)),
        ("without-extensions-length", HelloError::Length(7)),
        ("byte-behind", HelloError::Length(9)),
        ("byte-behind-extensions", HelloError::Length(10)),
        ("extensions-beyond-end", HelloError::Length(13)),
        ("extension-critical", Critical(0x85).into()),
        ("extension-critical-behind-others", Critical(0x80).into()),
        ("extension-cut", Cut.into()),
        ("extension-order", Order(4).into()),
        ("extension-twice", Order(5).into()),
    ] {
        let bytes = golden.remove(name).unwrap();
        if ClientHello::parse(&bytes) != Err(error) {
            wrong.push(name);
        }
    }
    assert_eq!(wrong, [""; 0]);
    assert_eq!(golden.into_keys().collect::<Vec<_>>(), [""; 0]);
}

/// Each refused server hello has the fault that its name says.
#[test]
fn server_hello_refuses_each_fault() {
    use TaggedError::{Critical, Cut, Order};
    let (mut golden, mut wrong) = (golden("no-server"), Vec::new());
    let below = |limit, found, least| HelloError::Limit { limit, found, least };
    for (name, error) in [
        ("longer", HelloError::Length(2049)),
        ("magic-of-version-1", HelloError::Magic),
        ("cut", HelloError::Length(24)),
        ("without-extensions-length", HelloError::Length(22)),
        ("byte-behind-extensions", HelloError::Length(25)),
        ("frame-131071", below("max_frame", 131_071, 131_072)),
        ("slice-16793671", below("max_slice", 16_793_671, 16_793_672)),
        ("pipeline-63", below("max_pipeline", 63, 64)),
        ("idle-0", below("idle_seconds", 0, 1)),
        ("mode-0", HelloError::Mode(0)),
        ("mode-3", HelloError::Mode(3)),
        ("reason-of-accepted", HelloError::Reason),
        ("reason-not-utf8", HelloError::Reason),
        ("reason-beyond-end", HelloError::Length(25)),
        ("extension-critical", Critical(0x81).into()),
        ("extension-cut", Cut.into()),
        ("extension-order", Order(4).into()),
        ("extensions-beyond-end", HelloError::Length(28)),
    ] {
        let bytes = golden.remove(name).unwrap();
        if ServerHello::parse(&bytes) != Err(error) {
            wrong.push(name);
        }
    }
    assert_eq!(wrong, [""; 0]);
    assert_eq!(golden.into_keys().collect::<Vec<_>>(), [""; 0]);
}

/// Every cut of a hello is refused, and none panics.
#[test]
fn hellos_refuse_every_cut() {
    for bytes in golden("client").into_values() {
        for length in 0..bytes.len() {
            assert!(ClientHello::parse(&bytes[..length]).is_err());
        }
    }
    for bytes in golden("server").into_values() {
        for length in 0..bytes.len() {
            assert!(ServerHello::parse(&bytes[..length]).is_err());
        }
    }
}

/// A hello with more extensions than fit is not written.
#[test]
fn hellos_are_not_written_longer_than_they_are_read() {
    let extensions =
        |length: u16| with(&[&[5][..], &length.to_be_bytes(), &vec![0; length.into()]].concat());
    let hello = ClientHello { extensions: extensions(1013), ..client(2, 2, 2, 0) };
    assert_eq!(hello.encode(), Err(HelloError::Length(1025)));
    let answer = || Answer::Refused(Refusal::new(ErrorCode::Busy, &"r".repeat(255)));
    // 24, a reason of 255, and a field of 3 bytes before its value.
    let hello = ServerHello { answer: answer(), extensions: extensions(1766) };
    assert_eq!(hello.encode().map(|bytes| bytes.len()), Ok(2058));
    let hello = ServerHello { answer: answer(), extensions: extensions(1767) };
    assert_eq!(hello.encode(), Err(HelloError::Length(2049)));
}

/// The server picks TLS when the client offers it and never falls back to plaintext.
#[test]
fn server_hello_picks_tls_whenever_it_is_offered() {
    let pick = |modes, carries| {
        let hello = ServerHello::answer(&client(2, 2, modes, 0), carries, ServerLimits::default());
        match hello.answer {
            Answer::Accepted(it) => Ok(it.mode),
            Answer::Refused(it) => Err(it.code()),
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

/// The server takes a range of versions with 2 in it, and no feature that it does not know.
#[test]
fn server_hello_refuses_other_versions_and_knows_no_feature() {
    let answer = |min, max| {
        let hello = client(min, max, 0b11, 0xffff_ffff);
        ServerHello::answer(&hello, BOTH, ServerLimits::default()).answer
    };
    for (min, max) in [(1, 1), (3, 9), (0, 0), (3, 2), (2, 1)] {
        let Answer::Refused(refusal) = answer(min, max) else { panic!("{min} to {max}") };
        assert_eq!(refusal.code(), 12);
    }
    for (min, max) in [(2, 2), (0, 2), (2, 255), (1, 3)] {
        let limits = ServerLimits::default();
        assert_eq!(answer(min, max), Answer::Accepted(accepted(Mode::Tls, limits)));
    }
}

/// A client takes neither version, mode nor feature that it did not offer.
#[test]
fn client_hello_refuses_what_it_did_not_offer() {
    let offered = client(2, 3, 0b10, 0b0101);
    let good = Accepted { features: 0b0100, ..accepted(Mode::Tls, ServerLimits::default()) };
    let check = |accepted: Accepted| accepted.check_offered(&offered);
    assert_eq!(check(good), Ok(()));
    assert_eq!(check(Accepted { version: 3, features: 0b0101, ..good }), Ok(()));
    for version in [1, 4] {
        let error = HelloError::VersionNotOffered(version);
        assert_eq!(check(Accepted { version, ..good }), Err(error));
    }
    let mode = Mode::Plaintext;
    assert_eq!(check(Accepted { mode, ..good }), Err(HelloError::ModeNotOffered(mode)));
    let error = HelloError::FeaturesNotOffered(0b1010);
    assert_eq!(check(Accepted { features: 0b1110, ..good }), Err(error));
}

/// A reason for a terminal has no control characters and at most 255 bytes.
#[test]
fn refusal_reason_is_cleaned_and_cut() {
    let refusal = Refusal::new(ErrorCode::Full, &"x\u{1b}ä".repeat(100));
    assert_eq!(refusal.reason().len(), 254);
    assert!(refusal.reason().starts_with("x?äx?ä"));
    let bytes = server(Answer::Refused(Refusal::new(ErrorCode::Full, "ab"))).encode().unwrap();
    let foreign = [&bytes[..32], b"a\n\0\0"].concat();
    let Answer::Refused(refusal) = ServerHello::parse(&foreign).unwrap().answer else { panic!() };
    assert_eq!(refusal.reason(), "a?");
}

/// The readers take exactly one hello, and fail at a wrong byte or length.
#[test]
fn hello_readers_stop_after_the_hello_and_at_a_wrong_byte() {
    for (reader, hellos) in [
        (client_reader as fn() -> HelloReader, golden("client")),
        (server_reader, golden("server")),
    ] {
        for bytes in hellos.into_values() {
            let stream = [&bytes[..], b"next"].concat();
            for split in [0, 1, 9, 10, 11, bytes.len() - 1, bytes.len(), stream.len()] {
                let (mut first, mut second) = stream.split_at(split);
                let mut reader = reader();
                let hello = match reader.read(&mut first).unwrap() {
                    Some(hello) => hello,
                    None => reader.read(&mut second).unwrap().unwrap(),
                };
                assert_eq!(hello, bytes);
                assert_eq!([first, second].concat(), b"next");
            }
        }
    }
    let client = |mut bytes: &[u8]| client_reader().read(&mut bytes);
    let server = |mut bytes: &[u8]| server_reader().read(&mut bytes);
    assert_eq!(client(b"zput/c1"), Err(HelloError::Magic));
    assert_eq!(client(b"zput/c2\n\x00\x08"), Err(HelloError::Length(8)));
    assert_eq!(client(b"zput/c2\n\x04\x01"), Err(HelloError::Length(1025)));
    assert_eq!(client(b"zput/c2\n\x04\x00"), Ok(None));
    assert_eq!(server(b"zput/s1"), Err(HelloError::Magic));
    assert_eq!(server(b"HTTP/1.1"), Err(HelloError::Foreign("HTTP")));
    assert_eq!(server(b"zput/s2\n\x00\x17"), Err(HelloError::Length(23)));
    assert_eq!(server(b"zput/s2\n\x08\x01"), Err(HelloError::Length(2049)));
    assert_eq!(server(b"zput/s2\n\x08\x00"), Ok(None));
}

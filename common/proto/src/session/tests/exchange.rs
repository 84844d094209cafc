//! What two honest ends say to each other.

use proptest::prelude::*;

use super::pair::{Pair, device_key, server_key};
use crate::{
    digest::Digest,
    hello::Mode,
    limits::FRAME_MAX_BYTES,
    message::{
        ClaimedSlice, Condition, Entry, HeaderSlice, Info, Kind, RemoteError, Request, Response,
        Section, Version, VersionInfo, VersionState, frame,
    },
    mount::MountName,
    name::ObjectKey,
    session::{Event, SessionError},
};

const KEY: &str = "the-object-key-0123456789";
const MOUNT: &str = "the/mount-of-a-fleet";
const LABEL: &str = "the-label-of-a-laptop";

const INFO: Info = Info {
    version: Version(1_700_000_000_000_000_001),
    kind: Kind::Sealed,
    length: 70_000,
    header_length: 300,
    footer_length: 200,
};

const CLAIMED: ClaimedSlice = ClaimedSlice { length: 1, digest: Digest::from_bytes([5; 32]) };

fn key() -> ObjectKey {
    ObjectKey::new(KEY).unwrap()
}

/// One of each request, with a slice of `slice` bytes.
fn requests(slice: &[u8]) -> Vec<Request> {
    let (key, version) = (key(), Version(7));
    vec![
        Request::Ping,
        Request::Join { secret: [7; 32], label: LABEL.into() },
        Request::Get {
            key: key.clone(),
            version: None,
            sections: vec![Section::Header, Section::Footer, Section::Body],
            kind: Kind::Sealed,
        },
        Request::Stat { key: key.clone(), version: Some(version) },
        Request::List { after: Some(vec![9; 1024]), limit: 1000, headers: true },
        Request::Versions { key: key.clone(), after: None, limit: 3 },
        Request::Begin {
            key: key.clone(),
            kind: Kind::Sealed,
            condition: Condition::Absent,
            header: Some(HeaderSlice::of(vec![4; 65_536])),
        },
        Request::Slice { length: slice.len() as u32, digest: Digest::of(slice) },
        Request::Commit,
        Request::Abort,
        Request::Delete { key: key.clone(), condition: Condition::Version(version) },
        Request::Restore { key: key.clone(), version },
        Request::Mount { name: MountName::parse(MOUNT).unwrap() },
        Request::Resume {
            key,
            condition: Condition::Any,
            header: HeaderSlice::of(vec![4; 65_536]),
        },
        Request::Claim { slices: vec![CLAIMED; 64] },
        Request::Get {
            key: ObjectKey::new("absent").unwrap(),
            version: None,
            sections: vec![],
            kind: Kind::Plain,
        },
    ]
}

/// A server that knows the object of [`KEY`], whose sections are `object`.
fn answer(request: &Request, object: &[u8]) -> (Response, Vec<u8>) {
    let version = Version(8);
    let answer = match request {
        Request::Echo { .. } => unreachable!("the session's own"),
        Request::Ping => Response::Pong,
        Request::Join { .. } => Response::Joined { scopes: crate::message::Scopes::ALL },
        Request::Get { key, .. } if key.as_bytes() == KEY.as_bytes() => {
            let payload = object.len() as u64;
            let header = Some(vec![4; 65_536]);
            return (Response::Object { info: INFO, header, payload }, object.to_vec());
        }
        Request::Get { .. } => {
            Response::Error(RemoteError { code: 3, text: "no".into(), number: 0 })
        }
        Request::Stat { .. } => Response::Stat { info: INFO },
        // Longer than a record: a frame may span several.
        Request::List { .. } => Response::Page {
            entries: vec![Entry { key: key(), info: INFO, header: Some(vec![3; 20_000]) }; 6],
            next: Some(vec![1; 1024]),
            unreadable: 1,
        },
        Request::Versions { .. } => Response::Versions {
            versions: vec![VersionInfo {
                version,
                kind: Kind::Plain,
                length: 5,
                state: VersionState::Trash,
            }],
            next: None,
            unreadable: 0,
        },
        Request::Begin { .. } | Request::Resume { .. } => Response::Begun,
        Request::Slice { .. } => Response::SliceHeld,
        Request::Commit | Request::Restore { .. } => Response::Committed { version },
        Request::Abort => Response::Aborted,
        Request::Delete { .. } => Response::Deleted { version },
        Request::Mount { .. } => Response::Mounted,
        Request::Claim { .. } => Response::Held { slices: 64 },
    };
    (answer, Vec::new())
}

/// Bytes that would mean something to TLS: application data, an alert, a handshake message.
fn records(length: usize) -> Vec<u8> {
    b"\x17\x03\x03\x00\x05close\x15\x03\x03\x00\x02\x01\x00\x16\x03\x03\x40\x00"
        .iter()
        .copied()
        .cycle()
        .take(length)
        .collect()
}

/// Runs [`requests`] over `pair` and says what both ends saw.
fn exchange(mut pair: Pair, slice: &[u8], object: &[u8]) -> Pair {
    for request in requests(slice) {
        pair.client.session.send(&request).unwrap();
    }
    pair.client.supply.extend(slice);
    pair.run(|request| answer(request, object)).unwrap();
    pair.client.session.close();
    pair.settle().unwrap();
    pair
}

fn expected_by_server(mode: Mode, slice: &[u8]) -> Vec<Event<Request>> {
    let peer = (mode == Mode::Tls).then(|| device_key().public_key());
    let mut events = vec![Event::Connected { peer, mode }];
    for request in requests(slice) {
        let announces = matches!(request, Request::Slice { .. });
        events.push(Event::Message(request));
        if announces {
            events.push(Event::PayloadDone);
        }
    }
    if mode == Mode::Tls {
        events.push(Event::Closed);
    }
    events
}

fn expected_by_client(mode: Mode, slice: &[u8], object: &[u8]) -> Vec<Event<Response>> {
    let mut events = vec![Event::Connected { peer: None, mode }];
    for request in requests(slice) {
        let (response, payload) = answer(&request, object);
        events.push(Event::Message(response));
        if !payload.is_empty() {
            events.push(Event::PayloadDone);
        }
    }
    events
}

fn holds(mode: Mode, pair: &Pair, slice: &[u8], object: &[u8]) {
    assert_eq!(pair.server.events, expected_by_server(mode, slice));
    assert_eq!(pair.client.events, expected_by_client(mode, slice, object));
    assert!(pair.server.payload == slice, "the slice arrived as it was sent");
    assert!(pair.client.payload == object, "the sections arrived as they were sent");
}

/// Every request and its answer cross both sessions, in plaintext and in TLS.
#[test]
fn sessions_exchange_every_request_in_both_modes() {
    for mode in [Mode::Plaintext, Mode::Tls] {
        let (slice, object) = (records(40_000), records(70_000));
        let mut pair = exchange(Pair::new(mode), &slice, &object);
        holds(mode, &pair, &slice, &object);
        // Payload went past the sessions, as it was: they took all other bytes and none of it.
        assert!(contains(&pair.upstream, &slice) && contains(&pair.downstream, &object));
        assert_eq!(pair.server.taken, pair.upstream.len() - 40_000);
        assert_eq!(pair.client.taken, pair.downstream.len() - 70_000);
        assert_eq!(pair.server.session.handle_eof(), Ok(()));
        assert_eq!(pair.client.session.handle_eof(), Err(SessionError::Closed));
    }
}

/// In `tls` an eavesdropper reads nothing but the hellos and the payload, which is ciphertext
/// already.
#[test]
fn tls_hides_frames_keys_and_names_from_eavesdropper() {
    let (slice, object) = (records(500), records(500));
    let seen = |mode| {
        let pair = exchange(Pair::new(mode), &slice, &object);
        let wire = [pair.upstream, pair.downstream].concat();
        let mut secrets = vec![
            KEY.as_bytes().to_vec(),
            LABEL.as_bytes().to_vec(),
            MOUNT.as_bytes().to_vec(),
            vec![7; 32],
            Digest::of(&slice).as_bytes().to_vec(),
            vec![3; 32],
            device_key().public_key().as_bytes().to_vec(),
            server_key().public_key().as_bytes().to_vec(),
        ];
        for request in requests(&slice) {
            secrets.push(frame::encode(&request, FRAME_MAX_BYTES).unwrap());
            secrets.push(frame::encode(&answer(&request, &object).0, FRAME_MAX_BYTES).unwrap());
        }
        // A frame of a few bytes may turn up by chance.
        secrets.retain(|secret| secret.len() > 5);
        (secrets.len(), secrets.iter().filter(|secret| contains(&wire, secret)).count())
    };
    // 23 of the frames are that long. In `plaintext` all is there but the two keys.
    assert_eq!(seen(Mode::Plaintext), (31, 29));
    assert_eq!(seen(Mode::Tls), (31, 0));
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// In `tls` the bytes differ from run to run, so the ends run live; what they see must not.
    #[test]
    fn sessions_see_the_same_events_for_any_split(
        tls: bool,
        steps in prop::collection::vec(prop_oneof![1..=7_usize, 1..=300_usize, 1..=40_000_usize], 1..40),
        slice in 1..3_000_usize,
        object in 0..30_000_usize,
        noise: bool,
    ) {
        let mode = if tls { Mode::Tls } else { Mode::Plaintext };
        let bytes = |length| match noise {
            true => (0..length).map(|i| (i as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect(),
            false => records(length),
        };
        let (slice, object) = (bytes(slice), bytes(object));
        let mut pair = Pair::new(mode);
        pair.steps = steps;
        let pair = exchange(pair, &slice, &object);
        holds(mode, &pair, &slice, &object);
    }

    /// What one flipped bit of a `tls` stream can do: cut the exchange short, never change it.
    /// (There is no payload here: only a reader that knows the digest can check it.)
    #[test]
    fn tls_bit_flip_never_changes_a_message(up: bool, at in 0..6_000_usize, bit in 0..8_u8) {
        let mut pair = Pair::new(Mode::Tls);
        pair.flip = Some((up, at, bit));
        let mut said = vec![Event::Connected { peer: Some(device_key().public_key()), mode: Mode::Tls }];
        let mut heard = vec![Event::Connected { peer: None, mode: Mode::Tls }];
        let requests = requests(b"x").into_iter().filter(|r| !matches!(r, Request::Slice { .. }));
        for request in requests {
            pair.client.session.send(&request).unwrap();
            heard.push(Event::Message(answer(&request, b"").0));
            said.push(Event::Message(request));
        }
        let result = pair.run(|request| answer(request, b""));
        let length = if up { pair.upstream.len() } else { pair.downstream.len() };
        prop_assert!(said.starts_with(&pair.server.events));
        prop_assert!(heard.starts_with(&pair.client.events));
        // A record's version, which TLS does not look at, may be flipped without harm.
        let whole = pair.server.events == said && pair.client.events == heard;
        prop_assert!(whole || at < length, "{} of {}: {:?}", at, length, result);
    }
}

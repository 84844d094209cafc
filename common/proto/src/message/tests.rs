use super::*;
use crate::message::frame::{self, FrameError};
use crate::{digest::Digest, mount::MountName, name::ObjectKey};

/// The variant numbers of PROTOCOL 5 and 6, as literals.
#[test]
fn message_variant_numbers_match_the_protocol() {
    let key = ObjectKey::new("k").unwrap();
    let request = |r: &Request| postcard::to_allocvec(r).unwrap();
    assert_eq!(request(&Request::Ping), [1]);
    assert_eq!(
        request(&Request::Get {
            key: key.clone(),
            version: None,
            sections: vec![Section::Header, Section::Range { offset: 1, length: 300 }],
            kind: Kind::Sealed,
        }),
        [3, 1, b'k', 0, 2, 0, 2, 1, 0xac, 0x02, 0]
    );
    let begin = Request::Begin {
        key: key.clone(),
        kind: Kind::Sealed,
        condition: Condition::Any,
        header: Some(HeaderSlice { bytes: vec![7, 8], digest: Digest::from_bytes([9; 32]) }),
    };
    assert_eq!(request(&begin), [&[7, 1, b'k', 0, 0, 1, 2, 7, 8][..], &[9; 32]].concat());
    assert_eq!(request(&Request::Commit), [9]);
    assert_eq!(request(&Request::Restore { key, version: Version(5) }), [12, 1, b'k', 5]);
    let name = MountName::parse("a/b").unwrap();
    assert_eq!(request(&Request::Mount { name }), [13, 3, b'a', b'/', b'b']);
    assert_eq!(postcard::to_allocvec(&Response::Mounted).unwrap(), [13]);
    let resume = Request::Resume {
        key: ObjectKey::new("k").unwrap(),
        condition: Condition::Absent,
        header: HeaderSlice { bytes: vec![7, 8], digest: Digest::from_bytes([9; 32]) },
    };
    assert_eq!(request(&resume), [&[14, 1, b'k', 1, 2, 7, 8][..], &[9; 32]].concat());
    let slice = ClaimedSlice { length: 300, digest: Digest::from_bytes([9; 32]) };
    let claim = Request::Claim { slices: vec![slice] };
    assert_eq!(request(&claim), [&[15, 1, 0xac, 0x02][..], &[9; 32]].concat());
    assert_eq!(postcard::to_allocvec(&Response::Held { slices: 300 }).unwrap(), [14, 0xac, 0x02]);
    let error = Response::Error(RemoteError { code: 3, text: "no".into(), number: 0 });
    assert_eq!(postcard::to_allocvec(&error).unwrap(), [12, 3, 2, b'n', b'o', 0]);
    // PROTOCOL 7: what `Older` is about.
    let error = Response::Error(RemoteError { code: 15, text: String::new(), number: 300 });
    assert_eq!(postcard::to_allocvec(&error).unwrap(), [12, 15, 0, 0xac, 0x02]);
}

/// Decoding refuses requests with the numbers 16 to 19.
#[test]
fn request_with_reserved_number_is_refused() {
    for number in 16..=19 {
        assert!(postcard::from_bytes::<Request>(&[number, 0, 0, 0]).is_err());
    }
}

/// Scopes are written and parsed as words, and each allows only what it includes.
#[test]
fn scopes_are_written_and_parsed_as_words() {
    assert_eq!(Scopes::ALL.to_string(), "put,get,list,delete");
    assert_eq!(Scopes::named("list"), Some(Scopes::LIST));
    assert!(!Scopes::PUT.allows(Scopes::GET));
    assert!(Scopes::PUT.and(Scopes::GET).allows(Scopes::GET));
}

/// The Debug text of a join request does not contain its secret.
#[test]
fn join_request_debug_hides_the_secret() {
    let join = Request::Join { secret: [0x5a; 32], label: "x".into() };
    assert!(!format!("{join:?}").contains("90"));
    assert!(!format!("{join:?}").contains("5a"));
}

/// A body as a peer of another make might write it.
fn request(body: &[u8]) -> Result<Request, FrameError> {
    frame::decode(body)
}

fn response(body: &[u8]) -> Result<Response, FrameError> {
    frame::decode(body)
}

/// `head`, `count` times `element`, `tail`.
fn body(head: &[u8], element: &[u8], count: usize, tail: &[u8]) -> Vec<u8> {
    [head, &element.repeat(count), tail].concat()
}

fn refused<M: std::fmt::Debug>(result: Result<M, FrameError>) {
    assert!(matches!(result, Err(FrameError::Encoding(_))), "{result:?}");
}

/// Decoding accepts a get of 64 sections and refuses one of 65 or of 2^32 - 1.
#[test]
fn get_request_has_at_most_64_sections() {
    assert!(request(&body(&[3, 1, b'k', 0, 64], &[1], 64, &[0])).is_ok());
    refused(request(&body(&[3, 1, b'k', 0, 65], &[1], 65, &[0])));
    // A number of sections that is not there: 2^32 - 1.
    refused(request(&[3, 1, b'k', 0, 0xff, 0xff, 0xff, 0xff, 0x0f, 1]));
}

/// Decoding accepts object keys and cursors of 1,024 bytes and refuses longer ones.
#[test]
fn object_keys_and_cursors_have_at_most_1024_bytes() {
    assert!(request(&body(&[4, 0x80, 0x08], b"k", 1024, &[0])).is_ok());
    refused(request(&body(&[4, 0x81, 0x08], b"k", 1025, &[0])));
    refused(request(&[4, 0, 0]));
    assert!(request(&body(&[5, 1, 0x80, 0x08], b"c", 1024, &[1, 0])).is_ok());
    refused(request(&body(&[5, 1, 0x81, 0x08], b"c", 1025, &[1, 0])));
    assert!(response(&body(&[5, 0, 1, 0x80, 0x08], b"c", 1024, &[0])).is_ok());
    refused(response(&body(&[5, 0, 1, 0x81, 0x08], b"c", 1025, &[0])));
}

/// Decoding refuses a mount request whose name is too long or not a clean path.
#[test]
fn mount_request_name_is_a_clean_path() {
    assert_eq!(request(&[13, 0]), Ok(Request::Mount { name: MountName::ROOT }));
    assert!(request(&body(&[13, 0xff, 0x01], b"m", 255, &[])).is_ok());
    refused(request(&body(&[13, 0x80, 0x02], b"m", 256, &[])));
    refused(request(&[13, 0xff, 0xff, 0xff, 0xff, 0x0f, b'm']));
    for name in [&b"/"[..], b"a/", b"/a", b"a//b", b"..", b"a/../b", b".", b"a\n", b"\xff"] {
        refused(request(&body(&[13, name.len() as u8], name, 1, &[])));
    }
}

/// Decoding refuses a join label over 64 bytes or with a control character.
#[test]
fn join_label_is_short_and_free_of_control_characters() {
    let join = |length: u8, letter: &[u8]| {
        request(&body(&[2], &[7], 32, &body(&[length], letter, usize::from(length), &[])))
    };
    assert!(join(64, b"x").is_ok());
    assert_eq!(join(65, b"x"), Err(OutOfBounds::Label.into()));
    assert_eq!(join(1, b"\n"), Err(OutOfBounds::Label.into()));
    refused(join(1, b"\xff"));
}

/// Decoding refuses list and versions requests with a page limit of zero.
#[test]
fn list_request_with_limit_zero_is_refused() {
    assert!(request(&[5, 0, 1, 0]).is_ok());
    assert_eq!(request(&[5, 0, 0, 0]), Err(OutOfBounds::PageLimit.into()));
    assert!(request(&[6, 1, b'k', 0, 1]).is_ok());
    assert_eq!(request(&[6, 1, b'k', 0, 0]), Err(OutOfBounds::PageLimit.into()));
}

/// Decoding accepts slices of 1 to 16,842,752 bytes and refuses 0 and one byte more.
#[test]
fn slice_request_length_is_bounded() {
    let slice = |length: &[u8]| request(&body(&[&[8], length].concat(), &[5], 32, &[]));
    assert_eq!(slice(&[0]), Err(OutOfBounds::Slice(0).into()));
    assert!(slice(&[1]).is_ok());
    // 16,842,752 and one more.
    assert!(slice(&[0x80, 0x80, 0x84, 0x08]).is_ok());
    assert_eq!(slice(&[0x81, 0x80, 0x84, 0x08]), Err(OutOfBounds::Slice(16_842_753).into()));
    assert_eq!(slice(&[1]).map(|slice| slice.announces()), Ok(1));
}

/// Decoding accepts claims of 1 to 64 slices, each of a length that a slice may have.
#[test]
fn claim_request_has_1_to_64_slices_of_valid_length() {
    let slice = |length: &[u8]| [length, &[9; 32]].concat();
    let claim = |count: &[u8], n| request(&body(&[&[15], count].concat(), &slice(&[1]), n, &[]));
    assert_eq!(claim(&[0], 0), Err(OutOfBounds::Claim(0).into()));
    assert!(claim(&[1], 1).is_ok());
    assert!(claim(&[64], 64).is_ok());
    refused(claim(&[65], 65));
    assert_eq!(request(&[&[15, 1][..], &slice(&[0])].concat()), Err(OutOfBounds::Slice(0).into()));
    let long = [&[15, 1][..], &slice(&[0x81, 0x80, 0x84, 0x08])].concat();
    assert_eq!(request(&long), Err(OutOfBounds::Slice(16_842_753).into()));
}

/// Decoding accepts pages of 1,000 entries and headers of 65,536 bytes, and no larger.
#[test]
fn page_answers_and_their_headers_are_bounded() {
    let entry = [1, b'k', 1, 0, 1, 1, 1, 0];
    // Behind the entries: no next page, and none that is unreadable.
    assert!(response(&body(&[5, 0xe8, 0x07], &entry, 1000, &[0, 0])).is_ok());
    refused(response(&body(&[5, 0xe9, 0x07], &entry, 1001, &[0, 0])));
    let version = [1, 0, 1, 0];
    assert!(response(&body(&[6, 0xe8, 0x07], &version, 1000, &[0, 0])).is_ok());
    refused(response(&body(&[6, 0xe9, 0x07], &version, 1001, &[0, 0])));
    let header = |length: &[u8], bytes| {
        let head = [&[5, 1, 1, b'k', 1, 0, 1, 1, 1, 1], length].concat();
        response(&body(&head, &[9], bytes, &[0, 0]))
    };
    assert!(header(&[0x80, 0x80, 0x04], 65_536).is_ok());
    refused(header(&[0x81, 0x80, 0x04], 65_537));
}

/// Decoding refuses error texts over 256 bytes and echoes longer than a hello.
#[test]
fn error_texts_and_echoes_are_bounded() {
    assert!(response(&body(&[12, 1, 0x80, 0x02], b"t", 256, &[0])).is_ok());
    assert_eq!(
        response(&body(&[12, 1, 0x81, 0x02], b"t", 257, &[0])),
        Err(OutOfBounds::ErrorText(257).into())
    );
    assert!(request(&body(&[0, 74], b"c", 74, &[0])).is_ok());
    refused(request(&body(&[0, 75], b"c", 75, &[0])));
    refused(response(&body(&[0, 0, 0xa4, 0x02], b"s", 292, &[])));
}

/// Encoding refuses requests and answers that break a bound of the protocol.
#[test]
fn encode_refuses_messages_that_the_peer_would_refuse() {
    let key = ObjectKey::new("k").unwrap();
    let get = |count| Request::Get {
        key: key.clone(),
        version: None,
        sections: vec![Section::All; count],
        kind: Kind::Sealed,
    };
    assert!(frame::encode(&get(64), 1000).is_ok());
    assert_eq!(frame::encode(&get(65), 1000), Err(OutOfBounds::Sections(65).into()));
    let list = Request::List { after: Some(vec![0; 1025]), limit: 1, headers: false };
    assert_eq!(frame::encode(&list, 2000), Err(OutOfBounds::Cursor(1025).into()));
    let info = Info {
        version: Version(1),
        kind: Kind::Sealed,
        length: 1,
        header_length: 1,
        footer_length: 1,
    };
    let begin = |kind, header: Option<usize>| Request::Begin {
        key: key.clone(),
        kind,
        condition: Condition::Any,
        header: header.map(|length| HeaderSlice::of(vec![0; length])),
    };
    assert!(frame::encode(&begin(Kind::Sealed, Some(65_536)), 131_072).is_ok());
    assert!(frame::encode(&begin(Kind::Plain, None), 131_072).is_ok());
    let too_long = frame::encode(&begin(Kind::Sealed, Some(65_537)), 131_072);
    assert_eq!(too_long, Err(OutOfBounds::Header(65_537).into()));
    for misplaced in [begin(Kind::Sealed, None), begin(Kind::Plain, Some(300))] {
        let refused = frame::encode(&misplaced, 131_072);
        assert_eq!(refused, Err(OutOfBounds::HeaderMisplaced.into()));
    }
    let object = Response::Object { info, header: Some(vec![0; 65_537]), payload: 0 };
    assert_eq!(frame::encode(&object, 131_072), Err(OutOfBounds::Header(65_537).into()));
    let page = |header, count| Response::Page {
        entries: vec![Entry { key: key.clone(), info, header: Some(vec![0; header]) }; count],
        next: None,
        unreadable: 0,
    };
    assert_eq!(frame::encode(&page(65_537, 1), 131_072), Err(OutOfBounds::Header(65_537).into()));
    assert_eq!(frame::encode(&page(0, 1001), 131_072), Err(OutOfBounds::Page(1001).into()));
    assert_eq!(frame::encode(&page(65_536, 2), 131_072), Err(FrameError::Length(131_098)));
    let echo = Request::Echo { client: vec![0; 75], server: vec![] };
    assert_eq!(frame::encode(&echo, 1000), Err(OutOfBounds::Echo.into()));
}

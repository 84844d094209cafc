//! What messages keep beside their bytes: no cut passes, a bound holds for the writer too, nothing
//! secret is shown.

use super::*;
use crate::{label::Label, mount::MountName};

/// Every cut of a frame's body is refused, and none panics.
#[test]
fn messages_refuse_every_cut() {
    fn check<M: Message + std::fmt::Debug>(what: &str) {
        for (name, frame) in golden(what) {
            let body = &frame[4..];
            // All of the fields before the first long one, and the last bytes.
            for length in (0..body.len()).filter(|at| *at < 512 || at + 64 > body.len()) {
                let cut = frame::decode::<M>(&body[..length]);
                assert!(matches!(cut, Err(FrameError::Encoding(_))), "{name} {length}: {cut:?}");
            }
        }
    }
    check::<Request>("request");
    check::<Response>("answer");
}

/// What a peer would refuse is not written.
#[test]
fn messages_beyond_a_bound_are_not_written() {
    fn refused<M: Message>(messages: Vec<M>) {
        for (at, message) in messages.iter().enumerate() {
            let written = frame::encode(message, FRAME_MAX_BYTES);
            assert!(matches!(written, Err(FrameError::Encoding(_))), "{at}: {written:?}");
        }
    }
    let head = |header, tail| Head { header: vec![0; header], tail: vec![0; tail] };
    let new = |header, tail| Some(NewHead::new(vec![0; header], vec![0; tail]));
    let charter = vec![0; 114_689];
    let member = Member {
        vault: vault(),
        certificate: vec![0; 8193],
        epoch: 0,
        serial: 0,
        label: Label::default(),
    };
    refused(vec![
        Request::Echo { client: vec![0; 1035], server: Vec::new() },
        Request::Echo { client: Vec::new(), server: vec![0; 2059] },
        Request::Enter { mount: MountName::ROOT, member: Some(member) },
        Request::Found { mount: MountName::ROOT, charter: charter.clone() },
        Request::Charter { mount: MountName::ROOT, charter: charter.clone() },
        Request::Get {
            address: address(b"k"),
            which: Which::Current,
            head: false,
            sections: vec![Section::Body; 65],
            kind: Kind::Sealed,
            at_least: None,
        },
        Request::List { vault: None, after: Some(vec![0; 1025]), limit: 1, heads: false },
        Request::Claim { slices: vec![ClaimedSlice { length: 1, digest: Digest::of(b"") }; 65] },
        Request::Commit { head: new(65_537, 0) },
        Request::Commit { head: new(0, 16_385) },
    ]);
    let about = |code, about| Response::Error(RemoteError::new(code, "").about(about));
    let entry =
        |head| Entry { key: ObjectKey::new(*b"k").unwrap(), info: info(1, 1, [0; 3]), head };
    let version = VersionInfo { info: plain(1, 1), end: None, device: None, head: None };
    let page = |entries, next| Response::Page { entries, next, unreadable: 0 };
    let text = RemoteError { code: 1, text: "t".repeat(257), about: About::Nothing };
    refused(vec![
        Response::Entered { scopes: Scopes::NONE, charter: Some(charter.clone()) },
        Response::Stat { info: info(1, 1, [0; 3]), head: Some(head(65_537, 0)) },
        Response::Stat { info: info(1, 1, [0; 3]), head: Some(head(0, 16_385)) },
        page(vec![entry(None); 1001], None),
        page(Vec::new(), Some(vec![0; 1025])),
        page(vec![entry(Some(head(65_537, 0)))], None),
        Response::Versions { versions: vec![version; 1001], next: None, unreadable: 0 },
        Response::Error(text),
        about(ErrorCode::Stale, About::Charter(charter)),
    ]);
}

/// Values that no type keeps are looked at before a message is written.
#[test]
fn messages_with_a_value_out_of_bounds_are_not_written() {
    let written = |request: &Request| frame::encode(request, FRAME_MAX_BYTES);
    let slice = |length| Request::Slice { length, digest: Digest::of(b"") };
    assert_eq!(written(&slice(0)), Err(OutOfBounds::Slice(0).into()));
    assert_eq!(written(&slice(16_842_753)), Err(OutOfBounds::Slice(16_842_753).into()));
    assert_eq!(slice(7).announces(), 7);
    let none = Request::Claim { slices: Vec::new() };
    assert_eq!(written(&none), Err(OutOfBounds::Claim(0).into()));
    let list = Request::List { vault: None, after: None, limit: 0, heads: false };
    assert_eq!(written(&list), Err(OutOfBounds::PageLimit.into()));

    let written = |answer: &Response| frame::encode(answer, FRAME_MAX_BYTES);
    let stale = Response::Error(RemoteError::new(ErrorCode::Stale, ""));
    assert_eq!(written(&stale), Err(OutOfBounds::About(19).into()));
    let object = Response::Object { info: plain(1, 1), head: Some(head()), payload: 9 };
    assert_eq!(written(&object), Err(OutOfBounds::HeadMisplaced.into()));
    assert_eq!(object.announces(), 9);
}

/// 32 zeros are no vault and no device.
#[test]
fn zeros_are_no_vault() {
    let list = |vault| Request::List { vault, after: None, limit: 1, heads: false };
    let written = |vault| frame::encode(&list(vault), FRAME_MAX_BYTES).unwrap();
    assert_eq!(written(None)[5..37], [0; 32]);
    assert_eq!(written(Some(vault()))[5..37], run(0));
    assert_eq!(read(&written(None)), Ok(Some(list(None))));
    let mut last = [0; 32];
    last[31] = 1;
    let almost = Some(VaultId::from_bytes(last));
    assert_eq!(read(&written(almost)), Ok(Some(list(almost))));
}

/// The text of an error loses control characters and what is over 256 bytes.
#[test]
fn remote_error_text_is_cut_and_cleaned() {
    let error = RemoteError::new(ErrorCode::Full, &"x\u{1b}ä".repeat(100));
    assert_eq!(error.text.len(), 256);
    assert!(error.to_string().starts_with("Full: x?äx?ä"));
    let foreign = RemoteError { code: 99, text: "a\nb".into(), about: About::Nothing };
    assert_eq!((foreign.to_string().as_str(), foreign.known()), ("code 99: a?b", None));
}

/// What reaches a log has neither secrets nor contents.
#[test]
fn debug_shows_neither_secrets_nor_contents() {
    let join = Request::Join { secret: [0x5a; 32], label: Label::default() };
    assert_eq!(format!("{join:?}"), "Join(\"\", [secret])");
    let charter = vec![0x5a; 300];
    let entered = Response::Entered { scopes: Scopes::GET, charter: Some(charter.clone()) };
    assert_eq!(format!("{entered:?}"), "Entered(get, Some(300))");
    assert_eq!(format!("{:?}", About::Charter(charter)), "Charter(300 bytes)");
    assert_eq!(format!("{:?}", head()), "Head(6 + 4 bytes)");
    let stat = Request::Stat { address: address(b"k"), which: Which::Current, at_least: None };
    let vault = vault();
    assert_eq!(format!("{stat:?}"), format!("Stat({vault}/k, Current, None)"));
}

use super::*;
use crate::{hello_v2, keys::DevicePublicKey, mount::MountName};

fn device() -> Option<DevicePublicKey> {
    Some(DevicePublicKey::from_bytes(run(0x60)))
}

fn error(code: u8, text: &str, about: About) -> Response {
    Response::Error(RemoteError { code, text: text.to_owned(), about })
}

fn charter(length: usize) -> Vec<u8> {
    vec![b'x'; length]
}

/// Each golden answer means what is written here.
#[test]
fn answers_are_those_of_the_page() {
    let mut all = of_connections();
    all.extend(of_objects());
    all.extend(of_pages());
    all.extend(of_errors());
    check_golden("answer", 17, all);
}

fn of_connections() -> Vec<(&'static str, Response)> {
    let client = hello_v2::ClientHello::only(hello_v2::Mode::Tls).encode().unwrap();
    let server = golden("server").remove("tls").unwrap();
    let joined = |name: &str, scopes, vaults| Response::Joined {
        mount: MountName::parse(name).unwrap(),
        scopes,
        vaults,
    };
    let entered = |scopes, charter| Response::Entered { scopes, charter };
    vec![
        ("echo", Response::Echo { client, server }),
        ("pong", Response::Pong),
        ("joined", joined("images", Scopes::PUT.and(Scopes::GET), 2)),
        ("joined-most", joined(&"m".repeat(255), Scopes::ALL, u32::MAX)),
        ("entered", entered(Scopes::REPLACE, None)),
        ("entered-charter", entered(Scopes::NONE, Some(b"charter".to_vec()))),
        ("entered-charter-most", entered(Scopes::ALL, Some(charter(114_688)))),
        ("founded", Response::Founded),
        ("chartered", Response::Chartered),
    ]
}

fn of_objects() -> Vec<(&'static str, Response)> {
    let object = |info, head, payload| Response::Object { info, head, payload };
    let most = info(u64::MAX, u64::MAX, [25_150_470, 65_536, 16_384]);
    vec![
        ("object", object(info(300, 5000, [70, 6, 4]), Some(head()), 5000)),
        ("object-plain", object(plain(1, 0), None, 0)),
        ("object-most", object(most, Some(longest_head()), u64::MAX)),
        ("stat", Response::Stat { info: info(300, 5000, [70, 6, 4]), head: Some(head()) }),
        ("stat-plain", Response::Stat { info: plain(300, 5000), head: None }),
        ("begun", Response::Begun),
        ("held", Response::Held { slices: 64 }),
        ("slice-held", Response::SliceHeld),
        ("committed", Response::Committed { version: Version(u64::MAX) }),
        ("aborted", Response::Aborted),
        ("deleted", Response::Deleted { version: Version(300), end: 400 }),
    ]
}

fn of_pages() -> Vec<(&'static str, Response)> {
    let entry = |key: &[u8], info, head| Entry { key: ObjectKey::new(key).unwrap(), info, head };
    let page = |entries, next: Option<&[u8]>, unreadable| Response::Page {
        entries,
        next: next.map(<[u8]>::to_vec),
        unreadable,
    };
    let version = |info, end, device, head| VersionInfo { info, end, device, head };
    let end = |at, how| Some(End { at, how });
    let versions = |versions, next, unreadable| Response::Versions { versions, next, unreadable };
    let almost = Head { header: vec![b'h'; 49_119], tail: b"t".to_vec() };
    vec![
        (
            "page",
            page(
                vec![
                    entry(b"a", info(300, 5000, [70, 6, 4]), Some(head())),
                    entry(&[b'k'; 1024], plain(1, 0), None),
                ],
                Some(b"cursor"),
                2,
            ),
        ),
        ("page-empty", page(Vec::new(), Some(&[0xcc; 1024]), u32::MAX)),
        ("page-entries-1000", page(vec![entry(b"k", plain(1, 1), None); 1000], None, 0)),
        (
            "frame-131072",
            page(
                vec![
                    entry(b"a", info(1, 1, [0; 3]), Some(longest_head())),
                    entry(b"b", info(1, 1, [0; 3]), Some(almost)),
                ],
                None,
                0,
            ),
        ),
        (
            "versions",
            versions(
                vec![
                    version(info(400, 5000, [70, 6, 4]), None, device(), Some(head())),
                    version(info(300, 5000, [70, 6, 4]), end(400, How::Replaced), device(), None),
                    version(plain(200, 5000), end(250, How::Deleted), None, None),
                    version(info(100, 0, [0; 3]), end(u64::MAX, How::Corrupt), device(), None),
                ],
                Some(Version(100)),
                1,
            ),
        ),
        (
            "versions-1000",
            versions(vec![version(plain(1, 1), None, device(), None); 1000], None, 0),
        ),
    ]
}

fn of_errors() -> Vec<(&'static str, Response)> {
    let nothing = |code| error(code, "", About::Nothing);
    vec![
        ("error-1", nothing(1)),
        ("error-2", nothing(2)),
        ("error-3", nothing(3)),
        ("error-4", error(4, "", About::Version(Some(Version(300))))),
        ("error-4-of-nothing", error(4, "there is none", About::Version(None))),
        ("error-5", nothing(5)),
        ("error-6", nothing(6)),
        ("error-7", nothing(7)),
        ("error-8", nothing(8)),
        ("error-9", nothing(9)),
        ("error-10", nothing(10)),
        ("error-11", nothing(11)),
        ("error-text-256", error(11, &"t".repeat(256), About::Nothing)),
        ("error-12", nothing(12)),
        ("error-13", nothing(13)),
        ("error-14", nothing(14)),
        ("error-15", error(15, "", About::Head(head()))),
        ("error-15-order", error(15, "", About::Order(order(3, (1 << 63) - 1)))),
        ("error-15-most", error(15, "", About::Head(longest_head()))),
        ("error-16", nothing(16)),
        ("error-17", nothing(17)),
        ("error-18", error(18, "", About::Time(u64::MAX))),
        ("error-19", error(19, "", About::Charter(b"charter".to_vec()))),
        ("error-19-most", error(19, "", About::Charter(charter(114_688)))),
        ("error-20", nothing(20)),
        ("error-21", nothing(21)),
        ("error-22-unknown", error(22, "later", About::Time(7))),
        ("error-255-unknown", nothing(255)),
    ]
}

/// FORMAT 12: bits of scopes that are not known grant nothing.
#[test]
fn joined_with_later_scopes_grants_known_ones() {
    let mut golden = golden("read-answer");
    let bytes = golden.remove("joined-later-scopes").unwrap();
    let joined = Response::Joined { mount: MountName::ROOT, scopes: Scopes::PUT, vaults: 0 };
    assert_eq!(read(&bytes), Ok(Some(joined)));
    assert!(golden.is_empty());
}

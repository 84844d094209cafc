use super::*;
use crate::{hello_v2, label::Label, mount::MountName};

const MOST_GENERATION: u64 = (1 << 63) - 1;

fn mount(name: &str) -> MountName {
    MountName::parse(name).unwrap()
}

fn member(vault: VaultId, certificate: usize, known: (u32, u64), label: &str) -> Member {
    let (certificate, (epoch, serial)) = (vec![b'c'; certificate], known);
    Member { vault, certificate, epoch, serial, label: Label::parse(label).unwrap() }
}

fn slice(length: u32) -> ClaimedSlice {
    let digest = digest("ee612ddcfb17f1297a8b1c1941926c50897d2d3cb8dc6927bcb8b7a4ba854318");
    ClaimedSlice { length, digest }
}

fn get(sections: Vec<Section>) -> Request {
    Request::Get {
        address: address(b"k"),
        which: Which::Current,
        head: true,
        sections,
        kind: Kind::Sealed,
        at_least: None,
    }
}

fn new_head(header: Option<&[u8]>) -> NewHead {
    let (header, tail) = (header.map(<[u8]>::to_vec), b"tail".to_vec());
    NewHead { header, tail, digest: digest_of_tail_and_header() }
}

/// Each golden request means what is written here.
#[test]
fn requests_are_those_of_the_page() {
    let mut all = of_connections();
    all.extend(of_reading());
    all.extend(of_writing());
    check_golden("request", 18, all);
}

fn of_connections() -> Vec<(&'static str, Request)> {
    let client = hello_v2::ClientHello::only(hello_v2::Mode::Tls).encode().unwrap();
    let server = golden("server").remove("tls").unwrap();
    let enter = |name: &str, member| Request::Enter { mount: mount(name), member };
    let most = vec![b'x'; 114_688];
    vec![
        ("echo", Request::Echo { client, server }),
        ("echo-longest", Request::Echo { client: vec![b'c'; 1034], server: vec![b's'; 2058] }),
        ("ping", Request::Ping),
        ("join", Request::Join { secret: run(0x40), label: Label::parse("laptop").unwrap() }),
        (
            "join-label-64",
            Request::Join { secret: run(0x40), label: Label::parse(&"l".repeat(64)).unwrap() },
        ),
        ("enter-root", enter("", None)),
        ("enter-vault", enter("images/2026", Some(member(vault(), 207, (7, 300), "host")))),
        ("enter-without-key", enter("a", Some(member(other_vault(), 0, (0, 0), "")))),
        (
            "enter-most",
            enter(
                &"m".repeat(255),
                Some(member(vault(), 8192, (u32::MAX, u64::MAX), &"l".repeat(64))),
            ),
        ),
        ("found", Request::Found { mount: mount("a"), charter: b"charter".to_vec() }),
        ("found-most", Request::Found { mount: MountName::ROOT, charter: most.clone() }),
        ("charter", Request::Charter { mount: mount("a"), charter: b"charter".to_vec() }),
        ("charter-most", Request::Charter { mount: MountName::ROOT, charter: most }),
    ]
}

fn of_reading() -> Vec<(&'static str, Request)> {
    let stat = |address, which, at_least| Request::Stat { address, which, at_least };
    let outside = Address::of_key(None, ObjectKey::new(*b"dir/file").unwrap());
    let versions =
        |after, limit, heads| Request::Versions { address: address(b"k"), after, limit, heads };
    let with_order = |mut request, order| {
        if let Request::Get { at_least, .. } = &mut request {
            *at_least = Some(order);
        }
        request
    };
    vec![
        (
            "get",
            with_order(
                get(vec![Section::Range { offset: 1, length: 300 }, Section::Body, Section::Front]),
                order(1, MOST_GENERATION),
            ),
        ),
        (
            "get-version-plain",
            Request::Get {
                address: outside,
                which: Which::Version(Version(u64::MAX)),
                head: false,
                sections: Vec::new(),
                kind: Kind::Plain,
                at_least: None,
            },
        ),
        (
            "get-most-order",
            with_order(
                get(vec![Section::Range { offset: u64::MAX, length: u64::MAX }]),
                order(u32::MAX, MOST_GENERATION),
            ),
        ),
        ("get-sections-64", get(vec![Section::Front; 64])),
        ("stat", stat(address(b"k"), Which::Current, None)),
        (
            "stat-version",
            stat(address(&[b'k'; 1024]), Which::Version(Version(300)), Some(order(0, 0))),
        ),
        ("list", Request::List { vault: None, after: None, limit: 1, heads: false }),
        (
            "list-after",
            Request::List {
                vault: Some(vault()),
                after: Some(vec![0xcc; 1024]),
                limit: u32::MAX,
                heads: true,
            },
        ),
        ("versions", versions(None, 1000, true)),
        ("versions-after", versions(Some(Version(u64::MAX)), 1, false)),
    ]
}

fn of_writing() -> Vec<(&'static str, Request)> {
    let begin = |kind, condition, size, header: Option<&[u8]>| Request::Begin {
        address: address(b"k"),
        upload: UPLOAD,
        kind,
        condition,
        size,
        header: header.map(<[u8]>::to_vec),
    };
    let resume = |condition, header: &[u8]| Request::Resume {
        address: address(b"k"),
        upload: UPLOAD,
        condition,
        header: header.to_vec(),
    };
    let reseal = |head| Request::Reseal {
        base: address(b"k"),
        version: Version(300),
        address: Address::of_key(Some(other_vault()), ObjectKey::new(*b"new").unwrap()),
        upload: UPLOAD,
        condition: Condition::Absent,
        head,
    };
    let longest = longest_head();
    let one = |length| Request::Slice { length, digest: slice(length).digest };
    vec![
        ("begin", begin(Kind::Sealed, Condition::Any, Some(300), Some(b"header"))),
        ("begin-plain", begin(Kind::Plain, Condition::Absent, None, None)),
        (
            "begin-most",
            begin(
                Kind::Sealed,
                Condition::Version(Version(7)),
                Some(u64::MAX),
                Some(&longest.header),
            ),
        ),
        ("resume", resume(Condition::Absent, b"header")),
        ("resume-plain", resume(Condition::Any, b"")),
        ("resume-most", resume(Condition::Version(Version(u64::MAX)), &longest.header)),
        ("claim", Request::Claim { slices: vec![slice(300), slice(1)] }),
        ("claim-64", Request::Claim { slices: vec![slice(16_842_752); 64] }),
        ("slice", one(1)),
        ("slice-most", one(16_842_752)),
        ("commit-plain", Request::Commit { head: None }),
        ("commit", Request::Commit { head: Some(new_head(Some(b"header"))) }),
        ("commit-earlier-header", Request::Commit { head: Some(new_head(None)) }),
        (
            "commit-most",
            Request::Commit {
                head: Some(NewHead {
                    header: Some(longest.header),
                    tail: longest.tail,
                    digest: digest(
                        "a7d8cc8291826fe24211c68ee04614be428b748da32629c6a80812abd3321353",
                    ),
                }),
            },
        ),
        ("abort", Request::Abort),
        (
            "delete",
            Request::Delete {
                address: Address::of_key(None, ObjectKey::new(*b"k").unwrap()),
                condition: Condition::Version(Version(300)),
            },
        ),
        ("reseal", reseal(Some(new_head(Some(b"header"))))),
        ("reseal-plain", reseal(None)),
    ]
}

/// A variant number that is longer than it has to be means the same.
#[test]
fn request_with_long_varint_means_the_same() {
    let mut golden = golden("read-request");
    let bytes = golden.remove("ping-long-varint").unwrap();
    assert_eq!(read(&bytes), Ok(Some(Request::Ping)));
    assert!(golden.is_empty());
}

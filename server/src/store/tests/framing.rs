//! What a server checks of a sealed object without any key: no object becomes current that every
//! reader would refuse for a reason visible in its framing (PROTOCOL 5).

use zput_proto::message::{ClaimedSlice, ErrorCode, HeaderSlice};

use super::*;
use crate::store::Upload;

/// A header of "doc" with these bytes changed. It has 200 bytes and one stanza, of 6 bytes.
fn header_with(changes: &[(usize, &[u8])]) -> Vec<u8> {
    let mut header = sealed("doc", b"")[0].clone();
    for (at, bytes) in changes {
        header[*at..at + bytes.len()].copy_from_slice(bytes);
    }
    header
}

/// A header of "doc" with these stanzas and `metadata` bytes of metadata.
fn with_header(stanzas: &str, metadata: u16) -> Vec<u8> {
    let mut header = sealed("doc", b"")[0][..61].to_vec();
    header.extend((stanzas.len() as u16).to_be_bytes());
    header.extend(stanzas.as_bytes());
    header.extend(metadata.to_be_bytes());
    header.resize(header.len() + usize::from(metadata) + 32, 9);
    let length = header.len() as u32;
    header[10..14].copy_from_slice(&length.to_be_bytes());
    header
}

fn x25519(share: &str) -> String {
    format!("-> X25519 {share}\n{}\n", "A".repeat(43))
}

fn begin(home: &Home) -> Upload {
    home.store.begin(&key("doc"), Kind::Sealed, Condition::Any, None).unwrap()
}

/// A sealed header that every reader would refuse is refused before any part is sent.
#[test]
fn upload_refuses_header_that_no_reader_accepts() {
    let home = Home::new();
    let version = home.put("doc", b"older");
    // As shares: 9, the base point, and 1, of low order.
    let (base, low) = (format!("CQ{}", "A".repeat(41)), format!("AQ{}", "A".repeat(41)));
    let cases = [
        ("suite 0", header_with(&[(14, &[0])])),
        ("suite 3", header_with(&[(14, &[3])])),
        ("parts of 32 KiB", header_with(&[(15, &[15])])),
        ("parts of 1 GiB", header_with(&[(15, &[30])])),
        ("the last generation", header_with(&[(48, &[0xff; 8])])),
        ("fields that end too early", header_with(&[(10, &[0, 0, 0, 201]), (61, &[0])])),
        ("stanzas beyond the end", header_with(&[(61, &[0xff, 0xff])])),
        ("no stanza", with_header("", 91)),
        ("garbage for a stanza", with_header("garbage\n", 91)),
        ("a stanza without an end", with_header("-> x", 91)),
        ("a share that is too short", with_header(&x25519(&base[1..]), 91)),
        ("a share that is not canonical", with_header(&x25519(&format!("{}B", &base[..42])), 91)),
        ("a share of low order", with_header(&x25519(&low), 91)),
        ("one behind another", with_header(&[x25519(&base), x25519(&low)].concat(), 91)),
        ("a body of no file key", with_header(&format!("-> X25519 {base}\n\n"), 91)),
        ("33 stanzas", with_header(&"-> x\n\n".repeat(33), 91)),
        ("metadata without a name", with_header("-> x\n\n", 90)),
        ("metadata with too long a name", with_header("-> x\n\n", 1115)),
    ];
    for (case, header) in cases {
        let slice = HeaderSlice::of(header.clone());
        let begun = begin(&home).write_header(&header, slice.digest);
        let resumed = home.store.resume(&key("doc"), Condition::Any, None, &slice).map(drop);
        for refused in [begun, resumed] {
            assert_eq!(refused.unwrap_err().code(), ErrorCode::Malformed, "{case}");
        }
        let [_, body, footer] = sealed("doc", b"");
        let slices = [&header[..], &body, &footer].into_iter();
        let put = put_slices(&home.store, "doc", Kind::Sealed, Condition::Any, slices);
        assert_eq!(put.unwrap_err().code(), ErrorCode::Malformed, "{case}");
        assert_eq!(home.staged(), 0, "{case}");
    }
    for header in [with_header(&x25519(&base), 91), with_header("-> x\n\n", 1114)] {
        begin(&home).write_header(&header, Digest::of(&header)).unwrap();
    }
    assert_eq!(home.states("doc"), [(version, VersionState::Current)]);
}

/// Slices of "doc" that form a blob: a header, a full part, a short one, a footer.
fn whole() -> [Vec<u8>; 4] {
    let [header, ..] = sealed("doc", b"");
    let (full, last) = (vec![1; 524_872], vec![2; 90]);
    let footer = zput_framed::footer(&[&full, &last], PART_SIZE_LOG2);
    [header, full, last, footer]
}

/// Valid slices that do not form a blob, each with the reason.
fn no_blobs() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let [header, full, last, footer] = whole();
    let change = |at: usize, bytes: &[u8]| {
        let mut footer = footer.clone();
        footer[at..at + bytes.len()].copy_from_slice(bytes);
        footer
    };
    let all = |footer: Vec<u8>| vec![header.clone(), full.clone(), last.clone(), footer];
    // 8 bytes of length, two digests, then the length of the facts.
    let mut facts = footer.clone();
    facts[72..74].copy_from_slice(&[0, 72]);
    facts.splice(74..74, [5; 72]);
    let end = facts.len() - 12;
    facts[end..end + 4].copy_from_slice(&191_u32.to_be_bytes());
    let other = vec![3; 90];
    vec![
        ("the footer twice", [all(footer.clone()), vec![footer.clone()]].concat()),
        ("bytes behind the footer", [all(footer.clone()), vec![b"x".to_vec()]].concat()),
        ("bytes in front of it", {
            vec![header.clone(), full.clone(), last.clone(), b"x".to_vec(), footer.clone()]
        }),
        ("a part in two slices", {
            let halves = full.chunks(262_436).map(<[u8]>::to_vec);
            [header.clone()]
                .into_iter()
                .chain(halves)
                .chain([last.clone(), footer.clone()])
                .collect()
        }),
        ("two parts in one slice", {
            vec![header.clone(), [&full[..], &last].concat(), footer.clone()]
        }),
        ("the header and a part in one slice", {
            vec![[&header[..], &full].concat(), last.clone(), footer.clone()]
        }),
        ("a part too few", vec![header.clone(), last.clone(), footer.clone()]),
        ("a part twice", {
            vec![header.clone(), full.clone(), full.clone(), last.clone(), footer.clone()]
        }),
        (
            "parts in another order",
            vec![header.clone(), last.clone(), full.clone(), footer.clone()],
        ),
        ("a part of another digest", { vec![header.clone(), full.clone(), other, footer.clone()] }),
        ("another first digest", all(change(8, &[0; 32]))),
        ("a byte more of plaintext", all(change(0, &524_307_u64.to_be_bytes()))),
        ("more parts than there can be", all(change(0, &[0xff; 8]))),
        ("an unknown provenance", all(change(74, &[3]))),
        ("a vault's footer without its fields", all(change(74, &[1]))),
        ("an empty list of facts", all(facts)),
        ("no parts at all", vec![header.clone(), footer.clone()]),
    ]
}

/// Slices that do not form a blob by their framing are refused and change nothing.
#[test]
fn commit_refuses_slices_that_no_reader_could_open() {
    let home = Home::new();
    let version = home.put("doc", b"older");
    for (case, slices) in no_blobs() {
        let slices = slices.iter().map(Vec::as_slice);
        let put = put_slices(&home.store, "doc", Kind::Sealed, Condition::Any, slices);
        assert_eq!(put.unwrap_err().code(), ErrorCode::Malformed, "{case}");
        assert_eq!(home.body("doc"), Some(b"older".to_vec()), "{case}");
        assert_eq!(home.states("doc"), [(version, VersionState::Current)], "{case}");
        assert_eq!(home.staged(), 0, "{case}");
    }
    let whole = whole();
    let slices = whole.iter().map(Vec::as_slice);
    put_slices(&home.store, "doc", Kind::Sealed, Condition::Any, slices).unwrap();
    assert_eq!(home.body("doc"), Some(whole.concat()));
}

/// The footer may be several slices, and must be where it is longer than one can be.
#[test]
fn upload_footer_may_span_several_slices() {
    let home = Home::new();
    let [header, full, last, footer] = whole();
    let slices = [&header[..], &full, &last].into_iter().chain(footer.chunks(50));
    put_slices(&home.store, "doc", Kind::Sealed, Condition::Any, slices).unwrap();
}

/// A resumed upload is held to the same framing when it is committed.
#[test]
fn resume_framing_is_checked_on_commit() {
    let home = Home::new();
    let version = home.put("doc", b"older");
    let [header, full, ..] = whole();
    for (case, slices) in no_blobs() {
        if slices[0] != header {
            continue;
        }
        // Enough is sent for the upload to be kept; the rest is claimed or sent later.
        let mut upload = begin(&home);
        upload.write_header(&header, Digest::of(&header)).unwrap();
        for slice in slices[1..].iter().chain([&full, &full]) {
            upload.start_slice(slice.len() as u32, Digest::of(slice)).unwrap();
            upload.write(slice).unwrap();
            upload.end_slice().unwrap();
        }
        drop(upload);
        let slice = HeaderSlice::of(header.clone());
        let mut upload = home.store.resume(&key("doc"), Condition::Any, None, &slice).unwrap();
        let claimed = |slice: &Vec<u8>| ClaimedSlice {
            length: slice.len() as u32,
            digest: Digest::of(slice),
        };
        let claims: Vec<_> = slices[1..].iter().map(claimed).collect();
        assert_eq!(upload.claim(&claims).unwrap() as usize, claims.len(), "{case}");
        assert_eq!(upload.commit().unwrap_err().code(), ErrorCode::Malformed, "{case}");
        assert_eq!(home.states("doc"), [(version, VersionState::Current)], "{case}");
        assert_eq!(home.staged(), 0, "{case}");
    }
}

/// PROTOCOL 8: "A plain object may be empty: it is committed without a slice."
#[test]
fn plain_object_may_be_committed_without_slice() {
    let home = Home::new();
    let none = [].into_iter();
    put_slices(&home.store, "empty", Kind::Plain, Condition::Any, none).unwrap();
    assert_eq!(home.body("empty"), Some(Vec::new()));
}

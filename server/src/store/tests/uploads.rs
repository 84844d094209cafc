//! Uploads: slices, framing, conditions, and what is left of a failed one.

use zput_proto::{keys::DevicePublicKey, limits::SLICE_MAX_BYTES, message::ErrorCode};

use super::*;
use crate::store::FormatViolation;

#[test]
fn what_was_put_is_got_whatever_the_splits() {
    let home = Home::new();
    let body: Vec<u8> = (0..50_000u32).map(|i| (i % 251) as u8).collect();
    let mut upload = home.store.begin(&key("a"), Kind::Plain, Condition::Any, None).unwrap();
    for slice in body.chunks(20_001) {
        upload.start_slice(slice.len() as u32, Digest::of(slice)).unwrap();
        for piece in slice.chunks(777) {
            upload.write(piece).unwrap();
        }
        upload.end_slice().unwrap();
    }
    assert_eq!(upload.length(), 50_000);
    assert_eq!(upload.commit().unwrap(), Version(1000));
    assert_eq!(home.body("a"), Some(body));
    assert_eq!(home.staged(), 0);
}

#[test]
fn an_empty_object_is_an_object() {
    let home = Home::new();
    home.put("none", b"");
    assert_eq!(home.body("none"), Some(vec![]));
}

#[test]
fn a_version_keeps_its_writer_on_disk() {
    let home = Home::new();
    let device = DevicePublicKey::from_bytes([0xd5; 32]);
    let upload = home.store.begin(&key("a"), Kind::Plain, Condition::Any, Some(device));
    upload.unwrap().commit().unwrap();
    let file = fs::read(home.object_path("a")).unwrap();
    // key, format, kind, version, three lengths.
    assert_eq!(file[27..59], [0xd5; 32]);
}

#[test]
fn wrong_bytes_end_an_upload_and_leave_nothing() {
    let home = Home::new();
    let cases: [(&str, &[u8], bool); 3] =
        [("flipped", b"abcx", true), ("short", b"abc", false), ("long", b"abcde", false)];
    for (case, bytes, is_digest) in cases {
        let mut upload = home.store.begin(&key("a"), Kind::Plain, Condition::Any, None).unwrap();
        upload.start_slice(4, Digest::of(b"abcd")).unwrap();
        assert_eq!(home.staged(), 1);
        let error = upload.write(bytes).and_then(|()| upload.end_slice()).unwrap_err();
        match error {
            StoreError::Digest => assert!(is_digest, "{case}"),
            StoreError::Malformed(FormatViolation::SliceFraming) => assert!(!is_digest, "{case}"),
            other => panic!("{case}: {other:?}"),
        }
        // Removed at once, not when the caller drops the upload.
        assert_eq!(home.staged(), 0, "{case}");
        let after = upload.start_slice(1, Digest::of(b"x")).unwrap_err();
        assert_eq!(after.code(), ErrorCode::State);
        assert_eq!(upload.commit().unwrap_err().code(), ErrorCode::State);
    }
    assert_eq!(home.body("a"), None);
}

#[test]
fn bytes_and_slices_have_to_fit() {
    let home = Home::new();
    let begin = || home.store.begin(&key("a"), Kind::Plain, Condition::Any, None).unwrap();
    let code = |result: Result<(), StoreError>| result.unwrap_err().code();
    assert_eq!(code(begin().write(b"x")), ErrorCode::Malformed);
    assert_eq!(code(begin().end_slice()), ErrorCode::Malformed);
    let too_long = SLICE_MAX_BYTES + 1;
    assert_eq!(code(begin().start_slice(too_long, Digest::of(b""))), ErrorCode::Malformed);
    let mut twice = begin();
    twice.start_slice(SLICE_MAX_BYTES, Digest::of(b"")).unwrap();
    assert_eq!(code(twice.start_slice(1, Digest::of(b""))), ErrorCode::Malformed);
    let mut open = begin();
    open.start_slice(1, Digest::of(b"x")).unwrap();
    open.write(b"x").unwrap();
    assert_eq!(open.commit().unwrap_err().code(), ErrorCode::Malformed);
    assert_eq!(home.staged(), 0);
}

#[test]
fn an_upload_has_so_many_slices_and_no_more() {
    let home = Home::new();
    let mut upload = home.store.begin(&key("a"), Kind::Plain, Condition::Any, None).unwrap();
    let short = Digest::of(b"x");
    let free = |upload: &mut crate::store::Upload, count: usize| {
        for _ in 0..count {
            upload.start_slice(1, short).unwrap();
            upload.write(b"x").unwrap();
            upload.end_slice().unwrap();
        }
    };
    // PROTOCOL 9: 64, and one for each 65,536 bytes received.
    free(&mut upload, 62);
    for length in [65_473, 65_537] {
        let bytes = vec![7; length];
        upload.start_slice(bytes.len() as u32, Digest::of(&bytes)).unwrap();
        upload.write(&bytes).unwrap();
        upload.end_slice().unwrap();
    }
    free(&mut upload, 2);
    let error = upload.start_slice(1, short).unwrap_err();
    assert!(matches!(error, StoreError::Malformed(FormatViolation::SliceCount)), "{error:?}");
}

#[test]
fn so_many_uploads_are_under_way_and_no_more() {
    let home = Home::new();
    assert!(crate::sys::net::raise_descriptor_limit() > 2048, "each upload has a descriptor");
    let begin = || home.store.begin(&key("a"), Kind::Plain, Condition::Any, None);
    let mut uploads: Vec<_> = (0..1024).map(|_| begin().unwrap()).collect();
    let refusal = begin().unwrap_err();
    assert_eq!(refusal.code(), ErrorCode::Busy, "{refusal}");
    assert_eq!(home.staged(), 1024);
    uploads.pop();
    uploads.push(begin().unwrap());
}

#[test]
fn a_dropped_upload_leaves_nothing() {
    let home = Home::new();
    let mut upload = home.store.begin(&key("a"), Kind::Plain, Condition::Any, None).unwrap();
    upload.start_slice(3, Digest::of(b"abc")).unwrap();
    upload.write(b"ab").unwrap();
    assert_eq!(home.staged(), 1);
    drop(upload);
    assert_eq!(home.staged(), 0);
    assert_eq!(home.body("a"), None);
}

#[test]
fn a_sealed_object_is_split_by_its_framing() {
    let home = Home::new();
    let parts = sealed("doc", &[3; 5000]);
    let slices = parts.iter().map(Vec::as_slice);
    put_slices(&home.store, "doc", Kind::Sealed, Condition::Any, slices).unwrap();
    let object = home.store.lookup(&key("doc"), None).unwrap();
    let info = object.info();
    assert_eq!((info.kind, info.length), (Kind::Sealed, 5287));
    assert_eq!((info.header_length, info.footer_length), (200, 87));
    assert_eq!(object.read_header().unwrap().unwrap(), parts[0]);
}

#[test]
fn a_plain_object_has_no_header() {
    let home = Home::new();
    home.put("a", b"abc");
    let object = home.store.lookup(&key("a"), None).unwrap();
    assert_eq!(object.read_header().unwrap(), None);
}

#[test]
fn objects_whose_framing_does_not_fit_are_refused() {
    let home = Home::new();
    let [header, body, footer] = sealed("doc", &[3; 5000]);
    let change = |bytes: &[u8], at: usize, value: u8| {
        let mut bytes = bytes.to_vec();
        bytes[at] = value;
        bytes
    };
    let cases: Vec<(&str, Vec<Vec<u8>>)> = vec![
        ("no bytes", vec![]),
        ("no magic", vec![change(&header, 0, 0), body.clone(), footer.clone()]),
        ("another version", vec![change(&header, 9, 2), body.clone(), footer.clone()]),
        ("header beyond the object", vec![change(&header, 12, 0x40), body.clone(), footer.clone()]),
        ("another key", vec![sealed("cod", b"")[0].clone(), body.clone(), footer.clone()]),
        ("no key", vec![sealed("", b"")[0].clone(), body.clone(), footer.clone()]),
        ("no end magic", vec![header.clone(), body.clone(), change(&footer, 86, 0)]),
        ("footer beyond the body", vec![header.clone(), body.clone(), change(&footer, 77, 0x40)]),
        ("footer cut off", vec![header.clone(), body.clone(), footer[..86].to_vec()]),
        ("header alone", vec![header.clone()]),
    ];
    for (case, slices) in cases {
        let slices = slices.iter().map(Vec::as_slice);
        let result = put_slices(&home.store, "doc", Kind::Sealed, Condition::Any, slices);
        assert_eq!(result.unwrap_err().code(), ErrorCode::Malformed, "{case}");
        assert_eq!(home.staged(), 0, "{case}");
    }
    assert_eq!(home.body("doc"), None);
    let slices = [&header[..], &body, &footer].into_iter();
    let plain = put_slices(&home.store, "doc", Kind::Plain, Condition::Any, slices);
    assert!(matches!(plain, Err(StoreError::Malformed(FormatViolation::PlainLooksSealed))));
    home.put("doc", b"\x8azput\r\n");
}

#[test]
fn an_upload_takes_one_whole_header_of_its_own_key() {
    let home = Home::new();
    let [header, body, footer] = sealed("doc", &[3; 5000]);
    let begin = || home.store.begin(&key("doc"), Kind::Sealed, Condition::Any, None).unwrap();
    let [mut short, mut long] = [header.clone(), header.clone()];
    short.pop();
    long.push(0);
    let other = sealed("cod", b"")[0].clone();
    for bytes in [&short, &long, &other, &body] {
        let error = begin().write_header(bytes, Digest::of(bytes)).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Malformed);
    }
    let error = begin().write_header(&header, Digest::of(&body)).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Digest);
    assert_eq!(home.staged(), 0);
    let mut upload = begin();
    upload.write_header(&header, Digest::of(&header)).unwrap();
    for slice in [&body, &footer] {
        upload.start_slice(slice.len() as u32, Digest::of(slice)).unwrap();
        upload.write(slice).unwrap();
        upload.end_slice().unwrap();
    }
    upload.commit().unwrap();
    assert_eq!(home.body("doc"), Some([header, body, footer].concat()));
}

#[test]
fn a_hopeless_upload_is_refused_before_its_bytes() {
    let home = Home::new();
    let version = home.put("a", b"1");
    let begin = |condition| home.store.begin(&key("a"), Kind::Plain, condition, None);
    let there = |result: Result<_, StoreError>| match result {
        Err(StoreError::Exists(current)) => current.map(|version| version.0),
        other => panic!("{other:?}"),
    };
    assert_eq!(there(begin(Condition::Absent)), Some(version));
    assert_eq!(there(begin(Condition::Version(Version(version + 1)))), Some(version));
    begin(Condition::Version(Version(version))).unwrap();
    let other = home.store.begin(&key("b"), Kind::Plain, Condition::Version(Version(1)), None);
    assert_eq!(there(other), None);
}

#[test]
fn the_condition_is_decided_at_the_commit() {
    let home = Home::new();
    let begin = |condition| home.store.begin(&key("a"), Kind::Plain, condition, None).unwrap();
    let late = begin(Condition::Absent);
    let version = home.put("a", b"1");
    let error = late.commit().unwrap_err();
    assert!(matches!(error, StoreError::Exists(Some(Version(v))) if v == version));
    let late = begin(Condition::Version(Version(version)));
    home.store.delete(&key("a"), Condition::Any).unwrap();
    assert!(matches!(late.commit(), Err(StoreError::Exists(None))));
    assert_eq!(home.staged(), 0);
}

#[test]
fn versions_increase_though_the_clock_does_not() {
    let home = Home::new();
    assert_eq!(home.put("a", b"1"), 1000);
    assert_eq!(home.put("a", b"2"), 1001);
    home.set_time(5);
    assert_eq!(home.put("a", b"3"), 1002);
    // Per key: another key is not affected.
    assert_eq!(home.put("b", b"1"), 5);
    home.set_time(2000);
    assert_eq!(home.put("a", b"4"), 2000);
    home.set_time(6);
    // The newest version is in the trash, then in the history; neither number is given twice.
    home.store.delete(&key("a"), Condition::Any).unwrap();
    assert_eq!(home.put("a", b"5"), 2001);
    home.set_time(u64::MAX);
    assert_eq!(home.put("a", b"6"), u64::MAX);
    let last = put(&home.store, "a", b"7", Condition::Any);
    assert!(matches!(last, Err(StoreError::VersionsExhausted(Version(u64::MAX)))));
    assert_eq!(home.body("a"), Some(b"6".to_vec()));
}

#[test]
fn an_open_object_outlives_its_name() {
    let home = Home::new();
    home.put("a", b"first");
    let object = home.store.lookup(&key("a"), None).unwrap();
    home.put("a", b"second");
    home.store.delete(&key("a"), Condition::Any).unwrap();
    fs::remove_dir_all(home.path()).unwrap();
    assert_eq!(read(&object), b"first");
}

#[test]
fn a_copy_of_a_version_has_its_writer_and_its_slices() {
    let home = Home::new();
    let device = DevicePublicKey::from_bytes([0xd5; 32]);
    let mut upload =
        home.store.begin(&key("a"), Kind::Plain, Condition::Any, Some(device)).unwrap();
    for slice in [&b"one"[..], b"s", b"three"] {
        upload.start_slice(slice.len() as u32, Digest::of(slice)).unwrap();
        upload.write(slice).unwrap();
        upload.end_slice().unwrap();
    }
    let first = upload.commit().unwrap();
    let before = fs::read(home.object_path("a")).unwrap();
    home.put("a", b"2");
    assert_eq!(home.store.restore(&key("a"), first).unwrap(), Version(1002));
    let after = fs::read(home.object_path("a")).unwrap();
    // Payload and table of slices; then key, format and kind; the version differs; lengths, writer,
    // count, digest.
    let version = 9 + 3 * 36 + 1 + 1 + 1;
    assert_eq!(before[..version], after[..version]);
    assert_eq!(before[version + 8..version + 94], after[version + 8..version + 94]);
    assert_eq!(after[version..version + 8], 1002u64.to_be_bytes());
}
